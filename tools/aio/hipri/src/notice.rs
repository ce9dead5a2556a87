// SPDX-License-Identifier: GPL-2.0-only

//! What the library says on standard error: one line for each thing worth knowing, once for all
//! the processes a program forks.

use core::fmt::{self, Write};
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use crate::eligibility::Reason;
use crate::line::Line;
use crate::submit::News;

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
    let text = line.as_bytes();
    // SAFETY: the text is valid memory. A failure has nowhere to be told.
    unsafe { libc::write(libc::STDERR_FILENO, text.as_ptr().cast(), text.len()) };
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
    use super::*;

    #[test]
    fn every_notice_has_its_own_bit_and_is_given_once() {
        assert!(Reason::from_code(28).is_none(), "the notices would overlap");
        assert!(first_time(29));
        assert!(!first_time(29));
        assert!(first_time(28));
    }
}
