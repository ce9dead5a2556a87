// SPDX-License-Identifier: GPL-2.0-only

//! io_getevents(2): waits for events and copies them out.
//!
//! Where events come from depends on the context: from the ring here, from devices in
//! [`polled`](super::polled). A context that nobody has submitted to yet may still become either,
//! while somebody waits: then the wait goes on in the other way.
//!
//! C counterpart: `aio_read_events()` and `read_events()` of `fs/aio.c`.

use super::{
    abi::EVENT_BYTES,
    context::Context,
    polled, //
};
use kernel::{
    error::code::*,
    prelude::*,
    sync::wait::{
        Look,
        Patience, //
    },
    time::{
        Instant,
        Monotonic, //
    },
    uaccess::UserPtr, //
};

/// A user's array of events, filled from the start.
pub(crate) struct Events {
    array: UserPtr,
    /// How many there are.
    pub(crate) got: usize,
    /// With fewer than this the caller wants to wait.
    min: usize,
    /// Room for this many.
    max: usize,
}

impl Events {
    pub(crate) fn new(array: UserPtr, min: usize, max: usize) -> Self {
        Self {
            array,
            got: 0,
            min,
            max,
        }
    }

    /// Where the next event goes.
    #[inline]
    pub(crate) fn next(&self) -> UserPtr {
        self.array
            .wrapping_byte_add(self.got.wrapping_mul(EVENT_BYTES))
    }

    /// How many more there is room for.
    #[inline]
    pub(crate) fn room(&self) -> usize {
        self.max.saturating_sub(self.got)
    }

    /// How many more the caller waits for.
    #[inline]
    pub(crate) fn wanted(&self) -> usize {
        self.min.saturating_sub(self.got)
    }

    /// Whether there are as many as the caller waits for.
    #[inline]
    pub(crate) fn is_enough(&self) -> bool {
        self.got >= self.min
    }

    /// What the system call returns if it stops now: the number of events, and an error only where
    /// there are none.
    #[inline]
    pub(crate) fn unless_any(&self, error: Option<Error>) -> Result<usize> {
        match error {
            Some(error) if self.got == 0 => Err(error),
            _ => Ok(self.got),
        }
    }
}

/// When a wait is over.
pub(crate) struct Deadline(Option<(Instant<Monotonic>, i64)>);

impl Deadline {
    /// `patience` from now.
    pub(crate) fn new(patience: Patience) -> Self {
        Self(match patience {
            Patience::Nanos(nanos) | Patience::Exactly(nanos) => Some((Instant::now(), nanos)),
            // Who has none does not come to wait.
            Patience::None => Some((Instant::now(), 0)),
            Patience::Forever => None,
        })
    }

    /// What is left.
    pub(crate) fn patience(&self) -> Patience {
        match &self.0 {
            None => Patience::Forever,
            Some((start, nanos)) => {
                let left = nanos.saturating_sub(start.elapsed().as_nanos());
                if left > 0 {
                    Patience::Nanos(left)
                } else {
                    Patience::None
                }
            }
        }
    }
}

/// Waits for at least `min` events, no longer than `patience`, and copies up to `max` out.
///
/// Returns how many. With none, fails with [`EFAULT`] where the array cannot be written to and
/// [`EINVAL`] where the context was destroyed. A signal ends the wait as time does: the caller
/// looks whether there is one.
pub(crate) fn getevents(
    context: &Context,
    min: usize,
    max: usize,
    array: UserPtr,
    patience: Patience,
) -> Result<usize> {
    let mut events = Events::new(array, min, max);
    if context.mode.is_polled() {
        return polled::read(context, &mut events, patience);
    }
    let first = read_ring(context, &mut events);
    if patience == Patience::None || first.is_err() || events.is_enough() {
        return events.unless_any(first.err());
    }
    wait_for_ring(context, &mut events, patience)
}

/// Moves events from the ring, without waiting.
#[inline(always)]
fn read_ring(context: &Context, events: &mut Events) -> Result {
    let read = context.ring.read(events.next(), events.room());
    if let Ok(count) = read {
        events.got += count;
    }
    if context.is_dead() {
        return Err(EINVAL);
    }
    read.map(|_| ())
}

// Out of line, as most calls find their events in the ring.
#[inline(never)]
fn wait_for_ring(context: &Context, events: &mut Events, patience: Patience) -> Result<usize> {
    let deadline = Deadline::new(patience);
    let mut error = None;
    let mut turned_polled = false;
    context.wait.wait(patience, events.wanted(), || {
        let before = events.got;
        error = read_ring(context, events).err();
        turned_polled = context.mode.is_polled();
        if error.is_some() || events.is_enough() || turned_polled {
            Look::Done
        } else if events.got > before {
            Look::More(events.wanted())
        } else {
            Look::Sleep(events.wanted())
        }
    });
    if turned_polled && error.is_none() {
        // No event was in the ring: none has come to it.
        return polled::read(context, events, deadline.patience());
    }
    events.unless_any(error)
}
