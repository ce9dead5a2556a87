// SPDX-License-Identifier: GPL-2.0-only

//! io_uring: by interrupt, polled, polled after a sleep, and polled with registered buffers and files.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;

use crate::memory::Mapping;
use crate::place::Place;
use crate::queue::{check_result, Direction, IoFailure, Queue};
use crate::slots::{Slot, Slots};

const SETUP_IOPOLL: u32 = 1 << 0;
const SETUP_COOP_TASKRUN: u32 = 1 << 8;
const SETUP_SINGLE_ISSUER: u32 = 1 << 12;
const SETUP_DEFER_TASKRUN: u32 = 1 << 13;
const SETUP_HYBRID_IOPOLL: u32 = 1 << 17;
const ENTER_GETEVENTS: u32 = 1 << 0;
const OFFSET_OF_RINGS: i64 = 0;
const OFFSET_OF_ENTRIES: i64 = 0x1000_0000;
const REGISTER_BUFFERS: u32 = 0;
const REGISTER_FILES: u32 = 2;
const OP_READ_FIXED: u8 = 4;
const OP_WRITE_FIXED: u8 = 5;
const OP_READ: u8 = 22;
const OP_WRITE: u8 = 23;
const SQE_FIXED_FILE: u8 = 1 << 0;

/// What a ring is made for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mode {
    /// Completions come by interrupt.
    Interrupts,
    /// `IORING_SETUP_IOPOLL`.
    Polled,
    /// The same with `IORING_SETUP_HYBRID_IOPOLL`.
    PolledHybrid,
    /// Polled, with buffers and files registered.
    PolledFixed,
}

impl Mode {
    fn setup_flags(self) -> u32 {
        match self {
            Self::Interrupts => 0,
            Self::Polled | Self::PolledFixed => SETUP_IOPOLL,
            Self::PolledHybrid => SETUP_IOPOLL | SETUP_HYBRID_IOPOLL,
        }
    }
}

/// `struct io_sqring_offsets`.
#[derive(Default)]
#[repr(C)]
struct SubmissionOffsets {
    head: u32,
    tail: u32,
    ring_mask: u32,
    ring_entries: u32,
    flags: u32,
    dropped: u32,
    array: u32,
    reserved: [u32; 3],
}

/// `struct io_cqring_offsets`.
#[derive(Default)]
#[repr(C)]
struct CompletionOffsets {
    head: u32,
    tail: u32,
    ring_mask: u32,
    ring_entries: u32,
    overflow: u32,
    entries: u32,
    flags: u32,
    reserved: [u32; 3],
}

/// `struct io_uring_params`.
#[derive(Default)]
#[repr(C)]
struct Parameters {
    submission_entries: u32,
    completion_entries: u32,
    flags: u32,
    thread_cpu: u32,
    thread_idle: u32,
    features: u32,
    wq_fd: u32,
    reserved: [u32; 3],
    submission: SubmissionOffsets,
    completion: CompletionOffsets,
}

/// `struct io_uring_sqe`.
#[repr(C)]
struct Submission {
    opcode: u8,
    flags: u8,
    ioprio: u16,
    fd: i32,
    offset: u64,
    address: u64,
    len: u32,
    rw_flags: u32,
    user_data: u64,
    buffer_index: u16,
    personality: u16,
    splice_fd: i32,
    rest: [u64; 2],
}

/// `struct io_uring_cqe`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Completion {
    user_data: u64,
    result: i32,
    flags: u32,
}

const _: () = assert!(size_of::<Parameters>() == 120);
const _: () = assert!(size_of::<Submission>() == 64 && size_of::<Completion>() == 16);

/// A ring, which only the thread that made it uses.
pub struct UringQueue {
    fd: OwnedFd,
    mode: Mode,
    direction: Direction,
    files: Arc<[i32]>,
    slots: Arc<Slots>,
    rings: Mapping,
    entries: Mapping,
    parameters: Parameters,
    ready: u32,
    submission_tail: u32,
    completion_head: u32,
}

impl UringQueue {
    /// Makes a ring with room for an I/O of each slot.
    pub fn new(slots: Arc<Slots>, files: Arc<[i32]>, mode: Mode) -> io::Result<Self> {
        let mut parameters = Parameters {
            flags: SETUP_SINGLE_ISSUER
                | SETUP_DEFER_TASKRUN
                | SETUP_COOP_TASKRUN
                | mode.setup_flags(),
            ..Parameters::default()
        };
        let fd = setup(slots.count(), &mut parameters)?;
        let completions = parameters.completion.entries as usize
            + parameters.completion_entries as usize * size_of::<Completion>();
        let array = parameters.submission.array as usize
            + parameters.submission_entries as usize * size_of::<u32>();
        let rings = Mapping::of_object(fd.as_raw_fd(), completions.max(array), OFFSET_OF_RINGS)?;
        let entries = parameters.submission_entries as usize * size_of::<Submission>();
        let entries = Mapping::of_object(fd.as_raw_fd(), entries, OFFSET_OF_ENTRIES)?;
        let ring = Self {
            fd,
            mode,
            direction: Direction::Read,
            files,
            slots,
            rings,
            entries,
            parameters,
            ready: 0,
            submission_tail: 0,
            completion_head: 0,
        };
        ring.name_entries();
        if mode == Mode::PolledFixed {
            ring.register_files()?;
            ring.register_buffers()?;
        }
        Ok(ring)
    }

    /// Each place of the submission ring names the entry of the same index, for good.
    fn name_entries(&self) {
        for index in 0..self.parameters.submission_entries {
            let at = self.parameters.submission.array as usize + index as usize * size_of::<u32>();
            // SAFETY: The array lies in the mapping, and the kernel reads it during submission only.
            unsafe { self.rings.at::<u32>(at).write(index) };
        }
    }

