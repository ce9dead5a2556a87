// SPDX-License-Identifier: GPL-2.0-only

//! What a program wrote, as it is and under hipri-run, and what hipri-run said of its I/O.

use std::collections::BTreeMap;
use std::fmt;

use super::program::{ResultOf, Share};

/// What the guest's script writes behind each run, before its status and interrupts.
const END: &str = "--- ";

/// What hipri begins its lines with.
const HIPRI: &str = "hipri: ";

/// Both runs of a program.
pub struct Transcript<'a> {
    plain: Run<'a>,
    polled: Run<'a>,
}

/// One run of a program.
#[derive(Default)]
struct Run<'a> {
    lines: Vec<&'a str>,
    /// None if it did not end.
    end: Option<End>,
}

/// The end of a run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct End {
    /// The exit status.
    status: i32,
    /// How many interrupts the device raised for I/O.
    interrupts: u64,
}

/// I/O that was accepted, over all contexts of a run.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Polled.
    pub polled: u64,
    /// Not polled, by why not.
    pub reasons: BTreeMap<String, u64>,
}

impl<'a> Transcript<'a> {
    /// Takes the runs apart.
    pub fn of(lines: &'a [String]) -> Self {
        let mut lines = lines.iter().map(String::as_str);
        Self {
            plain: Run::of(&mut lines),
            polled: Run::of(&mut lines),
        }
    }

    /// What hipri-run said of the I/O.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        let said = self.polled.lines.iter();
        for line in said.filter_map(|line| line.strip_prefix(HIPRI)) {
            counts.add(line);
        }
        counts
    }

    /// Why the program is not unchanged under hipri-run, or not polled as it should be.
    pub fn faults(&self, result_of: ResultOf, share: Share) -> Vec<String> {
        let mut faults = Vec::new();
        for (how, run) in [("as it is", &self.plain), ("polled", &self.polled)] {
            faults.extend(run.fault().map(|fault| format!("{how}, {fault}")));
        }
        let [before, after] = [&self.plain, &self.polled].map(|run| run.results(result_of));
        if before.is_empty() {
            faults.push("it says nothing of results".to_owned());
        }
        if before != after {
            faults.push(format!("it says {before:?}, and polled {after:?}"));
        }
        let counts = self.counts();
        if !share.holds(&counts) {
            faults.push(format!("polled should be {share:?}, but: {counts}"));
        }
        if share == Share::AllOfTheDevice {
            faults.extend(self.interrupts_fault(&counts));
        }
        faults
    }

    /// Whether hipri's word is not what the device knows. A lone interrupt may belong to another
    /// program.
    fn interrupts_fault(&self, counts: &Counts) -> Option<String> {
        let [plain, polled] = [&self.plain, &self.polled].map(|run| run.end);
        let (plain, polled) = (plain?.interrupts, polled?.interrupts);
        let wrong = plain <= 1 || polled > 1 + counts.polled / 1000;
        wrong.then(|| format!("there were {plain} interrupts, and polled {polled}"))
    }
}

impl<'a> Run<'a> {
    /// Takes the lines of a run, with its end.
    fn of(lines: &mut impl Iterator<Item = &'a str>) -> Self {
        let mut run = Self::default();
        for line in lines {
            run.end = End::of(line);
            if run.end.is_some() {
                break;
            }
            run.lines.push(line);
        }
        run
    }

    /// What the lines of the program, not those of hipri, tell of results.
    fn results(&self, result_of: ResultOf) -> Vec<String> {
        let lines = self.lines.iter().copied();
        lines
            .filter(|line| !line.is_empty() && !line.starts_with(HIPRI))
            .filter_map(result_of)
            .collect()
    }

    fn fault(&self) -> Option<String> {
        match self.end.map(|end| end.status) {
            Some(0) => None,
            // Some programs do not end for timeout's first signal.
            Some(124 | 137) => Some("it took too long".to_owned()),
            Some(status) => Some(format!("it ended with status {status}")),
            None => Some("it did not end".to_owned()),
        }
    }
}

impl End {
    /// That which a line is: a program may write lines that begin the same.
    fn of(line: &str) -> Option<Self> {
        let (status, interrupts) = line.strip_prefix(END)?.split_once(' ')?;
        Some(Self {
            status: status.parse().ok()?,
            interrupts: interrupts.parse().ok()?,
        })
    }
}

