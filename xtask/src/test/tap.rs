// SPDX-License-Identifier: GPL-2.0-only

//! TAP, as kselftests write it, and KTAP, which KUnit nests by indentation.
//!
//! Only leaves are tests: a level that holds others is their name's beginning. What a plan
//! promised and did not come is a failure, and so is no result at all.

use super::case::{Case, Outcome};

/// The cases in `lines`; lines that are not TAP are what the next result says for itself.
pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<Case> {
    let mut parser = Parser {
        levels: vec![Level::default()],
        said: Vec::new(),
    };
    for line in lines {
        parser.line(line);
    }
    parser.finish()
}

struct Parser {
    /// From the outermost; never empty.
    levels: Vec<Level>,
    said: Vec<String>,
}

/// Results of one indentation.
#[derive(Default)]
struct Level {
    indent: usize,
    plan: Option<usize>,
    results: usize,
    cases: Vec<Case>,
}

impl Level {
    /// Its cases, and one more if the plan was not met.
    fn finish(self) -> Vec<Case> {
        let mut cases = self.cases;
        match self.plan {
            Some(plan) if plan != self.results => {
                let fault = format!("{plan} planned, {} ended", self.results);
                cases.push(Case::failed("all planned tests", &[fault]));
            }
            None if self.results == 0 => {
                cases.push(Case::failed(
                    "any result",
                    &["no TAP result was written".to_owned()],
                ));
            }
            _ => {}
        }
        cases
    }
}

impl Parser {
    fn line(&mut self, line: &str) {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if let Some(plan) = plan_of(text) {
            self.level(indent).plan = Some(plan);
        } else if let Some(mut case) = result_of(text) {
            if case.has_failed() {
                case.detail = std::mem::take(&mut self.said);
            }
            self.said.clear();
            self.result(indent, case);
        } else if !text.is_empty() {
            self.said.push(text.to_owned());
        }
    }

    /// The level of this indentation, opened if it is deeper than the current one.
    fn level(&mut self, indent: usize) -> &mut Level {
        let last = self.levels.len() - 1;
        if self.levels[last].indent < indent {
            self.levels.push(Level {
                indent,
                ..Level::default()
            });
        }
        let last = self.levels.len() - 1;
        &mut self.levels[last]
    }

    /// Takes a result: a leaf, or the parent of the deeper levels before it.
    fn result(&mut self, indent: usize, case: Case) {
        let children = self.close_deeper_than(indent);
        let level = self.level(indent);
        level.results += 1;
        if children.is_empty() {
            level.cases.push(case);
            return;
        }
        // A suite can fail where none of its tests did.
        let unexplained = case.has_failed() && !children.iter().any(Case::has_failed);
        level
            .cases
            .extend(children.into_iter().map(|child| child.under(&case.name)));
        if unexplained {
            level.cases.push(case);
        }
    }

    fn close_deeper_than(&mut self, indent: usize) -> Vec<Case> {
        let mut inner = Vec::new();
        while self.levels.len() > 1 && self.levels[self.levels.len() - 1].indent > indent {
            if let Some(mut level) = self.levels.pop() {
                level.cases.append(&mut inner);
                inner = level.finish();
            }
        }
        inner
    }

    fn finish(mut self) -> Vec<Case> {
        // Deeper levels without a parent's result were cut off.
        let orphans = self.close_deeper_than(0);
        let cut_off = !orphans.is_empty();
        let mut cases = orphans;
        if let Some(level) = self.levels.pop() {
            let mut outer = level.finish();
            outer.append(&mut cases);
            cases = outer;
        }
        if cut_off {
            cases.push(Case::failed(
                "end of results",
                &["the output was cut off".to_owned()],
            ));
        }
        cases
    }
}

/// The count of a plan such as `1..12`.
fn plan_of(text: &str) -> Option<usize> {
    text.strip_prefix("1..")?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

/// The case of a result such as `not ok 3 - name # SKIP reason`.
fn result_of(text: &str) -> Option<Case> {
    let (failed, rest) = match text.strip_prefix("not ok ") {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix("ok ")?),
    };
    let (number, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    number.parse::<u32>().ok()?;
    let (name, directive) = rest.split_once('#').unwrap_or((rest, ""));
    let name = name.trim().trim_start_matches("- ").trim();
    let directive = directive.trim();
    let outcome = match directive.strip_prefix("SKIP") {
        _ if failed => Outcome::Failed,
        Some(reason) => Outcome::Skipped(reason.trim().to_owned()),
        None => Outcome::Passed,
    };
    let name = if name.is_empty() { number } else { name };
    Some(Case {
        name: name.to_owned(),
        outcome,
        detail: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(text: &str) -> Vec<String> {
        parse(text.lines()).iter().map(Case::to_string).collect()
    }

    #[test]
    fn a_kselftest_is_flat() {
        let text = "TAP version 13\n1..3\n# RUN global.a ...\nok 1 global.a\n\
            # a.c:5:b:Expected 1 (1) == 2 (2)\nnot ok 2 global.b\n\
            ok 3 global.c # SKIP no device\n# Totals: pass:1\n";
        assert_eq!(
            printed(text),
            [
                "ok global.a",
                "not ok global.b",
                "ok global.c # SKIP no device"
            ]
        );
        assert_eq!(
            parse(text.lines())[1].detail,
            ["# a.c:5:b:Expected 1 (1) == 2 (2)"]
        );
    }

    #[test]
    fn kunit_is_nested() {
        let text = "KTAP version 1\n1..2\n    KTAP version 1\n    # Subtest: one\n    1..2\n\
            \x20       KTAP version 1\n        1..1\n        ok 1 deep\n    ok 1 a\n    ok 2 b\n\
            # one: pass:2\nok 1 one\n    1..1\n    not ok 1 c\nnot ok 2 two\n";
        assert_eq!(printed(text), ["ok one/a/deep", "ok one/b", "not ok two/c"]);
    }

    #[test]
    fn a_suite_that_fails_on_its_own_is_a_failure() {
        let text = "1..1\n    1..1\n    ok 1 a\nnot ok 1 suite\n";
        assert_eq!(printed(text), ["ok suite/a", "not ok suite"]);
    }

    #[test]
    fn what_was_planned_and_did_not_come_is_a_failure() {
        assert_eq!(
            printed("1..2\nok 1 a\n"),
            ["ok a", "not ok all planned tests"]
        );
        assert_eq!(
            printed("1..1\n    1..2\n    ok 1 a\nok 1 s\n"),
            ["ok s/a", "not ok s/all planned tests"]
        );
    }

    #[test]
    fn nothing_and_half_of_something_are_failures() {
        assert_eq!(printed(""), ["not ok any result"]);
        assert_eq!(printed("Segmentation fault\n"), ["not ok any result"]);
        let cut = "KTAP version 1\n1..2\n    1..2\n    ok 1 a\n";
        assert!(printed(cut).contains(&"not ok end of results".to_owned()));
    }

    #[test]
    fn a_failed_test_is_not_skipped_by_a_comment() {
        assert_eq!(printed("1..1\nnot ok 1 a # SKIP x\n"), ["not ok a"]);
        assert_eq!(printed("1..1\nok 1 - a b\n"), ["ok a b"]);
        assert_eq!(printed("1..0 # SKIP\n"), Vec::<String>::new());
    }
}
