// SPDX-License-Identifier: GPL-2.0-only

//! The system as it is.

use core::cell::UnsafeCell;
use core::ptr;
use core::sync::atomic::{AtomicI32, AtomicU32, Ordering};

use aio_abi::{ContextId, Event, Iocb, RingHeader, PREAD, RING_INCOMPAT_POLLED};
use libc::{c_int, c_long};

use crate::file::{self, FileState};
use crate::system::{
    KernelResult, Patience, Ring, Room, SignalArgument, SignalSet, Signals, System,
};
use crate::{errno, next};

/// `io_pgetevents`, with a timeout of 64-bit fields.
#[cfg(target_arch = "x86_64")]
const IO_PGETEVENTS: c_long = 333;
#[cfg(target_arch = "x86")]
const IO_PGETEVENTS: c_long = 416;

/// The system behind the C library's `syscall`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Linux;

/// Makes a system call; the result is in the kernel's form.
///
/// That is for all that the library does while the program makes a call which is no cancellation
/// point. The C library's functions to open, read and close files are some, where the thread may be
/// ended; and other preload libraries stand in front of them, to be called by the program only.
///
/// # Safety
///
/// As for the system call.
pub unsafe fn system_call(number: c_long, arguments: [c_long; 6]) -> KernelResult {
    let [a1, a2, a3, a4, a5, a6] = arguments;
    // SAFETY: the caller's.
    errno::to_kernel(unsafe { next::syscall()(number, a1, a2, a3, a4, a5, a6) })
}

/// `fcntl` with a command that takes a number.
pub fn descriptor_control(fd: c_int, command: c_int, argument: c_int) -> KernelResult {
    let arguments = [fd.into(), command.into(), argument.into(), 0, 0, 0];
    // SAFETY: this touches no memory.
    unsafe { system_call(libc::SYS_fcntl, arguments) }
}

/// The descriptor that a call returned, if it did.
pub fn descriptor(result: KernelResult) -> Option<c_int> {
    c_int::try_from(result).ok().filter(|fd| *fd >= 0)
}

/// Closes a descriptor that is the library's own.
pub fn close(fd: c_int) {
    // SAFETY: nobody else uses it.
    unsafe { system_call(libc::SYS_close, [fd.into(), 0, 0, 0, 0, 0]) };
}

/// `struct __kernel_timespec`.
#[repr(C)]
struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

impl System for Linux {
    fn set_up(&self, events: u32) -> Result<ContextId, KernelResult> {
        let mut id: ContextId = 0;
        let place = (&raw mut id) as c_long;
        // SAFETY: there is a place for the id.
        let result =
            unsafe { system_call(libc::SYS_io_setup, [events as c_long, place, 0, 0, 0, 0]) };
        if result == 0 {
            Ok(id)
        } else {
            Err(result)
        }
    }

    fn destroy(&self, context: ContextId) -> KernelResult {
        // SAFETY: nobody uses the context's ring after that; its own I/O is waited for.
        unsafe { system_call(libc::SYS_io_destroy, [context as c_long, 0, 0, 0, 0, 0]) }
    }

    unsafe fn submit(
        &self,
        context: ContextId,
        len: usize,
        iocbs: *const *mut Iocb,
    ) -> KernelResult {
        let arguments = [context as c_long, len as c_long, iocbs as c_long, 0, 0, 0];
        // SAFETY: the caller's.
        unsafe { system_call(libc::SYS_io_submit, arguments) }
    }

    unsafe fn getevents(
        &self,
        context: ContextId,
        wanted: usize,
        room: Room,
        patience: Patience,
        signals: Signals,
    ) -> KernelResult {
        let mut timeout = Timespec {
            seconds: 0,
            nanoseconds: 0,
        };
        let timeout = match patience {
            Patience::Forever => ptr::null_mut(),
            Patience::Nanos(nanos) => {
                timeout.seconds = (nanos / NANOS_PER_SECOND) as i64;
                timeout.nanoseconds = (nanos % NANOS_PER_SECOND) as i64;
                &raw mut timeout
            }
        };
        let set: SignalSet;
        let argument: SignalArgument;
        let signals = match signals {
            Signals::Unchanged => ptr::null(),
            Signals::Given(argument) => argument,
            Signals::Blocked(blocked) => {
                set = blocked;
                argument = SignalArgument {
                    set: &raw const set,
                    size: size_of::<SignalSet>(),
                };
                &raw const argument
            }
        };
        let arguments = [
            context as c_long,
            wanted as c_long,
            room.len as c_long,
            room.events as c_long,
            timeout as c_long,
            signals as c_long,
        ];
        // SAFETY: the caller's for the room; the rest is alive.
        unsafe { system_call(IO_PGETEVENTS, arguments) }
    }

