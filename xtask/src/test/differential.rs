// SPDX-License-Identifier: GPL-2.0-only

//! The differential test: random programs of system calls must come out the same on the stock
//! kernel and on this one, and on this one the same whether their I/O is polled or not.
//!
//! `tools/aio/aio-diff` makes the programs, runs them in the guest, compares what came of them and
//! makes smaller what came out differently; this boots the kernels in between. `SEED=` names other
//! programs, `PROGRAMS=` asks for more or fewer; many are run in chunks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{bail, Context, Result};
use serde::Deserialize;

use super::case::Case;
use super::Bench;
use crate::build::{self, command, Flavour};
use crate::variable;
use crate::vm::report::{Section, Sections};
use crate::vm::{static_program, Boot, Job, Lost};

/// The program that does the work, by its package in `tools/aio`.
const PACKAGE: &str = "aio-diff";

/// Which programs are run unless `SEED` says otherwise.
const SEED: u64 = 1;
/// How many programs are compared between kernels unless `PROGRAMS` says otherwise.
const PROGRAMS: u64 = 300;
/// Of this many programs one is run once more, polled.
const POLLED_SHARE: u64 = 6;
/// No more programs than this are run in one life of a machine.
const CHUNK: u64 = 500;

/// Of this many programs one may fail to come out the same twice on the stock kernel, and one more
/// however few there are.
const UNSTABLE_SHARE: usize = 100;

/// What a machine needs for anything, and for each program, be it one that hangs.
const TIMEOUT: Duration = Duration::from_secs(240);
const TIMEOUT_OF_PROGRAM: Duration = Duration::from_secs(4);

/// Most programs destroy contexts, which takes grace periods: they need not be long.
const PARAMETERS: &str = "rcutree.jiffies_till_first_fqs=0 rcutree.jiffies_till_next_fqs=0";

/// Compares the two kernels, and then polled with other I/O.
pub fn run(bench: &Bench) -> Result<Vec<Case>> {
    if bench.flavour == Flavour::C {
        let reason = "it compares another kernel with the stock one";
        return Ok(vec![Case::skipped("kernels", reason)]);
    }
    let seed = variable::number("SEED", SEED)?;
    let programs = variable::number("PROGRAMS", programs_of(bench))?;
    println!("  SEED={seed:#x} PROGRAMS={programs}");
    // Only the kernel under test is to watch itself.
    let fragments = match bench.ws.is_watched() {
        true => Vec::new(),
        false => bench.ws.fragments(),
    };
    let stock = build::kernel(bench.ws, Flavour::C, &fragments)?;
    let comparison = |name, against, boots, programs| Comparison {
        bench,
        name,
        against,
        boots,
        seed,
        programs,
    };
    let kernels = [
        Run::stock(&stock.image, "reference programs 2\n"),
        Run::new("candidate", &bench.kernel.image, "candidate programs 1\n"),
    ];
    let polling = [Run::new(
        "polling",
        &bench.kernel.image,
        "reference programs 2\ncandidate programs 1 --hipri\n",
    )];
    let program = static_program(bench.ws, &bench.host.root, PACKAGE)?;
    let mut cases = comparison("kernels", "kernel", &kernels, programs).cases(&program)?;
    let polled = programs.div_ceil(POLLED_SHARE);
    cases.extend(comparison("polling", "polling", &polling, polled).cases(&program)?);
    Ok(cases)
}

/// How many programs are compared by default: fewer where each takes much longer.
fn programs_of(bench: &Bench) -> u64 {
    match bench.ws.is_watched() {
        true => PROGRAMS / 5,
        false => PROGRAMS,
    }
}

/// One life of a machine.
struct Run<'a> {
    /// Names its logs.
    name: &'static str,
    kernel: &'a Path,
    /// What `guest/differential` is to run; the sections are `reference` and `candidate`.
    runs: &'static str,
    /// Whether the kernel is not the one under test.
    is_stock: bool,
}

impl<'a> Run<'a> {
    fn new(name: &'static str, kernel: &'a Path, runs: &'static str) -> Self {
        Self {
            name,
            kernel,
            runs,
            is_stock: false,
        }
    }

    /// A run on the kernel that is compared with.
    fn stock(kernel: &'a Path, runs: &'static str) -> Self {
        Self {
            is_stock: true,
            ..Self::new("reference", kernel, runs)
        }
    }
}

