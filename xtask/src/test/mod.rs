// SPDX-License-Identifier: GPL-2.0-only

//! `make test`: every test there is, in stages, each with a machine of its own.
//!
//! A stage that cannot run at all is a failure of that stage, and the others still run. What a
//! kernel is not made for is skipped, with the reason.

mod budget;
mod case;
mod differential;
mod documents;
mod fio;
mod host;
mod kunit;
mod libaio;
mod results;
mod sections;
mod selftests;
mod tap;

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::build::{self, Flavour, Workspace};
use crate::vm::{preload_programs, Host, Lost, PreloadPrograms};
use case::{Case, Stage, Totals};

/// What the stages have in common.
pub struct Bench<'a> {
    /// The clone and its caches.
    pub ws: &'a Workspace,
    /// Which fs/aio the kernel has.
    pub flavour: Flavour,
    /// The kernel under test.
    pub bzimage: PathBuf,
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
    ("budget", budget::run),
];

/// Those that run only when they are named: they build a kernel more.
const ON_REQUEST: &[Runner] = &[("differential", differential::run)];

/// Runs the stages; the last line is `N passed, N failed`, with `, N skipped` where there is any.
///
/// `STAGE=name[,name]` in the environment runs only these.
pub fn test(ws: &Workspace, flavour: Flavour) -> Result<ExitCode> {
    let chosen = chosen_stages(&env::var("STAGE").unwrap_or_default())?;
    let kernel = build::kernel(ws, flavour, &ws.fragments())?;
    let host = Host::prepare(ws, &kernel.bzimage)?;
    let programs = preload_programs(ws, &host.root)?;
    let bench = Bench {
        ws,
        flavour,
        bzimage: kernel.bzimage,
        host,
        programs,
    };
    let mut stages = Vec::new();
    let mut lost = false;
    for (name, runner) in chosen {
        let start = Instant::now();
        let cases = runner(&bench).unwrap_or_else(|error| {
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
    results::write(&bench.host.results(), &stages)?;
    let totals = Totals::of(stages.iter().flat_map(|stage| &stage.cases));
    println!("{totals}");
    Ok(exit_code(totals, lost))
}

/// The stages that `list` names, with commas between them; if it is empty, all that need not be
/// named.
fn chosen_stages(list: &str) -> Result<Vec<Runner>> {
    if list.is_empty() {
        return Ok(STAGES.to_vec());
    }
    let stages = || STAGES.iter().chain(ON_REQUEST);
    let stage = |name: &str| stages().find(|stage| stage.0 == name).copied();
    list.split(',')
        .map(|name| {
            let known = stages().map(|stage| stage.0).collect::<Vec<_>>().join(", ");
            stage(name).with_context(|| format!("STAGE has {name}, but there are: {known}"))
        })
        .collect()
}

/// Nothing tested is not a success, and a lost machine has a status of its own.
fn exit_code(totals: Totals, lost: bool) -> ExitCode {
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
        chosen_stages(list)
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
        assert!(chosen_stages("libaio,nothing").is_err());
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
