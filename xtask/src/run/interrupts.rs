// SPDX-License-Identifier: GPL-2.0-only

//! Interrupts of an NVMe controller's data queues, from lines of `/proc/interrupts`.

use anyhow::{Context, Result};

/// How many interrupts the data queues raised, on all processors.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DataQueueInterrupts(u64);

impl DataQueueInterrupts {
    /// Sums the lines of queues other than 0, which is the controller's own.
    ///
    /// Fails if there is none: then nothing could be told from a count of zero.
    pub fn parse(lines: &[String]) -> Result<Self> {
        let counts = lines
            .iter()
            .filter_map(|line| data_queue_count(line))
            .collect::<Vec<_>>();
        (!counts.is_empty())
            .then(|| Self(counts.iter().sum()))
            .context("the guest has no interrupt of an NVMe data queue")
    }

    /// The interrupts raised since `before`.
    pub fn since(self, before: Self) -> Self {
        Self(self.0.saturating_sub(before.0))
    }

    /// The count itself.
    pub fn count(self) -> u64 {
        self.0
    }

    #[cfg(test)]
    pub fn of_count(count: u64) -> Self {
        Self(count)
    }
}

/// The count of a line such as ` 31:  5  7  PCI-MSIX-0000:00:01.0  1-edge  nvme0q1`.
fn data_queue_count(line: &str) -> Option<u64> {
    let mut words = line.split_whitespace();
    words.next()?.strip_suffix(':')?;
    let (_, queue) = line
        .split_whitespace()
        .last()?
        .strip_prefix("nvme")?
        .split_once('q')?;
    if queue.parse::<u32>().ok()? == 0 {
        return None;
    }
    Some(words.map_while(|word| word.parse::<u64>().ok()).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    const TABLE: &str = "           CPU0       CPU1
  30:         14          0  PCI-MSIX-0000:00:01.0    0-edge      nvme0q0
  31:          5          7  PCI-MSIX-0000:00:01.0    1-edge      nvme0q1
  32:        100          0  PCI-MSIX-0000:00:01.0    2-edge      nvme0q2
  33:          9          9  PCI-MSIX-0000:00:02.0    0-edge      virtio0-config
";

    #[test]
    fn data_queues_are_summed_over_processors() {
        let counts = DataQueueInterrupts::parse(&lines(TABLE)).unwrap();
        assert_eq!(counts.count(), 112);
        let later = DataQueueInterrupts::of_count(120);
        assert_eq!(later.since(counts).count(), 8);
    }

    #[test]
    fn no_data_queue_is_an_error() {
        let admin_only = &lines(TABLE)[..2];
        assert!(DataQueueInterrupts::parse(admin_only).is_err());
        assert!(DataQueueInterrupts::parse(&[]).is_err());
    }
}