/// Programs that must come out the same in two ways.
struct Comparison<'a> {
    bench: &'a Bench<'a>,
    /// Names its cases.
    name: &'static str,
    /// What aio-diff is told of the two ways.
    against: &'static str,
    /// The machines that run the two ways.
    boots: &'a [Run<'a>],
    seed: u64,
    programs: u64,
}

/// What aio-diff says of a comparison.
#[derive(Debug, Default, Deserialize)]
struct Report {
    /// Whether there is another round to be run.
    again: bool,
    compared: usize,
    missing: usize,
    unstable: Vec<String>,
    /// The lines of each difference.
    differences: Vec<Vec<String>>,
}

impl Comparison<'_> {
    /// Runs all chunks, and makes cases of what came of them.
    fn cases(&self, program: &Path) -> Result<Vec<Case>> {
        let mut total = Report::default();
        let mut complaints = Vec::new();
        for first in (0..self.programs).step_by(CHUNK as usize) {
            let count = CHUNK.min(self.programs - first);
            let report = self.chunk(program, first, count, &mut complaints)?;
            total.add(report);
            println!("  {}: {}", self.name, total.summary());
        }
        let mut cases = total.cases();
        cases.push(Case::without_faults("console without splats", &complaints));
        Ok(cases
            .into_iter()
            .map(|case| case.under(self.name))
            .collect())
    }

    /// Runs and compares some of the programs, with what shrinking them takes.
    fn chunk(
        &self,
        program: &Path,
        first: u64,
        count: u64,
        complaints: &mut Vec<String>,
    ) -> Result<Report> {
        let folder = self.folder(first);
        let mut plan = Command::new(program);
        plan.arg("plan").arg(&folder);
        plan.args(["--against", self.against]);
        plan.args(["--seed", &self.seed.to_string()]);
        plan.args(["--first", &first.to_string()]);
        plan.args(["--programs", &count.to_string()]);
        command::run(&mut plan)?;
        loop {
            for run in self.boots {
                complaints.extend(self.run(program, run, &folder)?);
            }
            let report = judge(program, &folder)?;
            if !report.again {
                return Ok(report);
            }
            println!("  {}: {}, looking into it", self.name, report.summary());
        }
    }

    /// Where the programs of a chunk and all that came of them are kept.
    fn folder(&self, first: u64) -> PathBuf {
        let results = self.bench.host.results();
        results.join(format!("differential/{}-{first}", self.name))
    }

    /// Runs the programs of `folder`. Returns what the kernel complained of.
    ///
    /// The stock kernel stalls now and then on a host that is busy, which says nothing about ours:
    /// it is booted once more.
    fn run(&self, program: &Path, run: &Run, folder: &Path) -> Result<Vec<String>> {
        match self.boot(program, run, folder) {
            Err(error) if run.is_stock && error.is::<Lost>() => {
                println!("  {}: {error:#}; once more", self.name);
                self.boot(program, run, folder)
            }
            outcome => outcome,
        }
    }

    /// Boots a machine that runs the programs of `folder`. Returns what its kernel complained of.
    fn boot(&self, program: &Path, run: &Run, folder: &Path) -> Result<Vec<String>> {
        let programs = folder.join("programs");
        let job = Job::of_script(self.bench.ws, "differential")?;
        job.add(program, &format!("bin/{PACKAGE}"))?;
        job.add(&programs, "programs")?;
        job.add_text("runs", run.runs)?;
        let count = fs::read_to_string(&programs)?.lines().count() as u32;
        let boot = Boot {
            name: &format!("differential-{}", run.name),
            kernel: run.kernel,
            job: &job,
            parameters: PARAMETERS,
            timeout: TIMEOUT + TIMEOUT_OF_PROGRAM * count,
        };
        let mut sections = Sections::default();
        let mut seen = Vec::new();
        let booted = self.bench.host.boot(&boot, &mut |line| {
            seen.extend(sections.line(line));
        });
        let booted = booted.with_context(|| last_words(sections, &programs))?;
        keep(&seen, folder)?;
        let mut complaints = booted.splats;
        if booted.status != 0 {
            complaints.push(format!("the job ended with status {}", booted.status));
        }
        Ok(complaints)
    }
}

