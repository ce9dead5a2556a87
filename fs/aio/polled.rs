// SPDX-License-Identifier: GPL-2.0-only

//! io_getevents(2) on a polled context: finds completions by asking the devices.
//!
//! One task at a time polls a context. It asks as long as there is something that asking can find,
//! and sleeps where all in flight completes by itself, or where nothing is in flight at all.
//! Others that want events of the same context sleep meanwhile, each with its own timeout and
//! signals, until it is their turn or there are events for them.
//!
//! C counterpart: none in `fs/aio.c`; `io_iopoll_check()` of io_uring does this job there. That one
//! returns early for lack of a timeout and walks all requests in flight; this one does neither.

use super::{
    abi::EventWords,
    context::Context,
    reap::{
        Deadline,
        Events, //
    },
    request::Request, //
};
use kernel::{
    error::code::*,
    fs::{
        async_kiocb::CompletedKiocb,
        iopoll::{
            Pass,
            Reaper, //
        }, //
    },
    prelude::*,
    processor::cpu_relax,
    sync::wait::{
        Look,
        Patience,
        Woken, //
    },
    task::cond_resched,
    transmute::AsBytes,
    uaccess::UserSlice, //
};

/// Events copied out at once.
const BATCH: usize = 32;

/// Why polling paused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pause {
    /// Completions were found, and no more come at the moment.
    Found,
    /// Asking cannot find any: what is in flight, if anything, completes by itself.
    NothingToPoll,
    /// There is no reason to ask on: see [`is_over`]. There may be completions all the same.
    Over,
}

/// Reads events of a polled context; see [`super::reap::getevents`].
pub(crate) fn read(context: &Context, events: &mut Events, patience: Patience) -> Result<usize> {
    let deadline = match patience {
        Patience::None => None,
        patience => Some(Deadline::new(patience)),
    };
    loop {
        let Some(mut reaper) = context.queue.try_reap() else {
            match wait_for_turn(context, events, &deadline) {
                Ok(()) => continue,
                Err(error) => return events.unless_any(error),
            }
        };
        let pause = poll(context, &mut reaper, events, &deadline);
        let batch = Batch::take(&mut reaper, events.room());
        drop(reaper);
        // It is somebody else's turn, and there may be more than we have taken.
        context.wait.wake(1);

        let full = batch.len == BATCH;
        if let Err(error) = batch.deliver(context, events) {
            return events.unless_any(Some(error));
        }
        if context.is_dead() {
            return events.unless_any(Some(EINVAL));
        }
        if full && events.room() > 0 {
            // More than a batch had completed.
            continue;
        }
        let satisfied = events.room() == 0 || events.is_enough();
        if satisfied || pause == Pause::Over || is_over(context, &deadline) {
            return Ok(events.got);
        }
        if pause == Pause::NothingToPoll {
            if let Err(error) = wait_for_work(context, &deadline) {
                return events.unless_any(error);
            }
        }
    }
}

/// Asks the devices until something has completed, and as long as more comes, up to what the caller
/// waits for or a batch.
///
/// At least once, unless there is enough already; where the caller would not wait, only once. What
/// was found is not kept from others for longer than it takes to ask.
#[inline]
fn poll(
    context: &Context,
    reaper: &mut Reaper<'_, Request>,
    events: &Events,
    deadline: &Option<Deadline>,
) -> Pause {
    let wanted = events.wanted().clamp(1, BATCH);
    let asks_once = events.is_enough() || deadline.is_none();
    reaper.collect();
    loop {
        let ready = reaper.ready();
        if ready >= wanted {
            return Pause::Found;
        }
        let pass = reaper.poll();
        reaper.collect();
        if asks_once {
            return Pause::Over;
        }
        if ready > 0 && reaper.ready() == ready {
            return Pause::Found;
        }
        if reaper.ready() > 0 {
            continue;
        }
        if pass != Pass::Polled {
            return Pause::NothingToPoll;
        }
        if is_over(context, deadline) {
            return Pause::Over;
        }
        cond_resched();
        cpu_relax();
    }
}

/// Whether the wait is over: by a signal, with the context, or with patience.
#[inline]
fn is_over(context: &Context, deadline: &Option<Deadline>) -> bool {
    let out_of_patience = match deadline {
        Some(deadline) => deadline.patience() == Patience::None,
        None => true,
    };
    out_of_patience || context.is_dead() || current!().signal_pending()
}

/// Sleeps until nobody else polls. Fails where the wait of the system call is over: with `None`, or
/// with the error it has without events.
fn wait_for_turn(
    context: &Context,
    events: &Events,
    deadline: &Option<Deadline>,
) -> Result<(), Option<Error>> {
    if events.is_enough() && events.got > 0 {
        return Err(None);
    }
    sleep_until(context, deadline, || context.queue.try_reap().is_some())
}

/// Sleeps until something completes by itself, or is submitted.
fn wait_for_work(context: &Context, deadline: &Option<Deadline>) -> Result<(), Option<Error>> {
    sleep_until(context, deadline, || {
        context.queue.has_completed() || context.queue.has_submitted()
    })
}

fn sleep_until(
    context: &Context,
    deadline: &Option<Deadline>,
    mut ready: impl FnMut() -> bool,
) -> Result<(), Option<Error>> {
    let Some(deadline) = deadline else {
        return Err(None);
    };
    let woken = context.wait.wait(deadline.patience(), 1, || {
        if context.is_dead() || ready() {
            Look::Done
        } else {
            Look::Sleep(1)
        }
    });
    if context.is_dead() {
        return Err(Some(EINVAL));
    }
    match woken {
        Woken::Done => Ok(()),
        Woken::TimedOut | Woken::Interrupted => Err(None),
    }
}

/// Completed requests on their way to user space.
struct Batch {
    kiocbs: [Option<CompletedKiocb<Request>>; BATCH],
    len: usize,
}

impl Batch {
    /// Takes up to `max` requests.
    #[inline]
    fn take(reaper: &mut Reaper<'_, Request>, max: usize) -> Self {
        let mut batch = Self {
            kiocbs: [const { None }; BATCH],
            len: 0,
        };
        for place in batch.kiocbs.iter_mut().take(max) {
            *place = reaper.take();
            if place.is_none() {
                break;
            }
            batch.len += 1;
        }
        batch
    }

    /// Copies the events out, and returns the requests' slots. On [`EFAULT`] the requests go back,
    /// to be read again.
    #[inline]
    fn deliver(self, context: &Context, events: &mut Events) -> Result {
        if self.len == 0 {
            return Ok(());
        }
        let mut words: [EventWords; BATCH] = [[0; 4]; BATCH];
        for (event, kiocb) in words.iter_mut().zip(self.kiocbs.iter().flatten()) {
            *event = kiocb.key().with_result(kiocb.result() as i64);
        }
        // BOUNDS: `take()` has counted places of an array of this length.
        let bytes = AsBytes::as_bytes(&words[..self.len]);
        let copied = UserSlice::new(events.next(), bytes.len())
            .writer()
            .write_slice(bytes);
        if copied.is_err() {
            self.put_back(context);
            return Err(EFAULT);
        }
        events.got += self.len;
        context.slots.put(self.len as u32);
        Ok(())
    }

    #[cold]
    fn put_back(self, context: &Context) {
        for kiocb in self.kiocbs.into_iter().flatten() {
            context.queue.completed(kiocb);
        }
        context.wait.wake(1);
    }
}
