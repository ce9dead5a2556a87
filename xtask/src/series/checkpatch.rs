// SPDX-License-Identifier: GPL-2.0-only

//! What the kernel's checkpatch says of the patches, and what is known to be said for a reason.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, ensure, Context, Result};

use crate::build::{command, BuildRoot};

/// The list of exceptions, in the folder of the series' texts.
const EXCEPTIONS: &str = "checkpatch.txt";

/// What stands for anything at the beginning of an exception's path.
const ANYTHING: char = '*';

/// A message of checkpatch.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Finding {
    /// The name of the patch.
    patch: String,
    /// A file of the kernel and a line of it; or whatever checkpatch points at.
    place: String,
    /// The name that checkpatch has for what it found.
    kind: String,
    /// Its words.
    text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.place, self.kind, self.text)
    }
}

/// A kind of finding that stays, in a file or anywhere.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Exception {
    kind: String,
    path: String,
    reason: String,
}

impl Exception {
    fn explains(&self, finding: &Finding) -> bool {
        let path = finding.place.split(':').next().unwrap_or_default();
        let is_there = match self.path.strip_prefix(ANYTHING) {
            Some(end) => path.ends_with(end),
            None => path == self.path,
        };
        self.kind == finding.kind && is_there
    }
}

/// Runs checkpatch on the patches and prints what it finds, each with the reason why it stays.
///
/// Fails where there is no reason, and where a reason explains nothing any more. `texts` is the
/// folder of the series' texts.
pub fn check(root: &BuildRoot, linux: &Path, texts: &Path, patches: &[PathBuf]) -> Result<()> {
    let path = texts.join(EXCEPTIONS);
    let list = fs::read_to_string(&path);
    let list = list.with_context(|| format!("cannot read {}", path.display()))?;
    let exceptions = parse_exceptions(&list)?;
    let mut findings = Vec::new();
    for patch in patches {
        findings.extend(findings_of(root, linux, patch)?);
    }
    let unexplained = report(&findings, &exceptions);
    ensure!(
        unexplained == 0,
        "checkpatch: {unexplained} findings that {} does not explain",
        path.display()
    );
    if let Some(exception) = unused(&findings, &exceptions) {
        bail!(
            "checkpatch: {} {} is in {} but nothing of the kind is found: remove it",
            exception.kind,
            exception.path,
            path.display()
        );
    }
    println!(
        "checkpatch --strict: {} patches, {} findings, all explained",
        patches.len(),
        findings.len()
    );
    Ok(())
}

/// Prints the findings under their patches and returns how many have no explanation.
fn report(findings: &[Finding], exceptions: &[Exception]) -> usize {
    let mut unexplained = 0;
    let mut patch = "";
    for finding in findings {
        if finding.patch != patch {
            patch = &finding.patch;
            println!("{patch}");
        }
        println!("  {finding}");
        match exceptions.iter().find(|known| known.explains(finding)) {
            Some(known) => println!("    stays: {}", known.reason),
            None => {
                println!("    NOT EXPLAINED");
                unexplained += 1;
            }
        }
    }
    unexplained
}

fn unused<'a>(findings: &[Finding], exceptions: &'a [Exception]) -> Option<&'a Exception> {
    let is_used = |known: &Exception| findings.iter().any(|finding| known.explains(finding));
    exceptions.iter().find(|known| !is_used(known))
}

fn findings_of(root: &BuildRoot, linux: &Path, patch: &Path) -> Result<Vec<Finding>> {
    let mut command = root.command(&[], "/src");
    command.arg("--ro-bind").arg(linux).arg("/src");
    command.arg("--ro-bind").arg(patch).arg("/run/patch");
    command.args(["scripts/checkpatch.pl", "--strict", "--terse", "--showfile"]);
    command.args(["--show-types", "--no-summary", "/run/patch"]);
    let text = output(&mut command)?;
    let name = patch.file_name().unwrap_or_default().to_string_lossy();
    text.lines().map(|line| parse(&name, line)).collect()
}

