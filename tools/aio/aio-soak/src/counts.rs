// SPDX-License-Identifier: GPL-2.0-only

//! What became of the I/Os: counters that outlive the processes that count.

use std::fmt;
use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::memory::Mapping;

/// Counters in memory that a process shares with its children.
pub struct Shared<T> {
    mapping: Mapping,
    counters: NonNull<T>,
}

// SAFETY: All that is shared are counters, which are atomic.
unsafe impl<T: Counters> Send for Shared<T> {}
// SAFETY: As above.
unsafe impl<T: Counters> Sync for Shared<T> {}

/// A type that is made of atomic counters only.
///
/// # Safety
///
/// Zeroed memory must be a value of the type, and all of it must be usable by many processes at
/// once.
pub unsafe trait Counters {}

impl<T: Counters> Shared<T> {
    /// Counters that are all zero.
    pub fn new() -> io::Result<Self> {
        let mapping = Mapping::shared(size_of::<T>())?;
        let counters = NonNull::new(mapping.at(0)).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { mapping, counters })
    }
}

impl<T: Counters> std::ops::Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        let _ = &self.mapping;
        // SAFETY: The mapping lives as long as this, is zeroed and aligned to a page.
        unsafe { self.counters.as_ref() }
    }
}

/// What one process has done.
#[repr(C)]
#[derive(Debug, Default)]
pub struct Tally {
    /// Contexts made.
    pub contexts: AtomicU64,
    /// Those of them for polled I/O.
    pub polled_contexts: AtomicU64,
    /// I/Os that the kernel took.
    pub submitted: AtomicU64,
    /// Events that came, each for an I/O that was in flight.
    pub delivered: AtomicU64,
    /// I/Os that the kernel did not take.
    pub refused: AtomicU64,
    /// Events that tell of an error.
    pub failed: AtomicU64,
    /// I/Os whose event did not come.
    pub lost: AtomicU64,
    /// Events for what was not in flight.
    pub foreign: AtomicU64,
    /// Reads that brought something else than what lies there.
    pub corrupt: AtomicU64,
}

// SAFETY: Atomic integers, of which zero is a value.
unsafe impl Counters for Tally {}

/// Adds to a counter.
pub fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Relaxed);
}

/// The sums of many tallies, and how their processes ended.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Sums {
    /// Processes that have ended.
    pub processes: u64,
    /// Those of them that were killed.
    pub killed: u64,
    /// [`Tally::contexts`].
    pub contexts: u64,
    /// [`Tally::polled_contexts`].
    pub polled_contexts: u64,
    /// [`Tally::submitted`].
    pub submitted: u64,
    /// [`Tally::delivered`].
    pub delivered: u64,
    /// I/Os that were in flight when their context or process ended.
    pub dropped: u64,
    /// [`Tally::refused`].
    pub refused: u64,
    /// [`Tally::failed`].
    pub failed: u64,
    /// [`Tally::lost`].
    pub lost: u64,
    /// [`Tally::foreign`].
    pub foreign: u64,
    /// [`Tally::corrupt`].
    pub corrupt: u64,
}

impl Sums {
    /// Adds what a process has counted so far.
    pub fn add(&mut self, tally: &Tally) {
        let submitted = tally.submitted.load(Relaxed);
        let delivered = tally.delivered.load(Relaxed);
        let lost = tally.lost.load(Relaxed);
        self.contexts += tally.contexts.load(Relaxed);
        self.polled_contexts += tally.polled_contexts.load(Relaxed);
        self.submitted += submitted;
        self.delivered += delivered;
        self.dropped += submitted.saturating_sub(delivered + lost);
        self.refused += tally.refused.load(Relaxed);
        self.failed += tally.failed.load(Relaxed);
        self.lost += lost;
        self.foreign += tally.foreign.load(Relaxed);
        self.corrupt += tally.corrupt.load(Relaxed);
    }

    /// What must not be, whatever the kernel is put through.
    pub fn fault(&self) -> Option<String> {
        match *self {
            Self { lost: 1.., .. } => Some(format!("{} events were lost", self.lost)),
            Self { foreign: 1.., .. } => Some(format!(
                "{} events came for what was not in flight",
                self.foreign
            )),
            Self { corrupt: 1.., .. } => {
                Some(format!("{} reads brought something else", self.corrupt))
            }
            Self { delivered: 0, .. } => Some("no event came at all".to_owned()),
            _ => None,
        }
    }
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} processes, {} killed, {} contexts, {} polled, {} submitted, {} delivered, \
             {} dropped, {} refused, {} failed, {} lost, {} foreign, {} corrupt",
            self.processes,
            self.killed,
            self.contexts,
            self.polled_contexts,
            self.submitted,
            self.delivered,
            self.dropped,
            self.refused,
            self.failed,
            self.lost,
            self.foreign,
            self.corrupt
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(submitted: u64, delivered: u64, lost: u64) -> Tally {
        let tally = Tally::default();
        add(&tally.submitted, submitted);
        add(&tally.delivered, delivered);
        add(&tally.lost, lost);
        tally
    }

    #[test]
    fn what_was_neither_delivered_nor_lost_was_dropped() {
        let mut sums = Sums::default();
        sums.add(&tally(10, 7, 0));
        sums.add(&tally(5, 3, 2));
        assert_eq!((sums.submitted, sums.dropped, sums.lost), (15, 3, 2));
        // A process that is killed while it counts may have counted an event only.
        sums.add(&tally(0, 1, 0));
        assert_eq!(sums.dropped, 3);
    }

    #[test]
    fn each_thing_that_must_not_be_is_a_fault() {
        let good = Sums {
            delivered: 1,
            dropped: 9,
            refused: 9,
            ..Sums::default()
        };
        assert_eq!(good.fault(), None);
        assert!(Sums { lost: 1, ..good }.fault().is_some());
        assert!(Sums { foreign: 1, ..good }.fault().is_some());
        assert!(Sums { corrupt: 1, ..good }.fault().is_some());
        assert!(Sums::default().fault().is_some());
    }

    #[test]
    fn counters_are_shared_with_children() {
        let shared = Shared::<Tally>::new().unwrap();
        // SAFETY: The child does nothing but count and end.
        let child = unsafe { libc::fork() };
        if child == 0 {
            add(&shared.submitted, 3);
            // SAFETY: It always may.
            unsafe { libc::_exit(0) };
        }
        // SAFETY: The child is ours; nobody wants its status.
        let waited = unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
        assert_eq!(waited, child);
        assert_eq!(shared.submitted.load(Relaxed), 3);
    }
}
