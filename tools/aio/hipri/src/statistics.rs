// SPDX-License-Identifier: GPL-2.0-only

//! What became of each context, told when it goes: `hipri-run --stats`.
//!
//! A context is told of when it is destroyed, or else when the process exits. A process that is
//! killed, or calls `_exit` or `exec` with contexts left, tells nothing of them.

use core::fmt;
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicBool, AtomicU64};

use aio_abi::ContextId;

use crate::context::Context;
use crate::eligibility::Reason;
use crate::notice::say;

/// I/O that the kernel accepted, by whether it is polled and why not.
#[derive(Debug)]
pub struct Counts {
    polled: AtomicU64,
    plain: [AtomicU64; Reason::ALL.len()],
}

impl Counts {
    /// Nothing yet.
    pub const fn new() -> Self {
        Counts {
            polled: AtomicU64::new(0),
            plain: [const { AtomicU64::new(0) }; Reason::ALL.len()],
        }
    }

    /// Nothing any more.
    pub fn reset(&self) {
        self.polled.store(0, Relaxed);
        for count in &self.plain {
            count.store(0, Relaxed);
        }
    }

    /// Counts polled I/O.
    pub fn polled(&self, count: usize) {
        self.polled.fetch_add(count as u64, Relaxed);
    }

    /// Counts I/O that is not polled.
    pub fn plain(&self, reason: Reason, count: usize) {
        self.plain[reason as usize].fetch_add(count as u64, Relaxed);
    }
}

impl Default for Counts {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let polled = self.polled.load(Relaxed);
        let plain = |reason: Reason| self.plain[reason as usize].load(Relaxed);
        let total: u64 = Reason::ALL.into_iter().map(plain).sum();
        if polled == 0 && total == 0 {
            return f.write_str("nothing submitted");
        }
        write!(f, "{polled} polled, {total} not polled")?;
        let mut separator = ": ";
        for reason in Reason::ALL {
            let count = plain(reason);
            if count > 0 {
                write!(f, "{separator}{count} {}", reason.label())?;
                separator = ", ";
            }
        }
        Ok(())
    }
}

static WANTED: AtomicBool = AtomicBool::new(false);

/// Reads the wish from the environment: once, as the library is loaded.
pub fn read_environment() {
    // SAFETY: the name is a valid string, and no other thread changes the environment yet.
    let wanted = unsafe { !libc::getenv(c"HIPRI_STATS".as_ptr()).is_null() };
    WANTED.store(wanted, Relaxed);
}

/// Tells of a context that goes, where that is wanted.
pub fn report(id: ContextId, context: &Context) {
    if WANTED.load(Relaxed) {
        // SAFETY: getpid cannot fail.
        let process = unsafe { libc::getpid() };
        let counts = &context.counts;
        say(format_args!("process {process}, context {id:#x}: {counts}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_tell_what_was_polled_and_what_not_and_why() {
        let counts = Counts::new();
        assert_eq!(counts.to_string(), "nothing submitted");
        counts.polled(12);
        assert_eq!(counts.to_string(), "12 polled, 0 not polled");
        counts.plain(Reason::Buffered, 1);
        counts.plain(Reason::Operation, 3);
        counts.plain(Reason::Operation, 1);
        assert_eq!(
            counts.to_string(),
            "12 polled, 5 not polled: 4 not a read or write, 1 not O_DIRECT"
        );
        counts.reset();
        assert_eq!(counts.to_string(), "nothing submitted");
    }
}
