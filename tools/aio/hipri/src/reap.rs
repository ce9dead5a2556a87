// SPDX-License-Identifier: GPL-2.0-only

//! Waiting for events, on one side or on both at once.
//!
//! Where only one side can complete anything, the wait is on that side, mostly in one system call
//! that is the program's own. While both can, they are asked in turns: the polled side, which spins
//! anyway, for a slice of time, the other one without waiting. Where nothing polled is in flight,
//! the thread sleeps on the other side until polled I/O is submitted: see [`wake`]. That nothing is
//! in flight on the program's own context, where that is not polled, is found out while both are
//! asked: see [`Context::note_idle`].
//!
//! Some things are noticed only when a slice of time is over, most of all the first I/O of the
//! second kind, submitted while another thread waits on the only side there was. Slices are short
//! enough for that, and long enough for nothing.
//!
//! A signal must interrupt a wait whenever it comes, but the kernel tells of one that it let through
//! only where it has no event to return. So where one wait takes several system calls, all signals
//! are blocked in between. A call for all the events that are missing lets through what the program
//! would: it returns less where a signal came or its time is up, and nothing else. A call for less
//! lets nothing through, and lasts for a slice of time; before each, what came meanwhile is let
//! through by a call for no events, which tells.
//!
//! That leaves moments in which a signal is handled and the wait goes on all the same:
//! - as the time of a call for several events is up that has got some of them, which it is for the
//!   first time after [`LOOK_AROUND`];
//! - as a thread wakes up for polled I/O: the wait ends with that, unless another thread reaps it;
//! - right after a first call that looked around, if the program gave no set of signals to block. It
//!   cannot count on more then, as the signal may as well come right before it waits.
//!
//! Most waits are over after their first call, so all steps towards that are inlined, and what
//! comes after it is kept out of the way.

use aio_abi::Event;
use libc::{EINTR, EINVAL};

use crate::context::{Context, Role, Side};
use crate::system::{error, KernelResult, Patience, Room, Signals, SignalsBlocked, System};
use crate::wake::{self, Sleeper};

/// Nanoseconds that a wait on one side lasts at most, before there is a look around.
const LOOK_AROUND: u64 = 100_000_000;
/// Nanoseconds that the polled side is polled at first, with the other one waiting.
const FIRST_SLICE: u64 = 100_000;
/// To which that grows while nothing comes.
const LAST_SLICE: u64 = 1_600_000;

/// One call of `io_getevents` or `io_pgetevents`.
#[derive(Debug)]
pub struct Request {
    /// Events to wait for.
    pub min: usize,
    /// Where they go; there is room for `min`.
    pub room: Room,
    /// How long to wait.
    pub patience: Patience,
    /// Which signals the wait is safe from: unchanged, or given.
    pub signals: Signals,
}

/// Reads events of `context`. Returns how many, or the kernel's error where there are none.
///
/// # Safety
///
/// What `io_getevents` demands; besides, the room for events must be writable where the kernel
/// reports that it wrote there.
#[inline(never)] // One copy for all callers of `calls::getevents`.
pub unsafe fn getevents(
    context: &Context,
    request: &Request,
    system: &impl System,
) -> KernelResult {
    let mut reading = Reading {
        context,
        system,
        request,
        got: 0,
    };
    let ended = if request.min == 0 || request.patience == Patience::NONE {
        reading.look()
    } else {
        reading.wait()
    };
    wake::pass_on(context, system);
    match ended {
        Err(error) if reading.got == 0 => error,
        _ => reading.got as KernelResult,
    }
}

/// Where to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// On this side.
    One(Side),
    /// On both; this is the polled one.
    Both(Side),
}

/// How a wait in one place ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    /// There are as many events as wanted.
    Enough,
    /// A signal came.
    Interrupted,
    /// There is reason to look where to wait now.
    LookAround,
}

/// What one call of the kernel's read.
#[derive(Clone, Copy, Debug)]
struct Read {
    /// Events that it wrote, our own among them.
    len: usize,
    /// There was no more room, and our own took some: an event of the program's may be left.
    is_crowded: bool,
}