/// What a machine that was lost was running.
fn last_words(sections: Sections, programs: &Path) -> String {
    let running = match sections.interrupted() {
        Some(section) => {
            let starts = |line: &&String| line.starts_with("|program ");
            let count = section.lines.iter().filter(starts).count();
            format!("{}, after {count} records", section.name)
        }
        None => "no program".to_owned(),
    };
    format!("running {running} of {}", programs.display())
}

/// Writes the records that sections are into `folder`, by their names.
fn keep(sections: &[Section], folder: &Path) -> Result<()> {
    for section in sections {
        if section.status != Some(0) {
            let end = section.lines.last().map_or("", String::as_str);
            bail!("{} failed in the guest, last: {end}", section.name);
        }
        let path = folder.join(&section.name);
        fs::write(&path, section.lines.join("\n") + "\n")
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// Has the records in `folder` compared.
fn judge(program: &Path, folder: &Path) -> Result<Report> {
    let text = command::read(Command::new(program).arg("judge").arg(folder))?;
    serde_json::from_str(&text).with_context(|| format!("{PACKAGE} judge wrote no report"))
}

impl Report {
    fn add(&mut self, other: Self) {
        self.compared += other.compared;
        self.missing += other.missing;
        self.unstable.extend(other.unstable);
        self.differences.extend(other.differences);
    }

    fn summary(&self) -> String {
        format!(
            "{} compared, {} different, {} unstable, {} not run",
            self.compared,
            self.differences.len(),
            self.unstable.len(),
            self.missing
        )
    }

    /// A case for each difference, or one if there is none; one each for what could not be
    /// compared.
    fn cases(&self) -> Vec<Case> {
        let mut cases = self
            .differences
            .iter()
            .map(|lines| Case::failed(lines.first().map_or("difference", String::as_str), lines))
            .collect::<Vec<_>>();
        if cases.is_empty() {
            cases.push(Case::without_faults(
                "no difference",
                &self.nothing_compared(),
            ));
        }
        for line in &self.unstable {
            println!("  unstable: {line}");
        }
        let too_many = self.unstable.len() > 1 + self.compared / UNSTABLE_SHARE;
        let unstable = if too_many { &self.unstable[..] } else { &[] };
        cases.push(Case::without_faults("stable programs", unstable));
        let missing = match self.missing {
            0 => Vec::new(),
            missing => vec![format!("{missing} programs were not run to their end")],
        };
        cases.push(Case::without_faults("all programs ran", &missing));
        cases
    }

    fn nothing_compared(&self) -> Vec<String> {
        match self.compared {
            0 => vec!["nothing was compared".to_owned()],
            _ => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(json: &str) -> Report {
        serde_json::from_str(json).unwrap()
    }

    fn printed(report: &Report) -> Vec<String> {
        report.cases().iter().map(Case::to_string).collect()
    }

    #[test]
    fn a_clean_report_passes() {
        let expected = [
            "ok no difference",
            "ok stable programs",
            "ok all programs ran",
        ];
        for (compared, unstable) in [(60, r#"["a"]"#), (300, r#"["a", "b", "c", "d"]"#)] {
            let text = format!(
                r#"{{"again": false, "compared": {compared}, "missing": 0,
                "unstable": {unstable}, "differences": []}}"#
            );
            assert_eq!(printed(&report(&text)), expected);
        }
    }

    #[test]
    fn each_difference_is_a_failure() {
        let text = r#"{"again": false, "compared": 9, "missing": 1, "unstable": ["a", "b"],
            "differences": [["seed 1", "x"], ["seed 2", "y"]]}"#;
        let expected = [
            "not ok seed 1",
            "not ok seed 2",
            "not ok stable programs",
            "not ok all programs ran",
        ];
        assert_eq!(printed(&report(text)), expected);
    }

    #[test]
    fn nothing_compared_is_no_success() {
        assert_eq!(printed(&Report::default())[0], "not ok no difference");
    }

    #[test]
    fn records_go_where_they_belong() {
        let folder = tempfile::tempdir().unwrap();
        let section = |name: &str, status| Section {
            name: name.to_owned(),
            lines: vec!["|a".to_owned()],
            status,
        };
        keep(&[section("reference", Some(0))], folder.path()).unwrap();
        let kept = fs::read_to_string(folder.path().join("reference")).unwrap();
        assert_eq!(kept, "|a\n");
        for status in [Some(1), None] {
            assert!(keep(&[section("candidate", status)], folder.path()).is_err());
        }
    }
}
