// SPDX-License-Identifier: GPL-2.0-only

//! Compares what came of a program on two kernels.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::record::Record;

/// What the comparison of a program says.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Comparison {
    /// The same came of it.
    Equal,
    /// The kernel that is the reference does not agree with itself, as these lines show.
    Unstable(Split),
    /// The kernels do not agree, as these lines show.
    Different(Split),
    /// It was not run to its end on one of the kernels.
    Missing,
}

/// Where two runs part.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Split {
    /// The first line that differs in one; empty at its end.
    pub one: String,
    /// And in the other.
    pub other: String,
}

/// Compares a record of the reference kernel with one of the other kernel.
pub fn compare(reference: Option<&Record>, candidate: Option<&Record>) -> Comparison {
    let (Some(reference), Some(candidate)) = (reference, candidate) else {
        return Comparison::Missing;
    };
    let Some(first) = reference.runs.first() else {
        return Comparison::Missing;
    };
    let mut others = reference.runs.iter().skip(1);
    if let Some(split) = others.find_map(|run| split(first, run)) {
        return Comparison::Unstable(split);
    }
    let mut runs = candidate.runs.iter();
    match runs.find_map(|run| split(first, run)) {
        Some(split) => Comparison::Different(split),
        None => Comparison::Equal,
    }
}

/// What came of a program that was run many times on a kernel, each outcome once.
pub type Outcomes<'a> = BTreeSet<&'a [String]>;

/// Compares all that came of a program on the reference kernel with all that came of it on the
/// other kernel.
///
/// A reference that varies is a program that races: kernels that share an outcome differ in the
/// odds, if in anything. Kernels that share none are different all the same.
pub fn compare_outcomes(reference: &Outcomes, candidate: &Outcomes) -> Comparison {
    let mut expected = reference.iter();
    let Some(first) = expected.next() else {
        return Comparison::Missing;
    };
    if let Some(second) = expected
        .next()
        .filter(|_| !reference.is_disjoint(candidate))
    {
        return split(first, second).map_or(Comparison::Equal, Comparison::Unstable);
    }
    let mut others = candidate.difference(reference);
    match others.find_map(|other| split(first, other)) {
        Some(split) => Comparison::Different(split),
        None => Comparison::Equal,
    }
}

/// Where two runs part, if they do.
fn split(one: &[String], other: &[String]) -> Option<Split> {
    let length = one.len().max(other.len());
    let line = |run: &[String], at: usize| run.get(at).cloned().unwrap_or_default();
    (0..length)
        .map(|at| Split {
            one: line(one, at),
            other: line(other, at),
        })
        .find(|split| split.one != split.other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(runs: &[&[&str]]) -> Record {
        let lines = |run: &&[&str]| run.iter().map(|&line| line.to_owned()).collect();
        Record {
            number: 0,
            runs: runs.iter().map(lines).collect(),
        }
    }

    fn compared(reference: &[&[&str]], candidate: &[&[&str]]) -> Comparison {
        compare(Some(&record(reference)), Some(&record(candidate)))
    }

    fn split_of(one: &str, other: &str) -> Split {
        Split {
            one: one.to_owned(),
            other: other.to_owned(),
        }
    }

    #[test]
    fn equal_is_equal() {
        assert_eq!(compared(&[&["a", "b"]], &[&["a", "b"]]), Comparison::Equal);
    }

    #[test]
    fn the_first_difference_is_shown() {
        let different = |one, other| Comparison::Different(split_of(one, other));
        assert_eq!(
            compared(&[&["a", "b", "c"]], &[&["a", "x", "y"]]),
            different("b", "x")
        );
        assert_eq!(compared(&[&["a"]], &[&["a", "b"]]), different("", "b"));
        assert_eq!(compared(&[&["a", "b"]], &[&["a"]]), different("b", ""));
    }

    #[test]
    fn a_candidate_has_to_be_equal_every_time() {
        let different = Comparison::Different(split_of("a", "b"));
        assert_eq!(compared(&[&["a"]], &[&["a"], &["b"]]), different);
    }

    #[test]
    fn a_reference_that_varies_proves_nothing() {
        let unstable = Comparison::Unstable(split_of("a", "b"));
        assert_eq!(compared(&[&["a"], &["b"]], &[&["c"]]), unstable);
    }

    /// Compares kernels that made these outcomes, of a line each.
    fn sets_compared(reference: &[&str], candidate: &[&str]) -> Comparison {
        let lines = |lines: &[&str]| lines.iter().map(|&line| vec![line.to_owned()]).collect();
        let (reference, candidate): (Vec<_>, Vec<_>) = (lines(reference), lines(candidate));
        compare_outcomes(
            &reference.iter().map(Vec::as_slice).collect(),
            &candidate.iter().map(Vec::as_slice).collect(),
        )
    }

    #[test]
    fn what_never_varies_has_to_be_the_same() {
        assert_eq!(sets_compared(&["a"], &["a"]), Comparison::Equal);
        let different = Comparison::Different(split_of("a", "b"));
        assert_eq!(sets_compared(&["a"], &["b"]), different);
        assert_eq!(sets_compared(&["a"], &["a", "b"]), different);
    }

    #[test]
    fn what_varies_has_to_have_something_in_common() {
        let unstable = Comparison::Unstable(split_of("a", "b"));
        assert_eq!(sets_compared(&["a", "b"], &["b"]), unstable);
        assert_eq!(sets_compared(&["a", "b"], &["b", "c"]), unstable);
        let different = Comparison::Different(split_of("a", "c"));
        assert_eq!(sets_compared(&["a", "b"], &["c"]), different);
    }

    #[test]
    fn what_is_not_there_is_not_equal() {
        let there = record(&[&["a"]]);
        assert_eq!(compare(Some(&there), None), Comparison::Missing);
        assert_eq!(compare(None, Some(&there)), Comparison::Missing);
        assert_eq!(sets_compared(&[], &["a"]), Comparison::Missing);
    }
}
