// SPDX-License-Identifier: GPL-2.0-only

//! Unit tests that need no machine: those of xtask and of tools/aio.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::case::{Case, Outcome};
use super::Bench;
use crate::build::command;
use crate::vm::preload_cargo;

/// Runs both cargo workspaces' tests.
pub fn run(bench: &Bench) -> Result<Vec<Case>> {
    let mut xtask = Command::new("cargo");
    xtask.args(["test", "--release", "--locked", "--manifest-path"]);
    xtask.arg(bench.ws.root.join("xtask/Cargo.toml"));
    let mut tools = preload_cargo(bench.ws, &bench.host.root, "test", &[])?;
    let results = bench.host.results();
    let mut cases = cargo_test("xtask", &mut xtask, &results)?;
    cases.extend(cargo_test("tools", &mut tools, &results)?);
    Ok(cases)
}

/// The cases of a `cargo test`, whose whole output goes to a log of this name.
fn cargo_test(name: &str, cargo: &mut Command, results: &Path) -> Result<Vec<Case>> {
    std::fs::create_dir_all(results)?;
    let log = results.join(format!("host-{name}.log"));
    let mut lines = Vec::new();
    let status = command::stream(cargo, &log, |line| lines.push(line.to_owned()))?;
    let mut cases = parse(&lines);
    if !status.success() && !cases.iter().any(Case::has_failed) || cases.is_empty() {
        cases.push(Case::failed("cargo test", &lines));
    }
    Ok(cases.into_iter().map(|case| case.under(name)).collect())
}

/// The cases in what libtest and the tests themselves wrote.
fn parse(lines: &[String]) -> Vec<Case> {
    let mut cases = lines
        .iter()
        .filter_map(|line| case_of(line, lines))
        .collect::<Vec<_>>();
    for skipped in lines.iter().filter_map(|line| skip_of(line)) {
        match cases.iter_mut().find(|case| case.name == skipped.name) {
            Some(case) if case.outcome == Outcome::Passed => *case = skipped,
            Some(_) => {}
            None => cases.push(skipped),
        }
    }
    cases
}

/// The case of a line `SKIPPED: NAME: REASON`, by which a test says that it could not run: libtest
/// counts it as one that passed, and may have begun the line.
fn skip_of(line: &str) -> Option<Case> {
    let (_, skip) = line.split_once("SKIPPED: ")?;
    let (name, reason) = skip.split_once(": ")?;
    Some(Case::skipped(name, reason))
}

fn case_of(line: &str, all: &[String]) -> Option<Case> {
    let (name, end) = line.strip_prefix("test ")?.split_once(" ... ")?;
    match end.split(',').next()? {
        "ok" => Some(Case::passed(name)),
        "FAILED" => Some(Case::failed(name, &words_of(name, all))),
        "ignored" => Some(Case::skipped(
            name,
            end.trim_start_matches("ignored").trim_start_matches(", "),
        )),
        _ => None,
    }
}

/// What a failed test wrote, which libtest prints after all results.
fn words_of(name: &str, all: &[String]) -> Vec<String> {
    let head = format!("---- {name} stdout ----");
    all.iter()
        .skip_while(|line| **line != head)
        .skip(1)
        .take_while(|line| !line.starts_with("---- ") && *line != "failures:")
        .filter(|line| !line.is_empty())
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libtest_lines_are_cases() {
        let text = "running 3 tests\ntest a::b ... ok\ntest a::c ... FAILED\n\
            test a::d ... ignored, needs root\n\nfailures:\n\n---- a::c stdout ----\n\
            assertion failed\n\nfailures:\n    a::c\n\ntest result: FAILED. 1 passed\n";
        let lines = text.lines().map(str::to_owned).collect::<Vec<_>>();
        let cases = parse(&lines);
        let printed = cases.iter().map(Case::to_string).collect::<Vec<_>>();
        assert_eq!(
            printed,
            ["ok a::b", "not ok a::c", "ok a::d # SKIP needs root"]
        );
        assert_eq!(cases[1].detail, ["assertion failed"]);
    }

    #[test]
    fn a_test_that_says_so_is_skipped() {
        let text = "SKIPPED: a::b: no device: none\nSKIPPED: a::b: again\n\
            test a::b ... ok\nSKIPPED: a::c: no device\ntest a::c ... FAILED\n\
            test a::d ... SKIPPED: a::d: one thread\nok\ntest a::e ... ok\n";
        let lines = text.lines().map(str::to_owned).collect::<Vec<_>>();
        let printed = parse(&lines)
            .iter()
            .map(Case::to_string)
            .collect::<Vec<_>>();
        assert_eq!(
            printed,
            [
                "ok a::b # SKIP no device: none",
                "not ok a::c",
                "ok a::e",
                "ok a::d # SKIP one thread",
            ]
        );
    }
}
