// SPDX-License-Identifier: GPL-2.0-only

//! Hybrid polling: sleeps for half of the time that events take to come, then polls.
//!
//! To ask a slow device from the start takes a processor for nothing. Where the administrator wants
//! it so, a reader sleeps first. What is expected follows what is seen, both ways: a longer or
//! shorter wait moves it by a quarter of the difference, and it shrinks by a quarter where the
//! events were there already when the reader woke.
//!
//! C counterpart: none; `io_hybrid_iopoll_delay()` of io_uring sleeps for half of the shortest time
//! it has ever seen, which never grows again.

use super::{
    context::Context,
    quota,
    reap::{
        Deadline,
        Events, //
    }, //
};
use kernel::{
    sync::{
        atomic::{
            ordering,
            Atomic, //
        },
        wait::{
            Look,
            Patience, //
        }, //
    },
    time::{
        Instant,
        Monotonic, //
    }, //
};

/// Nanoseconds that are worth the two context switches and the interrupt of a timer.
const WORTHWHILE: u64 = 8_000;

/// Nanoseconds beyond which a wait tells nothing about the next one.
const LONGEST: u64 = 100_000_000;

/// What is known of how long a context waits for events: nanoseconds, 0 where nothing is.
pub(crate) struct Expectation(Atomic<u64>);

impl Expectation {
    pub(crate) const fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// Notes a wait. Readers of one context that do so at once may lose one of their notes.
    fn learn(&self, seen: u64, was_late: bool) {
        let next = next(self.0.load(ordering::Relaxed), seen, was_late);
        self.0.store(next, ordering::Relaxed);
    }

    /// How long to sleep, if at all.
    fn sleep(&self) -> Option<u64> {
        let half = self.0.load(ordering::Relaxed) / 2;
        (half >= WORTHWHILE).then_some(half)
    }
}

/// What to expect after a wait of `seen` nanoseconds. Where the reader `was_late`, nobody knows how
/// long it had to be.
fn next(expected: u64, seen: u64, was_late: bool) -> u64 {
    let seen = seen.min(LONGEST);
    if was_late {
        expected - expected / 4
    } else if expected == 0 {
        seen
    } else if seen > expected {
        expected.saturating_add((seen - expected) / 4)
    } else {
        expected - (expected - seen) / 4
    }
}

/// A wait for events, with a sleep at its start.
pub(crate) struct Wait(Instant<Monotonic>);

impl Wait {
    /// Sleeps before polling, where that is wanted, and worth it. `None` where it is not wanted, or
    /// there is nothing to wait for.
    #[inline]
    pub(crate) fn begin(
        context: &Context,
        events: &Events,
        deadline: &Option<Deadline>,
    ) -> Option<Self> {
        if !quota::polling_sleeps() {
            return None;
        }
        Self::begin_by_sleeping(context, events, deadline.as_ref()?)
    }

    #[cold]
    fn begin_by_sleeping(context: &Context, events: &Events, deadline: &Deadline) -> Option<Self> {
        if events.is_enough() || context.queue.has_completed() {
            return None;
        }
        let start = Instant::now();
        if let Some(nanos) = context.expectation.sleep() {
            sleep(context, deadline, nanos);
        }
        Some(Self(start))
    }

    /// Polling has found events, after asking `passes` times.
    pub(crate) fn end(self, context: &Context, passes: u64) {
        let seen = u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(0);
        context.expectation.learn(seen, passes <= 1);
    }
}

/// Sleeps for at most `nanos`, less where there is a reason to look.
fn sleep(context: &Context, deadline: &Deadline, nanos: u64) {
    let nanos = i64::try_from(nanos).unwrap_or(i64::MAX);
    let patience = match deadline.patience() {
        Patience::Nanos(left) if left < nanos => Patience::Nanos(left),
        Patience::None => return,
        _ => Patience::Exactly(nanos),
    };
    context.wait.wait(patience, 1, || {
        if context.is_dead() || context.queue.has_completed() {
            Look::Done
        } else {
            Look::Sleep(1)
        }
    });
}

#[cfg(CONFIG_AIO_RUST_KUNIT_TEST)]
#[kernel::prelude::kunit_tests(aio_hybrid)]
mod tests {
    use super::*;

    #[test]
    fn the_first_wait_is_believed() {
        assert_eq!(next(0, 500_000, false), 500_000);
    }

    #[test]
    fn expectation_follows_both_ways() {
        let mut expected = 100_000;
        for _ in 0..64 {
            expected = next(expected, 1_000_000, false);
        }
        assert!(expected > 990_000 && expected <= 1_000_000);
        for _ in 0..64 {
            expected = next(expected, 50_000, false);
        }
        assert!(expected >= 50_000 && expected < 60_000);
    }

    #[test]
    fn a_late_reader_sleeps_less() {
        assert_eq!(next(1_000_000, 510_000, true), 750_000);
        // However slow the device was once, some waits are enough to forget it.
        let mut expected = next(0, u64::MAX, false);
        for _ in 0..40 {
            expected = next(expected, expected / 2, true);
        }
        assert!(expected / 2 < WORTHWHILE);
    }

    #[test]
    fn short_waits_are_not_slept_for() {
        let expectation = Expectation::new();
        assert_eq!(expectation.sleep(), None);
        expectation.learn(2 * WORTHWHILE - 2, false);
        assert_eq!(expectation.sleep(), None);
        expectation.learn(20 * WORTHWHILE, false);
        assert!(expectation.sleep().is_some());
    }
}