    unsafe fn hide_ring(&self, context: ContextId) {
        let ring = context as *mut RingHeader;
        // SAFETY: the caller's; the kernel and the program read and write it at the same time.
        unsafe {
            (&raw mut (*ring).magic).write_volatile(0);
            (&raw mut (*ring).incompat_features).write_volatile(RING_INCOMPAT_POLLED);
        }
    }

    unsafe fn ring(&self, context: ContextId) -> Ring {
        let ring = context as *const RingHeader;
        // SAFETY: the caller's; the kernel writes it at the same time.
        unsafe {
            Ring {
                head: (&raw const (*ring).head).read_volatile(),
                tail: (&raw const (*ring).tail).read_volatile(),
            }
        }
    }

    fn wake_iocb(&self, again: bool) -> Option<*mut Iocb> {
        let descriptor = WAKE.descriptor(again)?;
        let iocb = WAKE.iocb.get();
        // SAFETY: the iocb is there for ever. Other threads write the same at the same time, or
        // another descriptor that does as well.
        unsafe {
            let fildes = (&raw mut (*iocb).fildes).cast::<AtomicU32>();
            (*fildes).store(descriptor as u32, Ordering::Relaxed);
        }
        Some(iocb)
    }

    fn is_wake(&self, event: &Event) -> bool {
        event.obj == WAKE.iocb.get() as u64
    }

    fn block_signals(&self) -> SignalSet {
        block(SignalSet::MAX)
    }

    fn restore_signals(&self, set: SignalSet) {
        change_signals(libc::SIG_SETMASK, set);
    }

    fn now(&self) -> u64 {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: there is a place for the time.
        unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
        time.tv_sec as u64 * NANOS_PER_SECOND + time.tv_nsec as u64
    }

    fn give_way(&self) {
        // SAFETY: this touches no memory.
        unsafe { libc::sched_yield() };
    }

    fn look_up(&self, fd: u32) -> FileState {
        file::look_up(fd)
    }
}

/// In a second.
pub const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Blocks these signals too for this thread; returns which were blocked before.
pub fn block(set: SignalSet) -> SignalSet {
    change_signals(libc::SIG_BLOCK, set)
}

/// The signals that wait until this thread does not block them any more.
pub fn pending() -> SignalSet {
    let mut set: SignalSet = 0;
    let arguments = [
        (&raw mut set) as c_long,
        size_of::<SignalSet>() as c_long,
        0,
        0,
        0,
        0,
    ];
    // SAFETY: there is room for the set.
    unsafe { system_call(libc::SYS_rt_sigpending, arguments) };
    set
}

/// Takes one of these signals that waits, as if it had never come.
pub fn take_pending(set: SignalSet) {
    let at_once = Timespec {
        seconds: 0,
        nanoseconds: 0,
    };
    let arguments = [
        (&raw const set) as c_long,
        0,
        (&raw const at_once) as c_long,
        size_of::<SignalSet>() as c_long,
        0,
        0,
    ];
    // SAFETY: the set and the time, of which a narrower one is the start, are alive.
    unsafe { system_call(libc::SYS_rt_sigtimedwait, arguments) };
}

/// Changes which signals this thread blocks; returns which it did. Unlike the C library's function,
/// this leaves none out.
fn change_signals(how: c_int, set: SignalSet) -> SignalSet {
    let mut before: SignalSet = 0;
    let arguments = [
        c_long::from(how),
        (&raw const set) as c_long,
        (&raw mut before) as c_long,
        size_of::<SignalSet>() as c_long,
        0,
        0,
    ];
    // SAFETY: both sets are alive.
    unsafe { system_call(libc::SYS_rt_sigprocmask, arguments) };
    before
}

/// What wakes sleepers: a read from an eventfd that has no room for a number. It fails at once,
/// and nothing else happens.
struct Wake {
    descriptor: AtomicI32,
    iocb: UnsafeCell<Iocb>,
}

// SAFETY: the iocb is given out as a pointer only, and the kernel copies it.
unsafe impl Sync for Wake {}

static WAKE: Wake = Wake {
    descriptor: AtomicI32::new(Wake::NONE),
    iocb: UnsafeCell::new(Iocb {
        opcode: PREAD,
        ..EMPTY
    }),
};

