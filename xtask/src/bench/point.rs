// SPDX-License-Identifier: GPL-2.0-only

//! What one run of aio-bench measures.

use serde::{Deserialize, Serialize};

use crate::vm::DelayedDisk;

/// How I/O is submitted and reaped.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Engine {
    /// io_submit and io_getevents.
    #[serde(rename = "aio")]
    Aio,
    /// The same with `IOCB_FLAG_HIPRI`.
    #[serde(rename = "aio-hipri")]
    AioHipri,
    /// The same where `fs.aio-poll` is 2: sleeps before it polls.
    #[serde(rename = "aio-hipri-hybrid")]
    AioHipriHybrid,
    /// io_uring, by interrupt.
    #[serde(rename = "io_uring")]
    Uring,
    /// io_uring with `IORING_SETUP_IOPOLL`.
    #[serde(rename = "io_uring-poll")]
    UringPoll,
    /// The same with `IORING_SETUP_HYBRID_IOPOLL`: sleeps before it polls.
    #[serde(rename = "io_uring-poll-hybrid")]
    UringPollHybrid,
    /// io_uring-poll with registered buffers and files.
    #[serde(rename = "io_uring-poll-fixed")]
    UringPollFixed,
    /// preadv2 with `RWF_HIPRI`.
    #[serde(rename = "preadv2")]
    Preadv2,
}

impl Engine {
    /// Its name in figures.
    pub fn name(self) -> &'static str {
        match self {
            Self::AioHipriHybrid => "aio-hipri-hybrid",
            other => other.program_name(),
        }
    }

    /// aio-bench's name for it.
    fn program_name(self) -> &'static str {
        match self {
            Self::Aio => "aio",
            Self::AioHipri | Self::AioHipriHybrid => "aio-hipri",
            Self::Uring => "io_uring",
            Self::UringPoll => "io_uring-poll",
            Self::UringPollHybrid => "io_uring-poll-hybrid",
            Self::UringPollFixed => "io_uring-poll-fixed",
            Self::Preadv2 => "preadv2",
        }
    }

    /// What the sysctl `fs.aio-poll` has to be, on kernels that have it.
    fn aio_poll(self) -> u32 {
        match self {
            Self::AioHipriHybrid => 2,
            _ => 1,
        }
    }
}

/// Where the I/O goes.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Device {
    /// A null_blk disk as it comes, which takes 64 requests at once.
    #[serde(rename = "null_blk")]
    NullBlk,
    /// A null_blk disk that takes 8192 requests at once.
    #[serde(rename = "null_blk, 8192 tags")]
    NullBlkDeep,
    /// QEMU's NVMe namespace.
    #[serde(rename = "emulated NVMe")]
    Nvme,
    /// QEMU's virtio-blk disk, of which an I/O takes 200 microseconds longer.
    #[serde(rename = "virtio-blk, delayed 200 us")]
    Delayed200us,
    /// The same with a millisecond.
    #[serde(rename = "virtio-blk, delayed 1000 us")]
    Delayed1000us,
}

impl Device {
    /// Its name in figures.
    pub fn name(self) -> &'static str {
        match self {
            Self::NullBlk => "null_blk",
            Self::NullBlkDeep => "null_blk, 8192 tags",
            Self::Nvme => "emulated NVMe",
            Self::Delayed200us => "virtio-blk, delayed 200 us",
            Self::Delayed1000us => "virtio-blk, delayed 1000 us",
        }
    }

    /// Whether the clock tells anything of it, and not the number of instructions.
    pub fn is_timed(self) -> bool {
        match self {
            Self::NullBlk | Self::NullBlkDeep => false,
            Self::Nvme | Self::Delayed200us | Self::Delayed1000us => true,
        }
    }

    /// The disk that a machine has only for it.
    pub fn delayed_disk(self) -> Option<DelayedDisk> {
        match self {
            Self::NullBlk | Self::NullBlkDeep | Self::Nvme => None,
            Self::Delayed200us => Some(DelayedDisk { micros: 200 }),
            Self::Delayed1000us => Some(DelayedDisk { micros: 1000 }),
        }
    }

    /// Its path in the guest; `guest/bench` makes what the kernel does not bring.
    fn path(self) -> &'static str {
        match self {
            Self::NullBlk => "/dev/nullb0",
            Self::NullBlkDeep => "/dev/deep",
            Self::Nvme => "/dev/nvme0n1",
            Self::Delayed200us => "/dev/delayed-200us",
            Self::Delayed1000us => "/dev/delayed-1000us",
        }
    }
}

