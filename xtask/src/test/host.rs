// SPDX-License-Identifier: GPL-2.0-only

//! Unit tests that need no machine: those of xtask and of tools/aio.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::case::Case;
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

/// The cases in what libtest wrote.
fn parse(lines: &[String]) -> Vec<Case> {
    lines
        .iter()
        .filter_map(|line| case_of(line, lines))
        .collect()
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
}
