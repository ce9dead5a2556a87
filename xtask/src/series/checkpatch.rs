// SPDX-License-Identifier: GPL-2.0-only

//! What checkpatch says of the patches.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, ensure, Context, Result};

use crate::build::{command, BuildRoot};
use crate::checkpatch::{Exception, Exceptions, Finding, OPTIONS};

/// A finding, and the name of the patch that it is in.
type InPatch = (String, Finding);

/// Runs checkpatch on the patches and prints what it finds, each with the reason why it stays.
///
/// Fails where there is no reason, and where a reason explains nothing any more. `texts` is the
/// folder of the series' texts.
pub fn check(root: &BuildRoot, linux: &Path, texts: &Path, patches: &[PathBuf]) -> Result<()> {
    let exceptions = Exceptions::read(texts)?;
    let mut findings = Vec::new();
    for patch in patches {
        findings.extend(findings_of(root, linux, patch)?);
    }
    let unexplained = report(&findings, &exceptions);
    ensure!(
        unexplained == 0,
        "checkpatch: {unexplained} findings that the list in {} does not explain",
        texts.display()
    );
    if let Some(exception) = unused(&findings, &exceptions) {
        bail!(
            "checkpatch: {} {} is in the list in {} but nothing of the kind is found: remove it",
            exception.kind,
            exception.path,
            texts.display()
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
fn report(findings: &[InPatch], exceptions: &Exceptions) -> usize {
    let mut unexplained = 0;
    let mut last = "";
    for (patch, finding) in findings {
        if patch != last {
            last = patch;
            println!("{patch}");
        }
        println!("  {finding}");
        match exceptions.of(finding) {
            Some(known) => println!("    stays: {}", known.reason),
            None => {
                println!("    NOT EXPLAINED");
                unexplained += 1;
            }
        }
    }
    unexplained
}

fn unused<'a>(findings: &[InPatch], exceptions: &'a Exceptions) -> Option<&'a Exception> {
    let is_used = |known: &Exception| findings.iter().any(|(_, finding)| known.explains(finding));
    exceptions.0.iter().find(|known| !is_used(known))
}

fn findings_of(root: &BuildRoot, linux: &Path, patch: &Path) -> Result<Vec<InPatch>> {
    let mut command = root.command(&[], "/src");
    command.arg("--ro-bind").arg(linux).arg("/src");
    command.arg("--ro-bind").arg(patch).arg("/run/patch");
    command.arg("scripts/checkpatch.pl").args(OPTIONS);
    command.args(["--showfile", "/run/patch"]);
    let text = output(&mut command)?;
    let name = patch.file_name().unwrap_or_default().to_string_lossy();
    let in_patch = |line: &str| {
        let finding = Finding::parse(line);
        let finding = finding.with_context(|| format!("checkpatch says of {name}: {line}"))?;
        Ok((name.clone().into_owned(), finding))
    };
    text.lines().map(in_patch).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unexplained_and_what_explains_nothing_is_found() {
        let list = "FILE_PATH_CHANGES * covered once\nLONG_LINE fs/a.c a table\n";
        let mut known = Exceptions::parse(list).unwrap();
        let findings = [
            "fs/b.c:5: WARNING:FILE_PATH_CHANGES: x",
            "fs/b.c:5: CHECK:SPACING: x",
        ]
        .map(|line| ("0001-a.patch".to_owned(), Finding::parse(line).unwrap()));
        assert_eq!(report(&findings, &known), 1);
        assert_eq!(unused(&findings, &known).unwrap().kind, "LONG_LINE");
        known.0.pop();
        assert_eq!(unused(&findings, &known), None);
    }
}
