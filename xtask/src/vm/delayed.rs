// SPDX-License-Identifier: GPL-2.0-only

//! Disks that take their time.

/// A disk of zeroes of which each I/O takes a while, and what QEMU takes itself.
///
/// It is a virtio-blk disk with a thread of its own, which can wait for microseconds. QEMU's NVMe
/// device lives in the main thread, which waits for whole milliseconds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DelayedDisk {
    /// How long an I/O takes, in microseconds.
    pub micros: u32,
}

/// What the kernel is told so that the disks can be polled.
pub const PARAMETERS: &str = "virtio_blk.poll_queues=1";

/// Of a disk, in bytes.
const SIZE: u32 = 64 << 20;

/// Where the first disk sits: the kernel names disks in the order of their slots, and the root's is
/// to be the first.
const FIRST_SLOT: usize = 0x10;

impl DelayedDisk {
    /// Its serial number.
    pub fn serial(self) -> String {
        format!("delayed-{}us", self.micros)
    }

    /// What QEMU is told of a machine's disk of this index. One queue is left for interrupts.
    pub fn arguments(self, index: usize) -> [String; 6] {
        let name = self.serial();
        let (nanos, slot) = (u64::from(self.micros) * 1000, FIRST_SLOT + index);
        [
            "-object".into(),
            format!("iothread,id={name}-thread,poll-max-ns=0"),
            "-blockdev".into(),
            format!("null-co,node-name={name},size={SIZE},read-zeroes=on,latency-ns={nanos}"),
            "-device".into(),
            format!(
                "virtio-blk-pci,serial={name},drive={name},iothread={name}-thread,num-queues=2,\
                 addr={slot:#x}"
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_told_in_nanoseconds() {
        let slow = DelayedDisk { micros: 5_000_000 };
        assert!(slow.arguments(0)[3].ends_with(",latency-ns=5000000000"));
    }

    #[test]
    fn each_disk_has_a_slot_and_a_serial_number() {
        let device = |micros, index| DelayedDisk { micros }.arguments(index)[5].clone();
        assert!(device(200, 0).contains("serial=delayed-200us,"));
        assert!(device(200, 0).ends_with("addr=0x10") && device(1000, 1).ends_with("addr=0x11"));
    }
}
