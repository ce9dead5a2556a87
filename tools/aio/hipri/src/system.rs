// SPDX-License-Identifier: GPL-2.0-only

//! What the library asks of the system, so that tests can play its part.

use aio_abi::{ContextId, Event, Iocb};
use libc::c_long;

use crate::file::FileState;

/// What the AIO calls return, in the kernel's form: a count, or a negated errno.
pub type KernelResult = c_long;

/// The error `errno` in the kernel's form.
pub const fn error(errno: libc::c_int) -> KernelResult {
    -(errno as KernelResult)
}

/// How long a wait may last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Patience {
    /// So many nanoseconds.
    Nanos(u64),
    /// As long as it takes.
    Forever,
}

impl Patience {
    /// None at all: only a look.
    pub const NONE: Patience = Patience::Nanos(0);

    /// This, but no longer than `limit` nanoseconds.
    pub fn at_most(self, limit: u64) -> Self {
        self.min(Patience::Nanos(limit))
    }
}

/// A set of signals as the kernel has it, signal 1 being the lowest bit.
pub type SignalSet = u64;

/// What `io_pgetevents` takes for a signal mask.
#[repr(C)]
#[derive(Debug)]
pub struct SignalArgument {
    /// The set; null for none.
    pub set: *const SignalSet,
    /// Its size in bytes: 8.
    pub size: usize,
}

/// Where events go: not looked into, and not aligned if the program's is not.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// The first of them.
    pub events: *mut Event,
    /// How many there is room for.
    pub len: usize,
}

impl Room {
    /// What is left of it behind `len` events.
    pub fn behind(self, len: usize) -> Self {
        Room {
            events: self.events.wrapping_add(len),
            len: self.len - len,
        }
    }
}

/// Where a ring is read and written: indices of its elements.
#[derive(Clone, Copy, Debug)]
pub struct Ring {
    /// Where the next event is read.
    pub head: u32,
    /// Where the next one is written.
    pub tail: u32,
}

impl Ring {
    /// Whether there is no event in it.
    pub fn is_empty(self) -> bool {
        self.head == self.tail
    }
}

/// Which signals a wait is safe from.
#[derive(Clone, Copy, Debug)]
pub enum Signals {
    /// Those that the thread blocks.
    Unchanged,
    /// Those that an argument of the program's names, which names a set.
    Given(*const SignalArgument),
    /// These.
    Blocked(SignalSet),
}

/// The system calls and little more.
pub trait System {
    /// `io_setup`.
    ///
    /// # Errors
    ///
    /// The kernel's.
    fn set_up(&self, events: u32) -> Result<ContextId, KernelResult>;

    /// `io_destroy`.
    fn destroy(&self, context: ContextId) -> KernelResult;

    /// `io_submit` of the `len` iocbs whose addresses are at `iocbs`.
    ///
    /// # Safety
    ///
    /// The I/O may be done: buffers and iocbs are as the kernel demands.
    unsafe fn submit(
        &self,
        context: ContextId,
        len: usize,
        iocbs: *const *mut Iocb,
    ) -> KernelResult;

    /// `io_getevents` for `wanted` events or more.
    ///
    /// # Safety
    ///
    /// The kernel may write to the room.
    unsafe fn getevents(
        &self,
        context: ContextId,
        wanted: usize,
        room: Room,
        patience: Patience,
        signals: Signals,
    ) -> KernelResult;

    /// Tells readers of the ring of `context` in user memory to call the kernel instead.
    ///
    /// # Safety
    ///
    /// The context lives.
    unsafe fn hide_ring(&self, context: ContextId);

    /// Looks at the ring of `context` in user memory.
    ///
    /// # Safety
    ///
    /// The context lives.
    unsafe fn ring(&self, context: ContextId) -> Ring;

    /// An iocb for I/O that completes at once, whatever becomes of it; `None` where the system has
    /// no descriptor left for it, or `again` is set, and the descriptor cannot be renewed.
    fn wake_iocb(&self, again: bool) -> Option<*mut Iocb>;

    /// Whether `event` is of that I/O.
    fn is_wake(&self, event: &Event) -> bool;

    /// Blocks all signals for this thread; returns which were blocked before.
    fn block_signals(&self) -> SignalSet;

    /// Blocks just these signals.
    fn restore_signals(&self, set: SignalSet);

    /// Monotonic time in nanoseconds.
    fn now(&self) -> u64;

    /// Lets other threads run.
    fn give_way(&self);

    /// Looks at the file behind a descriptor.
    fn look_up(&self, fd: u32) -> FileState;
}

/// Keeps all signals of this thread waiting until it is dropped.
pub struct SignalsBlocked<'a, S: System> {
    system: &'a S,
    before: SignalSet,
}

impl<'a, S: System> SignalsBlocked<'a, S> {
    /// From now on.
    pub fn new(system: &'a S) -> Self {
        let before = system.block_signals();
        SignalsBlocked { system, before }
    }

    /// What was blocked before.
    pub fn before(&self) -> SignalSet {
        self.before
    }
}

impl<S: System> Drop for SignalsBlocked<'_, S> {
    fn drop(&mut self) {
        self.system.restore_signals(self.before);
    }
}
