// SPDX-License-Identifier: GPL-2.0-only

//! Whether a context is polled.
//!
//! io_setup(2) leaves it open. The first I/O that a context accepts decides, for the context's
//! life; an I/O that is refused decides nothing. For most operations all that can be refused is
//! refused before they start, so that deciding is one step right before the start: [`Mode::fix`].
//! POLL is different: only its start tells whether the file supports it, and once started it may
//! complete into the ring at any time. It claims the ring ([`Mode::claim_ring`]) for as long as
//! that is open; nobody can make the context polled meanwhile, and where all claims are withdrawn,
//! nothing is decided.
//!
//! C counterpart: none, `fs/aio.c` does not poll.

use kernel::{
    error::code::*,
    prelude::*,
    sync::atomic::{
        ordering,
        Atomic, //
    }, //
};

/// Where completions go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Delivery {
    /// To the ring that user space can see.
    Ring,
    /// To a queue that io_getevents(2) polls devices for.
    Polled,
}

/// Undecided. The rest of the word counts the claims of the ring, in steps of [`CLAIM`].
const OPEN: u32 = 0;
const RING: u32 = 1;
const POLLED: u32 = 2;
const DECISION: u32 = 3;
const CLAIM: u32 = 4;

/// The mode of a context.
pub(crate) struct Mode(Atomic<u32>);

impl Mode {
    pub(crate) const fn new() -> Self {
        Self(Atomic::new(OPEN))
    }

    /// The decision, if there is one.
    #[inline]
    pub(crate) fn get(&self) -> Option<Delivery> {
        match self.0.load(ordering::Relaxed) & DECISION {
            RING => Some(Delivery::Ring),
            POLLED => Some(Delivery::Polled),
            _ => None,
        }
    }

    /// Whether the context is polled.
    #[inline]
    pub(crate) fn is_polled(&self) -> bool {
        self.0.load(ordering::Relaxed) == POLLED
    }

    /// Decides for `delivery`, if nothing else was decided or claimed before: then [`EINVAL`].
    /// Returns whether this call made the decision.
    #[inline]
    pub(crate) fn fix(&self, delivery: Delivery) -> Result<bool> {
        let wanted = match delivery {
            Delivery::Ring => RING,
            Delivery::Polled => POLLED,
        };
        let mut now = self.0.load(ordering::Relaxed);
        loop {
            if now & DECISION == wanted {
                return Ok(false);
            }
            let next = match (now & DECISION, delivery) {
                (OPEN, Delivery::Ring) => now | RING,
                (OPEN, Delivery::Polled) if now == OPEN => POLLED,
                _ => return Err(EINVAL),
            };
            match self.0.cmpxchg(now, next, ordering::Full) {
                Ok(_) => return Ok(true),
                Err(changed) => now = changed,
            }
        }
    }

    /// Keeps the context from becoming polled until the claim ends. Fails with [`EINVAL`] where it
    /// is polled.
    pub(crate) fn claim_ring(&self) -> Result<RingClaim<'_>> {
        let mut now = self.0.load(ordering::Relaxed);
        loop {
            if now == POLLED {
                return Err(EINVAL);
            }
            // As many claims as there are tasks in io_submit(2): far from the word's width.
            match self.0.cmpxchg(now, now.wrapping_add(CLAIM), ordering::Full) {
                Ok(_) => return Ok(RingClaim(self)),
                Err(changed) => now = changed,
            }
        }
    }
}

/// Withdraws a claim of the ring when dropped.
#[must_use = "a claim that is dropped is withdrawn"]
pub(crate) struct RingClaim<'a>(&'a Mode);

impl RingClaim<'_> {
    /// The I/O was accepted: decides for the ring.
    pub(crate) fn accept(self) {
        // The claim has kept everybody from deciding otherwise.
        let _ = self.0.fix(Delivery::Ring);
    }
}

impl Drop for RingClaim<'_> {
    fn drop(&mut self) {
        self.0 .0.fetch_sub(CLAIM, ordering::Full);
    }
}

#[cfg(CONFIG_AIO_RUST_KUNIT_TEST)]
#[kunit_tests(aio_mode)]
mod tests {
    use super::*;

    #[test]
    fn the_first_decides() {
        let mode = Mode::new();
        assert_eq!(mode.get(), None);
        assert_eq!(mode.fix(Delivery::Polled), Ok(true));
        assert_eq!(mode.fix(Delivery::Polled), Ok(false));
        assert_eq!(mode.fix(Delivery::Ring), Err(EINVAL));
        assert_eq!(mode.get(), Some(Delivery::Polled));
        assert!(mode.is_polled());
    }

    #[test]
    fn the_ring_excludes_polling() {
        let mode = Mode::new();
        assert_eq!(mode.fix(Delivery::Ring), Ok(true));
        assert_eq!(mode.fix(Delivery::Polled), Err(EINVAL));
        assert_eq!(mode.fix(Delivery::Ring), Ok(false));
        assert!(!mode.is_polled());
    }

    #[test]
    fn a_withdrawn_claim_leaves_it_open() {
        let mode = Mode::new();
        let first = mode.claim_ring().unwrap();
        let second = mode.claim_ring().unwrap();
        assert_eq!(mode.fix(Delivery::Polled), Err(EINVAL));
        assert_eq!(mode.get(), None);
        drop(first);
        assert_eq!(mode.fix(Delivery::Polled), Err(EINVAL));
        drop(second);
        assert_eq!(mode.fix(Delivery::Polled), Ok(true));
    }

    #[test]
    fn an_accepted_claim_decides() {
        let mode = Mode::new();
        mode.claim_ring().unwrap().accept();
        assert_eq!(mode.get(), Some(Delivery::Ring));
        assert_eq!(mode.fix(Delivery::Polled), Err(EINVAL));
        mode.claim_ring().unwrap().accept();
        assert_eq!(mode.get(), Some(Delivery::Ring));
    }

    #[test]
    fn a_polled_context_has_no_ring_to_claim() {
        let mode = Mode::new();
        assert_eq!(mode.fix(Delivery::Polled), Ok(true));
        assert!(mode.claim_ring().is_err());
        assert_eq!(mode.get(), Some(Delivery::Polled));
    }

    #[test]
    fn a_decision_under_a_claim_stays() {
        let mode = Mode::new();
        let claim = mode.claim_ring().unwrap();
        assert_eq!(mode.fix(Delivery::Ring), Ok(true));
        drop(claim);
        assert_eq!(mode.get(), Some(Delivery::Ring));
        assert_eq!(mode.fix(Delivery::Ring), Ok(false));
    }
}
