// SPDX-License-Identifier: GPL-2.0-only

//! A program that came out differently on two kernels, and what is to be done about it.

use std::iter;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::compare::{compare_outcomes, Comparison, Split};
use crate::describe::{parted, program_text};
use crate::program::Program;
use crate::round::{outcomes, Round};
use crate::shrink::{size, variants};

/// How often a program is run again on both kernels, before they are said to differ in it.
const REPEATS: usize = 30;

/// A program that came out differently.
#[derive(Debug, Deserialize, Serialize)]
pub struct Difference {
    /// The smallest one so far.
    pub program: Program,
    /// What the reference made of it.
    reference: Vec<String>,
    /// What the other kernel made of it.
    candidate: Vec<String>,
    standing: Standing,
}

/// What is to be done about a difference.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
enum Standing {
    /// It was seen once: the program is run again.
    Doubtful,
    /// It was seen again: smaller variants are run.
    Confirmed,
    /// There is nothing more to try.
    Finished { confirmed: bool },
}

impl Difference {
    /// The difference that the program with this number shows, if it does.
    pub fn of(round: &Round, number: usize) -> Option<Self> {
        if !matches!(round.comparison(number), Comparison::Different(_)) {
            return None;
        }
        let reference = round.reference.get(&number)?.runs.first()?;
        let candidate = &round.candidate.get(&number)?.runs;
        Some(Self {
            program: round.programs.get(number)?.clone(),
            reference: reference.clone(),
            candidate: candidate.iter().find(|run| *run != reference)?.clone(),
            standing: Standing::Doubtful,
        })
    }

    /// What is to be run next because of it.
    pub fn next_programs(&self) -> Vec<Program> {
        match self.standing {
            Standing::Doubtful => iter::repeat_n(self.program.clone(), REPEATS).collect(),
            Standing::Confirmed => variants(&self.program),
            Standing::Finished { .. } => Vec::new(),
        }
    }

    /// Takes in what came of the programs that were run because of it, by their numbers. Returns
    /// how the reference parts with itself if that proves the program to race.
    pub fn take(&mut self, round: &Round, numbers: Range<usize>) -> Option<Split> {
        match self.standing {
            Standing::Doubtful => return self.take_repeats(round, numbers),
            Standing::Confirmed => self.take_variants(round, numbers),
            Standing::Finished { .. } => {}
        }
        None
    }

    fn take_repeats(&mut self, round: &Round, repeats: Range<usize>) -> Option<Split> {
        let mut reference = outcomes(&round.reference, repeats.clone());
        reference.insert(&self.reference);
        let again = outcomes(&round.candidate, repeats);
        let mut candidate = again.clone();
        candidate.insert(&self.candidate);
        if let Comparison::Unstable(split) = compare_outcomes(&reference, &candidate) {
            return Some(split);
        }
        self.standing = match compare_outcomes(&reference, &again) {
            Comparison::Different(_) => Standing::Confirmed,
            _ => Standing::Finished { confirmed: false },
        };
        None
    }

    fn take_variants(&mut self, round: &Round, variants: Range<usize>) {
        let smallest = variants
            .filter_map(|number| Self::of(round, number))
            .min_by_key(|difference| size(&difference.program));
        match smallest {
            Some(smaller) => {
                *self = Self {
                    standing: Standing::Confirmed,
                    ..smaller
                }
            }
            None => self.finish(),
        }
    }

    /// Gives up looking into it.
    pub fn finish(&mut self) {
        let confirmed = match self.standing {
            Standing::Doubtful => false,
            Standing::Confirmed => true,
            Standing::Finished { confirmed } => confirmed,
        };
        self.standing = Standing::Finished { confirmed };
    }

    /// Whether there is nothing more to try.
    pub fn is_finished(&self) -> bool {
        matches!(self.standing, Standing::Finished { .. })
    }

    /// The program and both outcomes, as lines.
    pub fn text(&self) -> Vec<String> {
        let mut lines = program_text(&self.program);
        if self.standing == (Standing::Finished { confirmed: false }) {
            lines.push("this was seen once".to_owned());
        }
        lines.push("what both say, what the reference says (-) and the other one (+):".to_owned());
        lines.extend(parted(&self.reference, &self.candidate));
        lines
    }
}
