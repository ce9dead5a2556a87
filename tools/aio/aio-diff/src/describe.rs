// SPDX-License-Identifier: GPL-2.0-only

//! Programs and differences, for people to read.

use crate::program::{Manner, Program, Step};

/// A program, line by line.
pub fn program_text(program: &Program) -> Vec<String> {
    let mut lines = vec![format!(
        "seed {:#018x}{}{}, ends by {:?}",
        program.seed,
        if program.one_cpu {
            ", one processor"
        } else {
            ""
        },
        if program.unprivileged {
            ", unprivileged"
        } else {
            ""
        },
        program.end
    )];
    for (index, file) in program.files.iter().enumerate() {
        lines.push(format!(
            "file {index}: {:?} {:?} {:?}",
            file.object, file.access, file.flags
        ));
    }
    for (index, step) in program.steps.iter().enumerate() {
        lines.push(format!("step {index}: {}", step_text(step)));
    }
    lines
}

fn step_text(step: &Step) -> String {
    let mut text = String::new();
    if step.thread != 0 {
        text += &format!("thread {}: ", step.thread);
    }
    match step.manner {
        Manner::Wait => {}
        Manner::Leave => text += "left in ",
        Manner::Race => text += "racing ",
    }
    text + &format!("{:?}", step.call)
}

/// Two runs side by side: common lines once, then those of each from where they part.
pub fn parted(reference: &[String], candidate: &[String]) -> Vec<String> {
    let same = reference
        .iter()
        .zip(candidate)
        .take_while(|(one, other)| one == other)
        .count();
    let mut lines = Vec::new();
    lines.extend(reference[..same].iter().map(|line| format!("  {line}")));
    lines.extend(reference[same..].iter().map(|line| format!("- {line}")));
    lines.extend(candidate[same..].iter().map(|line| format!("+ {line}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_part_where_they_differ() {
        let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let parted = parted(&lines("a b c"), &lines("a x"));
        assert_eq!(parted, ["  a", "- b", "- c", "+ x"]);
    }
}
