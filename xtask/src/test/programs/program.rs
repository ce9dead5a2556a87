// SPDX-License-Identifier: GPL-2.0-only

//! The programs of the guest's script, how much of each is polled, and what of the lines it writes
//! is a result: not how long anything took.

use super::python;
use super::transcript::Counts;

/// A program of the guest's script.
pub struct Program {
    /// Its section's name.
    pub name: &'static str,
    /// What is polled of it, where the kernel polls.
    pub share: Share,
    /// What a line that it writes tells of results, if anything.
    pub result_of: ResultOf,
}

/// Takes the result out of a line, without times.
pub type ResultOf = fn(&str) -> Option<String>;

/// How much of a program's I/O hipri-run polls.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Share {
    /// All, and no file system does I/O of its own: the device raises no interrupts.
    AllOfTheDevice,
    /// All.
    All,
    /// Some; the rest is not, for each of these reasons.
    Some(&'static [&'static str]),
    /// Nothing, for each of these reasons.
    Nothing(&'static [&'static str]),
}

impl Share {
    /// Whether that is so of what was counted.
    pub fn holds(self, counts: &Counts) -> bool {
        let (polls, reasons): (bool, &[&str]) = match self {
            Share::AllOfTheDevice | Share::All => (true, &[]),
            Share::Some(reasons) => (true, reasons),
            Share::Nothing(reasons) => (false, reasons),
        };
        let all_known = reasons.len() == counts.reasons.len();
        let all_there = reasons.iter().all(|why| counts.reasons.contains_key(*why));
        (counts.polled > 0) == polls && all_known && all_there
    }
}

const BUFFERED: &str = "not O_DIRECT";
const EVENTFD: &str = "eventfd";
const NO_QUEUES: &str = "no poll queues";
const OPERATION: &str = "not a read or write";

/// Every reason that there is something of in mixed_io.
const MIXED: &[&str] = &[BUFFERED, EVENTFD, OPERATION];

/// What hipri-run says of all I/O where the kernel does not poll.
pub const UNPOLLED: Share = Share::Nothing(&["kernel without polled AIO"]);

/// The programs, in the script's order.
pub const PROGRAMS: &[Program] = &[
    program("fio verify", Share::AllOfTheDevice, fio),
    program("fio user-space reaping", Share::AllOfTheDevice, fio),
    program("fio reaping without waiting", Share::AllOfTheDevice, fio),
    program("fio batches", Share::AllOfTheDevice, fio),
    program("fio threads", Share::AllOfTheDevice, fio),
    program("fio processes", Share::AllOfTheDevice, fio),
    program("stressapptest", Share::AllOfTheDevice, stressapptest),
    program("ioping", Share::AllOfTheDevice, ioping),
    program("ioping -H", Share::AllOfTheDevice, ioping),
    program("fio fsync", Share::All, fio),
    program("fio page cache", Share::Nothing(&[BUFFERED]), fio),
    program("fio two disks", Share::Some(&[NO_QUEUES]), fio),
    program("sysbench", Share::All, sysbench),
    program("caio", Share::Nothing(&[EVENTFD, OPERATION]), script),
    program("aiofile", Share::Nothing(&[EVENTFD, OPERATION]), script),
    program(
        python::TESTS,
        Share::Nothing(&[BUFFERED, OPERATION]),
        unittest,
    ),
    program(python::DIRECT, Share::Some(&[OPERATION]), script),
    program("mixed I/O", Share::Some(MIXED), whole),
    program("mixed I/O, buffered", Share::Nothing(MIXED), whole),
    program("mixed I/O, 32 bits", Share::Some(MIXED), whole),
];

const fn program(name: &'static str, share: Share, result_of: ResultOf) -> Program {
    Program {
        name,
        share,
        result_of,
    }
}

/// All it says.
fn whole(line: &str) -> Option<String> {
    Some(line.to_owned())
}

