// SPDX-License-Identifier: GPL-2.0-only

//! A context and its slots, which any number of threads use together.
//!
//! A slot is free, or its I/O is in flight. The generation of a slot goes up with each step from
//! one to the other and back, and is in the data of the I/O: an event that comes twice, late or
//! for nothing is told from one that is due.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use aio_abi::{Event, Iocb};

use crate::context::Context;
use crate::counts::{add, Tally};
use crate::memory::Mapping;
use crate::random::Random;
use crate::target::{lay_down, lies_at, Target, BLOCK, BLOCKS};

/// The blocks of one I/O, at most.
const LONGEST: u64 = 8;

/// I/Os submitted at once, at most.
pub const BATCH: usize = 32;

/// Which I/O a context is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Reads and writes with `IOCB_FLAG_HIPRI`.
    Polled,
    /// Everything else, and announced to an eventfd now and then.
    Plain,
}

/// What a slot needs while its I/O is in flight.
struct Slot {
    /// Odd while the I/O is in flight.
    generation: AtomicU32,
    /// The first block of a read, or [`NO_READ`].
    reads: AtomicU64,
    /// Bytes that the I/O comes to if it succeeds, or [`ANY_RESULT`].
    length: AtomicU64,
}

const NO_READ: u64 = u64::MAX;
const ANY_RESULT: u64 = u64::MAX;

/// A context with all that belongs to it.
pub struct Lane<'a> {
    kind: Kind,
    // Before the memory that its I/Os use.
    context: Context,
    iocbs: Mapping,
    vectors: Mapping,
    buffers: Mapping,
    slots: Vec<Slot>,
    free: Mutex<Vec<u32>>,
    in_flight: AtomicUsize,
    destroyed: AtomicBool,
    /// An eventfd: what is announced is announced to it, and polled for on it.
    bell: i32,
    tally: &'a Tally,
    /// Whether I/O may fail: faults are being injected.
    forgiving: bool,
}

/// What came of a call.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Step {
    /// It did what it does.
    Done,
    /// Another thread destroyed the context.
    Destroyed,
}

impl<'a> Lane<'a> {
    /// A context for `count` I/Os of `kind`.
    pub fn new(kind: Kind, count: usize, tally: &'a Tally, forgiving: bool) -> io::Result<Self> {
        let context = Context::new(count)?;
        // SAFETY: A new descriptor, which nobody else has.
        let bell = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if bell < 0 {
            return Err(io::Error::last_os_error());
        }
        add(&tally.contexts, 1);
        add(&tally.polled_contexts, (kind == Kind::Polled).into());
        let slot = |_| Slot {
            generation: AtomicU32::new(0),
            reads: AtomicU64::new(NO_READ),
            length: AtomicU64::new(0),
        };
        Ok(Self {
            kind,
            context,
            iocbs: Mapping::private(count * size_of::<Iocb>())?,
            vectors: Mapping::private(count * 2 * size_of::<libc::iovec>())?,
            buffers: Mapping::private(count * LONGEST as usize * BLOCK)?,
            slots: (0..count).map(slot).collect(),
            free: Mutex::new((0..count as u32).collect()),
            in_flight: AtomicUsize::new(0),
            destroyed: AtomicBool::new(false),
            bell,
            tally,
            forgiving,
        })
    }

    /// Which I/O it is for.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// I/Os whose events have not come.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Submits up to [`BATCH`] I/Os on `targets`.
    pub fn submit(&self, random: &mut Random, targets: &[&Target]) -> Result<Step, String> {
        let mut batch = [0; BATCH];
        let wanted = random.between(1, BATCH as u64) as usize;
        let count = self.take_slots(&mut batch[..wanted]);
        let batch = &batch[..count];
        let mut iocbs = [std::ptr::null(); BATCH];
        for (iocb, &slot) in iocbs.iter_mut().zip(batch) {
            *iocb = self.prepare(slot, random, targets);
        }
        self.in_flight.fetch_add(count, Ordering::Relaxed);
        add(&self.tally.submitted, count as u64);
        // SAFETY: The iocbs and buffers are those of slots that are in flight from here on.
        let result = unsafe { self.context.submit(&iocbs[..count]) };
        let taken = *result.as_ref().unwrap_or(&0);
        for &slot in &batch[taken..] {
            self.slot(slot).generation.fetch_add(1, Ordering::Relaxed);
        }
        self.in_flight.fetch_sub(count - taken, Ordering::Relaxed);
        self.tally
            .submitted
            .fetch_sub((count - taken) as u64, Ordering::Relaxed);
        add(&self.tally.refused, (count - taken) as u64);
        self.give_back(&batch[taken..]);
        match result {
            Ok(_) => Ok(Step::Done),
            Err(error) if self.is_gone(&error) => Ok(Step::Destroyed),
            Err(error) if self.may_fail(&error) => Ok(Step::Done),
            Err(error) => Err(format!("io_submit: {error}")),
        }
    }

