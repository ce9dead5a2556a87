// SPDX-License-Identifier: GPL-2.0-only

//! A comparison in rounds, kept in a folder.
//!
//! In the first round all programs are run on both kernels. The second one runs those that came out
//! differently many times more, for a program may race. Each further round runs smaller variants of
//! those that kernels differ in, until nothing can be left out any more. Who keeps the folder boots
//! the kernels in between:
//!
//! - `programs` is what to run next, one program a line,
//! - `reference` and `candidate` are the records that the two kernels made of it,
//! - `session` is what is known so far,
//! - `report` is the outcome, for programs to read.

use std::fs;
use std::io::Write;
use std::mem;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::compare::{Comparison, Split};
use crate::difference::Difference;
use crate::generate::{self, Purpose};
use crate::program::Program;
use crate::round::{create, write_programs, Round};

/// No more than this many programs are looked into; all others are told of as they are.
const MOST_LOOKED_INTO: usize = 4;
/// After this many rounds what is left is small enough.
const MOST_ROUNDS: u32 = 8;

/// What is known so far.
#[derive(Debug, Deserialize, Serialize)]
struct Session {
    round: u32,
    report: Report,
    differences: Vec<Difference>,
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
    match session.round {
        0 => session.take_first(&round),
        _ => session.take_next(&round),
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

impl Report {
    /// Says of a program that the reference does not agree with itself.
    fn add_unstable(&mut self, program: &Program, split: &Split) {
        let Split { one, other } = split;
        let text = format!("{:#018x}: \"{one}\" and then \"{other}\"", program.seed);
        self.unstable.push(text);
    }
}

impl Session {
    fn take_first(&mut self, round: &Round) {
        for (number, program) in round.programs.iter().enumerate() {
            match round.comparison(number) {
                Comparison::Equal => self.report.compared += 1,
                Comparison::Missing => self.report.missing += 1,
                Comparison::Unstable(split) => self.report.add_unstable(program, &split),
                Comparison::Different(_) => {
                    self.report.compared += 1;
                    self.differences.extend(Difference::of(round, number));
                }
            }
        }
        let others = self.differences.iter_mut().skip(MOST_LOOKED_INTO);
        others.for_each(Difference::finish);
    }

    /// Takes in what came of the programs that each difference wanted to be run, in their order.
    fn take_next(&mut self, round: &Round) {
        let mut start = 0;
        for mut difference in mem::take(&mut self.differences) {
            let numbers = start..start + difference.next_programs().len();
            start = numbers.end;
            match difference.take(round, numbers) {
                None => self.differences.push(difference),
                Some(split) => {
                    self.report.compared -= 1;
                    self.report.add_unstable(&difference.program, &split);
                }
            }
        }
    }

    fn next_programs(&self) -> Vec<Program> {
        let next = self.differences.iter().map(Difference::next_programs);
        next.flatten().collect()
    }

    fn finish(&mut self) {
        self.differences.iter_mut().for_each(Difference::finish);
    }

    fn report(&self) -> Report {
        Report {
            again: !self.differences.iter().all(Difference::is_finished),
            compared: self.report.compared,
            missing: self.report.missing,
            unstable: self.report.unstable.clone(),
            differences: self.differences.iter().map(Difference::text).collect(),
        }
    }
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
    use std::path::PathBuf;

    use super::*;
    use crate::program::{Call, Step};
    use crate::record::Record;
    use crate::round::read_programs;

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

    /// A kernel without one.
    fn good(_: usize, program: &Program) -> Vec<String> {
        good_run(program)
    }

    /// What a kernel makes of a program, by its number in a round.
    type Kernel<'a> = &'a dyn Fn(usize, &Program) -> Vec<String>;

    fn write_records(path: &Path, programs: &[Program], kernel: Kernel) {
        let mut file = create(path).unwrap();
        for (number, program) in programs.iter().enumerate() {
            let runs = vec![kernel(number, program)];
            Record { number, runs }.write(&mut file).unwrap();
        }
    }

    /// Runs a session to its end with what the two kernels make of programs.
    fn outcome(name: &str, reference: Kernel, candidate: Kernel) -> Report {
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
            write_records(&folder.0.join("reference"), &programs, reference);
            write_records(&folder.0.join("candidate"), &programs, candidate);
            let report = judge(&folder.0).unwrap();
            if !report.again {
                return report;
            }
        }
    }

    #[test]
    fn kernels_that_agree_have_no_difference() {
        let report = outcome("agree", &good, &good);
        assert_eq!((report.compared, report.missing), (60, 0));
        assert!(report.differences.is_empty() && report.unstable.is_empty());
    }

    #[test]
    fn a_planted_bug_is_found_and_shrunk_to_what_it_needs() {
        let report = outcome("bug", &good, &|_, program| buggy_run(program));
        assert_eq!(report.compared, 60);
        assert!(report.differences.len() >= MOST_LOOKED_INTO);
        for lines in &report.differences[..MOST_LOOKED_INTO] {
            let steps = lines.iter().filter(|line| line.starts_with("step "));
            assert_eq!(steps.count(), 2, "{lines:#?}");
            let differs = |line: &&String| line.starts_with("+ ") && line.ends_with("-EINVAL");
            assert_eq!(lines.iter().filter(differs).count(), 1);
        }
    }

    /// A kernel that makes more of the program with this number.
    fn lucky_at(lucky: usize) -> impl Fn(usize, &Program) -> Vec<String> {
        move |number, program| {
            let mut lines = good_run(program);
            lines.extend((number == lucky).then(|| "lucky".to_owned()));
            lines
        }
    }

    #[test]
    fn a_program_that_races_is_no_difference() {
        let report = outcome("races", &lucky_at(7), &good);
        assert!(report.differences.is_empty(), "{report:#?}");
        assert_eq!((report.compared, report.unstable.len()), (59, 1));
    }

    #[test]
    fn what_only_one_kernel_ever_did_is_told_of() {
        let report = outcome("once", &good, &lucky_at(59));
        let [lines] = &report.differences[..] else {
            panic!("{report:#?}");
        };
        assert!(lines.contains(&"this was seen once".to_owned()));
        assert!(lines.contains(&"+ lucky".to_owned()));
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
        write_records(&folder.0.join("reference"), &programs, &good);
        write_records(&folder.0.join("candidate"), &programs[..1], &good);
        let report = judge(&folder.0).unwrap();
        assert_eq!((report.compared, report.missing), (1, 2));
    }
}