/// The line of a script of ours.
fn script(line: &str) -> Option<String> {
    line.starts_with("result: ").then(|| line.to_owned())
}

/// Errors, I/Os and bytes of each job, from JSON.
fn fio(line: &str) -> Option<String> {
    let names = ["\"error\" : ", "\"total_ios\" : ", "\"io_bytes\" : "];
    let line = line.trim();
    let is_result = names.iter().any(|name| line.starts_with(name));
    is_result.then(|| line.to_owned())
}

/// The verdict and the number of wrong words, behind the time.
fn stressapptest(line: &str) -> Option<String> {
    let (_, said) = line.split_once("(UTC) ")?;
    let is_result = said.starts_with("Status: ") || said.starts_with("Stats: Found ");
    is_result.then(|| said.to_owned())
}

/// How many requests there were, with and without the first: two of ten numbers.
fn ioping(line: &str) -> Option<String> {
    let numbers: Vec<&str> = line.split(' ').collect();
    match numbers[..] {
        [counted, _, _, _, _, _, _, _, all, _] => Some(format!("{counted} of {all} requests")),
        _ => None,
    }
}

fn sysbench(line: &str) -> Option<String> {
    let line = line.trim();
    let is_result = line.starts_with("total number of events:") || line.starts_with("FATAL");
    is_result.then(|| line.to_owned())
}

/// The verdict and the number of tests.
fn unittest(line: &str) -> Option<String> {
    match line.split_once(" in ") {
        Some((tests, _)) if tests.starts_with("Ran ") => Some(tests.to_owned()),
        _ => (line == "OK").then(|| line.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(polled: u64, reasons: &[&str]) -> Counts {
        Counts {
            polled,
            reasons: reasons.iter().map(|why| ((*why).to_owned(), 1)).collect(),
        }
    }

    #[test]
    fn a_share_is_of_something_with_exactly_these_reasons() {
        assert!(Share::All.holds(&counts(9, &[])));
        assert!(!Share::All.holds(&counts(9, &[EVENTFD])));
        assert!(!Share::All.holds(&counts(0, &[])));
        let some = Share::Some(&[EVENTFD]);
        assert!(some.holds(&counts(9, &[EVENTFD])));
        assert!(!some.holds(&counts(9, &[])));
        assert!(!some.holds(&counts(9, &[BUFFERED])));
        assert!(!some.holds(&counts(9, MIXED)));
        assert!(!some.holds(&counts(0, &[EVENTFD])));
        let nothing = Share::Nothing(&[EVENTFD]);
        assert!(nothing.holds(&counts(0, &[EVENTFD])));
        assert!(!nothing.holds(&counts(0, &[])));
        assert!(!nothing.holds(&counts(1, &[EVENTFD])));
    }

    #[test]
    fn results_are_without_times() {
        let line = "2026/11/23-18:13:41(UTC) Stats: Found 0 hardware incidents";
        let said = "Stats: Found 0 hardware incidents";
        assert_eq!(stressapptest(line).unwrap(), said);
        assert_eq!(stressapptest("2026/11/23-18:13:41(UTC) Stats: Disk"), None);
        let line = "199 27253045 7302 29908731 76454 136950 1785551 124179 200 29622185";
        assert_eq!(ioping(line).unwrap(), "199 of 200 requests");
        assert_eq!(ioping("ioping: failed"), None);
        assert_eq!(unittest("Ran 4 tests in 0.203s").unwrap(), "Ran 4 tests");
        assert_eq!(unittest("OK").unwrap(), "OK");
        assert_eq!(unittest("FAILED (errors=1)"), None);
    }

    #[test]
    fn fio_tells_of_errors_and_bytes() {
        assert_eq!(fio("      \"error\" : 5,").unwrap(), "\"error\" : 5,");
        assert!(fio("        \"io_bytes\" : 4096,").is_some());
        assert_eq!(fio("      \"job_runtime\" : 1190,"), None);
    }
}
