// SPDX-License-Identifier: GPL-2.0-only

//! `make test`: every test there is, in stages, each with a machine of its own.
//!
//! A stage that cannot run at all is a failure of that stage, and the others still run. What a
//! kernel is not made for is skipped, with the reason.

mod budget;
pub mod case;
mod differential;
mod documents;
mod faults;
mod fio;
mod host;
mod kunit;
mod libaio;
mod matrix;
mod programs;
pub mod results;
pub mod sections;
mod selftests;
mod tap;

use std::env;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{ensure, Context, Result};

use crate::build::{self, Architecture, Flavour, Kernel, Workspace};
use crate::vm::{preload_programs, Host, Lost, PreloadPrograms};
use case::{Case, Stage, Totals};

/// What the stages have in common.
pub struct Bench<'a> {
    /// The clone and its caches.
    pub ws: &'a Workspace,
    /// Which fs/aio the kernel has.
    pub flavour: Flavour,
    /// The kernel under test.
    pub kernel: Kernel,
    /// What machines are booted with.
    pub host: Host<'a>,
}

/// The name of a stage and how it is run.
type Runner = (&'static str, fn(&Bench) -> Result<Vec<Case>>);

const STAGES: &[Runner] = &[
    ("host", host::run),
    ("kunit", kunit::run),
    ("documents", documents::run),
    ("selftests", selftests::run),
    ("libaio", libaio::run),
    ("fio", fio::run),
    ("programs", programs::run),
    ("budget", budget::run),
];

/// Those of kernels that watch themselves.
const WATCHED: &[Runner] = &[
    ("selftests", selftests::run),
    ("libaio", libaio::run),
    ("differential", differential::run),
    ("faults", faults::run),
];

/// Those of other architectures: what there is a cross compiler for.
const CROSS: &[Runner] = &[("selftests", selftests::run), ("libaio", libaio::run)];

impl<'a> Bench<'a> {
    /// Builds the kernel that `ws` and `flavour` ask for, and what it is booted with.
    fn prepare(ws: &'a Workspace, flavour: Flavour) -> Result<Self> {
        let kernel = build::kernel(ws, flavour, &ws.fragments())?;
        let host = Host::prepare(ws, &kernel.image)?;
        Ok(Self {
            ws,
            flavour,
            kernel,
            host,
        })
    }

    /// hipri-run and its libraries, compiled if they are not.
    fn preload_programs(&self) -> Result<PreloadPrograms> {
        preload_programs(self.ws, &self.host.root)
    }
}

/// Runs the stages; the last line is `N passed, N failed`, with `, N skipped` where there is any.
///
/// `STAGE=name[,name]` in the environment runs only these.
pub fn test(ws: &Workspace, flavour: Flavour) -> Result<ExitCode> {
    let list = env::var("STAGE").unwrap_or_default();
    let (stages, lost) = if ws.mode.as_deref() == Some(matrix::MODE) {
        ensure!(
            ws.architecture == Architecture::X86,
            "MODE=matrix is of x86-64 kernels: leave ARCH=arm64 out"
        );
        matrix::run(ws, flavour, &matrix::chosen_kernels(&list)?)
    } else {
        let chosen = chosen_stages(&list, ws.architecture, ws.is_watched())?;
        let bench = &Bench::prepare(ws, flavour)?;
        run_stages(
            chosen
                .into_iter()
                .map(|(name, run)| (name, move || run(bench))),
        )
    };
    results::write(&ws.build.join("results"), &stages)?;
    let totals = Totals::of(stages.iter().flat_map(|stage| &stage.cases));
    println!("{totals}");
    Ok(exit_code(totals, lost))
}

/// Runs each stage, by its name; one that fails does not keep the others. Also tells whether a
/// machine was lost.
pub fn run_stages<F>(chosen: impl IntoIterator<Item = (&'static str, F)>) -> (Vec<Stage>, bool)
where
    F: FnOnce() -> Result<Vec<Case>>,
{
    let mut stages = Vec::new();
    let mut lost = false;
    for (name, run) in chosen {
        let start = Instant::now();
        let cases = run().unwrap_or_else(|error| {
            lost |= error.downcast_ref::<Lost>().is_some();
            vec![Case::failed("stage", &[format!("{error:#}")])]
        });
        let stage = Stage {
            name,
            cases,
            time: start.elapsed(),
        };
        stage.print();
        stages.push(stage);
    }
    (stages, lost)
}

/// The stages that `list` names, with commas between them; if it is empty, all that need not be
/// named for such a kernel.
fn chosen_stages(list: &str, architecture: Architecture, is_watched: bool) -> Result<Vec<Runner>> {
    let (usual, known) = match architecture {
        Architecture::Arm64 => (CROSS, CROSS.to_vec()),
        Architecture::X86 if is_watched => (WATCHED, all_stages()),
        Architecture::X86 => (STAGES, all_stages()),
    };
    if list.is_empty() {
        return Ok(usual.to_vec());
    }
    list.split(',')
        .map(|name| {
            let stage = known.iter().find(|stage| stage.0 == name).copied();
            let names = known.iter().map(|stage| stage.0).collect::<Vec<_>>();
            let place = match architecture {
                Architecture::Arm64 => "with ARCH=arm64 ",
                Architecture::X86 => "",
            };
            let names = names.join(", ");
            stage.with_context(|| format!("STAGE has {name}, but {place}there are: {names}"))
        })
        .collect()
}

/// Each stage once: some are those of more than one kind of kernel.
fn all_stages() -> Vec<Runner> {
    let mut all = STAGES.to_vec();
    all.extend(WATCHED.iter().filter(|stage| !is_among(STAGES, stage.0)));
    all
}

fn is_among(stages: &[Runner], name: &str) -> bool {
    stages.iter().any(|stage| stage.0 == name)
}

/// Nothing tested is not a success, and a lost machine has a status of its own.
pub fn exit_code(totals: Totals, lost: bool) -> ExitCode {
    match (totals, lost) {
        (_, true) => ExitCode::from(Lost::EXIT_STATUS),
        (
            Totals {
                failed: 0,
                passed: 1..,
                ..
            },
            false,
        ) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &str) -> Vec<&'static str> {
        chosen_stages(list, Architecture::X86, false)
            .unwrap()
            .iter()
            .map(|stage| stage.0)
            .collect()
    }

    #[test]
    fn stages_are_chosen_by_name() {
        assert_eq!(names("").len(), STAGES.len());
        assert_eq!(names("libaio,fio"), ["libaio", "fio"]);
        assert_eq!(names("differential"), ["differential"]);
        assert!(chosen_stages("libaio,nothing", Architecture::X86, false).is_err());
    }

    #[test]
    fn another_architecture_has_few_stages() {
        let chosen = |list| chosen_stages(list, Architecture::Arm64, false);
        assert_eq!(chosen("").unwrap().len(), CROSS.len());
        assert_eq!(chosen("libaio").unwrap().len(), 1);
        let sentence = chosen("fio").map(|_| ()).unwrap_err().to_string();
        assert_eq!(
            sentence,
            "STAGE has fio, but with ARCH=arm64 there are: selftests, libaio"
        );
    }

    #[test]
    fn a_kernel_that_watches_itself_has_its_own_stages() {
        let stages = chosen_stages("", Architecture::X86, true).unwrap();
        assert!(is_among(&stages, "faults") && !is_among(&stages, "budget"));
        assert_eq!(names("faults"), ["faults"]);
    }

    #[test]
    fn success_needs_a_test_that_passed() {
        let totals = |passed, failed| Totals {
            passed,
            failed,
            skipped: 1,
        };
        let code = |totals, lost| format!("{:?}", exit_code(totals, lost));
        let success = format!("{:?}", ExitCode::SUCCESS);
        assert_eq!(code(totals(1, 0), false), success);
        for (totals, lost) in [
            (totals(0, 0), false),
            (totals(9, 1), false),
            (totals(9, 0), true),
        ] {
            assert_ne!(code(totals, lost), success);
        }
    }
}
