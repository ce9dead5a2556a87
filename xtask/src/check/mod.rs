// SPDX-License-Identifier: GPL-2.0-only

//! `make check`: what can be said about the sources without booting them.
//!
//! Each step prints one line, `ok` or `FAILED` with what it found. Only findings in files of ours
//! count: what stock Linux has to say about itself is not ours to fix.

mod findings;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{bail, Context, Result};

use crate::build::kmake::{telling_lines, KernelMake};
use crate::build::overlay::{Origin, Overlay};
use crate::build::{build_root, command, has_extension, BuildRoot, Flavour, KernelTree, Workspace};
use crate::checkpatch::{self, Exceptions, Finding};
use crate::series;

/// The Rust workspaces of user space, by their folders in the clone.
const WORKSPACES: &[&str] = &["xtask", "tools/aio"];

/// What checkpatch asks of a mail, where a patch of the overlay is a bare difference: its commit
/// message is in series/, and MAINTAINERS covers a new file once for the whole series.
const NOT_OF_A_BARE_DIFFERENCE: &str = "--ignore=COMMIT_MESSAGE,FILE_PATH_CHANGES";

/// How many findings of a step are shown.
const SHOWN_FINDINGS: usize = 40;

/// What finds, in the output of a compiler, what it says about files for which the second holds.
type Parser = fn(&str, &dyn Fn(&Path) -> bool) -> Vec<String>;