struct Reading<'a, S: System> {
    context: &'a Context,
    system: &'a S,
    request: &'a Request,
    got: usize,
}

impl<S: System> Reading<'_, S> {
    /// Takes what there is. Fails as the kernel does, where there is nothing on either side.
    fn look(&mut self) -> Result<(), KernelResult> {
        let signals = self.request.signals;
        let first = self.context.first_side();
        let (mut looked, mut error) = (false, None);
        for side in [first, first.other()] {
            let may_complete = self.context.on(side).is_some() && self.context.may_complete(side);
            if may_complete && self.got < self.request.room.len {
                let read = self.read(side, 0, Patience::NONE, signals);
                error = error.or(read.err());
                looked = true;
            }
        }
        if !looked {
            // Who asks for what is not there has a right to the kernel's errors.
            return self
                .read(Side::Visible, 0, Patience::NONE, signals)
                .map(drop);
        }
        match error {
            Some(error) if self.got == 0 => Err(error),
            _ => Ok(()),
        }
    }

    fn wait(&mut self) -> Result<(), KernelResult> {
        let deadline = Deadline::new(self.request, self.system);
        if let Some(side) = self.side_of_all() {
            let patience = self.first_patience(side);
            let ended = self.wait_for_all(side, patience, self.request.signals)?;
            if ended != Ended::LookAround || deadline.is_over(self.system) {
                return Ok(());
            }
        }
        self.wait_on(&deadline)
    }

    /// How long the first wait may last, in which no signal is lost.
    fn first_patience(&self, side: Side) -> Patience {
        let patience = self.request.patience;
        let sleeps_for_good =
            self.sleeps_on(side) && !self.context.is_unsettled() && self.sleeps_on(side);
        let wakes_for_sure = sleeps_for_good && self.context.shadow().is_none();
        if wakes_for_sure && self.request.min == 1 {
            patience
        } else {
            patience.at_most(LOOK_AROUND)
        }
    }

    /// Goes on with a wait that is not over, with as many system calls as it takes.
    #[cold]
    fn wait_on(&mut self, deadline: &Deadline) -> Result<(), KernelResult> {
        let blocked = SignalsBlocked::new(self.system);
        let signals = match self.request.signals {
            Signals::Unchanged => Signals::Blocked(blocked.before()),
            given => given,
        };
        let mut slice = FIRST_SLICE;
        loop {
            let left = deadline.left(self.system);
            let ended = match self.side_of_all() {
                Some(side) => {
                    slice = FIRST_SLICE;
                    self.wait_for_all(side, left.at_most(LOOK_AROUND), signals)?
                }
                None => {
                    let ended = self.wait_for_some(left.at_most(slice), signals)?;
                    slice = LAST_SLICE.min(slice * 2);
                    ended
                }
            };
            if ended != Ended::LookAround || left == Patience::NONE {
                return Ok(());
            }
        }
    }

    fn place(&self) -> Place {
        if self.context.shadow().is_none() {
            return Place::One(Side::Visible);
        }
        let polled = self.context.role().polled_side();
        let plain = polled.other();
        let polls = self.context.in_flight(polled).count() > 0;
        match (polls, self.context.may_complete(plain)) {
            (true, true) => Place::Both(polled),
            (true, false) => Place::One(polled),
            (false, _) => Place::One(plain),
        }
    }

    /// Whether a wait on `side` needs somebody to wake it for polled I/O.
    fn sleeps_on(&self, side: Side) -> bool {
        let role = self.context.role();
        role != Role::Undecided && side == role.plain_side()
    }

    /// How many events more the program waits for.
    fn missing(&self) -> usize {
        self.request.min.saturating_sub(self.got)
    }

    /// The side on which one call can wait for all that is missing.
    fn side_of_all(&self) -> Option<Side> {
        match self.place() {
            Place::One(side) if self.wanted_of(side) == self.missing() => Some(side),
            _ => None,
        }
    }

    /// Events to wait for at once: no more than come for sure, where there is another side.
    fn wanted_of(&self, side: Side) -> usize {
        let wanted = self.missing();
        if self.context.shadow().is_none() {
            return wanted;
        }
        if self.sleeps_on(side) {
            return 1;
        }
        wanted.min(self.context.in_flight(side).count()).max(1)
    }

    /// Waits on one side for all that is missing, and lets signals through.
    #[inline(always)]
    fn wait_for_all(
        &mut self,
        side: Side,
        patience: Patience,
        signals: Signals,
    ) -> Result<Ended, KernelResult> {
        let wanted = self.missing();
        let start = (wanted > 1).then(|| self.system.now());
        let read = self.read_at(side, wanted, patience, signals)?;
        if self.missing() == 0 {
            return Ok(Ended::Enough);
        }
        let cut_short = start.is_some_and(|start| {
            let passed = self.system.now().saturating_sub(start);
            read > 0 && read < wanted && patience > Patience::Nanos(passed)
        });
        Ok(if cut_short {
            Ended::Interrupted
        } else {
            Ended::LookAround
        })
    }

    /// Lets signals through, then waits without for less than all that is missing.
    fn wait_for_some(
        &mut self,
        patience: Patience,
        signals: Signals,
    ) -> Result<Ended, KernelResult> {
        if let Err(error) = self.let_through(signals) {
            return self.look_once_more(error);
        }
        match self.place() {
            Place::One(side) => {
                self.read_at(side, self.wanted_of(side), patience, Signals::Unchanged)?;
            }
            Place::Both(polled) => {
                self.read(polled.other(), 0, Patience::NONE, Signals::Unchanged)?;
                if polled == Side::Shadow {
                    self.context.note_idle(self.system);
                }
                if self.missing() > 0 {
                    self.read(polled, 1, patience, Signals::Unchanged)?;
                }
            }
        }
        Ok(if self.missing() == 0 {
            Ended::Enough
        } else {
            Ended::LookAround
        })
    }

    /// Lets signals through, of which all are blocked. Fails with `EINTR` where one was handled.
    fn let_through(&self, signals: Signals) -> Result<(), KernelResult> {
        let side = self.context.role().plain_side();
        let id = self.context.on(side).ok_or(error(EINVAL))?;
        let nowhere = Room {
            len: 0,
            ..self.request.room
        };
        // SAFETY: there is room for no events.
        match unsafe { (self.system).getevents(id, 0, nowhere, Patience::NONE, signals) } {
            0 => Ok(()),
            error => Err(error),
        }
    }

    /// A signal that ended the wait does not keep events from the program.
    fn look_once_more(&mut self, ended_by: KernelResult) -> Result<Ended, KernelResult> {
        if ended_by != error(EINTR) {
            return Err(ended_by);
        }
        self.look()?;
        match self.got {
            0 => Err(ended_by),
            _ => Ok(Ended::Interrupted),
        }
    }

    /// Reads events of the one side where something may complete, or none where that has changed.
    #[inline(always)]
    fn read_at(
        &mut self,
        side: Side,
        wanted: usize,
        patience: Patience,
        signals: Signals,
    ) -> Result<usize, KernelResult> {
        let sleeps = self.sleeps_on(side);
        let _sleeper = sleeps.then(|| Sleeper::new(self.context));
        if sleeps && self.place() != Place::One(side) {
            return Ok(0);
        }
        self.read(side, wanted, patience, signals)
    }

    /// Reads events of one side. Returns how many the kernel wrote, our own among them.
    #[inline(always)]
    fn read(
        &mut self,
        side: Side,
        wanted: usize,
        patience: Patience,
        signals: Signals,
    ) -> Result<usize, KernelResult> {
        let first = self.read_once(side, wanted, patience, signals)?;
        if first.is_crowded {
            self.read_on(side, signals)?;
        }
        Ok(first.len)
    }

    /// Reads on, until nothing that may be left was kept out by events of our own.
    #[cold]
    fn read_on(&mut self, side: Side, signals: Signals) -> Result<(), KernelResult> {
        while self.read_once(side, 0, Patience::NONE, signals)?.is_crowded {}
        Ok(())
    }

    #[inline(always)]
    fn read_once(
        &mut self,
        side: Side,
        wanted: usize,
        patience: Patience,
        signals: Signals,
    ) -> Result<Read, KernelResult> {
        let id = self.context.on(side).ok_or(error(EINVAL))?;
        let room = self.request.room.behind(self.got);
        // SAFETY: the caller of `getevents` has this room.
        let result = unsafe { self.system.getevents(id, wanted, room, patience, signals) };
        let len = usize::try_from(result).map_err(|_| result)?;
        let theirs = if wake::is_pending(self.context) {
            // SAFETY: the kernel wrote so many.
            unsafe { self.take_wake_ups_out(room.events, len) }
        } else {
            len
        };
        self.context.in_flight(side).remove(theirs);
        self.got += theirs;
        Ok(Read {
            len,
            is_crowded: len == room.len && theirs < len,
        })
    }

    /// Moves those of `len` events that are the program's to the start. Returns how many they are.
    ///
    /// # Safety
    ///
    /// There are so many events.
    unsafe fn take_wake_ups_out(&self, events: *mut Event, len: usize) -> usize {
        let mut kept = 0;
        for index in 0..len {
            // SAFETY: both are among the events, which, as for the kernel, need not be aligned.
            unsafe {
                let event = events.add(index).read_unaligned();
                if self.system.is_wake(&event) {
                    wake::note(self.context);
                } else {
                    if kept != index {
                        events.add(kept).write_unaligned(event);
                    }
                    kept += 1;
                }
            }
        }
        kept
    }
}

