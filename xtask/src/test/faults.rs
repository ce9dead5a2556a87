// SPDX-License-Identifier: GPL-2.0-only

//! AIO that runs into faults: memory that is not there, copies and requests that fail, devices that
//! forget, reset, cannot read and disappear, pages that move, and processes that are killed.
//!
//! Whatever happens, every event comes once, nothing hangs and nothing is left.

use std::time::Duration;

use anyhow::Result;

use super::case::{boot_cases, Case};
use super::Bench;
use crate::soak::PACKAGE;
use crate::variable;
use crate::vm::report::{Section, Sections};
use crate::vm::{static_program, Boot, Job, Monitor, Nvme};

/// The name of the boot.
const NAME: &str = "faults";

/// How long each kind of fault lasts unless `SECONDS` says otherwise.
const SECONDS: u64 = 20;

/// The most that `SECONDS` may say: an hour.
const MOST_SECONDS: u64 = 60 * 60;

/// For all sections, and for each second of one.
const TIMEOUT: Duration = Duration::from_secs(240);
const TIMEOUT_OF_SECOND: Duration = Duration::from_secs(10);

/// The sections in which nothing is injected.
const WITHOUT_FAULT: [&str; 2] = ["prepare", "nothing left"];

/// What a kernel says of disks that fail because they were told to.
const PROVOKED: &[&str] = &["I/O error, dev", "null_blk: rq"];

/// The line by which the guest asks for a device to be removed.
const REMOVE: &str = "@remove ";

/// Boots the kernel for a fault of each kind, and prints what came of the I/Os.
pub fn run(bench: &Bench) -> Result<Vec<Case>> {
    if bench.ws.mode.as_deref() != Some("debug") {
        let reason = "only kernels of MODE=debug inject faults";
        return Ok(vec![Case::skipped("all kinds", reason)]);
    }
    let seconds = variable::number_within("SECONDS", SECONDS, 1..=MOST_SECONDS)?;
    let job = job(bench, seconds)?;
    let boot = Boot {
        name: NAME,
        kernel: &bench.kernel.image,
        job: &job,
        parameters: "",
        timeout: TIMEOUT + TIMEOUT_OF_SECOND * u32::try_from(seconds)?,
    };
    let mut sections = Sections::default();
    let mut cases = Vec::new();
    let mut removal = Ok(());
    let booted = bench.host.boot(&boot, &mut |line| {
        if let Some(id) = line.strip_prefix(REMOVE) {
            removal = remove(bench, id);
        }
        if let Some(section) = sections.line(line) {
            println!("  {}: {}", section.name, Figures::of(&section));
            cases.push(case_of(&section));
        }
    })?;
    removal?;
    if let Some(section) = sections.interrupted() {
        cases.push(Case::failed(&section.name, &["it did not end".to_owned()]));
    }
    cases.extend(boot_cases(&booted));
    Ok(cases)
}

fn job(bench: &Bench, seconds: u64) -> Result<Job> {
    let mut job = Job::of_script(bench.ws, NAME)?;
    let program = static_program(bench.ws, &bench.host.root, PACKAGE)?;
    job.add(&program, &format!("bin/{PACKAGE}"))?;
    job.add_text("seconds", &format!("{seconds}\n"))?;
    job.nvmes = vec![Nvme::Removable, Nvme::Unreadable];
    job.monitor = true;
    job.provokes = PROVOKED;
    Ok(job)
}

fn remove(bench: &Bench, id: &str) -> Result<()> {
    Monitor::of_boot(&bench.host.results(), NAME)?.remove_device(id)
}

/// What came of the I/Os of a section.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Figures {
    injections: u64,
    submitted: u64,
    delivered: u64,
    dropped: u64,
    failed: u64,
    lost: u64,
}

impl Figures {
    /// Adds up what the lines of a section say; where a fault is not counted, I/Os that failed are.
    fn of(section: &Section) -> Self {
        let mut figures = Self::default();
        let told = |line: &&String| line.starts_with("nth: ") || line.starts_with("total: ");
        for line in section.lines.iter().filter(told) {
            figures.injections += number_before(line, "injections");
            figures.submitted += number_before(line, "submitted");
            figures.delivered += number_before(line, "delivered");
            figures.dropped += number_before(line, "dropped");
            figures.failed += number_before(line, "failed");
            figures.lost += number_before(line, "lost");
        }
        let counted = section
            .lines
            .iter()
            .find_map(|line| line.strip_prefix("injections: ")?.parse().ok());
        match (counted, figures.injections) {
            (Some(injections), _) => figures.injections = injections,
            (None, 0) => figures.injections = figures.failed,
            _ => {}
        }
        figures
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} injections, {} submitted, {} delivered, {} dropped, {} failed, {} lost",
            self.injections, self.submitted, self.delivered, self.dropped, self.failed, self.lost
        )
    }
}

/// The number in front of `word`, such as 12 in `12 lost`.
fn number_before(line: &str, word: &str) -> u64 {
    line.split([',', ':'])
        .filter_map(|part| part.trim().strip_suffix(word)?.trim().parse::<u64>().ok())
        .sum()
}

/// A section passes if its command does, lost nothing, and met its fault at all.
fn case_of(section: &Section) -> Case {
    let figures = Figures::of(section);
    let mut faults = Vec::new();
    if section.status != Some(0) {
        faults.extend(section.lines.iter().cloned());
        faults.push(match section.status {
            Some(status) => format!("it ended with status {status}"),
            None => "it did not end".to_owned(),
        });
    }
    if figures.lost > 0 {
        faults.push(format!("{} events were lost", figures.lost));
    }
    if figures.injections == 0 && !WITHOUT_FAULT.contains(&section.name.as_str()) {
        faults.push("no fault was injected".to_owned());
    }
    Case::without_faults(&section.name, &faults)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOTAL: &str = "total: 9 processes, 3 killed, 12 contexts, 7 polled, 400 submitted, \
        380 delivered, 20 dropped, 5 refused, 4 failed, 0 lost, 0 foreign, 0 corrupt";

    #[test]
    fn the_figures_are_those_of_the_program() {
        let figures = Figures::of(&Section::ended("failslab", &[TOTAL, "injections: 77"], 0));
        assert_eq!(
            figures.to_string(),
            "77 injections, 400 submitted, 380 delivered, 20 dropped, 4 failed, 0 lost"
        );
        assert_eq!(Figures::of(&Section::ended("x", &[TOTAL], 0)).injections, 4);
    }

    #[test]
    fn lines_of_single_calls_add_up() {
        let line =
            "nth: /dev/a Submit Polled: 6 injections, 20 submitted, 20 delivered, 2 failed, \
            0 lost";
        let figures = Figures::of(&Section::ended("each in turn", &[line, line], 0));
        assert_eq!((figures.injections, figures.delivered), (12, 40));
    }

    #[test]
    fn a_fault_must_come_and_nothing_be_lost() {
        let failed = |name, lines: &[&str], status| {
            case_of(&Section::ended(name, lines, status)).has_failed()
        };
        assert!(!failed("removal", &[TOTAL, "injections: 1"], 0));
        assert!(failed("removal", &[TOTAL, "injections: 1"], 1));
        assert!(failed("removal", &[TOTAL, "injections: 0"], 0));
        assert!(!failed("nothing left", &["requests: 0, aio-nr: 0"], 0));
        let lost = TOTAL.replace("0 lost", "2 lost");
        assert!(failed("removal", &[&lost, "injections: 1"], 0));
    }
}