    /// Waits for at least `min` events, for no longer than `timeout`, and accounts for what came.
    pub fn reap(&self, min: usize, timeout: Option<Duration>) -> Result<Step, String> {
        let mut events = [Event::default(); BATCH];
        match self.context.reap(min, &mut events, timeout) {
            Ok(count) => {
                let mut done = [0; BATCH];
                let mut free = 0;
                for event in &events[..count] {
                    if let Some(slot) = self.account(event)? {
                        done[free] = slot;
                        free += 1;
                    }
                }
                self.give_back(&done[..free]);
                Ok(Step::Done)
            }
            Err(error) if self.is_gone(&error) => Ok(Step::Destroyed),
            Err(error) if error.raw_os_error() == Some(libc::EINTR) => Ok(Step::Done),
            Err(error) if self.may_fail(&error) => Ok(Step::Done),
            Err(error) => Err(format!("io_getevents: {error}")),
        }
    }

    /// Reaps until nothing is in flight; what has not come after `patience` is lost.
    pub fn drain(&self, patience: Duration) -> Result<(), String> {
        let start = Instant::now();
        while self.in_flight() > 0 {
            self.ring_the_bell();
            self.reap(1, Some(Duration::from_millis(100)))?;
            if start.elapsed() > patience {
                let lost = self.in_flight();
                add(&self.tally.lost, lost as u64);
                return Err(format!("{lost} events did not come, {:?}", self.kind));
            }
        }
        Ok(())
    }

    /// Ends the context with what is in flight.
    pub fn destroy(&self) -> io::Result<()> {
        self.destroyed.store(true, Ordering::Relaxed);
        self.context.destroy()
    }

    /// Lets all polls for the eventfd complete.
    pub fn ring_the_bell(&self) {
        let one = 1u64;
        // SAFETY: Eight bytes are there to be read.
        unsafe { libc::write(self.bell, (&raw const one).cast(), 8) };
    }

    fn is_gone(&self, error: &io::Error) -> bool {
        self.destroyed.load(Ordering::Relaxed) && error.raw_os_error() == Some(libc::EINVAL)
    }

    fn may_fail(&self, error: &io::Error) -> bool {
        self.forgiving || error.raw_os_error() == Some(libc::EAGAIN)
    }

    fn slot(&self, slot: u32) -> &Slot {
        &self.slots[slot as usize]
    }

    /// Takes free slots until `slots` is full or there are none.
    fn take_slots(&self, slots: &mut [u32]) -> usize {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        let count = slots.len().min(free.len());
        let left = free.len() - count;
        slots[..count].copy_from_slice(&free[left..]);
        free.truncate(left);
        count
    }

    fn give_back(&self, slots: &[u32]) {
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        free.extend_from_slice(slots);
    }

    /// Makes up an I/O for a slot, which is in flight from here on.
    fn prepare(&self, slot: u32, random: &mut Random, targets: &[&Target]) -> *const Iocb {
        let target = random.pick(targets);
        let length = random.between(1, LONGEST);
        let first = random.between(0, BLOCKS - length);
        let opcode = self.opcode(random);
        let bytes = length as usize * BLOCK;
        let buffer: *mut u8 = self.buffers.at(slot as usize * LONGEST as usize * BLOCK);
        // SAFETY: The slot is this thread's, and so is its buffer.
        let content = unsafe { std::slice::from_raw_parts_mut(buffer, bytes) };
        let writes = matches!(opcode, aio_abi::PWRITE | aio_abi::PWRITEV);
        let reads = matches!(opcode, aio_abi::PREAD | aio_abi::PREADV);
        if writes {
            lay_down(first, content);
        } else {
            content.fill(0);
        }
        let state = self.slot(slot);
        state
            .reads
            .store(if reads { first } else { NO_READ }, Ordering::Relaxed);
        let expected = if reads || writes {
            bytes as u64
        } else {
            ANY_RESULT
        };
        state.length.store(expected, Ordering::Relaxed);
        let generation = state.generation.fetch_add(1, Ordering::Relaxed) + 1;
        let mut iocb = Iocb {
            data: (u64::from(generation) << 32) | u64::from(slot),
            opcode,
            fildes: target.descriptor() as u32,
            buf: buffer as u64,
            nbytes: bytes as u64,
            offset: (first * BLOCK as u64) as i64,
            ..Iocb::default()
        };
        match opcode {
            aio_abi::PREADV | aio_abi::PWRITEV => self.split(slot, &mut iocb),
            aio_abi::FSYNC | aio_abi::FDSYNC => (iocb.buf, iocb.nbytes, iocb.offset) = (0, 0, 0),
            aio_abi::POLL => {
                (iocb.nbytes, iocb.offset) = (0, 0);
                iocb.buf = libc::POLLIN as u64;
                iocb.fildes = self.bell as u32;
            }
            _ => {}
        }
        if self.kind == Kind::Polled {
            iocb.flags = aio_abi::FLAG_HIPRI;
        } else if random.chance(25) {
            iocb.flags = aio_abi::FLAG_RESFD;
            iocb.resfd = self.bell as u32;
        }
        let place: *mut Iocb = self.iocbs.at(slot as usize * size_of::<Iocb>());
        // SAFETY: The slot is this thread's, and so is its iocb.
        unsafe { place.write(iocb) };
        place
    }

