// SPDX-License-Identifier: GPL-2.0-only

//! A system that is played, for the unit tests of this crate: what of the kernel matters here, one
//! thread at a time. What another thread would do while one waits is put in `meanwhile`.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap, VecDeque};

use aio_abi::{ContextId, Event, Iocb, FLAG_HIPRI, FLAG_RESFD, POLL, PREAD};
use libc::{c_int, EAGAIN, EBADF, EFAULT, EINTR, EINVAL, EOPNOTSUPP};

use crate::batch::{plausible, test_iocb, Batch};
use crate::context::{Context, Role};
use crate::file::FileState;
use crate::reap::{self, Request};
use crate::submit::{News, Submission};
use crate::system::{error, KernelResult, Patience, Ring, Room, SignalSet, Signals, System};
use crate::verdicts::Verdicts;

/// The id of the context that [`Played::with_context`] makes, which has eight pages.
pub const VISIBLE: ContextId = 0x1_0000;
/// The id of the first that is set up after it.
pub const SHADOW: ContextId = 0x2_0000;

/// What `with_context`'s context was set up for, and how much it takes.
pub const EVENTS: u32 = 8;
/// See [`EVENTS`].
pub const CAPACITY: usize = 64;

#[derive(Default)]
struct KernelContext {
    is_small: bool,
    polled: Option<bool>,
    /// Accepted, and completed by polling.
    to_poll: VecDeque<Event>,
    /// Accepted, and completed by [`Played::complete`].
    held: VecDeque<Event>,
    events: VecDeque<Event>,
    /// Events that were read, by whomever.
    read: usize,
}

impl KernelContext {
    fn taken(&self) -> usize {
        self.to_poll.len() + self.held.len() + self.events.len()
    }
}

/// What another thread does.
pub type Act = Box<dyn FnOnce(&Played)>;

/// See the module.
pub struct Played {
    kernel: RefCell<BTreeMap<ContextId, KernelContext>>,
    files: RefCell<HashMap<u32, FileState>>,
    /// Whether the kernel polls what it is asked to.
    pub device_polls: Cell<bool>,
    /// Contexts that can still be set up.
    pub room_for_contexts: Cell<usize>,
    /// I/O that each context takes.
    pub room: Cell<usize>,
    /// I/O that one takes which was set up for a single event.
    pub room_in_small: Cell<usize>,
    /// Sizes of the contexts that were set up.
    pub set_up: RefCell<Vec<u32>>,
    /// Contexts whose ring was hidden.
    pub hidden: RefCell<Vec<ContextId>>,
    /// What was found out about files.
    pub verdicts: Verdicts,
    /// Descriptors that were looked up.
    pub looked_up: RefCell<Vec<u32>>,
    /// For each submission, the context and the flags.
    pub submissions: RefCell<Vec<(ContextId, Vec<u32>)>>,
    /// For each wait, the context, what was waited for and how long.
    pub waits: RefCell<Vec<(ContextId, usize, Patience)>>,
    /// What others do, one at a time, whenever a wait finds too little.
    pub meanwhile: RefCell<VecDeque<Act>>,
    /// What others do right before the kernel gets the next submission.
    pub before_submission: RefCell<Option<Act>>,
    /// A signal is pending.
    pub signal: Cell<bool>,
    /// Attempts to wake that fail.
    pub wake_fails: Cell<usize>,
    wake: RefCell<Box<Iocb>>,
    blocked: Cell<SignalSet>,
    time: Cell<u64>,
    /// What was told.
    pub told: RefCell<Vec<News>>,
}

impl Played {
    /// A system without contexts.
    pub fn new() -> Self {
        Played {
            kernel: RefCell::default(),
            files: RefCell::default(),
            device_polls: Cell::new(true),
            room_for_contexts: Cell::new(usize::MAX),
            room: Cell::new(CAPACITY),
            room_in_small: Cell::new(CAPACITY),
            set_up: RefCell::default(),
            hidden: RefCell::default(),
            verdicts: Verdicts::new(),
            looked_up: RefCell::default(),
            submissions: RefCell::default(),
            waits: RefCell::default(),
            meanwhile: RefCell::default(),
            before_submission: RefCell::default(),
            signal: Cell::new(false),
            wake_fails: Cell::new(0),
            wake: RefCell::new(Box::new(test_iocb(PREAD, 0))),
            blocked: Cell::new(0),
            time: Cell::new(1),
            told: RefCell::default(),
        }
    }

    /// A context that nothing was submitted to, and its system.
    pub fn with_context() -> (&'static Context, Self) {
        let played = Played::new();
        let id = played.set_up(EVENTS).unwrap();
        assert_eq!(id, VISIBLE);
        played.set_up.take();
        let context: &'static Context = Box::leak(Box::new(Context::vacant()));
        context.reset(Role::Undecided, EVENTS, CAPACITY);
        let word = context.id_word();
        word.store(id as usize, std::sync::atomic::Ordering::Relaxed);
        (context, played)
    }