    fn register_files(&self) -> io::Result<()> {
        self.register(REGISTER_FILES, self.files.as_ptr().cast(), self.files.len())
    }

    fn register_buffers(&self) -> io::Result<()> {
        let buffers: Vec<_> = (0..self.slots.count() as Slot)
            .map(|slot| libc::iovec {
                iov_base: self.slots.address(slot).cast(),
                iov_len: self.slots.block_size(),
            })
            .collect();
        self.register(REGISTER_BUFFERS, buffers.as_ptr().cast(), buffers.len())
    }

    fn register(&self, what: u32, items: *const u8, count: usize) -> io::Result<()> {
        let fd = self.fd.as_raw_fd();
        // SAFETY: The kernel reads the items during the call; what they name outlives the ring.
        let status = unsafe { libc::syscall(libc::SYS_io_uring_register, fd, what, items, count) };
        match status {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    fn word(&self, offset: u32) -> &AtomicU32 {
        // SAFETY: The word lies in the mapping, is shared with the kernel and only used atomically.
        unsafe { &*self.rings.at::<AtomicU32>(offset as usize) }
    }

    /// Submits what is ready and waits for `want` completions, or fewer if the kernel says so.
    fn enter(&mut self, want: usize) -> Result<(), IoFailure> {
        let flags = if want > 0 { ENTER_GETEVENTS } else { 0 };
        let (fd, ready) = (self.fd.as_raw_fd(), self.ready);
        let no_signals = ptr::null::<u8>();
        self.word(self.parameters.submission.tail)
            .store(self.submission_tail, Ordering::Release);
        // SAFETY: The entries name buffers of slots that the caller owned, and from here on belong
        // to the kernel; they outlive the ring.
        let taken = unsafe {
            libc::syscall(
                libc::SYS_io_uring_enter,
                fd,
                ready,
                want,
                flags,
                no_signals,
                0,
            )
        };
        self.ready = 0;
        match u32::try_from(taken) {
            Ok(taken) if taken == ready => Ok(()),
            Ok(_) => Err(IoFailure::Refused("io_uring_enter")),
            Err(_) => Err(IoFailure::last("io_uring_enter")),
        }
    }

    /// Takes up to `want` completions; returns how many there were.
    fn take(&mut self, want: usize, done: &mut Vec<Slot>) -> Result<usize, IoFailure> {
        let tail = self
            .word(self.parameters.completion.tail)
            .load(Ordering::Acquire);
        let count = tail.wrapping_sub(self.completion_head).min(want as u32);
        let mask = self.parameters.completion_entries - 1;
        for _ in 0..count {
            let index = (self.completion_head & mask) as usize;
            let at = self.parameters.completion.entries as usize + index * size_of::<Completion>();
            // SAFETY: The kernel has published it and reuses it only after the head has passed.
            let completion = unsafe { self.rings.at::<Completion>(at).read() };
            check_result(completion.result.into(), self.slots.block_size())?;
            done.push(completion.user_data as Slot);
            self.completion_head = self.completion_head.wrapping_add(1);
        }
        self.word(self.parameters.completion.head)
            .store(self.completion_head, Ordering::Release);
        Ok(count as usize)
    }

    fn next_entry(&mut self) -> *mut Submission {
        let index = (self.submission_tail & (self.parameters.submission_entries - 1)) as usize;
        self.submission_tail = self.submission_tail.wrapping_add(1);
        self.ready += 1;
        self.entries.at(index * size_of::<Submission>())
    }
}

impl Queue for UringQueue {
    #[inline]
    fn prepare(&mut self, slot: Slot, place: Place) {
        let fixed = self.mode == Mode::PolledFixed;
        let submission = Submission {
            opcode: match (self.direction, fixed) {
                (Direction::Read, false) => OP_READ,
                (Direction::Read, true) => OP_READ_FIXED,
                (Direction::Write, false) => OP_WRITE,
                (Direction::Write, true) => OP_WRITE_FIXED,
            },
            flags: if fixed { SQE_FIXED_FILE } else { 0 },
            ioprio: 0,
            fd: if fixed {
                place.file as i32
            } else {
                self.files[place.file as usize]
            },
            offset: u64::from(place.block) * self.slots.block_size() as u64,
            address: self.slots.address(slot) as u64,
            len: self.slots.block_size() as u32,
            rw_flags: 0,
            user_data: slot.into(),
            buffer_index: if fixed { slot as u16 } else { 0 },
            personality: 0,
            splice_fd: 0,
            rest: [0; 2],
        };
        let entry = self.next_entry();
        // SAFETY: The entry lies in the mapping; the kernel has taken what was there before, since
        // the ring has an entry for each slot.
        unsafe { entry.write(submission) };
    }

    #[inline]
    fn turn(&mut self, want: usize, done: &mut Vec<Slot>) -> Result<(), IoFailure> {
        self.enter(want)?;
        let mut missing = want - self.take(want, done)?;
        while missing > 0 {
            self.enter(missing)?;
            missing -= self.take(missing, done)?;
        }
        Ok(())
    }

    fn set_direction(&mut self, direction: Direction) {
        self.direction = direction;
    }
}

fn setup(entries: usize, parameters: &mut Parameters) -> io::Result<OwnedFd> {
    // SAFETY: The kernel reads and writes the parameters, which outlive the call.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, entries, ptr::from_mut(parameters)) };
    match i32::try_from(fd) {
        // SAFETY: The descriptor is new and nobody else's.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}
