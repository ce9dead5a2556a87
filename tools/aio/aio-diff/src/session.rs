// SPDX-License-Identifier: GPL-2.0-only

//! A comparison in rounds, kept in a folder.
//!
//! In the first round all programs are run on both kernels. Each further round runs smaller
//! variants of those that came out differently, until nothing can be left out any more. Who keeps
//! the folder boots the kernels in between:
//!
//! - `programs` is what to run next, one program a line,
//! - `reference` and `candidate` are the records that the two kernels made of it,
//! - `session` is what is known so far,
//! - `report` is the outcome, for programs to read.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::compare::{compare, Comparison};
use crate::describe::{parted, program_text};
use crate::generate::{self, Purpose};
use crate::program::Program;
use crate::record::{read_all, Record};
use crate::shrink::{size, variants};

/// No more than this many programs are shrunk; all others are told of as they are.
const MOST_SHRUNK: usize = 4;
/// After this many rounds what is left is small enough.
const MOST_ROUNDS: u32 = 7;

/// What is known so far.
#[derive(Debug, Deserialize, Serialize)]
struct Session {
    round: u32,
    report: Report,
    differences: Vec<Difference>,
}

/// A program that came out differently.
#[derive(Debug, Deserialize, Serialize)]
struct Difference {
    /// The smallest one so far.
    program: Program,
    /// What the reference made of it.
    reference: Vec<String>,
    /// What the other kernel made of it.
    candidate: Vec<String>,
    /// Whether it came out differently once more.
    confirmed: bool,
    /// Whether there is nothing more to try.
    finished: bool,
}

/// The outcome of a session.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Report {
    /// Whether there is another round to be run.
    pub again: bool,
    /// How many programs were compared.
    pub compared: usize,
    /// How many were not run to their end.
    pub missing: usize,
    /// Those that do not come out the same twice on the reference, and why.
    pub unstable: Vec<String>,
    /// The programs that came out differently, each with both outcomes, as lines.
    pub differences: Vec<Vec<String>>,
}

/// Which programs a session is about.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// What names the run.
    pub seed: u64,
    /// The number of the first program.
    pub first: u64,
    /// How many there are.
    pub programs: u64,
    /// What they are compared with.
    pub purpose: Purpose,
}

/// Starts a session in `folder`.
pub fn start(folder: &Path, plan: &Plan) -> Result<()> {
    let programs = (plan.first..plan.first + plan.programs)
        .map(|number| generate::program(generate::seed_of(plan.seed, number), plan.purpose))
        .collect::<Vec<_>>();
    fs::create_dir_all(folder)?;
    write_programs(folder, &programs)?;
    let session = Session {
        round: 0,
        report: Report::default(),
        differences: Vec::new(),
    };
    write_json(&folder.join("session"), &session)
}

/// Takes in the records of a round. Writes and returns the report.
pub fn judge(folder: &Path) -> Result<Report> {
    let mut session: Session = read_json(&folder.join("session"))?;
    let round = Round::read(folder)?;
    if session.round == 0 {
        session.take_first(&round);
    } else {
        session.take_variants(&round);
    }
    session.round += 1;
    if session.round >= MOST_ROUNDS {
        session.finish();
    }
    write_programs(folder, &session.next_programs())?;
    let report = session.report();
    write_json(&folder.join("report"), &report)?;
    session.report = report;
    write_json(&folder.join("session"), &session)?;
    Ok(session.report)
}

/// The programs of a round and what came of them.
struct Round {
    programs: Vec<Program>,
    reference: std::collections::BTreeMap<usize, Record>,
    candidate: std::collections::BTreeMap<usize, Record>,
}

impl Round {
    fn read(folder: &Path) -> Result<Self> {
        Ok(Self {
            programs: read_programs(&folder.join("programs"))?,
            reference: read_records(&folder.join("reference"))?,
            candidate: read_records(&folder.join("candidate"))?,
        })
    }

    fn comparison(&self, number: usize) -> Comparison {
        compare(self.reference.get(&number), self.candidate.get(&number))
    }

    /// The difference that the program with this number shows, if it does.
    fn difference(&self, number: usize) -> Option<Difference> {
        if !matches!(self.comparison(number), Comparison::Different(_)) {
            return None;
        }
        let reference = self.reference.get(&number)?.runs.first()?;
        let candidate = &self.candidate.get(&number)?.runs;
        Some(Difference {
            program: self.programs.get(number)?.clone(),
            reference: reference.clone(),
            candidate: candidate.iter().find(|run| *run != reference)?.clone(),
            confirmed: false,
            finished: false,
        })
    }
}

impl Session {
    fn take_first(&mut self, round: &Round) {
        for (number, program) in round.programs.iter().enumerate() {
            match round.comparison(number) {
                Comparison::Equal => self.report.compared += 1,
                Comparison::Missing => self.report.missing += 1,
                Comparison::Unstable(split) => self.report.unstable.push(format!(
                    "{:#018x}: \"{}\" and then \"{}\"",
                    program.seed, split.one, split.other
                )),
                Comparison::Different(_) => {
                    self.report.compared += 1;
                    self.differences.extend(round.difference(number));
                }
            }
        }
        for difference in self.differences.iter_mut().skip(MOST_SHRUNK) {
            difference.finished = true;
        }
    }

    /// Takes in the variants of all differences that are being shrunk, in their order.
    fn take_variants(&mut self, round: &Round) {
        let mut start = 0;
        for difference in self.differences.iter_mut().filter(|one| !one.finished) {
            let end = start + variants(&difference.program).len();
            difference.take(round, start, end);
            start = end;
        }
    }

