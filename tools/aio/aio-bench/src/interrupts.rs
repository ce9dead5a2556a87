// SPDX-License-Identifier: GPL-2.0-only

//! Interrupts of the queues that I/O goes through, from `/proc/interrupts`.

use std::fs;

/// The NVMe controllers whose interrupts are counted.
pub struct Controllers {
    names: Vec<String>,
}

impl Controllers {
    /// The controllers of these block devices; none if any of the devices is not NVMe, since it
    /// is not known what interrupts the others raise.
    pub fn of_devices(devices: &[String]) -> Option<Self> {
        let mut names = devices
            .iter()
            .map(|device| controller(device))
            .collect::<Option<Vec<_>>>()?;
        names.sort();
        names.dedup();
        (!names.is_empty()).then_some(Self { names })
    }

    /// How many interrupts their I/O queues have raised on all processors.
    pub fn count(&self) -> Option<u64> {
        self.count_in(&fs::read_to_string("/proc/interrupts").ok()?)
    }

    /// As above; none if there is no line of an I/O queue, for then a zero would mean nothing.
    fn count_in(&self, table: &str) -> Option<u64> {
        let counts: Vec<_> = table
            .lines()
            .filter_map(|line| self.queue_count(line))
            .collect();
        (!counts.is_empty()).then(|| counts.iter().sum())
    }

    /// The count of a line such as ` 31:  5  7  PCI-MSIX-0000:00:01.0  1-edge  nvme0q1`, unless it
    /// is of queue 0, which is the controller's own.
    fn queue_count(&self, line: &str) -> Option<u64> {
        let mut words = line.split_whitespace();
        words.next()?.strip_suffix(':')?;
        let action = line.split_whitespace().last()?;
        let queue = self
            .names
            .iter()
            .find_map(|name| action.strip_prefix(name.as_str())?.strip_prefix('q'))?;
        if queue.parse::<u32>().ok()? == 0 {
            return None;
        }
        Some(words.map_while(|word| word.parse::<u64>().ok()).sum())
    }
}

/// `nvme0` for `nvme0n1` and `nvme0n1p2`.
fn controller(device: &str) -> Option<String> {
    let number = device.strip_prefix("nvme")?.split_once('n')?.0;
    number.parse::<u32>().ok()?;
    Some(format!("nvme{number}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "           CPU0       CPU1
  30:         14          0  PCI-MSIX-0000:00:01.0    0-edge      nvme0q0
  31:          5          7  PCI-MSIX-0000:00:01.0    1-edge      nvme0q1
  32:        100          0  PCI-MSIX-0000:00:01.0    2-edge      nvme0q2
  33:          1          1  PCI-MSIX-0000:00:02.0    1-edge      nvme1q1
  34:          9          9  PCI-MSIX-0000:00:03.0    0-edge      virtio0-config
 LOC:       1000       1000   Local timer interrupts
";

    fn count(devices: &[&str]) -> Option<u64> {
        let devices: Vec<_> = devices.iter().map(|&device| device.to_owned()).collect();
        Controllers::of_devices(&devices)?.count_in(TABLE)
    }

    #[test]
    fn io_queues_are_summed_over_processors_and_controllers() {
        assert_eq!(count(&["nvme0n1"]), Some(112));
        assert_eq!(count(&["nvme0n1p1", "nvme0n1p2"]), Some(112));
        assert_eq!(count(&["nvme0n1", "nvme1n1"]), Some(114));
    }

    #[test]
    fn what_cannot_be_told_is_not_zero() {
        assert_eq!(count(&["nvme2n1"]), None);
        assert_eq!(count(&["nullb0"]), None);
        assert_eq!(count(&["nvme0n1", "nullb0"]), None);
        assert_eq!(count(&[]), None);
    }
}
