// SPDX-License-Identifier: GPL-2.0-only

//! A polled read, to see whether it works.

use std::alloc::{self, Layout};
use std::io;
use std::os::fd::AsRawFd;
use std::ptr;

use aio_abi::{ContextId, Event, Iocb, RingHeader, FLAG_HIPRI, PREAD};
use libc::{c_long, c_uint};

use super::file::Direct;
use super::system_call::system_call;
use super::Finding;
use crate::failure;

/// Seconds after which a read is given up.
const PATIENCE: i64 = 10;

/// An AIO context.
pub struct Context(ContextId);

impl Context {
    /// One for so many events.
    pub fn set_up(events: c_uint) -> io::Result<Self> {
        let mut id: ContextId = 0;
        // SAFETY: there is a place for the id.
        let result = unsafe { system_call()(libc::SYS_io_setup, events, &raw mut id) };
        done(result).map(|_| Context(id))
    }

    /// Whether its ring says that the kernel polls.
    pub fn offers_polling(&self) -> bool {
        // SAFETY: an id is the address of the ring, which is mapped while the context lives.
        let ring = unsafe { ptr::read_volatile(self.0 as *const RingHeader) };
        ring.offers_polling()
    }

    /// Does one I/O and returns how it ended.
    ///
    /// # Safety
    ///
    /// The buffer of the I/O is there until it ended.
    unsafe fn run(&self, iocb: &mut Iocb) -> Result<i64, Stage> {
        let mut iocbs = [ptr::from_mut(iocb)];
        // SAFETY: the iocb is there, and so is its buffer.
        let submitted =
            unsafe { system_call()(libc::SYS_io_submit, self.0, 1, iocbs.as_mut_ptr()) };
        done(submitted).map_err(Stage::Submission)?;
        let mut event = Event::default();
        let mut timeout = libc::timespec {
            tv_sec: PATIENCE,
            tv_nsec: 0,
        };
        let (event_place, timeout) = (&raw mut event, &raw mut timeout);
        // SAFETY: there is room for an event.
        let read =
            unsafe { system_call()(libc::SYS_io_getevents, self.0, 1, 1, event_place, timeout) };
        match done(read).map_err(Stage::Wait)? {
            1 => Ok(event.res),
            _ => Err(Stage::Wait(io::ErrorKind::TimedOut.into())),
        }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: nobody else uses the context; this waits for what is in flight.
        unsafe { system_call()(libc::SYS_io_destroy, self.0) };
    }
}

fn done(result: c_long) -> io::Result<c_long> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}

/// Where an I/O failed.
enum Stage {
    Submission(io::Error),
    Wait(io::Error),
}

/// Memory for one block, aligned to its size.
struct Buffer {
    memory: *mut u8,
    layout: Layout,
}

impl Buffer {
    fn new(block: usize) -> Option<Self> {
        let layout = Layout::from_size_align(block, block).ok()?;
        // SAFETY: a block has a size.
        let memory = unsafe { alloc::alloc_zeroed(layout) };
        (!memory.is_null()).then_some(Buffer { memory, layout })
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: it was allocated by this layout.
        unsafe { alloc::dealloc(self.memory, self.layout) };
    }
}

/// Reads the first block of a file, polled.
pub fn attempt(file: &Direct) -> Finding {
    let block = file.block();
    // The context goes before the buffer does.
    let Some(buffer) = Buffer::new(block) else {
        return Finding::bad("memory is short", "free some");
    };
    let context = match Context::set_up(1) {
        Ok(context) => context,
        Err(error) => {
            let reason = failure::reason(&error);
            return Finding::bad(format!("io_setup fails: {reason}"), "try again");
        }
    };
    let mut iocb = Iocb {
        opcode: PREAD,
        fildes: file.file.as_raw_fd() as u32,
        buf: buffer.memory as u64,
        nbytes: block as u64,
        flags: FLAG_HIPRI,
        ..Iocb::default()
    };
    // SAFETY: the buffer outlives the context, with which the I/O ends at last.
    finding(block, unsafe { context.run(&mut iocb) })
}

fn finding(block: usize, outcome: Result<i64, Stage>) -> Finding {
    let (stage, error) = match outcome {
        Ok(0) => return Finding::good("a polled read worked; the file is empty"),
        Ok(read @ 1..) => return Finding::good(format!("a polled read of {read} bytes worked")),
        Ok(error) => ("fails", io::Error::from_raw_os_error(-error as i32)),
        Err(Stage::Submission(error)) => ("is refused", error),
        Err(Stage::Wait(error)) => ("does not end", error),
    };
    let fact = format!(
        "a polled read of {block} bytes {stage}: {}",
        failure::reason(&error)
    );
    let remedy = match (stage, error.raw_os_error()) {
        ("is refused", Some(libc::EOPNOTSUPP)) => {
            "the file system does not support polling; use another, such as ext4 or xfs, \
             or the block device"
        }
        ("fails", Some(libc::EOPNOTSUPP)) => {
            "a device under the file has no poll queues; run hipri-run --check on each of them"
        }
        _ => "see the kernel's log: an unpolled read may fail as well",
    };
    Finding::bad(fact, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errno(errno: i32) -> io::Error {
        io::Error::from_raw_os_error(errno)
    }

    #[test]
    fn what_was_read_is_told() {
        let read = finding(512, Ok(512));
        assert_eq!(read, Finding::good("a polled read of 512 bytes worked"));
        assert!(finding(512, Ok(0)).is_good());
    }

    #[test]
    fn a_refusal_and_a_failure_have_their_own_remedies() {
        let unsupported = libc::EOPNOTSUPP;
        let refused = finding(512, Err(Stage::Submission(errno(unsupported))));
        assert!(refused.fact.contains("is refused: "), "{refused}");
        let failed = finding(512, Ok(-i64::from(unsupported)));
        assert!(failed.fact.contains("fails: "), "{failed}");
        assert_ne!(refused.remedy, failed.remedy);
        let broken = finding(512, Ok(-i64::from(libc::EIO)));
        let late = finding(512, Err(Stage::Wait(io::ErrorKind::TimedOut.into())));
        assert_eq!(broken.remedy, late.remedy);
    }
}