impl Counts {
    /// Adds what a line says, if it is of a context:
    /// `process 1, context 0x7f00: 9 polled, 1 not polled: 1 eventfd`.
    fn add(&mut self, line: &str) -> Option<()> {
        let (_, counts) = line.strip_prefix("process ")?.split_once(": ")?;
        let (totals, reasons) = counts.split_once(": ").unwrap_or((counts, ""));
        let (polled, _) = totals.split_once(" polled, ")?;
        self.polled += polled.parse::<u64>().ok()?;
        for reason in reasons.split(", ") {
            let Some((count, label)) = reason.split_once(' ') else {
                continue;
            };
            *self.reasons.entry(label.to_owned()).or_default() += count.parse::<u64>().ok()?;
        }
        Some(())
    }
}

/// As in `9 of 12 polled; 3 eventfd`.
impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.polled + self.reasons.values().sum::<u64>();
        write!(f, "{} of {total} polled", self.polled)?;
        let mut separator = "; ";
        for (reason, count) in &self.reasons {
            write!(f, "{separator}{count} {reason}")?;
            separator = ", ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    const COUNTS: &str = "hipri: process 1, context 0x7f00: 9 polled, 1 not polled: 1 eventfd";
    const SHARE: Share = Share::Some(&["eventfd"]);

    fn faults(text: &[&str], share: Share) -> usize {
        let lines = lines(&text.join("\n"));
        let result_of: ResultOf = |line| line.starts_with("result").then(|| line.to_owned());
        Transcript::of(&lines).faults(result_of, share).len()
    }

    #[test]
    fn the_same_results_with_the_right_share_are_right() {
        let text = [
            "result 1", "--- 0 9", "time 3", COUNTS, "result 1", "--- 0 9",
        ];
        assert_eq!(faults(&text, SHARE), 0);
        assert_eq!(faults(&text, Share::All), 1);
    }

    #[test]
    fn other_results_none_or_a_failure_are_not() {
        let other = ["result 1", "--- 0 9", COUNTS, "result 2", "--- 0 9"];
        assert_eq!(faults(&other, SHARE), 1);
        let fewer = [
            "result 1", "result 1", "--- 0 9", COUNTS, "result 1", "--- 0 9",
        ];
        assert_eq!(faults(&fewer, SHARE), 1);
        let none = ["--- 0 9", COUNTS, "--- 0 9"];
        assert_eq!(faults(&none, SHARE), 1);
        let failed = ["result 1", "--- 0 9", COUNTS, "result 1", "--- 1 9"];
        assert_eq!(faults(&failed, SHARE), 1);
        let both_failed = ["result 1", "--- 1 9", COUNTS, "result 1", "--- 1 9"];
        assert_eq!(faults(&both_failed, SHARE), 2);
    }

    #[test]
    fn the_device_must_bear_it_out() {
        let all = "hipri: process 1, context 0x7f00: 9 polled, 0 not polled";
        let faults = |plain, polled| {
            let text = ["result 1", plain, all, "result 1", polled];
            faults(&text, Share::AllOfTheDevice)
        };
        assert_eq!(faults("--- 0 9", "--- 0 1"), 0);
        assert_eq!(faults("--- 0 9", "--- 0 9"), 1);
        assert_eq!(faults("--- 0 0", "--- 0 0"), 1);
    }

    #[test]
    fn runs_end_with_status_and_interrupts() {
        let lines = lines("a\n--- of 1 ---\n--- 0 5\nhipri: x\na\nb\n--- 3 0\nlate");
        let Transcript { plain, polled } = Transcript::of(&lines);
        let all: ResultOf = |line| Some(line.to_owned());
        let (status, interrupts) = (0, 5);
        assert_eq!(plain.end, Some(End { status, interrupts }));
        assert_eq!(plain.results(all), ["a", "--- of 1 ---"]);
        assert_eq!(polled.results(all), ["a", "b"]);
        assert_eq!(polled.fault().unwrap(), "it ended with status 3");
        let unended = Transcript::of(&lines[..1]);
        assert_eq!(unended.plain.fault().unwrap(), "it did not end");
    }

    #[test]
    fn counts_of_all_contexts_are_added() {
        let lines = lines(
            "hipri: process 1, context 0x1: 5 polled, 0 not polled\n--- 0 9\n\
             hipri: I/O is not polled: because\n\
             hipri: process 1, context 0x1: 5 polled, 0 not polled\n\
             hipri: process 1, context 0x2: nothing submitted\n\
             hipri: process 2, context 0x1: 1 polled, 5 not polled: 3 eventfd, 2 not a read or write\n\
             hipri: process 3, context 0x1: 0 polled, 1 not polled: 1 eventfd\n--- 0 9",
        );
        let counts = Transcript::of(&lines).counts();
        assert_eq!(
            counts.to_string(),
            "6 of 12 polled; 4 eventfd, 2 not a read or write"
        );
    }
}
