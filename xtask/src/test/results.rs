// SPDX-License-Identifier: GPL-2.0-only

//! What a test run leaves behind: a TAP file for each stage, and one JUnit file.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::case::{Case, Outcome, Stage, Totals};

/// Writes `<stage>.tap` and `junit.xml` into `folder`.
pub fn write(folder: &Path, stages: &[Stage]) -> Result<()> {
    fs::create_dir_all(folder)?;
    for stage in stages {
        write_file(
            &folder.join(format!("{}.tap", stage.name)),
            &tap(&stage.cases),
        )?;
    }
    write_file(&folder.join("junit.xml"), &junit(stages)?)
}

fn write_file(path: &Path, content: &str) -> Result<()> {
    fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
}

fn tap(cases: &[Case]) -> String {
    let mut text = format!("TAP version 13\n1..{}\n", cases.len());
    for (index, case) in cases.iter().enumerate() {
        let number = index + 1;
        let name = &case.name;
        text += &match &case.outcome {
            Outcome::Passed => format!("ok {number} - {name}\n"),
            Outcome::Failed => format!("not ok {number} - {name}\n"),
            Outcome::Skipped(reason) => format!("ok {number} - {name} # SKIP {reason}\n"),
        };
        if case.has_failed() {
            text.extend(case.detail.iter().map(|line| format!("# {line}\n")));
        }
    }
    text
}

fn junit(stages: &[Stage]) -> Result<String> {
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
    for stage in stages {
        let totals = Totals::of(&stage.cases);
        writeln!(
            text,
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" skipped=\"{}\" time=\"{:.3}\">",
            escaped(stage.name),
            stage.cases.len(),
            totals.failed,
            totals.skipped,
            stage.time.as_secs_f64()
        )?;
        for case in &stage.cases {
            junit_case(&mut text, stage.name, case)?;
        }
        text += "  </testsuite>\n";
    }
    text += "</testsuites>\n";
    Ok(text)
}

fn junit_case(text: &mut String, stage: &str, case: &Case) -> Result<()> {
    let (stage, name) = (escaped(stage), escaped(&case.name));
    write!(text, "    <testcase classname=\"{stage}\" name=\"{name}\"")?;
    match &case.outcome {
        Outcome::Passed => *text += "/>\n",
        Outcome::Failed => {
            let detail = escaped(&case.detail.join("\n"));
            writeln!(text, "><failure>{detail}</failure></testcase>")?;
        }
        Outcome::Skipped(reason) => {
            writeln!(
                text,
                "><skipped message=\"{}\"/></testcase>",
                escaped(reason)
            )?;
        }
    }
    Ok(())
}

/// Text as XML takes it; control characters, which XML cannot hold at all, become spaces.
fn escaped(text: &str) -> String {
    let mut xml = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => xml += "&amp;",
            '<' => xml += "&lt;",
            '>' => xml += "&gt;",
            '"' => xml += "&quot;",
            '\n' | '\t' => xml.push(character),
            other if other.is_control() => xml.push(' '),
            other => xml.push(other),
        }
    }
    xml
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn cases() -> Vec<Case> {
        vec![
            Case::passed("a"),
            Case::failed("b", &["1 < 2".to_owned()]),
            Case::skipped("c", "no \"device\""),
        ]
    }

    #[test]
    fn tap_has_a_plan_and_numbers() {
        let expected = "TAP version 13\n1..3\nok 1 - a\nnot ok 2 - b\n# 1 < 2\n\
            ok 3 - c # SKIP no \"device\"\n";
        assert_eq!(tap(&cases()), expected);
    }

    #[test]
    fn junit_is_escaped_xml() {
        let stage = Stage {
            name: "s",
            cases: cases(),
            time: Duration::from_millis(1500),
        };
        let text = junit(&[stage]).unwrap();
        assert!(text.contains("tests=\"3\" failures=\"1\" skipped=\"1\" time=\"1.500\""));
        assert!(text.contains("<failure>1 &lt; 2</failure>"));
        assert!(text.contains("<skipped message=\"no &quot;device&quot;\"/>"));
        assert_eq!(escaped("a\u{1b}b"), "a b");
    }
}
