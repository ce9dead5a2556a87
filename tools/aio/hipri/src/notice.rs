// SPDX-License-Identifier: GPL-2.0-only

//! What the library says on standard error: one line for each thing worth knowing, once for all
//! the processes a program forks.
//!
//! The program must not notice. Standard error is its own to close, and its next file gets the
//! number: so nothing is said once that stands for another file than when the library was loaded.
//! And where nobody reads any more, it is not ended by the signal for that.

use core::fmt::{self, Write};
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use libc::{c_int, c_long};

use crate::eligibility::Reason;
use crate::file;
use crate::line::Line;
use crate::linux::{self, system_call, Linux};
use crate::submit::News;
use crate::system::{error, SignalSet, System};

/// Tells what a submission has to tell.
pub fn tell(news: News) {
    match news {
        News::NotPolled(reason) => {
            if first_time(reason as u32) {
                say(format_args!("some I/O is not polled: {reason}"));
            }
        }
        News::Refused => {
            if first_time(30) {
                say(format_args!(
                    "some I/O is refused with EAGAIN: it cannot be polled, and {}",
                    Reason::NoRoom
                ));
            }
        }
    }
}

/// Tells that nothing is polled.
pub fn kernel_lacks_polling() {
    if first_time(Reason::KernelLacksPolling as u32) {
        say(format_args!(
            "I/O is not polled: {}",
            Reason::KernelLacksPolling
        ));
    }
}

/// Tells that a context is not polled because the table is full.
pub fn too_many_contexts() {
    if first_time(31) {
        say(format_args!(
            "some I/O is not polled: the program has more AIO contexts than hipri keeps track of"
        ));
    }
}

/// Writes `message` as one line, in one system call, so that lines of several threads stay whole.
pub fn say(message: fmt::Arguments<'_>) {
    let mut line = Line::<320>::new();
    let _ = writeln!(line, "hipri: {message}");
    if STANDARD_ERROR.is_behind(libc::STDERR_FILENO) {
        write_quietly(libc::STDERR_FILENO, line.as_bytes());
    }
}

/// Which file it is that the library writes to.
static STANDARD_ERROR: Target = Target::nothing();

/// Takes note of what is standard error now: once, as the library is loaded.
pub fn find_standard_error() {
    STANDARD_ERROR.set(libc::STDERR_FILENO);
}

/// A file, by its device and inode; those of nothing are 0.
struct Target {
    device: AtomicU64,
    inode: AtomicU64,
}

impl Target {
    const fn nothing() -> Self {
        Target {
            device: AtomicU64::new(0),
            inode: AtomicU64::new(0),
        }
    }

    /// Makes it the file behind `fd`, or nothing where there is none.
    fn set(&self, fd: c_int) {
        let (device, inode) = file::status(fd).map_or((0, 0), |file| (file.st_dev, file.st_ino));
        self.device.store(device, Ordering::Relaxed);
        self.inode.store(inode, Ordering::Relaxed);
    }

    fn is_behind(&self, fd: c_int) -> bool {
        let this = [&self.device, &self.inode].map(|number| number.load(Ordering::Relaxed));
        this != [0, 0] && file::status(fd).is_some_and(|file| this == [file.st_dev, file.st_ino])
    }
}

const SIGPIPE: SignalSet = 1 << (libc::SIGPIPE - 1);

/// Writes to `fd`, without a signal where nobody reads that. A failure has nowhere to be told.
fn write_quietly(fd: c_int, text: &[u8]) {
    let before = linux::block(SIGPIPE);
    let was_pending = linux::pending() & SIGPIPE != 0;
    let (address, len) = (text.as_ptr() as c_long, text.len() as c_long);
    // SAFETY: the text is valid memory.
    let written = unsafe { system_call(libc::SYS_write, [fd.into(), address, len, 0, 0, 0]) };
    if written == error(libc::EPIPE) && !was_pending {
        linux::take_pending(SIGPIPE);
    }
    Linux.restore_signals(before);
}

/// What has been said, one bit each; shared with forked children once `share` ran.
static SAID_HERE: AtomicU32 = AtomicU32::new(0);
static SAID: AtomicPtr<AtomicU32> = AtomicPtr::new((&raw const SAID_HERE).cast_mut());

fn first_time(bit: u32) -> bool {
    // SAFETY: it points to `SAID_HERE`, or to the mapping of `share`, which is never unmapped.
    let said = unsafe { &*SAID.load(Ordering::Relaxed) };
    said.fetch_or(1 << bit, Ordering::Relaxed) & (1 << bit) == 0
}

/// From here on, this process and the children it forks say a thing once between them.
///
/// Where no memory is left, each goes on saying it for itself.
pub fn share() {
    // SAFETY: a new anonymous mapping, of one page, affects no other memory.
    let page = unsafe {
        libc::mmap(
            ptr::null_mut(),
            size_of::<AtomicU32>(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if page != libc::MAP_FAILED {
        SAID.store(page.cast(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn only_the_file_that_was_there_is_written_to() {
        let (one, other) = (File::open("/dev/null"), File::open("/proc/self/exe"));
        let (one, other) = (one.unwrap(), other.unwrap());
        let target = Target::nothing();
        assert!(!target.is_behind(one.as_raw_fd()));
        target.set(one.as_raw_fd());
        assert!(target.is_behind(one.as_raw_fd()));
        assert!(target.is_behind(one.try_clone().unwrap().as_raw_fd()));
        assert!(!target.is_behind(other.as_raw_fd()));
        assert!(!target.is_behind(-1));
        target.set(-1);
        assert!(!target.is_behind(one.as_raw_fd()));
        assert!(!target.is_behind(-1));
    }

    #[test]
    fn where_nobody_reads_no_signal_comes_and_none_is_lost() {
        let (reader, writer) = UnixStream::pair().unwrap();
        drop(reader);
        let before = linux::block(SIGPIPE);
        write_quietly(writer.as_raw_fd(), b"lost");
        assert_eq!(linux::pending() & SIGPIPE, 0);
        // SAFETY: the signal is blocked.
        unsafe { libc::raise(libc::SIGPIPE) };
        write_quietly(writer.as_raw_fd(), b"lost");
        assert_eq!(linux::pending() & SIGPIPE, SIGPIPE);
        linux::take_pending(SIGPIPE);
        assert_eq!(linux::block(0) & SIGPIPE, SIGPIPE);
        Linux.restore_signals(before);
        write_quietly(writer.as_raw_fd(), b"lost");
        assert_eq!(linux::block(0), before);
    }

    #[test]
    fn no_message_is_a_cancellation_point() {
        let null = File::options().write(true).open("/dev/null").unwrap();
        let writes = || {
            write_quietly(null.as_raw_fd(), b"lost");
            true
        };
        assert!(linux::outlives_cancellation(writes));
    }

    #[test]
    fn every_notice_has_its_own_bit_and_is_given_once() {
        assert!(Reason::from_code(28).is_none(), "the notices would overlap");
        assert!(first_time(29));
        assert!(!first_time(29));
        assert!(first_time(28));
    }
}