    /// Submits `iocbs`, which stay for ever.
    pub fn submit_to(&self, context: &Context, iocbs: &[Iocb]) -> KernelResult {
        let iocbs: &mut [Iocb] = Box::leak(iocbs.into());
        self.submit_again(context, iocbs)
    }

    /// Submits `iocbs`, which the caller can look at afterwards.
    pub fn submit_again(&self, context: &Context, iocbs: &mut [Iocb]) -> KernelResult {
        self.with_submission(context, iocbs, |submission, batch| submission.submit(batch))
    }

    /// Has a part of a submission of `iocbs` done.
    pub fn with_submission<R>(
        &self,
        context: &Context,
        iocbs: &mut [Iocb],
        act: impl FnOnce(&Submission<'_, Played>, Batch) -> R,
    ) -> R {
        let pointers: Vec<*mut Iocb> = iocbs.iter_mut().map(std::ptr::from_mut).collect();
        // SAFETY: the pointers are those of live iocbs.
        let batch = unsafe { Batch::new(pointers.as_ptr(), pointers.len() as _, CAPACITY) };
        let submission = Submission {
            context,
            verdicts: &self.verdicts,
            system: self,
            tell: &|news| self.told.borrow_mut().push(news),
        };
        act(&submission, batch.unwrap())
    }

    /// Waits for an event and returns its data.
    pub fn read_one(&self, context: &Context) -> Result<u64, KernelResult> {
        let mut event = Event::default();
        let request = Request {
            min: 1,
            room: Room {
                events: &raw mut event,
                len: 1,
            },
            patience: Patience::Forever,
            signals: Signals::Unchanged,
        };
        // SAFETY: there is room for one event.
        match unsafe { reap::getevents(context, &request, self) } {
            1 => Ok(event.data),
            result => Err(result),
        }
    }

    /// The next that is done by another thread during a wait.
    pub fn then(&self, act: impl FnOnce(&Played) + 'static) {
        self.meanwhile.borrow_mut().push_back(Box::new(act));
    }

    /// What is behind a descriptor; I/O can be polled where nothing was said.
    pub fn file(&self, fd: u32, state: FileState) {
        self.files.borrow_mut().insert(fd, state);
    }

    /// Completes the oldest held I/O of a context.
    pub fn complete(&self, id: ContextId) {
        let mut kernel = self.kernel.borrow_mut();
        let context = kernel.get_mut(&id).unwrap();
        let event = context.held.pop_front().unwrap();
        context.events.push_back(event);
    }

    /// Has the program read an event in the ring, without a call.
    pub fn read_in_ring(&self, id: ContextId) {
        let mut kernel = self.kernel.borrow_mut();
        let context = kernel.get_mut(&id).unwrap();
        context.events.pop_front().unwrap();
        context.read += 1;
    }

    /// The kernel's contexts.
    pub fn contexts(&self) -> Vec<ContextId> {
        self.kernel.borrow().keys().copied().collect()
    }

    /// How many events a context has to read.
    pub fn events_of(&self, id: ContextId) -> usize {
        self.kernel.borrow()[&id].events.len()
    }

    /// Whether a context is polled, if that is decided.
    pub fn is_polled(&self, id: ContextId) -> Option<bool> {
        self.kernel.borrow()[&id].polled
    }

    fn admit(&self, context: &mut KernelContext, address: *mut Iocb) -> Result<(), c_int> {
        if !plausible(address) {
            return Err(EFAULT);
        }
        // SAFETY: the tests submit live iocbs.
        let iocb = unsafe { *address };
        let polled = iocb.flags & FLAG_HIPRI != 0;
        let room = if context.is_small {
            &self.room_in_small
        } else {
            &self.room
        };
        if context.taken() >= room.get() {
            return Err(EAGAIN);
        }
        if iocb.opcode > 8 || polled && (iocb.opcode != PREAD || iocb.flags & FLAG_RESFD != 0) {
            return Err(EINVAL);
        }
        let state = self.files.borrow().get(&iocb.fildes).copied();
        if state == Some(FileState::Closed) {
            return Err(EBADF);
        }
        let pollable = matches!(state, None | Some(FileState::Pollable));
        if polled && !(self.device_polls.get() && pollable) {
            return Err(EOPNOTSUPP);
        }
        if context.polled.is_some_and(|mode| mode != polled) {
            return Err(EINVAL);
        }
        context.polled = Some(polled);
        let event = Event {
            data: iocb.data,
            obj: address as u64,
            res: iocb.nbytes as i64,
            res2: 0,
        };
        let queue = match iocb.opcode {
            _ if polled => &mut context.to_poll,
            POLL => &mut context.held,
            _ => &mut context.events,
        };
        queue.push_back(event);
        Ok(())
    }

    fn take_wake_failure(&self, address: *mut Iocb) -> bool {
        let is_wake = std::ptr::eq(address, &**self.wake.borrow());
        let fails = is_wake && self.wake_fails.get() > 0;
        if fails {
            self.wake_fails.set(self.wake_fails.get() - 1);
        }
        fails
    }

    /// Moves events to the program; returns how many, or `None` where there is no such context.
    fn read(&self, id: ContextId, room: Room) -> Option<usize> {
        let mut kernel = self.kernel.borrow_mut();
        let context = kernel.get_mut(&id)?;
        let polled = std::mem::take(&mut context.to_poll);
        context.events.extend(polled);
        let read = context.events.len().min(room.len);
        context.read += read;
        for (index, event) in context.events.drain(..read).enumerate() {
            // SAFETY: there is room for so many.
            unsafe { room.events.add(index).write(event) };
        }
        Some(read)
    }
}

impl System for Played {
    fn set_up(&self, events: u32) -> Result<ContextId, KernelResult> {
        let room = self.room_for_contexts.get();
        // A limit of one event is left for small contexts.
        if room == 0 || room == 1 && events > 1 {
            return Err(error(EAGAIN));
        }
        self.room_for_contexts.set(room - 1);
        let last = self.contexts().last().copied().unwrap_or(0);
        let id = last + VISIBLE;
        let made = KernelContext {
            is_small: events == 1,
            ..KernelContext::default()
        };
        self.kernel.borrow_mut().insert(id, made);
        self.set_up.borrow_mut().push(events);
        Ok(id)
    }