const EMPTY: Iocb = Iocb {
    data: 0,
    key: 0,
    rw_flags: 0,
    opcode: 0,
    reqprio: 0,
    fildes: 0,
    buf: 0,
    nbytes: 0,
    offset: 0,
    reserved2: 0,
    flags: 0,
    resfd: 0,
};

impl Wake {
    const NONE: c_int = -1;
    /// Above the numbers that programs count on getting.
    const LOWEST: c_int = 256;

    /// The eventfd, which is made if there is none; or made `again`, as the program closed it.
    fn descriptor(&self, again: bool) -> Option<c_int> {
        let known = self.descriptor.load(Ordering::Relaxed);
        if known != Self::NONE && !again {
            return Some(known);
        }
        let made = Self::make()?;
        let kept =
            self.descriptor
                .compare_exchange(known, made, Ordering::Relaxed, Ordering::Relaxed);
        match kept {
            Ok(_) => Some(made),
            Err(other) => {
                close(made);
                Some(other)
            }
        }
    }

    fn make() -> Option<c_int> {
        let flags = (libc::EFD_CLOEXEC | libc::EFD_NONBLOCK).into();
        // SAFETY: this touches no memory.
        let low = unsafe { system_call(libc::SYS_eventfd2, [0, flags, 0, 0, 0, 0]) };
        let low = descriptor(low)?;
        let high = descriptor_control(low, libc::F_DUPFD_CLOEXEC, Self::LOWEST);
        let Some(high) = descriptor(high) else {
            // So many the program may not have.
            return Some(low);
        };
        close(low);
        Some(high)
    }
}

/// Whether a thread that was cancelled gets to the end of `act`, and that returns true; in a process
/// of its own.
#[cfg(test)]
pub(crate) fn outlives_cancellation(act: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child has its memory for itself; the status is written by waitpid.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            libc::pthread_cancel(libc::pthread_self());
            libc::_exit((!act()).into());
        }
        let mut ended = -1;
        libc::waitpid(child, &mut ended, 0);
        ended == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aio_abi::RING_MAGIC;

    #[test]
    fn signals_are_blocked_and_restored() {
        let before = Linux.block_signals();
        // SIGKILL and SIGSTOP cannot be blocked.
        let blocked = Linux.block_signals() | (1 << 8) | (1 << 18);
        assert_eq!(blocked, SignalSet::MAX);
        Linux.restore_signals(before);
        assert_eq!(block(0), before);
    }

    #[test]
    fn no_wake_up_is_a_cancellation_point() {
        let wakes = || (0..2).all(|_| Linux.wake_iocb(true).is_some());
        assert!(outlives_cancellation(wakes));
    }

    #[test]
    fn time_goes_on() {
        let start = Linux.now();
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert!(Linux.now() - start >= 2_000_000);
    }

    #[test]
    fn a_hidden_ring_has_neither_magic_nor_nothing_unknown() {
        let mut ring = [1u32, 128, 3, 3, RING_MAGIC, 3, 0, 32];
        // SAFETY: it looks like a ring.
        unsafe { Linux.hide_ring(ring.as_mut_ptr() as ContextId) };
        assert_eq!(ring, [1, 128, 3, 3, 0, 3, RING_INCOMPAT_POLLED, 32]);
    }

    #[test]
    fn a_ring_tells_how_far_it_was_read_and_written() {
        let ring = [1u32, 128, 3, 4, RING_MAGIC, 3, 0, 32];
        // SAFETY: it looks like a ring.
        let ring = unsafe { Linux.ring(ring.as_ptr() as ContextId) };
        assert_eq!((ring.head, ring.tail), (3, 4));
        assert!(!ring.is_empty());
    }

    #[test]
    fn wake_ups_have_a_descriptor_of_their_own_and_a_new_one_on_demand() {
        let iocb = Linux.wake_iocb(false).unwrap();
        // SAFETY: it is there for ever.
        let descriptor = || unsafe { (*iocb).fildes };
        let first = descriptor();
        assert!(first >= Wake::LOWEST as u32);
        assert_eq!(Linux.wake_iocb(false), Some(iocb));
        assert_eq!(descriptor(), first);
        Linux.wake_iocb(true).unwrap();
        assert_ne!(descriptor(), first);
        let obj = iocb as u64;
        assert!(Linux.is_wake(&Event {
            obj,
            ..Event::default()
        }));
        assert!(!Linux.is_wake(&Event::default()));
    }
}