/// What a command writes; it fails where it has something to say, which is no failure here.
fn output(command: &mut Command) -> Result<String> {
    command::announce(command);
    let output = command.output().context("cannot start bwrap")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() && text.trim().is_empty() {
        bail!(
            "checkpatch failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(text)
}

/// Reads `PLACE: LEVEL:KIND: TEXT`.
fn parse(patch: &str, line: &str) -> Result<Finding> {
    let parts = || {
        let (place, rest) = line.split_once(": ")?;
        let (kind, text) = rest.split_once(": ")?;
        let (level, kind) = kind.split_once(':')?;
        let is_level = ["ERROR", "WARNING", "CHECK"].contains(&level);
        is_level.then_some((place, kind, text))
    };
    let (place, kind, text) =
        parts().with_context(|| format!("checkpatch says of {patch}: {line}"))?;
    Ok(Finding {
        patch: patch.to_owned(),
        place: place.to_owned(),
        kind: kind.to_owned(),
        text: text.to_owned(),
    })
}

/// Reads lines `KIND PATH REASON`; a reason goes on in lines that are indented.
fn parse_exceptions(text: &str) -> Result<Vec<Exception>> {
    let mut exceptions: Vec<Exception> = Vec::new();
    let is_content = |line: &&str| !line.starts_with('#') && !line.trim().is_empty();
    for line in text.lines().filter(is_content) {
        if line.starts_with(char::is_whitespace) {
            let known = exceptions.last_mut();
            let known =
                known.with_context(|| format!("{EXCEPTIONS}: {line} belongs to nothing"))?;
            known.reason.push(' ');
            known.reason.push_str(line.trim());
            continue;
        }
        let mut words = line.splitn(3, ' ').map(|word| word.trim().to_owned());
        let (Some(kind), Some(path), Some(reason)) = (words.next(), words.next(), words.next())
        else {
            bail!("{EXCEPTIONS}: {line} is not KIND PATH REASON");
        };
        exceptions.push(Exception { kind, path, reason });
    }
    Ok(exceptions)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "# words\nFILE_PATH_CHANGES * covered once,\n\tby a later patch\n\
                        LONG_LINE fs/a.c a table\nLONG_LINE *.rs a comment\n";

    fn finding(line: &str) -> Finding {
        parse("0001-a.patch", line).unwrap()
    }

    #[test]
    fn findings_are_read() {
        let found = finding("fs/a.c:5: WARNING:LONG_LINE: line: of 200 columns");
        assert_eq!(found.place, "fs/a.c:5");
        assert_eq!(found.kind, "LONG_LINE");
        assert_eq!(found.text, "line: of 200 columns");
        assert!(parse("0001-a.patch", "Perl is broken: LINE: x").is_err());
    }

    #[test]
    fn an_exception_explains_its_kind_at_its_place() {
        let known = parse_exceptions(LIST).unwrap();
        assert_eq!(known[0].reason, "covered once, by a later patch");
        let explained = |line: &str| known.iter().any(|known| known.explains(&finding(line)));
        assert!(explained("fs/b.c:5: WARNING:FILE_PATH_CHANGES: x"));
        assert!(explained("fs/a.c:5: WARNING:LONG_LINE: x"));
        assert!(explained("fs/b.rs:5: WARNING:LONG_LINE: x"));
        assert!(!explained("fs/b.c:5: WARNING:LONG_LINE: x"));
        assert!(!explained("fs/a.c:5: WARNING:LONG_LINE_COMMENT: x"));
        assert!(parse_exceptions("LONG_LINE fs/a.c\n").is_err());
    }

    #[test]
    fn what_is_unexplained_and_what_explains_nothing_is_found() {
        let known = parse_exceptions(LIST).unwrap();
        let findings = [
            finding("fs/b.c:5: WARNING:FILE_PATH_CHANGES: x"),
            finding("fs/b.c:5: CHECK:SPACING: x"),
        ];
        assert_eq!(report(&findings, &known), 1);
        assert_eq!(unused(&findings, &known).unwrap().kind, "LONG_LINE");
        assert_eq!(unused(&findings, &known[..1]), None);
    }
}