    fn destroy(&self, context: ContextId) -> KernelResult {
        match self.kernel.borrow_mut().remove(&context) {
            Some(_) => 0,
            None => error(EINVAL),
        }
    }

    unsafe fn submit(
        &self,
        context: ContextId,
        len: usize,
        iocbs: *const *mut Iocb,
    ) -> KernelResult {
        if let Some(act) = self.before_submission.take() {
            act(self);
        }
        let mut kernel = self.kernel.borrow_mut();
        let Some(kernel) = kernel.get_mut(&context) else {
            return error(EINVAL);
        };
        // SAFETY: the caller's.
        let iocbs = unsafe { std::slice::from_raw_parts(iocbs, len) };
        if self.take_wake_failure(iocbs[0]) {
            return error(libc::EBADF);
        }
        // SAFETY: the tests submit live iocbs, or obviously none.
        let flags = |iocb: &*mut Iocb| plausible(*iocb).then(|| unsafe { (**iocb).flags });
        let flags = iocbs.iter().filter_map(flags).collect();
        self.submissions.borrow_mut().push((context, flags));
        for (index, iocb) in iocbs.iter().enumerate() {
            match self.admit(kernel, *iocb) {
                Ok(()) => {}
                Err(errno) if index == 0 => return error(errno),
                Err(_) => return index as KernelResult,
            }
        }
        len as KernelResult
    }

    unsafe fn getevents(
        &self,
        context: ContextId,
        wanted: usize,
        room: Room,
        patience: Patience,
        signals: Signals,
    ) -> KernelResult {
        self.waits.borrow_mut().push((context, wanted, patience));
        let blocked = match signals {
            Signals::Unchanged => self.blocked.get(),
            Signals::Blocked(set) => set,
            Signals::Given(_) => 0,
        };
        let mut got = 0;
        loop {
            match self.read(context, room.behind(got)) {
                Some(read) => got += read,
                None if got == 0 => return error(EINVAL),
                None => return got as KernelResult,
            }
            let interrupted = self.signal.get() && blocked == 0;
            if interrupted {
                self.signal.set(false);
            }
            match (interrupted, patience) {
                (true, _) if got == 0 => return error(EINTR),
                (false, Patience::Forever | Patience::Nanos(1..)) if got < wanted => {}
                _ => return got as KernelResult,
            }
            let act = self.meanwhile.borrow_mut().pop_front();
            match (act, patience) {
                (Some(act), _) => act(self),
                (None, Patience::Nanos(nanos)) => {
                    self.time.set(self.time.get() + nanos);
                    return got as KernelResult;
                }
                (None, Patience::Forever) => panic!("this wait would never end"),
            }
        }
    }

    unsafe fn hide_ring(&self, context: ContextId) {
        self.hidden.borrow_mut().push(context);
    }

    unsafe fn ring(&self, context: ContextId) -> Ring {
        let kernel = self.kernel.borrow();
        let context = &kernel[&context];
        let index = |events| (events % (CAPACITY + 1)) as u32;
        Ring {
            head: index(context.read),
            tail: index(context.read + context.events.len()),
        }
    }

    fn wake_iocb(&self, _again: bool) -> Option<*mut Iocb> {
        Some(&raw mut **self.wake.borrow_mut())
    }

    fn is_wake(&self, event: &Event) -> bool {
        event.obj == &raw const **self.wake.borrow() as u64
    }

    fn block_signals(&self) -> SignalSet {
        self.blocked.replace(SignalSet::MAX)
    }

    fn restore_signals(&self, set: SignalSet) {
        self.blocked.set(set);
    }

    fn now(&self) -> u64 {
        self.time.get()
    }

    fn give_way(&self) {
        panic!("there is nobody to give way to");
    }

    fn look_up(&self, fd: u32) -> FileState {
        self.looked_up.borrow_mut().push(fd);
        let state = self.files.borrow().get(&fd).copied();
        state.unwrap_or(FileState::Pollable)
    }
}
