// SPDX-License-Identifier: GPL-2.0-only

//! Getting a thread out of its wait for I/O that is not polled, when there is something to poll.
//!
//! Polled I/O completes only while somebody polls. Threads that wait while nothing polled is in
//! flight sleep in the kernel, on the side that is not polled: they are the context's sleepers.
//! When polled I/O is submitted then, one of them must wake up to poll, as the submitter may have
//! no intention to. It is woken by an I/O of our own on the sleepers' side that completes at once;
//! its event is taken out of what is read there ([`Context::wake_pending`] until then).
//!
//! The rule that keeps this from getting stuck: while polled I/O is in flight and there are
//! sleepers, somebody who does not sleep has this call in hand, or a wake-up is pending. So whoever
//! leaves passes it on ([`pass_on`]). All of it rests on the order in which each looks: a sleeper
//! counts itself, then looks for polled I/O; a submitter counts its polled I/O, then looks for
//! sleepers; a reader takes note of a wake-up, then looks for both.

use core::sync::atomic::Ordering::SeqCst;

use crate::context::Context;
use crate::system::System;

/// A thread that sleeps, or is about to, until this is dropped.
pub struct Sleeper<'a>(&'a Context);

impl<'a> Sleeper<'a> {
    /// From now on: look for polled I/O after this.
    pub fn new(context: &'a Context) -> Self {
        context.sleepers.fetch_add(1, SeqCst);
        Sleeper(context)
    }
}

impl Drop for Sleeper<'_> {
    fn drop(&mut self) {
        self.0.sleepers.fetch_sub(1, SeqCst);
    }
}

/// Whether there is a thread to wake.
///
/// Without a shadow there is none: who sleeps on the only side there is misses nothing, and whoever
/// makes a shadow looks again, once polled I/O for that is counted.
pub fn has_sleepers(context: &Context) -> bool {
    context.shadow().is_some() && context.sleepers.load(SeqCst) > 0
}

/// Whether a wake-up may be among the events that were read last.
pub fn is_pending(context: &Context) -> bool {
    context.wake_pending.load(SeqCst)
}

/// Wakes a sleeper, or sees that one is being woken. Returns whether that worked.
pub fn wake(context: &Context, system: &impl System) -> bool {
    if context.wake_pending.swap(true, SeqCst) {
        return true;
    }
    // The descriptor may have been closed by the program.
    let woken = send(context, false, system) || send(context, true, system);
    if !woken {
        context.wake_pending.store(false, SeqCst);
    }
    woken
}

fn send(context: &Context, again: bool, system: &impl System) -> bool {
    let side = context.role().plain_side();
    let (Some(id), Some(iocb)) = (context.on(side), system.wake_iocb(again)) else {
        return false;
    };
    let in_flight = context.in_flight(side);
    context.submitting_plain(|| {
        in_flight.add(1);
        // SAFETY: a wake-up has no buffer, and its iocb is there for ever.
        let woken = unsafe { system.submit(id, 1, &iocb) == 1 };
        if woken {
            // It goes through the ring as all do, but the program does not have it in flight.
            in_flight.remove(1);
        } else {
            in_flight.take_back(1);
        }
        woken
    })
}

/// Takes note of a wake-up that was read.
pub fn note(context: &Context) {
    context.wake_pending.store(false, SeqCst);
}

/// Leaves the rest of the polled I/O to a sleeper, if there is both.
pub fn pass_on(context: &Context, system: &impl System) {
    if !has_sleepers(context) {
        return;
    }
    let polled = context.role().polled_side();
    if context.in_flight(polled).count() > 0 {
        // Where this does not work, sleepers look for themselves: see `reap`.
        wake(context, system);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Side;
    use crate::played::{Played, VISIBLE};

    fn split() -> (&'static Context, Played) {
        let (context, played) = Played::with_context();
        context.decide_plain();
        let shadow = played.set_up(8).unwrap();
        context.adopt_shadow(shadow).unwrap();
        (context, played)
    }

    #[test]
    fn one_wake_up_is_pending_at_a_time() {
        let (context, played) = split();
        assert!(wake(context, &played));
        assert!(wake(context, &played));
        assert_eq!(played.events_of(VISIBLE), 1);
        note(context);
        assert!(wake(context, &played));
        assert_eq!(played.events_of(VISIBLE), 2);
    }

    #[test]
    fn a_descriptor_that_the_program_closed_is_renewed() {
        let (context, played) = split();
        played.wake_fails.set(1);
        assert!(wake(context, &played));
        note(context);
        played.wake_fails.set(2);
        assert!(!wake(context, &played));
        assert!(wake(context, &played));
    }

    #[test]
    fn the_call_is_passed_on_only_to_sleepers_with_something_to_poll() {
        let (context, played) = split();
        pass_on(context, &played);
        let sleeper = Sleeper::new(context);
        pass_on(context, &played);
        assert_eq!(played.events_of(VISIBLE), 0);
        context.in_flight(Side::Shadow).add(1);
        pass_on(context, &played);
        assert_eq!(played.events_of(VISIBLE), 1);
        note(context);
        drop(sleeper);
        pass_on(context, &played);
        assert_eq!(played.events_of(VISIBLE), 1);
    }
}
