// SPDX-License-Identifier: GPL-2.0-only

//! What was found out about the files behind some hundreds of descriptors.
//!
//! To look a file up takes some system calls, so not every I/O can afford it. What a look found is
//! believed for a while, no longer: the program may have closed the descriptor and opened another
//! file under its number, or set `O_DIRECT` on it.
//!
//! Every context has its own, as threads that write to one place, be it of the same file, would wait
//! for each other; and what is believed ends with the context. Memory that was never used is not
//! written to, so that it costs none.

use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::Relaxed;

use crate::eligibility::Reason;

/// Descriptors that are remembered at once, where they are consecutive.
const PLACES: usize = 512;

/// I/Os for which a verdict is believed.
const TERM: u32 = 1024;

/// Whether I/O on a file can be polled, and if not, why.
pub type Verdict = Result<(), Reason>;

/// The code of the verdict that I/O can be polled, among those of reasons.
const POLLABLE: u8 = (1 << CODE_BITS) - 1;

/// Verdicts by descriptor.
#[derive(Debug)]
pub struct Verdicts([AtomicU32; PLACES]);

/// A verdict, and for how long it is believed.
#[derive(Clone, Copy)]
struct Entry {
    /// What tells the descriptor from others in its place.
    turn: u32,
    term: u32,
    code: u8,
}

const CODE_BITS: u32 = 4;
const TERM_BITS: u32 = 11;
const TURN_BITS: u32 = u32::BITS - TERM_BITS - CODE_BITS;

const _: () = assert!(TERM < 1 << TERM_BITS && Reason::ALL.len() <= POLLABLE as usize);

impl Entry {
    fn from_word(word: u32) -> Self {
        Entry {
            turn: word >> (TERM_BITS + CODE_BITS),
            term: (word >> CODE_BITS) % (1 << TERM_BITS),
            code: word as u8 % (1 << CODE_BITS),
        }
    }

    fn to_word(self) -> u32 {
        let turn_and_term = (self.turn << TERM_BITS) | self.term;
        (turn_and_term << CODE_BITS) | u32::from(self.code)
    }
}

/// Where the verdict on a descriptor is, and what tells it from others there.
fn place_and_turn(fd: u32) -> (usize, u32) {
    (fd as usize % PLACES, fd / PLACES as u32)
}

impl Verdicts {
    /// None yet.
    pub const fn new() -> Self {
        Verdicts([const { AtomicU32::new(0) }; PLACES])
    }

    /// None any more.
    pub fn reset(&self) {
        for place in &self.0 {
            if place.load(Relaxed) != 0 {
                place.store(0, Relaxed);
            }
        }
    }

    /// The verdict on `fd`, if there is one that is still believed; it is a little less then.
    pub fn recall(&self, fd: u32) -> Option<Verdict> {
        let (place, turn) = place_and_turn(fd);
        let place = &self.0[place];
        let entry = Entry::from_word(place.load(Relaxed));
        if entry.turn != turn || entry.term == 0 {
            return None;
        }
        let term = entry.term - 1;
        // Another thread that does the same gets it for free.
        place.store(Entry { term, ..entry }.to_word(), Relaxed);
        Some(Reason::from_code(entry.code).map_or(Ok(()), Err))
    }

    /// Remembers the verdict on `fd`, if that is a number that descriptors have.
    pub fn remember(&self, fd: u32, verdict: Verdict) {
        let (place, turn) = place_and_turn(fd);
        if turn >> TURN_BITS != 0 {
            return;
        }
        let code = match verdict {
            Ok(()) => POLLABLE,
            Err(reason) => reason as u8,
        };
        let term = TERM;
        self.0[place].store(Entry { turn, term, code }.to_word(), Relaxed);
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

    /// The last that is remembered.
    const LAST: u32 = (PLACES << TURN_BITS) as u32 - 1;

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
            verdicts.remember(LAST, verdict);
            for _ in 0..TERM {
                assert_eq!(verdicts.recall(LAST), Some(verdict));
            }
            assert_eq!(verdicts.recall(LAST), None);
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
    fn what_is_no_descriptor_is_not_remembered() {
        let verdicts = Verdicts::new();
        for fd in [LAST + 1, u32::MAX] {
            verdicts.remember(fd, Ok(()));
            assert_eq!(verdicts.recall(fd), None);
        }
        assert_eq!(verdicts.recall(LAST), None);
        assert_eq!(verdicts.recall(0), None);
    }

    #[test]
    fn none_is_left_after_a_reset() {
        let verdicts = Verdicts::new();
        verdicts.remember(3, Ok(()));
        verdicts.reset();
        assert_eq!(verdicts.recall(3), None);
    }

    #[test]
    fn no_reason_has_the_code_of_none() {
        assert_eq!(Reason::from_code(POLLABLE), None);
    }
}