/// When a wait is over.
#[derive(Debug)]
enum Deadline {
    Never,
    At(u64),
}

impl Deadline {
    fn new(request: &Request, system: &impl System) -> Self {
        match request.patience {
            Patience::Forever => Deadline::Never,
            Patience::Nanos(nanos) => Deadline::At(system.now().saturating_add(nanos)),
        }
    }

    fn left(&self, system: &impl System) -> Patience {
        match self {
            Deadline::Never => Patience::Forever,
            Deadline::At(end) => Patience::Nanos(end.saturating_sub(system.now())),
        }
    }

    fn is_over(&self, system: &impl System) -> bool {
        self.left(system) == Patience::NONE
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::SeqCst;

    use super::*;
    use crate::batch::test_iocb;
    use crate::context::RELEASED;
    use crate::played::{Played, SHADOW, VISIBLE};
    use aio_abi::{Iocb, FSYNC, POLL, PREAD};

    const MILLISECOND: u64 = 1_000_000;

    fn iocb(opcode: u16, data: u64) -> Iocb {
        Iocb {
            data,
            ..test_iocb(opcode, 0)
        }
    }

    /// What `io_getevents` returned, and the data of the events.
    fn read(
        context: &Context,
        played: &Played,
        (min, len): (usize, usize),
        patience: Patience,
    ) -> Result<Vec<u64>, KernelResult> {
        let mut events = [Event::default(); 16];
        let request = Request {
            min,
            room: Room {
                events: events.as_mut_ptr(),
                len,
            },
            patience,
            signals: Signals::Unchanged,
        };
        // SAFETY: there is room for 16 events.
        let result = unsafe { getevents(context, &request, played) };
        let count = usize::try_from(result).map_err(|_| result)?;
        Ok(events[..count].iter().map(|event| event.data).collect())
    }

    /// A context that polls, with I/O on both sides: a polled read 1 and a POLL 2.
    fn split() -> (&'static Context, Played) {
        let (context, played) = Played::with_context();
        let both = [iocb(PREAD, 1), iocb(POLL, 2)];
        assert_eq!(played.submit_to(context, &both), 2);
        (context, played)
    }

    #[test]
    fn one_side_takes_one_call() {
        let (context, played) = Played::with_context();
        played.submit_to(context, &[iocb(PREAD, 7)]);
        let patience = Patience::Nanos(MILLISECOND);
        assert_eq!(read(context, &played, (1, 8), patience), Ok(vec![7]));
        assert_eq!(*played.waits.borrow(), [(VISIBLE, 1, patience)]);
        assert_eq!(context.in_flight(Side::Visible).count(), 0);
    }

    #[test]
    fn a_plain_wait_for_one_is_not_cut() {
        let (context, played) = Played::with_context();
        played.submit_to(context, &[iocb(POLL, 7)]);
        played.then(|played| played.complete(VISIBLE));
        let events = read(context, &played, (1, 8), Patience::Forever);
        assert_eq!(events, Ok(vec![7]));
        assert_eq!(*played.waits.borrow(), [(VISIBLE, 1, Patience::Forever)]);
        assert_eq!(context.sleepers.load(SeqCst), 0);
    }

    #[test]
    fn a_wait_while_the_kernel_may_still_decide_for_polling_is_cut() {
        let (context, played) = Played::with_context();
        let attempt = || {
            assert_eq!(context.decide_plain(), Role::Plain);
            let start = played.now();
            let patience = Patience::Nanos(5 * LOOK_AROUND);
            assert_eq!(read(context, &played, (1, 8), patience), Ok(vec![]));
            assert_eq!(played.now() - start, 5 * LOOK_AROUND);
        };
        context.try_to_poll(attempt, |()| false);
        let waits = played.waits.borrow();
        let first = (VISIBLE, 1, Patience::Nanos(LOOK_AROUND));
        assert_eq!(waits.first(), Some(&first));
    }

    #[test]
    fn a_long_wait_looks_around_and_ends_in_time() {
        let (context, played) = Played::with_context();
        played.submit_to(context, &[iocb(PREAD, 7)]);
        let patience = Patience::Nanos(250 * MILLISECOND);
        let start = played.now();
        assert_eq!(read(context, &played, (2, 8), patience), Ok(vec![7]));
        assert_eq!(played.now() - start, 250 * MILLISECOND);
        let waits = played.waits.borrow();
        let waits: Vec<_> = waits
            .iter()
            .map(|(_, min, patience)| (*min, *patience))
            .collect();
        let nanos = |milliseconds| Patience::Nanos(milliseconds * MILLISECOND);
        let expected = [
            (2, nanos(100)),
            (1, nanos(100)),
            (1, nanos(50)),
            (1, nanos(0)),
        ];
        assert_eq!(waits, expected);
    }

    #[test]
    fn both_sides_count_together() {
        let (context, played) = split();
        played.then(|played| played.complete(SHADOW));
        let events = read(context, &played, (2, 8), Patience::Forever);
        assert_eq!(events, Ok(vec![1, 2]));
        assert_eq!(context.in_flight(Side::Visible).count(), 0);
        assert_eq!(context.in_flight(Side::Shadow).count(), 0);
    }

    #[test]
    fn one_of_either_side_will_do() {
        let (context, played) = split();
        let events = read(context, &played, (1, 8), Patience::Forever);
        assert_eq!(events, Ok(vec![1]));
        played.then(|played| played.complete(SHADOW));
        let events = read(context, &played, (1, 8), Patience::Forever);
        assert_eq!(events, Ok(vec![2]));
    }

    #[test]
    fn slices_grow_and_the_wait_ends_in_time() {
        let (context, played) = split();
        // What completes by polling is found at once, so there must be none: of this, as in a
        // device that takes its time.
        read(context, &played, (1, 1), Patience::NONE).unwrap();
        context.in_flight(Side::Visible).add(1);
        played.waits.borrow_mut().clear();
        let start = played.now();
        let patience = Patience::Nanos(5 * MILLISECOND);
        assert_eq!(read(context, &played, (1, 8), patience), Ok(vec![]));
        assert_eq!(played.now() - start, 5 * MILLISECOND);
        let waits = played.waits.borrow();
        let polled = waits.iter().filter(|(id, _, _)| *id == VISIBLE);
        let slices: Vec<_> = polled.map(|(_, _, slice)| *slice).collect();
        let micros = [100, 200, 400, 800, 1600, 1600, 300, 0];
        assert_eq!(slices, micros.map(|micros| Patience::Nanos(micros * 1000)));
    }

    #[test]
    fn a_look_takes_from_both() {
        let (context, played) = split();
        played.complete(SHADOW);
        let mut events = read(context, &played, (0, 8), Patience::Forever).unwrap();
        events.sort();
        assert_eq!(events, [1, 2]);
    }

    #[test]
    fn with_room_for_one_no_side_starves() {
        let (context, played) = Played::with_context();
        for _ in 0..2 {
            played.submit_to(context, &[iocb(PREAD, 1), iocb(FSYNC, 2)]);
        }
        let look = || read(context, &played, (0, 1), Patience::Forever).unwrap();
        let mut events = [look(), look()].concat();
        events.sort();
        assert_eq!(events, [1, 2]);
    }

    #[test]
    fn a_look_at_nothing_asks_the_kernel() {
        let (context, played) = split();
        read(context, &played, (1, 1), Patience::NONE).unwrap();
        played.complete(SHADOW);
        read(context, &played, (1, 1), Patience::NONE).unwrap();
        played.waits.borrow_mut().clear();
        assert_eq!(read(context, &played, (1, 8), Patience::NONE), Ok(vec![]));
        assert_eq!(*played.waits.borrow(), [(VISIBLE, 0, Patience::NONE)]);
    }

    #[test]
    fn the_first_plain_io_is_noticed_while_the_polled_side_is_waited_for() {
        let (context, played) = Played::with_context();
        played.submit_to(context, &[iocb(PREAD, 1)]);
        read(context, &played, (1, 1), Patience::NONE).unwrap();
        played.then(|played| assert_eq!(played.submit_to(context, &[iocb(FSYNC, 2)]), 1));
        let events = read(context, &played, (1, 8), Patience::Nanos(u64::MAX));
        assert_eq!(events, Ok(vec![2]));
    }

    #[test]
    fn the_first_polled_io_wakes_who_waits_for_the_plain_side() {
        for min in [1, 2] {
            let (context, played) = Played::with_context();
            played.submit_to(context, &[iocb(POLL, 1)]);
            played.then(|played| {
                assert_eq!(
                    played.submit_to(context, &[iocb(PREAD, 2), iocb(PREAD, 3)]),
                    2
                );
            });
            let patience = match min {
                1 => Patience::Forever,
                _ => Patience::Nanos(u64::MAX),
            };
            let events = read(context, &played, (min, 8), patience);
            assert_eq!(events, Ok(vec![2, 3]));
            assert!(!context.wake_pending.load(SeqCst));
        }
    }

    #[test]
    fn polled_io_wakes_who_sleeps_with_nothing_in_flight() {
        let (context, played) = split();
        played.complete(SHADOW);
        read(context, &played, (2, 8), Patience::Forever).unwrap();
        played.then(|played| assert_eq!(played.submit_to(context, &[iocb(PREAD, 3)]), 1));
        let events = read(context, &played, (1, 1), Patience::Nanos(u64::MAX));
        assert_eq!(events, Ok(vec![3]));
        assert_eq!(context.sleepers.load(SeqCst), 0);
    }

    /// The waits that it takes to read one polled I/O.
    fn waits_of_polled(
        context: &Context,
        played: &Played,
    ) -> Vec<(aio_abi::ContextId, usize, Patience)> {
        assert_eq!(played.submit_to(context, &[iocb(PREAD, 9)]), 1);
        played.waits.take();
        assert_eq!(played.read_one(context), Ok(9));
        played.waits.take()
    }

    const ONE_WAIT: (aio_abi::ContextId, usize, Patience) =
        (SHADOW, 1, Patience::Nanos(LOOK_AROUND));

    #[test]
    fn a_plain_context_that_only_polls_by_now_waits_there() {
        let (context, played) = Played::with_context();
        // More than the ring has elements, of which nobody tells that they were read.
        for _ in 0..100 {
            played.submit_to(context, &[iocb(FSYNC, 1)]);
            played.read_in_ring(VISIBLE);
        }
        assert_ne!(waits_of_polled(context, &played), [ONE_WAIT]);
        assert_eq!(waits_of_polled(context, &played), [ONE_WAIT]);
        // Now one that is read as all are.
        played.submit_to(context, &[iocb(FSYNC, 1)]);
        assert_eq!(played.read_one(context), Ok(1));
        waits_of_polled(context, &played);
        assert_eq!(waits_of_polled(context, &played), [ONE_WAIT]);
    }

    #[test]
    fn a_plain_context_waits_for_all_that_was_in_flight_before() {
        let (context, played) = Played::with_context();
        played.submit_to(context, &[iocb(POLL, 1), iocb(POLL, 2)]);
        played.complete(VISIBLE);
        played.read_in_ring(VISIBLE);
        for _ in 0..3 {
            assert_ne!(waits_of_polled(context, &played), [ONE_WAIT]);
        }
        played.complete(VISIBLE);
        assert_eq!(played.read_one(context), Ok(2));
        waits_of_polled(context, &played);
        assert_eq!(waits_of_polled(context, &played), [ONE_WAIT]);
    }

    #[test]
    fn a_wake_up_is_in_flight_until_it_is_read() {
        let (context, played) = Played::with_context();
        played.submit_to(context, &[iocb(FSYNC, 1), iocb(PREAD, 2)]);
        assert_eq!(
            read(context, &played, (2, 8), Patience::Forever).map(|all| all.len()),
            Ok(2)
        );
        for fails in [0, 1, 2] {
            played.wake_fails.set(fails);
            assert_eq!(wake::wake(context, &played), fails < 2);
            waits_of_polled(context, &played);
            waits_of_polled(context, &played);
            assert_eq!(waits_of_polled(context, &played), [ONE_WAIT]);
            assert_eq!(context.in_flight(Side::Visible).count(), 0);
        }
    }

    #[test]
    fn wake_ups_are_taken_out_of_what_is_read() {
        let (context, played) = Played::with_context();
        played.submit_to(context, &[iocb(PREAD, 1)]);
        played.submit_to(context, &[iocb(FSYNC, 2)]);
        wake::wake(context, &played);
        played.submit_to(context, &[iocb(FSYNC, 3)]);
        let mut events = read(context, &played, (3, 8), Patience::Forever).unwrap();
        events.sort();
        assert_eq!(events, [1, 2, 3]);
    }

    #[test]
    fn a_wake_up_does_not_take_the_place_of_an_event() {
        for (min, patience) in [
            (0, Patience::Forever),
            (1, Patience::NONE),
            (1, Patience::Nanos(MILLISECOND)),
        ] {
            let (context, played) = split();
            played.complete(SHADOW);
            read(context, &played, (2, 8), Patience::Forever).unwrap();
            assert!(wake::wake(context, &played));
            played.submit_to(context, &[iocb(FSYNC, 3)]);
            let start = played.now();
            assert_eq!(read(context, &played, (min, 1), patience), Ok(vec![3]));
            assert_eq!(played.now(), start);
        }
    }

    #[test]
    fn who_leaves_with_more_to_poll_leaves_it_to_a_sleeper() {
        let (context, played) = split();
        played.submit_to(context, &[iocb(PREAD, 3)]);
        let _sleeper = Sleeper::new(context);
        read(context, &played, (1, 1), Patience::Forever).unwrap();
        assert!(context.wake_pending.load(SeqCst));
        assert_eq!(played.events_of(SHADOW), 1);
    }

    #[test]
    fn a_signal_ends_a_wait_on_both_sides() {
        let (context, played) = split();
        read(context, &played, (1, 1), Patience::Forever).unwrap();
        context.in_flight(Side::Visible).add(1);
        played.then(|played| played.signal.set(true));
        let events = read(context, &played, (2, 8), Patience::Nanos(u64::MAX));
        assert_eq!(events, Err(error(EINTR)));
    }

    #[test]
    fn a_signal_on_one_side_hides_no_event_of_the_other() {
        for min in [1, 2] {
            let (context, played) = split();
            played.signal.set(true);
            let patience = match min {
                1 => Patience::NONE,
                _ => Patience::Forever,
            };
            assert_eq!(read(context, &played, (min, 8), patience), Ok(vec![1]));
        }
    }

    #[test]
    fn a_signal_ends_a_wait_with_what_there_is() {
        let (context, played) = split();
        played.then(|played| played.signal.set(true));
        let events = read(context, &played, (2, 8), Patience::Nanos(u64::MAX));
        assert_eq!(events, Ok(vec![1]));
    }

    #[test]
    fn a_signal_in_a_wait_for_several_ends_it_too() {
        let (context, played) = Played::with_context();
        played.submit_to(context, &[iocb(PREAD, 1)]);
        played.then(|played| played.signal.set(true));
        let events = read(context, &played, (2, 8), Patience::Nanos(u64::MAX));
        assert_eq!(events, Ok(vec![1]));
    }

    /// A context with two sides, of which an FSYNC 3 has completed on the plain one and nothing else
    /// is in flight.
    fn completed() -> (&'static Context, Played) {
        let (context, played) = split();
        played.complete(SHADOW);
        read(context, &played, (2, 8), Patience::Forever).unwrap();
        assert_eq!(played.submit_to(context, &[iocb(FSYNC, 3)]), 1);
        (context, played)
    }

    /// Waits for more events than come, which a signal has to end long before the time is up.
    fn interrupted(context: &Context, played: &Played) -> Result<Vec<u64>, KernelResult> {
        let start = played.now();
        let patience = Patience::Nanos(1000 * MILLISECOND);
        let events = read(context, played, (3, 8), patience);
        assert!(played.now() - start < 10 * MILLISECOND, "it goes on");
        assert!(!played.signal.get(), "it is not handled");
        events
    }

    #[test]
    fn a_signal_before_a_wait_ends_it_with_what_there_is() {
        let (context, played) = completed();
        played.signal.set(true);
        assert_eq!(interrupted(context, &played), Ok(vec![3]));
    }

    #[test]
    fn a_signal_that_comes_with_an_event_ends_the_wait() {
        for side in [SHADOW, VISIBLE] {
            let (context, played) = completed();
            assert_eq!(played.submit_to(context, &[iocb(POLL, 4)]), 1);
            if side == VISIBLE {
                // Something to poll for that does not complete.
                context.in_flight(Side::Visible).add(1);
            }
            played.then(|played| {
                played.complete(SHADOW);
                played.signal.set(true);
            });
            assert_eq!(interrupted(context, &played), Ok(vec![3, 4]));
        }
    }

    #[test]
    fn a_signal_that_is_blocked_does_not_end_a_wait() {
        let (context, played) = completed();
        assert_eq!(played.submit_to(context, &[iocb(POLL, 4)]), 1);
        played.signal.set(true);
        let before = played.block_signals();
        played.then(|played| played.complete(SHADOW));
        let events = read(context, &played, (2, 8), Patience::Forever);
        assert_eq!(events, Ok(vec![3, 4]));
        played.restore_signals(before);
    }

    #[test]
    fn a_wake_up_is_not_shown_as_the_context_ends() {
        let (context, played) = Played::with_context();
        played.submit_to(context, &[iocb(POLL, 1), iocb(PREAD, 2)]);
        assert_eq!(played.read_one(context), Ok(2));
        played.then(|played| {
            assert!(wake::wake(context, played));
            context.id_word().store(RELEASED, SeqCst);
            context.end(played).unwrap();
        });
        assert_eq!(played.read_one(context), Err(error(EINVAL)));
    }

    #[test]
    fn a_wait_ends_with_its_context() {
        let (context, played) = split();
        read(context, &played, (1, 1), Patience::NONE).unwrap();
        played.then(|played| {
            context.id_word().store(RELEASED, SeqCst);
            let shadow = context.end(played).unwrap();
            played.destroy(shadow);
            played.destroy(VISIBLE);
        });
        let events = read(context, &played, (1, 8), Patience::Forever);
        assert_eq!(events, Err(error(EINVAL)));
    }
}
