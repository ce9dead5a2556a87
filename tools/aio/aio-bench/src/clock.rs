// SPDX-License-Identifier: GPL-2.0-only

//! What the machine and this process had spent at one moment.

use std::io;
use std::mem::MaybeUninit;
use std::time::{Duration, Instant};

use crate::interrupts::Controllers;

/// The processor's time stamp counter, in ticks.
#[inline]
pub fn ticks() -> u64 {
    // SAFETY: Every x86-64 processor has the instruction.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// All counters at one moment.
#[derive(Clone, Copy)]
pub struct Moment {
    time: Instant,
    ticks: u64,
    usage: libc::rusage,
    interrupts: Option<u64>,
}

/// What was spent between two moments.
#[derive(Clone, Copy, Debug)]
pub struct Spent {
    /// Time.
    pub time: Duration,
    /// Ticks of the processor's time stamp counter.
    pub ticks: u64,
    /// Processor time of this process in user mode.
    pub user: Duration,
    /// Processor time of this process in the kernel.
    pub system: Duration,
    /// Context switches of this process because it waited.
    pub voluntary_switches: u64,
    /// Context switches of this process because it had run long enough.
    pub involuntary_switches: u64,
    /// Interrupts of the I/O queues, if they can be told.
    pub interrupts: Option<u64>,
}

impl Moment {
    /// The moment before something that is measured: the time is read last.
    pub fn before(controllers: Option<&Controllers>) -> io::Result<Self> {
        let interrupts = controllers.and_then(Controllers::count);
        let usage = usage()?;
        Ok(Self {
            interrupts,
            usage,
            time: Instant::now(),
            ticks: ticks(),
        })
    }

    /// The moment after something that is measured: the time is read first.
    pub fn after(controllers: Option<&Controllers>) -> io::Result<Self> {
        let (ticks, time) = (ticks(), Instant::now());
        let usage = usage()?;
        Ok(Self {
            interrupts: controllers.and_then(Controllers::count),
            usage,
            time,
            ticks,
        })
    }

    /// What was spent since `earlier`.
    pub fn since(&self, earlier: &Self) -> Spent {
        let count = |now: i64, before: i64| u64::try_from(now - before).unwrap_or(0);
        let (now, before) = (&self.usage, &earlier.usage);
        Spent {
            time: self.time - earlier.time,
            ticks: self.ticks.wrapping_sub(earlier.ticks),
            user: duration(now.ru_utime).saturating_sub(duration(before.ru_utime)),
            system: duration(now.ru_stime).saturating_sub(duration(before.ru_stime)),
            voluntary_switches: count(now.ru_nvcsw, before.ru_nvcsw),
            involuntary_switches: count(now.ru_nivcsw, before.ru_nivcsw),
            interrupts: self
                .interrupts
                .zip(earlier.interrupts)
                .map(|(now, before)| now.saturating_sub(before)),
        }
    }
}

fn usage() -> io::Result<libc::rusage> {
    let mut usage = MaybeUninit::uninit();
    // SAFETY: The kernel fills in the whole structure when it succeeds.
    unsafe {
        match libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()) {
            0 => Ok(usage.assume_init()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

fn duration(time: libc::timeval) -> Duration {
    let part = |value: i64| u64::try_from(value).unwrap_or(0);
    Duration::from_secs(part(time.tv_sec)) + Duration::from_micros(part(time.tv_usec))
}
