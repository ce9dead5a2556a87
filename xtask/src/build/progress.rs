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
        let tenth = self.count.step();
        match (&self.bar, tenth) {
            (Some(bar), _) => {
                // The estimate may be short; a bar that is full already would look done.
                bar.set_position(self.count.shown());
                bar.set_prefix(detail.to_owned());
            }
            (None, Some(tenth)) => {
                let seconds = self.started.elapsed().as_secs();
                eprintln!("{}: {} % after {seconds} s", self.label, tenth * 10);
            }
            (None, None) => {}
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

/// Steps done, of how many.
struct Count {
    done: u64,
    expected: Option<u64>,
}

impl Count {
    /// Counts one and returns the tenth (1 to 9) that it completed, if it did.
    fn step(&mut self) -> Option<u64> {
        let before = self.tenths();
        self.done += 1;
        let after = self.tenths();
        (after > before && after < 10).then_some(after)
    }

    fn tenths(&self) -> u64 {
        match self.expected {
            Some(expected) => (self.done * 10 / expected.max(1)).min(10),
            None => 0,
        }
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

    fn tenths(expected: Option<u64>, steps: u64) -> Vec<u64> {
        let mut count = Count { done: 0, expected };
        (0..steps).filter_map(|_| count.step()).collect()
    }

    #[test]
    fn each_tenth_is_told_once() {
        assert_eq!(tenths(Some(100), 100), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(tenths(Some(100), 55), [1, 2, 3, 4, 5]);
        assert_eq!(tenths(Some(5), 5), [2, 4, 6, 8]);
    }

    #[test]
    fn an_estimate_may_be_short_or_missing() {
        assert_eq!(tenths(Some(10), 30), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(tenths(None, 30), [] as [u64; 0]);
        let count = Count {
            done: 30,
            expected: Some(10),
        };
        assert_eq!(count.shown(), 9);
    }
}
