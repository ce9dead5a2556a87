// SPDX-License-Identifier: GPL-2.0-only

//! The packages in a clean Debian: installed by apt, booted by its boot loader, tried and removed.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::build::{command, BuildRoot, Workspace};
use crate::test::case::{Case, Totals};
use crate::test::{exit_code, results, run_stages, sections};
use crate::vm::report::Section;
use crate::vm::{CleanMachine, Job};

/// A boot of the machine: its name, that of its script in `guest/`, and what the script tries.
struct Visit {
    name: &'static str,
    script: &'static str,
    sections: &'static [&'static str],
}

/// On Debian's own kernel.
const INSTALL: Visit = Visit {
    name: "deb-install",
    script: "deb-install",
    sections: &[
        "Debian's own kernel runs",
        "apt installs the packages",
        "the kernel can be booted",
        "the kernel of before runs programs unpolled",
        "poll queues are asked for",
    ],
};

/// On the packaged one.
const USE: Visit = Visit {
    name: "deb-use",
    script: "deb-use",
    sections: &[
        "the boot loader started the packaged kernel",
        "systemd has no failed units",
        "modules are signed and load",
        "hipri-run --check finds polled I/O",
        "fio is polled, without interrupts",
        "a 32-bit program is polled",
        "bpftrace counts passes of polls",
        "the manual pages are there",
        "dpkg finds every file as it was",
        "hipri-run can be removed",
        "the kernel can be removed",
    ],
};

/// Shows a command of bpftrace, which is too large for the guest of the other tests.
const DOCUMENT: &str = "Documentation/filesystems/aio-poll.rst";

/// Emulated, it makes an initial RAM disk on the way.
const TIMEOUT: Duration = Duration::from_secs(1800);

/// The status of what cannot be tried on this kernel, as in the kernel's selftests.
const SKIPPED: i32 = 4;

/// Runs all of it; the last line is `N passed, N failed`.
pub fn check(ws: &Workspace, root: &BuildRoot, packages: &[PathBuf]) -> Result<ExitCode> {
    let (stages, lost) = run_stages([("deb", || visits(ws, root, packages))]);
    results::write(&ws.build.join("results"), &stages)?;
    let totals = Totals::of(stages.iter().flat_map(|stage| &stage.cases));
    println!("{totals}");
    Ok(exit_code(totals, lost))
}

fn visits(ws: &Workspace, root: &BuildRoot, packages: &[PathBuf]) -> Result<Vec<Case>> {
    let machine = CleanMachine::new(ws)?;
    let mut cases = visit(ws, &machine, &INSTALL, |job| {
        packages.iter().try_for_each(|package| {
            let name = package.file_name().context("a package has a name")?;
            job.add(package, &format!("packages/{}", name.to_string_lossy()))
        })
    })?;
    let program = narrow_program(ws, root)?;
    cases.extend(visit(ws, &machine, &USE, |job| {
        job.add(&ws.root.join(DOCUMENT), "aio-poll.rst")?;
        job.add(&program, "mixed_io32")
    })?);
    Ok(cases)
}

/// Boots the machine; what it does there has with it what `pack` adds.
fn visit(
    ws: &Workspace,
    machine: &CleanMachine,
    visit: &Visit,
    pack: impl FnOnce(&Job) -> Result<()>,
) -> Result<Vec<Case>> {
    let job = Job::of_script(ws, visit.script)?;
    pack(&job)?;
    let live = |seen: &mut dyn FnMut(&str)| machine.boot(visit.name, &job, TIMEOUT, seen);
    let cases = sections::collect(live, |section| vec![case_of(section)])?;
    let missing = missing(visit, &cases);
    let cases = cases.into_iter().chain(missing);
    Ok(cases.map(|case| case.under(visit.name)).collect())
}

/// Failures of what did not run.
fn missing(visit: &Visit, cases: &[Case]) -> Vec<Case> {
    let ran = |name: &&&str| !cases.iter().any(|case| case.name == **name);
    let failed = |name: &&str| Case::failed(name, &["it did not run".to_owned()]);
    visit.sections.iter().filter(ran).map(failed).collect()
}

fn case_of(section: &Section) -> Case {
    match section.status {
        Some(0) => Case::passed(&section.name),
        Some(SKIPPED) => Case::skipped(&section.name, reason(section)),
        _ => Case::failed(&section.name, &section.lines),
    }
}

/// The last that a section said, before an empty line.
fn reason(section: &Section) -> &str {
    let mut lines = section.lines.iter().rev();
    lines
        .find(|line| !line.is_empty())
        .map_or("", String::as_str)
}

/// Compiles the C program of hipri-run's own tests for 32 bits; returns its path.
fn narrow_program(ws: &Workspace, root: &BuildRoot) -> Result<PathBuf> {
    let source = ws.root.join("tools/aio/hipri-run/tests");
    let folder = ws.build.join("deb");
    let mut gcc = root.command(&[(&source, "/src"), (&folder, "/out")], "/out");
    gcc.args(["gcc", "-O2", "-pthread", "-m32", "-o", "mixed_io32"]);
    command::run(gcc.arg("/src/mixed_io.c"))?;
    Ok(folder.join("mixed_io32"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn each_script_tries_what_is_expected_of_it() {
        for visit in [INSTALL, USE] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("../guest")
                .join(visit.script);
            let script = fs::read_to_string(path).unwrap();
            for section in visit.sections {
                assert!(script.contains(&format!("\"{section}\"")), "{section}");
            }
            let count = script.matches("\nsection ").count();
            assert_eq!(count, visit.sections.len(), "{}", visit.script);
        }
    }

    #[test]
    fn what_failed_or_did_not_run_is_a_failure() {
        let ended = |name: &str, status| case_of(&Section::ended(name, &["said"], status));
        let first = INSTALL.sections[0];
        assert!(!ended(first, 0).has_failed());
        let failed = ended(first, 1);
        assert!(failed.has_failed());
        assert_eq!(failed.detail, ["said"]);
        assert_eq!(ended(first, SKIPPED), Case::skipped(first, "said"));
        let missing = missing(&INSTALL, &[failed]);
        assert_eq!(missing.len(), INSTALL.sections.len() - 1);
        assert!(missing.iter().all(Case::has_failed));
    }
}
