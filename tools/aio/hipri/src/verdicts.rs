// SPDX-License-Identifier: GPL-2.0-only

//! What was found out about the files behind a few descriptors.
//!
//! To look a file up takes some system calls, so not every I/O can afford it. What a look found is
//! believed for a while, no longer: the program may have closed the descriptor and opened another
//! file under its number, or set `O_DIRECT` on it.

use core::sync::atomic::AtomicU64;
use core::sync::atomic::Ordering::Relaxed;

use crate::eligibility::Reason;

/// Descriptors that are remembered at once.
const PLACES: usize = 8;

/// I/Os for which a verdict is believed.
const TERM: u16 = 1024;

/// Whether I/O on a file can be polled, and if not, why.
pub type Verdict = Result<(), Reason>;

/// The code of the verdict that I/O can be polled, among those of reasons.
const POLLABLE: u8 = u8::MAX;

/// Verdicts by descriptor.
#[derive(Debug)]
pub struct Verdicts([AtomicU64; PLACES]);

/// A verdict, and for how long it is believed: 32 bits of descriptor, 16 of term, 8 of code.
#[derive(Clone, Copy)]
struct Entry {
    fd: u32,
    term: u16,
    code: u8,
}

impl Entry {
    fn from_word(word: u64) -> Self {
        Entry {
            fd: (word >> 32) as u32,
            term: (word >> 8) as u16,
            code: word as u8,
        }
    }

    fn to_word(self) -> u64 {
        (u64::from(self.fd) << 32) | (u64::from(self.term) << 8) | u64::from(self.code)
    }
}

impl Verdicts {
    /// None yet.
    pub const fn new() -> Self {
        Verdicts([const { AtomicU64::new(0) }; PLACES])
    }

    /// None any more.
    pub fn reset(&self) {
        for place in &self.0 {
            place.store(0, Relaxed);
        }
    }

    /// The verdict on `fd`, if there is one that is still believed; it is a little less then.
    pub fn recall(&self, fd: u32) -> Option<Verdict> {
        let place = self.place(fd);
        let entry = Entry::from_word(place.load(Relaxed));
        if entry.fd != fd || entry.term == 0 {
            return None;
        }
        let term = entry.term - 1;
        // Another thread that does the same gets it for free.
        place.store(Entry { term, ..entry }.to_word(), Relaxed);
        Some(Reason::from_code(entry.code).map_or(Ok(()), Err))
    }

    /// Remembers the verdict on `fd`.
    pub fn remember(&self, fd: u32, verdict: Verdict) {
        let code = match verdict {
            Ok(()) => POLLABLE,
            Err(reason) => reason as u8,
        };
        let term = TERM;
        self.place(fd)
            .store(Entry { fd, term, code }.to_word(), Relaxed);
    }

    fn place(&self, fd: u32) -> &AtomicU64 {
        &self.0[fd as usize % PLACES]
    }
}

impl Default for Verdicts {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_known_of_any_descriptor_at_first() {
        let verdicts = Verdicts::new();
        for fd in [0, 1, 8, u32::MAX] {
            assert_eq!(verdicts.recall(fd), None);
        }
    }

    #[test]
    fn a_verdict_is_believed_for_its_term() {
        let verdicts = Verdicts::new();
        for verdict in [Ok(()), Err(Reason::Buffered)] {
            verdicts.remember(u32::MAX, verdict);
            for _ in 0..TERM {
                assert_eq!(verdicts.recall(u32::MAX), Some(verdict));
            }
            assert_eq!(verdicts.recall(u32::MAX), None);
        }
    }

    #[test]
    fn descriptors_are_told_apart_in_one_place() {
        let verdicts = Verdicts::new();
        verdicts.remember(3, Ok(()));
        assert_eq!(verdicts.recall(3 + PLACES as u32), None);
        verdicts.remember(3 + PLACES as u32, Err(Reason::PollQueues));
        assert_eq!(verdicts.recall(3), None);
    }

    #[test]
    fn no_reason_has_the_code_of_none() {
        assert_eq!(Reason::from_code(POLLABLE), None);
    }
}
