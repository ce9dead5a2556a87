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
    abi::EVENT_BYTES,
    context::{
        Context,
        REQS, //
    },
    hybrid::Wait,
    reap::{
        Deadline,
        Events, //
    },
    request::Request,
    trace, //
};
use core::mem;
use kernel::{
    alloc::kmem_cache::Spares,
    error::code::*,
    fs::{
        async_kiocb::{
            AsyncKiocb,
            CompletedKiocb, //
        },
        iopoll::{
            CompletedList,
            Pass,
            Reaper, //
        }, //
    },
    prelude::*,
    processor::cpu_relax,
    sync::{
        percpu_ref::HeldRefs,
        wait::{
            Look,
            Patience,
            Woken, //
        }, //
    },
    task::cond_resched,
    uaccess::{
        put_user_u64s,
        UserPtr, //
    }, //
};

/// With as many completions there is no reason to ask for more first.
const BATCH: usize = 32;

/// Memory of so many kiocbs is kept for the next ones of a context.
const MAX_SPARES: usize = 128;

/// Nanoseconds that somebody who would not wait waits for who polls to leave. That one may be a
/// submitter in need of a tag, who leaves when the device has something.
const MOMENT: i64 = 1_000_000;

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
        let wait = Wait::begin(context, events, &deadline);
        let Some(mut reaper) = context.queue.try_reap() else {
            match wait_for_turn(context, events, &deadline) {
                Ok(()) => continue,
                Err(error) => return events.unless_any(error),
            }
        };
        context.liveness.note_polled();
        let (pause, passes) = poll(context, &mut reaper, events, &deadline);
        let completed = reaper.take(events.room());
        drop(reaper);
        // It is somebody else's turn, and there may be more than we have taken.
        context.wait.wake(1);
        if let (Some(wait), Pause::Found) = (wait, pause) {
            wait.end(context, passes);
        }

        if let Err(error) = deliver(context, completed, events) {
            return events.unless_any(Some(error));
        }
        if context.is_dead() {
            return events.unless_any(Some(EINVAL));
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
/// was found is not kept from others for longer than it takes to ask. Returns also how often it
/// asked.
#[inline]
fn poll(
    context: &Context,
    reaper: &mut Reaper<'_, Request>,
    events: &Events,
    deadline: &Option<Deadline>,
) -> (Pause, u64) {
    let mut passes = 0;
    let pause = poll_counting(context, reaper, events, deadline, &mut passes);
    trace::poll(context, passes, reaper.ready());
    (pause, passes)
}

#[inline]
fn poll_counting(
    context: &Context,
    reaper: &mut Reaper<'_, Request>,
    events: &Events,
    deadline: &Option<Deadline>,
    passes: &mut u64,
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
        *passes = passes.wrapping_add(1);
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
///
/// Who would not wait does so for a moment, for what has completed already, as it would for the
/// lock of a ring: who polls finds that, and leaves.
#[cold]
fn wait_for_turn(
    context: &Context,
    events: &Events,
    deadline: &Option<Deadline>,
) -> Result<(), Option<Error>> {
    let patience = match deadline {
        Some(deadline) if !events.is_enough() => deadline.patience(),
        _ if context.queue.has_completed() => Patience::Exactly(MOMENT),
        _ => return Err(None),
    };
    sleep_until(context, patience, || context.queue.try_reap().is_some())
}

/// Sleeps until something completes by itself, or there is something to poll for: it was submitted,
/// or somebody else has left it who polled meanwhile.
#[cold]
fn wait_for_work(context: &Context, deadline: &Option<Deadline>) -> Result<(), Option<Error>> {
    let Some(deadline) = deadline else {
        return Err(None);
    };
    sleep_until(context, deadline.patience(), || context.queue.has_work())
}

fn sleep_until(
    context: &Context,
    patience: Patience,
    mut ready: impl FnMut() -> bool,
) -> Result<(), Option<Error>> {
    let woken = context.wait.wait(patience, 1, || {
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

/// Copies the events of completed requests out, and ends the requests. On [`EFAULT`] those that
/// were not read go back, to be read again.
#[inline]
fn deliver(
    context: &Context,
    mut completed: CompletedList<Request>,
    events: &mut Events,
) -> Result {
    if completed.is_empty() {
        return Ok(());
    }
    let before = completed.len();
    let mut settlement = Settlement::new(context);
    copy_out(&mut completed, events.next(), &mut settlement);
    drop(settlement);
    events.got += before.saturating_sub(completed.len());
    if completed.is_empty() {
        Ok(())
    } else {
        put_back(context, completed);
        Err(EFAULT)
    }
}

/// Copies events out from `to` on, as far as the user's memory lets that happen, and takes what was
/// copied off the list.
#[inline]
fn copy_out(
    completed: &mut CompletedList<Request>,
    mut to: UserPtr,
    settlement: &mut Settlement<'_>,
) {
    while let Some((request, result)) = completed.first() {
        let event = request.key().with_result(result as i64);
        if put_user_u64s(&event, to).is_err() {
            return;
        }
        to = to.wrapping_byte_add(EVENT_BYTES);
        if let Some(kiocb) = completed.pop() {
            settlement.add(kiocb);
        }
    }
}

#[cold]
fn put_back(context: &Context, mut completed: CompletedList<Request>) {
    while let Some(kiocb) = completed.pop() {
        context.queue.completed(kiocb);
    }
    context.wait.wake(1);
}

/// Requests whose events were read. What they had taken from the context goes back at once, when
/// this is dropped.
struct Settlement<'a> {
    context: &'a Context,
    /// Each with a slot.
    refs: HeldRefs<Context, REQS>,
    spares: Spares<AsyncKiocb<Request>>,
}

impl<'a> Settlement<'a> {
    #[inline]
    fn new(context: &'a Context) -> Self {
        Self {
            context,
            refs: HeldRefs::default(),
            spares: Spares::new(),
        }
    }

    #[inline]
    fn add(&mut self, kiocb: CompletedKiocb<Request>) {
        let (request, memory) = kiocb.into_parts();
        if let Some(context) = request.settle() {
            self.refs.put(context);
        }
        if self.refs.len() <= MAX_SPARES {
            self.spares.push(memory);
        }
    }
}

impl Drop for Settlement<'_> {
    #[inline]
    fn drop(&mut self) {
        // CAST: No more than the ring has elements.
        self.context.slots.put(self.refs.len() as u32);
        self.context
            .queue
            .spares()
            .leave(mem::take(&mut self.spares));
    }
}
