// SPDX-License-Identifier: GPL-2.0-only

//! Whether an I/O costs more instructions than the budget allows.

use std::path::Path;

use anyhow::Result;

use super::case::Case;
use super::Bench;
use crate::bench::{
    measure, recorded_path, Budget, BudgetLine, Measurement, Median, COUNTED, PROGRAM, TIMEOUT,
};
use crate::build::Flavour;
use crate::vm::{static_program, Host};

/// How often the kernel is booted, at most: one boot in a few has a page layout that costs more.
const BOOTS: usize = 5;

/// Measures every line of the budget, again while one is exceeded.
pub fn run(bench: &Bench) -> Result<Vec<Case>> {
    let budget = Budget::recorded(bench.ws)?;
    if let Some(reason) = inapplicable(bench) {
        let skipped = |line: &BudgetLine| Case::skipped(&line.name(), reason);
        return Ok(budget.lines.iter().map(skipped).collect());
    }
    let host = bench.host.with_instruction_clock();
    let program = static_program(bench.ws, &host.root, PROGRAM)?;
    let mut boots = vec![boot(&host, &bench.kernel.image, &program, &budget)?];
    while boots.len() < BOOTS && is_exceeded(&budget, &boots) {
        boots.push(boot(&host, &bench.kernel.image, &program, &budget)?);
    }
    let cases = verdicts(&budget, &boots);
    for case in &cases {
        println!("  {}", case.detail.join(" "));
    }
    if cases.iter().any(Case::has_failed) {
        println!(
            "  `make bench` measures anew what is recorded in {}",
            recorded_path(bench.ws).display()
        );
    }
    Ok(cases)
}

/// Why the budget says nothing about the kernel under test, if so.
fn inapplicable(bench: &Bench) -> Option<&'static str> {
    if bench.flavour == Flavour::C {
        Some("the budget is that of fs/aio in Rust")
    } else if bench.ws.mode.is_some() {
        Some("the budget is that of the configuration without MODE")
    } else if bench.ws.kernel_src.is_some() {
        Some("the budget is that of Debian's tree, not of KERNEL_SRC")
    } else {
        None
    }
}

/// Instructions per I/O of each line in one boot.
fn boot(host: &Host, kernel: &Path, program: &Path, budget: &Budget) -> Result<Vec<f64>> {
    let points = budget
        .lines
        .iter()
        .map(|line| line.point)
        .collect::<Vec<_>>();
    let measurement = Measurement {
        name: "budget",
        kernel,
        program,
        points: &points,
        amount: COUNTED,
        timeout: TIMEOUT,
    };
    let samples = measure(host, &measurement)?.samples;
    Ok(samples.iter().map(|sample| sample.instructions()).collect())
}

/// The median of a line over all boots.
fn median(boots: &[Vec<f64>], line: usize) -> Option<f64> {
    let of_line = boots.iter().filter_map(|boot| boot.get(line).copied());
    Some(Median::of(of_line)?.median)
}

fn is_exceeded(budget: &Budget, boots: &[Vec<f64>]) -> bool {
    let exceeded = |(index, line): (usize, &BudgetLine)| {
        median(boots, index).is_some_and(|found| line.is_exceeded_by(found))
    };
    budget.lines.iter().enumerate().any(exceeded)
}

/// A case for each line, with the figure in its detail.
fn verdicts(budget: &Budget, boots: &[Vec<f64>]) -> Vec<Case> {
    let case = |(index, line): (usize, &BudgetLine)| {
        let Some(found) = median(boots, index) else {
            return Case::failed(&line.name(), &["it was not measured".to_owned()]);
        };
        let detail = format!(
            "{}: {found:.0} instructions per I/O, {:+.1} % of the budget of {:.0}, {} boots",
            line.name(),
            100.0 * (found / line.instr_per_io - 1.0),
            line.instr_per_io,
            boots.len()
        );
        let case = if line.is_exceeded_by(found) {
            Case::failed
        } else {
            |name: &str, _: &[String]| Case::passed(name)
        };
        Case {
            detail: vec![detail],
            ..case(&line.name(), &[])
        }
    };
    budget.lines.iter().enumerate().map(case).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget() -> Budget {
        let text = r#"{"compiler": "cc", "lines": [
            {"engine": "aio", "device": "null_blk", "depth": 1, "batch": 1, "contexts": 1,
             "threads": 1, "idle_threads": 0, "instr_per_io": 1000},
            {"engine": "aio-hipri", "device": "null_blk", "depth": 16, "batch": 16, "contexts": 1,
             "threads": 1, "idle_threads": 0, "instr_per_io": 2000}]}"#;
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_line_over_two_per_cent_fails_alone() {
        let boots = [vec![1019.0, 2041.0]];
        assert!(is_exceeded(&budget(), &boots));
        let cases = verdicts(&budget(), &boots);
        assert_eq!(cases[0].to_string(), "ok aio (1,1)");
        assert_eq!(cases[1].to_string(), "not ok aio-hipri (16,16)");
        assert!(cases[1].detail[0].contains("2041") && cases[1].detail[0].contains("+2.0 %"));
    }

    #[test]
    fn one_bad_boot_of_three_is_forgiven_and_two_are_not() {
        let (good, bad) = (vec![1000.0, 2000.0], vec![1000.0, 2080.0]);
        assert!(!is_exceeded(
            &budget(),
            &[bad.clone(), good.clone(), good.clone()]
        ));
        assert!(is_exceeded(&budget(), &[bad.clone(), good, bad]));
    }

    #[test]
    fn what_was_not_measured_does_not_pass() {
        assert!(verdicts(&budget(), &[vec![1000.0]])[1].has_failed());
    }
}
