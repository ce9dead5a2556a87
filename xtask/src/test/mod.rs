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

use anyhow::{Context, Result};

use crate::build::{self, Flavour, Kernel, Workspace};
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
    /// hipri-run and its library.
    pub programs: PreloadPrograms,
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

impl<'a> Bench<'a> {
    /// Builds the kernel that `ws` and `flavour` ask for, and what it is tested with.
    fn prepare(ws: &'a Workspace, flavour: Flavour) -> Result<Self> {
        let kernel = build::kernel(ws, flavour, &ws.fragments())?;
        let host = Host::prepare(ws, &kernel.bzimage)?;
        let programs = preload_programs(ws, &host.root)?;
        Ok(Self {
            ws,
            flavour,
            kernel,
            host,
            programs,
        })
    }
}

/// Runs the stages; the last line is `N passed, N failed`, with `, N skipped` where there is any.
///
/// `STAGE=name[,name]` in the environment runs only these.
pub fn test(ws: &Workspace, flavour: Flavour) -> Result<ExitCode> {
    let list = env::var("STAGE").unwrap_or_default();
    let (stages, lost) = if ws.mode.as_deref() == Some(matrix::MODE) {
        matrix::run(ws, flavour, &matrix::chosen_kernels(&list)?)
    } else {
        let chosen = chosen_stages(&list, ws.is_watched())?;
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
fn chosen_stages(list: &str, is_watched: bool) -> Result<Vec<Runner>> {
    if list.is_empty() {
        return Ok(if is_watched { WATCHED } else { STAGES }.to_vec());
    }
    // Each once: some are in both.
    let mut known = STAGES.to_vec();
    known.extend(WATCHED.iter().filter(|stage| !is_among(STAGES, stage.0)));
    list.split(',')
        .map(|name| {
            let stage = known.iter().find(|stage| stage.0 == name).copied();
            let names = known.iter().map(|stage| stage.0).collect::<Vec<_>>();
            stage.with_context(|| format!("STAGE has {name}, but there are: {}", names.join(", ")))
        })
        .collect()
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
        chosen_stages(list, false)
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
        assert!(chosen_stages("libaio,nothing", false).is_err());
    }

    #[test]
    fn a_kernel_that_watches_itself_has_its_own_stages() {
        let stages = chosen_stages("", true).unwrap();
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