/// The name of a step, and what looks for findings.
type Step = (&'static str, fn(&Check) -> Result<Vec<String>>);

const STEPS: &[Step] = &[
    ("rustfmt, kernel", Check::kernel_format),
    ("rustfmt, user space", Check::user_format),
    ("clippy, user space", Check::user_clippy),
    ("checkpatch", Check::checkpatch),
    ("clippy, kernel", Check::kernel_clippy),
    ("sparse", Check::sparse),
    ("rustdoc", Check::rustdoc),
];

/// Runs every step; fails when one found something or could not run.
pub fn check(ws: &Workspace) -> Result<ExitCode> {
    let root = build_root(ws)?;
    let kernel = KernelTree::prepare(ws, &root, Flavour::Rust, "check", &[])?;
    let logs = ws.build.join("check");
    fs::create_dir_all(&logs)?;
    let check = Check {
        ws: ws.clone(),
        root,
        kernel,
        logs,
    };
    let mut failed = 0;
    for (name, step) in STEPS {
        let findings = step(&check).unwrap_or_else(|error| vec![format!("{error:#}")]);
        println!(
            "{} {name}",
            if findings.is_empty() {
                "ok    "
            } else {
                "FAILED"
            }
        );
        for finding in findings.iter().take(SHOWN_FINDINGS) {
            println!("       {}", finding.replace('\n', "\n       "));
        }
        if findings.len() > SHOWN_FINDINGS {
            println!("       and {} more", findings.len() - SHOWN_FINDINGS);
        }
        failed += usize::from(!findings.is_empty());
    }
    println!("{} passed, {failed} failed", STEPS.len() - failed);
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What the steps look at.
struct Check {
    ws: Workspace,
    root: BuildRoot,
    kernel: KernelTree,
    logs: PathBuf,
}

impl Check {
    fn overlay(&self) -> &Overlay {
        &self.kernel.stage.overlay
    }

    fn make(&self) -> KernelMake<'_> {
        self.kernel.make(&self.root)
    }

    fn kernel_format(&self) -> Result<Vec<String>> {
        let files = self.files(|path, _| has_extension(path, "rs"));
        if files.is_empty() {
            return Ok(Vec::new());
        }
        let mut rustfmt = self.make().inside()?;
        rustfmt.args([
            "rustfmt",
            "--check",
            "--edition=2021",
            "--config-path=.rustfmt.toml",
        ]);
        rustfmt.args(files);
        let (succeeded, text) = self.logged("kernel-rustfmt", rustfmt)?;
        Ok(if succeeded {
            Vec::new()
        } else {
            findings::rustfmt(&text)
        })
    }

    fn user_format(&self) -> Result<Vec<String>> {
        self.in_each_workspace("rustfmt", &["fmt", "--check"])
    }

    fn user_clippy(&self) -> Result<Vec<String>> {
        let clippy = [
            "clippy",
            "--quiet",
            "--locked",
            "--all-targets",
            "--",
            "-Dwarnings",
        ];
        self.in_each_workspace("clippy", &clippy)
    }

    /// Runs cargo in each workspace of user space, on the build root's own toolchain.
    fn in_each_workspace(&self, name: &str, arguments: &[&str]) -> Result<Vec<String>> {
        let target = self.ws.cache.join("target").join("check");
        fs::create_dir_all(&target)?;
        let mut findings = Vec::new();
        for workspace in WORKSPACES {
            let folder = format!("/clone/{workspace}");
            let mut cargo = self.root.command(&[(&target, "/target")], &folder);
            cargo.arg("--ro-bind").arg(&self.ws.root).arg("/clone");
            cargo
                .args(["--setenv", "CARGO_TARGET_DIR", "/target", "cargo"])
                .args(arguments);
            let log = format!("{name}-{}", workspace.replace('/', "-"));
            findings.extend(self.must_succeed(&log, cargo)?);
        }
        Ok(findings)
    }

    fn checkpatch(&self) -> Result<Vec<String>> {
        let mut findings = Vec::new();
        let files = self.files(|path, origin| origin == Origin::Added && has_c_rules(path));
        if !files.is_empty() {
            let mut checkpatch = self.checkpatch_command()?;
            checkpatch.arg("--file").args(files);
            findings.extend(self.checkpatch_findings("checkpatch-files", checkpatch)?);
        }
        let patches = self.files(|_, origin| origin == Origin::Patched);
        if !patches.is_empty() {
            let mut checkpatch = self.checkpatch_command()?;
            checkpatch.args(["--showfile", "--no-signoff", NOT_OF_A_BARE_DIFFERENCE]);
            checkpatch.args(
                patches
                    .iter()
                    .map(|path| format!("/clone/{}.patch", path.display())),
            );
            findings.extend(self.checkpatch_findings("checkpatch-patches", checkpatch)?);
        }
        Ok(findings)
    }

    fn checkpatch_command(&self) -> Result<Command> {
        let mut command = self.make().inside()?;
        command.arg("--ro-bind").arg(&self.ws.root).arg("/clone");
        command
            .arg("scripts/checkpatch.pl")
            .args(checkpatch::OPTIONS);
        Ok(command)
    }

    /// What checkpatch says and the series has no explanation for.
    fn checkpatch_findings(&self, name: &str, command: Command) -> Result<Vec<String>> {
        let (succeeded, text) = self.logged(name, command)?;
        let found = text.lines().filter_map(Finding::parse).collect::<Vec<_>>();
        if !succeeded && found.is_empty() {
            bail!("checkpatch failed: {}", text.trim());
        }
        let exceptions = Exceptions::read(&self.ws.root.join(series::TEXTS))?;
        let unexplained = found.iter().filter(|found| exceptions.of(found).is_none());
        Ok(unexplained.map(ToString::to_string).collect())
    }

    fn kernel_clippy(&self) -> Result<Vec<String>> {
        let mut targets = self.object_folders();
        targets.push("rust/".to_owned());
        // Objects that an interrupted or failed check left would hide what it had found.
        let stamp = self.kernel.objects.join(".clippy-unfinished");
        if stamp.exists() {
            self.remove_rust_objects()?;
        }
        fs::write(&stamp, "")?;
        let found = self.kernel_findings("clippy", &["CLIPPY=1"], &targets, findings::rust)?;
        if found.is_empty() {
            fs::remove_file(&stamp)?;
        }
        Ok(found)
    }

    /// Removes the objects of Rust code that the overlay touches, so that it compiles again.
    fn remove_rust_objects(&self) -> Result<()> {
        let mut folders = self.object_folders();
        folders.push("rust/".to_owned());
        for folder in folders {
            let folder = self.kernel.objects.join(folder);
            for entry in fs::read_dir(&folder).into_iter().flatten() {
                let path = entry?.path();
                if has_extension(&path, "o") || has_extension(&path, "rmeta") {
                    fs::remove_file(path)?;
                }
            }
        }
        Ok(())
    }

    fn sparse(&self) -> Result<Vec<String>> {
        let variables = ["C=2", "CHECK=sparse"];
        let targets = self.object_folders();
        if targets.is_empty() {
            return Ok(Vec::new());
        }
        self.kernel_findings("sparse", &variables, &targets, findings::c)
    }

    fn rustdoc(&self) -> Result<Vec<String>> {
        self.kernel_findings("rustdoc", &[], &["rustdoc".to_owned()], findings::rust)
    }

    /// Runs the kernel's make and returns what `parse` finds in files of the overlay.
    fn kernel_findings(
        &self,
        name: &str,
        variables: &[&str],
        targets: &[String],
        parse: Parser,
    ) -> Result<Vec<String>> {
        let targets = targets.iter().map(String::as_str);
        let arguments = variables.iter().copied().chain(targets).collect::<Vec<_>>();
        let (succeeded, text) = self.logged(name, self.make().command(&arguments)?)?;
        let ours = |path: &Path| self.overlay().files.contains_key(path);
        let found = parse(&text, &ours);
        if !succeeded && found.is_empty() {
            bail!(
                "make {} failed:\n{}",
                arguments.join(" "),
                telling_lines(&text).join("\n")
            );
        }
        Ok(found)
    }

    /// The folders with code that the overlay adds and that can be built on their own.
    fn object_folders(&self) -> Vec<String> {
        let has_makefile = |folder: &Path| {
            ["Makefile", "Kbuild"]
                .iter()
                .any(|name| self.overlay().files.contains_key(&folder.join(name)))
        };
        let is_kernel = |path: &Path| !path.starts_with("tools") && !path.starts_with("rust");
        let mut folders = self
            .files(|path, origin| {
                origin == Origin::Added && (has_extension(path, "rs") || has_extension(path, "c"))
            })
            .iter()
            .filter_map(|path| path.parent())
            .filter(|folder| is_kernel(folder) && has_makefile(folder))
            .map(|folder| format!("{}/", folder.display()))
            .collect::<Vec<_>>();
        folders.sort();
        folders.dedup();
        folders
    }

    fn files(&self, wanted: impl Fn(&Path, Origin) -> bool) -> Vec<PathBuf> {
        self.overlay()
            .files
            .iter()
            .filter(|(path, file)| wanted(path, file.origin))
            .map(|(path, _)| path.clone())
            .collect()
    }

    /// Runs a command whose failure is the finding.
    fn must_succeed(&self, name: &str, command: Command) -> Result<Vec<String>> {
        let (succeeded, text) = self.logged(name, command)?;
        Ok(if succeeded {
            Vec::new()
        } else {
            vec![text.trim_end().to_owned()]
        })
    }

    /// Runs a command; returns whether it succeeded, and its output.
    fn logged(&self, name: &str, mut command: Command) -> Result<(bool, String)> {
        let log = self.logs.join(format!("{name}.log"));
        let status = command::stream(&mut command, &log, |_| ())?;
        let bytes = fs::read(&log).with_context(|| format!("cannot read {}", log.display()))?;
        Ok((
            status.success(),
            String::from_utf8_lossy(&bytes).into_owned(),
        ))
    }
}

/// Whether checkpatch has rules for a file; it has none for Rust.
fn has_c_rules(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    ["c", "h", "S"]
        .iter()
        .any(|extension| has_extension(path, extension))
        || ["Kconfig", "Makefile", "Kbuild"]
            .iter()
            .any(|other| name == *other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpatch_looks_at_c_and_kbuild() {
        for path in [
            "fs/aio/x.c",
            "include/x.h",
            "fs/aio/Kconfig",
            "fs/aio/Makefile",
        ] {
            assert!(has_c_rules(Path::new(path)), "{path}");
        }
        for path in ["fs/aio/lib.rs", "Documentation/x.rst"] {
            assert!(!has_c_rules(Path::new(path)), "{path}");
        }
    }
}