/// How a context is used: I/Os in flight, and I/Os submitted and reaped at once.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Load {
    /// I/Os in flight.
    pub depth: u32,
    /// I/Os submitted at once, and waited for at once.
    pub batch: u32,
}

impl Load {
    /// A load of so many I/Os in flight in batches of so many.
    pub const fn new(depth: u32, batch: u32) -> Self {
        Self { depth, batch }
    }
}

impl std::fmt::Display for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&format!("({},{})", self.depth, self.batch))
    }
}

/// One run: an engine under a load on a device, 4 KiB random reads.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Point {
    /// How I/O is submitted and reaped.
    pub engine: Engine,
    /// Where it goes.
    pub device: Device,
    /// How each context is used by each thread.
    #[serde(flatten)]
    pub load: Load,
    /// Contexts, which the threads use in turns.
    pub contexts: u32,
    /// Threads that do I/O; more than one share the contexts.
    pub threads: u32,
    /// Threads that have reaped once and sleep.
    pub idle_threads: u32,
}

/// How much a run does.
#[derive(Clone, Copy, Debug)]
pub enum Amount {
    /// This many I/Os for each thread, after so many that do not count.
    Ios {
        /// I/Os that do not count.
        warmup: u32,
        /// I/Os that count.
        measured: u32,
    },
    /// As many as it can in this many seconds, with their latencies.
    Seconds {
        /// I/Os that do not count, before.
        warmup: u32,
        /// For how long I/Os count.
        measured: f64,
    },
}

impl Point {
    /// One thread on one context.
    pub const fn new(engine: Engine, device: Device, load: Load) -> Self {
        Self {
            engine,
            device,
            load,
            contexts: 1,
            threads: 1,
            idle_threads: 0,
        }
    }

    /// The line that tells the guest to run it: what `fs.aio-poll` is, then aio-bench's arguments.
    pub fn line(&self, amount: Amount) -> String {
        let mut line = format!(
            "{} --engine {} --depth {} --batch {}",
            self.engine.aio_poll(),
            self.engine.program_name(),
            self.load.depth,
            self.load.batch
        );
        let mut option = |name: &str, value: u32, usual: u32| {
            if value != usual {
                line += &format!(" --{name} {value}");
            }
        };
        option("contexts", self.contexts, 1);
        option("threads", self.threads, 1);
        option("idle-threads", self.idle_threads, 0);
        if self.threads > 1 {
            line += " --shared";
        }
        line += &match amount {
            Amount::Ios { warmup, measured } => format!(" --warmup {warmup} --ios {measured}"),
            Amount::Seconds { warmup, measured } => {
                format!(" --warmup {warmup} --latency --seconds {measured}")
            }
        };
        format!("{line} {}", self.device.path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POINT: Point = Point::new(Engine::AioHipri, Device::NullBlk, Load::new(128, 32));

    #[test]
    fn a_point_is_a_line() {
        let amount = Amount::Ios {
            warmup: 10,
            measured: 20,
        };
        assert_eq!(
            POINT.line(amount),
            "1 --engine aio-hipri --depth 128 --batch 32 --warmup 10 --ios 20 /dev/nullb0"
        );
        let shared = Point {
            engine: Engine::AioHipriHybrid,
            threads: 4,
            contexts: 2,
            idle_threads: 1,
            device: Device::Nvme,
            ..POINT
        };
        assert_eq!(
            shared.line(Amount::Seconds {
                warmup: 10,
                measured: 2.0
            }),
            "2 --engine aio-hipri --depth 128 --batch 32 --contexts 2 --threads 4 --idle-threads 1 \
             --shared --warmup 10 --latency --seconds 2 /dev/nvme0n1"
        );
    }

    #[test]
    fn names_are_the_same_in_json() {
        use Device::*;
        use Engine::*;
        for engine in [
            Aio,
            AioHipri,
            AioHipriHybrid,
            Uring,
            UringPoll,
            UringPollHybrid,
            UringPollFixed,
            Preadv2,
        ] {
            assert_eq!(serde_json::to_value(engine).unwrap(), engine.name());
        }
        for device in [NullBlk, NullBlkDeep, Nvme, Delayed200us, Delayed1000us] {
            assert_eq!(serde_json::to_value(device).unwrap(), device.name());
        }
    }

    #[test]
    fn json_is_flat_and_read_back() {
        let json = serde_json::to_value(POINT).unwrap();
        assert_eq!((&json["depth"], &json["batch"]), (&128.into(), &32.into()));
        assert_eq!(serde_json::from_value::<Point>(json).unwrap(), POINT);
    }
}