    fn next_programs(&self) -> Vec<Program> {
        self.differences
            .iter()
            .filter(|difference| !difference.finished)
            .flat_map(|difference| variants(&difference.program))
            .collect()
    }

    fn finish(&mut self) {
        for difference in &mut self.differences {
            difference.finished = true;
        }
    }

    fn report(&self) -> Report {
        Report {
            again: self.differences.iter().any(|one| !one.finished),
            compared: self.report.compared,
            missing: self.report.missing,
            unstable: self.report.unstable.clone(),
            differences: self.differences.iter().map(Difference::text).collect(),
        }
    }
}

impl Difference {
    /// Takes in the variants with these numbers, of which the first is the program itself.
    fn take(&mut self, round: &Round, start: usize, end: usize) {
        let found = |number| round.difference(number);
        self.confirmed |= found(start).is_some();
        let smallest = (start..end)
            .filter_map(found)
            .min_by_key(|difference| size(&difference.program));
        match smallest {
            Some(smaller) if size(&smaller.program) < size(&self.program) => {
                *self = Self {
                    confirmed: true,
                    ..smaller
                };
            }
            _ => self.finished = true,
        }
    }

    fn text(&self) -> Vec<String> {
        let mut lines = program_text(&self.program);
        if !self.confirmed {
            lines.push("it came out differently once only".to_owned());
        }
        lines.push("what both say, what the reference says (-) and the other one (+):".to_owned());
        lines.extend(parted(&self.reference, &self.candidate));
        lines
    }
}

/// Reads programs, one a line.
pub fn read_programs(path: &Path) -> Result<Vec<Program>> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    text.lines()
        .map(|line| {
            serde_json::from_str(line)
                .with_context(|| format!("{} has a line that is no program", path.display()))
        })
        .collect()
}

fn write_programs(folder: &Path, programs: &[Program]) -> Result<()> {
    let mut file = create(&folder.join("programs"))?;
    for program in programs {
        serde_json::to_writer(&mut file, program)?;
        writeln!(file)?;
    }
    Ok(file.flush()?)
}

fn read_records(path: &PathBuf) -> Result<std::collections::BTreeMap<usize, Record>> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(read_all(BufReader::new(file))?)
}

fn create(path: &Path) -> Result<BufWriter<File>> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(BufWriter::new(file))
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut file = create(path)?;
    serde_json::to_writer(&mut file, value)?;
    Ok(file.flush()?)
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Result<T> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text)
        .with_context(|| format!("{} is not what it should be", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::{Call, Step};

    /// A folder that goes with the test.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("aio-diff-{}-{name}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// What a kernel makes of a step, for want of one.
    fn line(step: &Step) -> String {
        format!("{:?} = 0", step.call)
    }

    /// A kernel with a bug: io_destroy(2) fails where events were asked for before.
    fn buggy_run(program: &Program) -> Vec<String> {
        let mut asked = false;
        let line_of = |step: &Step| {
            asked |= matches!(step.call, Call::GetEvents { .. });
            match step.call {
                Call::Destroy(_) if asked => line(step).replace("= 0", "= -EINVAL"),
                _ => line(step),
            }
        };
        program.steps.iter().map(line_of).collect()
    }

    fn good_run(program: &Program) -> Vec<String> {
        program.steps.iter().map(line).collect()
    }

    fn write_records(path: &Path, programs: &[Program], run: fn(&Program) -> Vec<String>) {
        let mut file = create(path).unwrap();
        for (number, program) in programs.iter().enumerate() {
            let runs = vec![run(program)];
            Record { number, runs }.write(&mut file).unwrap();
        }
    }

    /// Runs a session to its end with what the two kernels make of programs.
    fn outcome(name: &str, candidate: fn(&Program) -> Vec<String>) -> Report {
        let folder = Folder::new(name);
        let plan = Plan {
            seed: 5,
            first: 0,
            programs: 60,
            purpose: Purpose::Kernels,
        };
        start(&folder.0, &plan).unwrap();
        loop {
            let programs = read_programs(&folder.0.join("programs")).unwrap();
            write_records(&folder.0.join("reference"), &programs, good_run);
            write_records(&folder.0.join("candidate"), &programs, candidate);
            let report = judge(&folder.0).unwrap();
            if !report.again {
                return report;
            }
        }
    }

    #[test]
    fn kernels_that_agree_have_no_difference() {
        let report = outcome("agree", good_run);
        assert_eq!((report.compared, report.missing), (60, 0));
        assert!(report.differences.is_empty() && report.unstable.is_empty());
    }

    #[test]
    fn a_planted_bug_is_found_and_shrunk_to_what_it_needs() {
        let report = outcome("bug", buggy_run);
        assert_eq!(report.compared, 60);
        assert!(report.differences.len() >= MOST_SHRUNK);
        for lines in &report.differences[..MOST_SHRUNK] {
            let steps = lines.iter().filter(|line| line.starts_with("step "));
            assert_eq!(steps.count(), 2, "{lines:#?}");
            let differs = |line: &&String| line.starts_with("+ ") && line.ends_with("-EINVAL");
            assert_eq!(lines.iter().filter(differs).count(), 1);
        }
    }

    #[test]
    fn a_kernel_that_falls_silent_is_not_equal() {
        let folder = Folder::new("silent");
        let plan = Plan {
            seed: 5,
            first: 10,
            programs: 3,
            purpose: Purpose::Kernels,
        };
        start(&folder.0, &plan).unwrap();
        let programs = read_programs(&folder.0.join("programs")).unwrap();
        write_records(&folder.0.join("reference"), &programs, good_run);
        write_records(&folder.0.join("candidate"), &programs[..1], good_run);
        let report = judge(&folder.0).unwrap();
        assert_eq!((report.compared, report.missing), (1, 2));
    }
}