    fn opcode(&self, random: &mut Random) -> u16 {
        const TRANSFERS: [u16; 4] = [
            aio_abi::PREAD,
            aio_abi::PWRITE,
            aio_abi::PREADV,
            aio_abi::PWRITEV,
        ];
        const OTHERS: [u16; 3] = [aio_abi::FDSYNC, aio_abi::POLL, aio_abi::POLL];
        if self.kind == Kind::Plain && random.chance(5) {
            *random.pick(&OTHERS)
        } else {
            *random.pick(&TRANSFERS)
        }
    }

    /// Gives the buffer in two pieces, or in one if it is a single block.
    fn split(&self, slot: u32, iocb: &mut Iocb) {
        let bytes = iocb.nbytes as usize;
        let head = bytes / BLOCK / 2 * BLOCK;
        let piece = |at: usize, len| libc::iovec {
            iov_base: (iocb.buf as usize + at) as *mut libc::c_void,
            iov_len: len,
        };
        let pieces = [piece(0, head), piece(head, bytes - head)];
        let place = self
            .vectors
            .at::<[libc::iovec; 2]>(slot as usize * size_of_val(&pieces));
        // SAFETY: The slot is this thread's, and so are its vectors.
        unsafe { place.write(pieces) };
        let empty = usize::from(head == 0);
        iocb.buf = (place as usize + empty * size_of::<libc::iovec>()) as u64;
        iocb.nbytes = 2 - empty as u64;
    }

    /// The slot that an event frees; none if it was not for an I/O in flight.
    fn account(&self, event: &Event) -> Result<Option<u32>, String> {
        let (slot, generation) = (event.data as u32, (event.data >> 32) as u32);
        let state = self.slots.get(slot as usize);
        let is_due = |state: &&Slot| {
            generation % 2 == 1
                && state
                    .generation
                    .compare_exchange(
                        generation,
                        generation.wrapping_add(1),
                        Ordering::Relaxed,
                        Ordering::Relaxed,
                    )
                    .is_ok()
        };
        let Some(state) = state.filter(is_due) else {
            add(&self.tally.foreign, 1);
            return Err(format!("an event for nothing: {event:?}"));
        };
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        add(&self.tally.delivered, 1);
        let length = state.length.load(Ordering::Relaxed);
        if event.res < 0 || length != ANY_RESULT && event.res as u64 != length {
            add(&self.tally.failed, 1);
            return match self.forgiving {
                true => Ok(Some(slot)),
                false => Err(format!("an I/O ended with {} of {length}", event.res)),
            };
        }
        self.check_content(slot, state, length)?;
        Ok(Some(slot))
    }

    fn check_content(&self, slot: u32, state: &Slot, length: u64) -> Result<(), String> {
        let first = state.reads.load(Ordering::Relaxed);
        if first == NO_READ {
            return Ok(());
        }
        let buffer: *const u8 = self.buffers.at(slot as usize * LONGEST as usize * BLOCK);
        // SAFETY: The I/O is over and the slot not yet free: it is this thread's.
        let content = unsafe { std::slice::from_raw_parts(buffer, length as usize) };
        if lies_at(first, content) {
            return Ok(());
        }
        add(&self.tally.corrupt, 1);
        Err(format!("a read of block {first} brought something else"))
    }
}

impl Drop for Lane<'_> {
    fn drop(&mut self) {
        // SAFETY: The descriptor is this object's; requests that use it hold the file itself.
        unsafe { libc::close(self.bell) };
    }
}
