// SPDX-License-Identifier: GPL-2.0-only

//! Completes polled I/O whose owner does not poll.
//!
//! Nobody but the owner of a context is expected to poll for its I/O. But the owner may do other
//! things first, and those may wait for that very I/O: ftruncate(2) waits for the direct I/O of a
//! file, fsfreeze for its writes, a change of the I/O scheduler and the removal of a CPU for the
//! requests of a queue, another submitter for a tag. So as long as a context has polled I/O in
//! flight, somebody looks every [`PERIOD`] whether it was polled since, and else polls himself. The
//! events stay where the owner finds them.
//!
//! C counterpart: none; io_uring leaves such I/O to its owner and to the timeouts of drivers.

use super::{
    context::{
        Context,
        User, //
    },
    request::Request,
    submission::Submission, //
};
use kernel::{
    fs::iopoll::{
        Pass,
        PollQueue, //
    },
    sync::{
        atomic::{
            ordering,
            Atomic, //
        },
        Arc, //
    },
    time::{
        msecs_to_jiffies,
        Jiffies, //
    },
    workqueue::{
        self,
        WorkItem, //
    }, //
};

/// Milliseconds between looks. What sleeps in the kernel until polled I/O has completed sleeps up
/// to twice as long.
const PERIOD: u32 = 100;

/// Asks at most this often in a row, so that several devices have their turn.
const PASSES: usize = 64;

/// What is known of the owner's polling.
pub(crate) struct Liveness {
    /// There will be a look. Implied by a polled I/O in flight that no reaper has seen yet.
    armed: Atomic<bool>,
    /// Somebody has polled since the last look.
    polled: Atomic<bool>,
}

impl Liveness {
    pub(crate) const fn new() -> Self {
        Self {
            armed: Atomic::new(false),
            polled: Atomic::new(false),
        }
    }

    /// Somebody polls.
    #[inline]
    pub(crate) fn note_polled(&self) {
        if !self.polled.load(ordering::Relaxed) {
            self.polled.store(true, ordering::Relaxed);
        }
    }

    /// Whether somebody polled since this was asked last.
    fn take_polled(&self) -> bool {
        self.polled.xchg(false, ordering::Relaxed)
    }

    /// Returns whether the caller has to see to it that there is a look.
    fn arm(&self) -> bool {
        !self.armed.xchg(true, ordering::Full)
    }

    /// Lets the looking end. Fails if there was a submission that relied on it.
    fn disarm(&self, queue: &PollQueue<Request>) -> bool {
        // Pairs with the look at `armed` in `watch()`.
        self.armed.xchg(false, ordering::Full);
        !queue.has_submitted() || !self.arm()
    }
}

/// A polled I/O is on its way.
#[inline(always)]
pub(crate) fn watch(submission: &Submission<'_>) {
    // Pairs with the exchange in `disarm()`: the I/O was put on the queue before, by a full
    // barrier. Either this sees that there is no look to come, or the last look has seen the I/O.
    if !submission.context.liveness.armed.load(ordering::Relaxed) {
        begin(submission.user);
    }
}

#[cold]
fn begin(user: &User) {
    if user.liveness.arm() {
        look_later(user.to_arc());
    }
}

fn look_later(context: Arc<Context>) {
    // It is not queued: who armed it does this, once. On whatever CPU is idle, as on this one it
    // would take turns with a task that polls.
    let _ = workqueue::system_dfl().enqueue_delayed(context, period());
}

fn period() -> Jiffies {
    msecs_to_jiffies(PERIOD)
}

impl WorkItem for Context {
    type Pointer = Arc<Context>;

    fn run(context: Arc<Context>) {
        // Not once the context is dead: who ends it polls for it, but comes to that only when it
        // has unmapped the ring, and the lock for that may be held by somebody who waits for the
        // I/O.
        if context.drained.is_done() {
            return;
        }
        if context.liveness.take_polled() || look(&context) {
            look_later(context);
        }
    }
}

/// Polls for the owner. Returns whether there has to be another look.
fn look(context: &Context) -> bool {
    let Some(mut reaper) = context.queue.try_reap() else {
        return true;
    };
    let mut more = true;
    for _ in 0..PASSES {
        more = reaper.poll() == Pass::Polled;
        reaper.collect();
        if !more {
            // Before the reaper goes: another one might see a submission, and leave.
            more = !context.liveness.disarm(&context.queue);
            break;
        }
    }
    drop(reaper);
    // Who came meanwhile waits for its turn.
    context.wait.wake(1);
    more
}

#[cfg(CONFIG_AIO_RUST_KUNIT_TEST)]
#[kernel::prelude::kunit_tests(aio_liveness)]
mod tests {
    use super::*;

    #[test]
    fn only_one_arms() {
        let liveness = Liveness::new();
        assert!(liveness.arm());
        assert!(!liveness.arm());
    }

    #[test]
    fn polling_counts_until_it_is_asked_for() {
        let liveness = Liveness::new();
        assert!(!liveness.take_polled());
        liveness.note_polled();
        liveness.note_polled();
        assert!(liveness.take_polled());
        assert!(!liveness.take_polled());
    }
}
