// SPDX-License-Identifier: GPL-2.0-only

//! Linux AIO, with and without `IOCB_FLAG_HIPRI`.

use std::io;
use std::ptr;
use std::sync::Arc;

use aio_abi::{ContextId, Event, Iocb, RingHeader};
use libc::c_long;

use crate::memory::Mapping;
use crate::place::Place;
use crate::queue::{check_result, Direction, IoFailure, Queue};
use crate::slots::{Slot, Slots};

/// Whether the kernel is asked to poll.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Polling {
    /// Completions come by interrupt.
    Off,
    /// `IOCB_FLAG_HIPRI` is set.
    On,
}

/// A context with the iocbs of all its slots.
pub struct Context {
    id: ContextId,
    iocbs: Mapping,
    slots: Arc<Slots>,
}

impl Context {
    /// Makes a context with room for an I/O of each slot.
    pub fn new(slots: Arc<Slots>, polling: Polling) -> io::Result<Self> {
        let mut id: ContextId = 0;
        // SAFETY: The kernel writes the id, which outlives the call.
        let status = unsafe { libc::syscall(libc::SYS_io_setup, slots.count(), &raw mut id) };
        if status < 0 {
            return Err(io::Error::last_os_error());
        }
        let iocbs = Mapping::anonymous(slots.count() * size_of::<Iocb>())?;
        let context = Self { id, iocbs, slots };
        for slot in 0..context.slots.count() as Slot {
            context.describe(slot, polling);
        }
        Ok(context)
    }

    /// Fills in what all I/Os of a slot have in common.
    fn describe(&self, slot: Slot, polling: Polling) {
        let iocb = Iocb {
            data: slot.into(),
            buf: self.slots.address(slot) as u64,
            nbytes: self.slots.block_size() as u64,
            flags: match polling {
                Polling::Off => 0,
                Polling::On => aio_abi::FLAG_HIPRI,
            },
            ..Iocb::default()
        };
        // SAFETY: The iocb lies in the mapping, and nobody uses a context before it is made.
        unsafe { self.iocb(slot).write(iocb) };
    }

    fn iocb(&self, slot: Slot) -> *mut Iocb {
        self.iocbs.at(slot as usize * size_of::<Iocb>())
    }

    /// Whether the kernel knows `IOCB_FLAG_HIPRI`; one that does not ignores it silently.
    pub fn offers_polling(&self) -> bool {
        let ring = ptr::with_exposed_provenance::<RingHeader>(self.id as usize);
        // SAFETY: The id of a context is the address of its ring.
        let header = unsafe { ring.read_volatile() };
        header.offers_polling()
    }

    /// Its slots.
    pub fn slots(&self) -> &Arc<Slots> {
        &self.slots
    }

    /// Reaps nothing, once: the least that makes a thread one that has reaped here.
    pub fn reap_nothing(&self) -> Result<(), IoFailure> {
        // SAFETY: No event is asked for, so nothing is written.
        match unsafe { self.getevents(0, 0, ptr::null_mut()) } {
            0 => Ok(()),
            _ => Err(IoFailure::last("io_getevents")),
        }
    }

    /// # Safety
    ///
    /// `events` has room for `max` events.
    unsafe fn getevents(&self, min: usize, max: usize, events: *mut Event) -> c_long {
        let no_timeout = ptr::null_mut::<libc::timespec>();
        // SAFETY: The kernel writes `max` events at most, for which the caller has room.
        unsafe {
            libc::syscall(
                libc::SYS_io_getevents,
                self.id,
                min,
                max,
                events,
                no_timeout,
            )
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: All I/O of the context is over when this returns, before the iocbs and buffers
        // are unmapped.
        unsafe { libc::syscall(libc::SYS_io_destroy, self.id) };
    }
}

/// One thread's access to a context, which other threads may have too.
pub struct AioQueue {
    context: Arc<Context>,
    files: Arc<[i32]>,
    opcode: u16,
    ready: Vec<*mut Iocb>,
    events: Vec<Event>,
}

impl AioQueue {
    /// Access to `context` for I/O on `files` in batches of `batch`.
    pub fn new(context: Arc<Context>, files: Arc<[i32]>, batch: usize) -> Self {
        Self {
            context,
            files,
            opcode: aio_abi::PREAD,
            ready: Vec::with_capacity(batch),
            events: Vec::with_capacity(batch),
        }
    }

    fn submit(&mut self) -> Result<(), IoFailure> {
        let count = self.ready.len();
        // SAFETY: The iocbs and their buffers belong to slots that the caller owned, and from here
        // on belong to the kernel; they outlive the context.
        let taken = unsafe {
            libc::syscall(
                libc::SYS_io_submit,
                self.context.id,
                count,
                self.ready.as_ptr(),
            )
        };
        self.ready.clear();
        match usize::try_from(taken) {
            Ok(taken) if taken == count => Ok(()),
            Ok(_) => Err(IoFailure::Refused("io_submit")),
            Err(_) => Err(IoFailure::last("io_submit")),
        }
    }

    fn reap(&mut self, want: usize, done: &mut Vec<Slot>) -> Result<(), IoFailure> {
        let mut missing = want;
        while missing > 0 {
            let want = missing.min(self.events.capacity());
            // SAFETY: There is room for `want` events.
            let count = unsafe { self.context.getevents(want, want, self.events.as_mut_ptr()) };
            let Ok(count) = usize::try_from(count) else {
                return Err(IoFailure::last("io_getevents"));
            };
            // SAFETY: The kernel wrote so many.
            unsafe { self.events.set_len(count) };
            for event in &self.events {
                check_result(event.res, self.context.slots.block_size())?;
                done.push(event.data as Slot);
            }
            missing -= count;
        }
        Ok(())
    }
}

impl Queue for AioQueue {
    #[inline]
    fn prepare(&mut self, slot: Slot, place: Place) {
        let iocb = self.context.iocb(slot);
        let offset = i64::from(place.block) * self.context.slots.block_size() as i64;
        // SAFETY: The caller owns the slot, and its iocb with it.
        unsafe {
            (*iocb).opcode = self.opcode;
            (*iocb).fildes = self.files[place.file as usize] as u32;
            (*iocb).offset = offset;
        }
        self.ready.push(iocb);
    }

    #[inline]
    fn turn(&mut self, want: usize, done: &mut Vec<Slot>) -> Result<(), IoFailure> {
        if !self.ready.is_empty() {
            self.submit()?;
        }
        self.reap(want, done)
    }

    fn set_direction(&mut self, direction: Direction) {
        self.opcode = match direction {
            Direction::Read => aio_abi::PREAD,
            Direction::Write => aio_abi::PWRITE,
        };
    }
}
