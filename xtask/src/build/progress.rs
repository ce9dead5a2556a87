// SPDX-License-Identifier: GPL-2.0-only

//! Progress of a command whose work can be counted in lines of its output.

use std::fs;
use std::io::{stderr, IsTerminal};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// A bar on a terminal; elsewhere one line for each tenth.
pub struct Progress {
    label: String,
    bar: Option<ProgressBar>,
    count: Count,
    started: Instant,
    memory: Option<PathBuf>,
}

impl Progress {
    /// Progress towards the number of steps that `memory` recorded last time, else `estimate`.
    pub fn towards(label: &str, memory: PathBuf, estimate: u64) -> Self {
        let expected = fs::read_to_string(&memory)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .unwrap_or(estimate);
        let style = "{msg:16!} {bar:30} {percent:>3}% {elapsed} eta {eta} {prefix}";
        Self::new(label, Some(expected), Some(memory), style)
    }

    /// Progress of unknown length, such as an incremental build.
    pub fn open_ended(label: &str) -> Self {
        Self::new(
            label,
            None,
            None,
            "{msg:16!} {spinner} {pos} {elapsed} {prefix}",
        )
    }

    fn new(label: &str, expected: Option<u64>, memory: Option<PathBuf>, style: &str) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let bar = expected.map_or_else(ProgressBar::no_length, ProgressBar::new);
            let style = ProgressStyle::with_template(style).expect("a valid template");
            bar.set_style(style);
            bar.set_message(label.to_owned());
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        Self {
            label: label.to_owned(),
            bar,
            count: Count { done: 0, expected },
            started: Instant::now(),
            memory,
        }
    }

    /// Counts one step; `detail` says which.
    pub fn step(&mut self, detail: &str) {
        let milestone = self.count.step();
        if let Some(bar) = &self.bar {
            // The estimate may be short; a bar that is full already would look done.
            bar.set_position(self.count.shown());
            bar.set_prefix(detail.to_owned());
        } else if let Some(milestone) = milestone {
            let seconds = self.started.elapsed().as_secs();
            eprintln!("{}: {milestone} after {seconds} s", self.label);
        }
    }

    /// Ends in success and remembers how many steps it was.
    pub fn finish(self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        eprintln!(
            "{}: done in {} s",
            self.label,
            self.started.elapsed().as_secs()
        );
        if let Some(memory) = &self.memory {
            // Only the next estimate would suffer.
            let _ = fs::write(memory, format!("{}\n", self.count.done));
        }
    }

    /// Ends in failure; what the count was is worth nothing.
    pub fn abandon(self) {
        if let Some(bar) = &self.bar {
            bar.abandon();
        }
    }
}

/// How many steps of unknown many make a line.
const STRIDE: u64 = 250;

/// Steps done, of how many.
struct Count {
    done: u64,
    expected: Option<u64>,
}

impl Count {
    /// Counts one and says which milestone that reached, if it did.
    ///
    /// Milestones are tenths of what is expected, or else each [`STRIDE`] steps. The end is none.
    fn step(&mut self) -> Option<String> {
        self.done += 1;
        let Some(expected) = self.expected else {
            return (self.done % STRIDE == 0).then(|| format!("{} steps", self.done));
        };
        let tenths = |done: u64| done * 10 / expected.max(1);
        let reached = tenths(self.done);
        (reached > tenths(self.done - 1) && reached < 10).then(|| format!("{} %", reached * 10))
    }

    /// What a bar shows: never quite full while steps still come.
    fn shown(&self) -> u64 {
        match self.expected {
            Some(expected) => self.done.min(expected.saturating_sub(1)),
            None => self.done,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn milestones(expected: Option<u64>, steps: u64) -> Vec<String> {
        let mut count = Count { done: 0, expected };
        (0..steps).filter_map(|_| count.step()).collect()
    }

    #[test]
    fn each_tenth_is_told_once() {
        let told = milestones(Some(100), 100);
        assert_eq!(told.len(), 9);
        assert_eq!((&*told[0], &*told[8]), ("10 %", "90 %"));
        assert_eq!(milestones(Some(5), 5), ["20 %", "40 %", "60 %", "80 %"]);
    }

    #[test]
    fn an_estimate_may_be_short_or_missing() {
        assert_eq!(milestones(Some(10), 30).len(), 9);
        assert_eq!(milestones(None, 600), ["250 steps", "500 steps"]);
        let count = Count {
            done: 30,
            expected: Some(10),
        };
        assert_eq!(count.shown(), 9);
    }
}
