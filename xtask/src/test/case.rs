// SPDX-License-Identifier: GPL-2.0-only

//! Test cases, stages of them, and their counts.

use std::fmt;
use std::time::Duration;

use crate::vm::Booted;

/// How a test ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// As it should.
    Passed,
    /// Not as it should.
    Failed,
    /// It could not run here, for this reason.
    Skipped(String),
}

/// One test.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Case {
    /// Its name within the stage, with `/` between levels.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What it said, line by line.
    pub detail: Vec<String>,
}

impl Case {
    /// A test that passed.
    pub fn passed(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            outcome: Outcome::Passed,
            detail: Vec::new(),
        }
    }

    /// A test that failed, and what it said.
    pub fn failed(name: &str, detail: &[String]) -> Self {
        Self {
            name: name.to_owned(),
            outcome: Outcome::Failed,
            detail: detail.to_vec(),
        }
    }

    /// A test that could not run, and why.
    pub fn skipped(name: &str, reason: &str) -> Self {
        let outcome = Outcome::Skipped(reason.to_owned());
        Self {
            name: name.to_owned(),
            outcome,
            detail: Vec::new(),
        }
    }

    /// A test of whether there is nothing to complain of.
    pub fn without_faults(name: &str, faults: &[String]) -> Self {
        if faults.is_empty() {
            Self::passed(name)
        } else {
            Self::failed(name, faults)
        }
    }

    /// The same test, one level down.
    pub fn under(self, parent: &str) -> Self {
        Self {
            name: format!("{parent}/{}", self.name),
            ..self
        }
    }

    /// Whether it failed.
    pub fn has_failed(&self) -> bool {
        self.outcome == Outcome::Failed
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Outcome::Passed => write!(f, "ok {}", self.name),
            Outcome::Failed => write!(f, "not ok {}", self.name),
            Outcome::Skipped(reason) => write!(f, "ok {} # SKIP {reason}", self.name),
        }
    }
}

/// The tests that every boot is: its console is clean and its job came to its end.
pub fn boot_cases(booted: &Booted) -> [Case; 2] {
    let status = match booted.status {
        0 => Vec::new(),
        status => vec![format!("it ended with status {status}")],
    };
    [
        Case::without_faults("console without splats", &booted.splats),
        Case::without_faults("guest job", &status),
    ]
}

/// Tests that ran together.
#[derive(Clone, Debug)]
pub struct Stage {
    /// Its name: that of its TAP file too.
    pub name: &'static str,
    /// Its tests.
    pub cases: Vec<Case>,
    /// How long they took, with what had to be built for them.
    pub time: Duration,
}

/// How many lines of a failed test are printed.
const DETAIL_LINES: usize = 12;

impl Stage {
    /// Prints what failed, what was skipped and why, and the counts.
    pub fn print(&self) {
        for case in self.cases.iter().filter(|case| case.has_failed()) {
            println!("not ok {} {}", self.name, case.name);
            let hidden = case.detail.len().saturating_sub(DETAIL_LINES);
            for line in &case.detail[hidden..] {
                println!("    {line}");
            }
        }
        for line in skips(&self.cases) {
            println!("{line}");
        }
        println!(
            "{}: {} in {} s",
            self.name,
            Totals::of(&self.cases),
            self.time.as_secs()
        );
    }
}

/// A line for each reason to skip: how many tests had it, and the first of them.
fn skips(cases: &[Case]) -> Vec<String> {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for case in cases {
        let Outcome::Skipped(reason) = &case.outcome else {
            continue;
        };
        match reasons.iter_mut().find(|(known, _)| known == reason) {
            Some((_, names)) => names.push(&case.name),
            None => reasons.push((reason, vec![&case.name])),
        }
    }
    let line = |(reason, names): &(&str, Vec<&str>)| {
        let more = if names.len() > 1 { ", ..." } else { "" };
        let reason = if reason.is_empty() {
            "no reason given"
        } else {
            reason
        };
        format!("skipped {}: {reason} ({}{more})", names.len(), names[0])
    };
    reasons.iter().map(line).collect()
}

/// Counts of outcomes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Totals {
    /// Tests that passed.
    pub passed: usize,
    /// Tests that failed.
    pub failed: usize,
    /// Tests that could not run.
    pub skipped: usize,
}

impl Totals {
    /// Counts `cases`.
    pub fn of<'a>(cases: impl IntoIterator<Item = &'a Case>) -> Self {
        let mut totals = Self::default();
        for case in cases {
            match case.outcome {
                Outcome::Passed => totals.passed += 1,
                Outcome::Failed => totals.failed += 1,
                Outcome::Skipped(_) => totals.skipped += 1,
            }
        }
        totals
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        match self.skipped {
            0 => Ok(()),
            skipped => write!(f, ", {skipped} skipped"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_read_as_the_last_line_must() {
        let cases = [Case::passed("a"), Case::failed("b", &[])];
        assert_eq!(Totals::of(&cases).to_string(), "1 passed, 1 failed");
        let cases = [Case::passed("a"), Case::skipped("b", "why")];
        assert_eq!(
            Totals::of(&cases).to_string(),
            "1 passed, 0 failed, 1 skipped"
        );
    }

    #[test]
    fn skipped_tests_are_told_by_their_reason() {
        let cases = [
            Case::skipped("a", "no device"),
            Case::passed("b"),
            Case::skipped("c", ""),
            Case::skipped("d", "no device"),
        ];
        assert_eq!(
            skips(&cases),
            [
                "skipped 2: no device (a, ...)",
                "skipped 1: no reason given (c)"
            ]
        );
    }

    #[test]
    fn cases_print_as_tap() {
        assert_eq!(Case::passed("a").under("b").to_string(), "ok b/a");
        assert_eq!(Case::skipped("a", "why").to_string(), "ok a # SKIP why");
        assert_eq!(
            Case::without_faults("a", &["x".into()]).to_string(),
            "not ok a"
        );
    }
}
