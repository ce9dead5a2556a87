// SPDX-License-Identifier: GPL-2.0-only

//! How many more requests a context takes.
//!
//! A slot is taken when a request is accepted and returned when its event has been read, so that
//! the ring can never overflow. Most slots are in a shared count; each CPU keeps a few for itself
//! and trades with the shared count in batches.
//!
//! C counterpart: `get_reqs_available()` and `put_reqs_available()` of `fs/aio.c`.

use kernel::{
    alloc::AllocError,
    cpu,
    percpu::PerCpu,
    prelude::*,
    sync::atomic::{
        ordering,
        Atomic, //
    }, //
};

/// The free slots of a context.
pub(crate) struct Slots {
    shared: Atomic<u32>,
    local: PerCpu<u32>,
    batch: u32,
}

impl Slots {
    /// `total` free slots.
    pub(crate) fn new(total: u32) -> Result<Self, AllocError> {
        Ok(Self {
            shared: Atomic::new(total),
            local: PerCpu::new_zero(GFP_KERNEL)?,
            batch: batch_size(total, cpu::num_possible_cpus()),
        })
    }

    /// Takes a slot. Returns whether there was one.
    #[inline]
    pub(crate) fn take(&self) -> bool {
        self.take_up_to(1) != 0
    }

    /// Takes up to `wanted` slots that are at hand on this CPU. Returns how many; none only where
    /// [`Slots::take`] would fail.
    #[inline]
    pub(crate) fn take_up_to(&self, wanted: u32) -> u32 {
        self.local.with_irqs_disabled(|local| {
            let mut free = local.get();
            if free == 0 {
                free = self.take_batch();
            }
            let taken = free.min(wanted);
            local.set(free - taken);
            taken
        })
    }

    /// Returns `count` slots.
    #[inline]
    pub(crate) fn put(&self, count: u32) {
        self.local.with_irqs_disabled(|local| {
            let (kept, given) = keep(local.get().wrapping_add(count), self.batch);
            local.set(kept);
            if given != 0 {
                self.shared.fetch_add(given, ordering::Relaxed);
            }
        });
    }

    /// Takes a batch from the shared count, or nothing.
    fn take_batch(&self) -> u32 {
        let mut free = self.shared.load(ordering::Relaxed);
        while let Some(left) = free.checked_sub(self.batch) {
            match self.shared.cmpxchg(free, left, ordering::Relaxed) {
                Ok(_) => return self.batch,
                Err(changed) => free = changed,
            }
        }
        0
    }
}

/// Slots that a CPU trades at a time: few enough for all of them to have some.
fn batch_size(total: u32, cpus: u32) -> u32 {
    (total / cpus.saturating_mul(4).max(1)).max(1)
}

/// What a CPU with `free` slots keeps, and what it gives to the shared count: whole batches, so
/// that less than two stay.
#[inline]
fn keep(free: u32, batch: u32) -> (u32, u32) {
    // A division costs more than the one round that there mostly is, if any.
    let mut kept = free;
    while kept / 2 >= batch {
        kept -= batch;
    }
    (kept, free - kept)
}

#[cfg(CONFIG_AIO_RUST_KUNIT_TEST)]
#[kunit_tests(aio_slots)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_can_be_taken_once() {
        let slots = Slots::new(10).unwrap();
        // All of this is on one CPU or another; each keeps less than two batches.
        let taken = (0..100).filter(|_| slots.take()).count();
        assert!(taken <= 10);
        assert!(taken >= 1);
        assert!(!slots.take());
    }

    #[test]
    fn several_are_taken_at_once() {
        let slots = Slots::new(1000).unwrap();
        let first = slots.take_up_to(3);
        assert!(first >= 1 && first <= 3);
        let mut taken = first;
        for _ in 0..10_000 {
            taken += slots.take_up_to(7);
        }
        assert!(taken <= 1000);
        assert_eq!(slots.take_up_to(7), 0);
    }

    #[test]
    fn returned_slots_can_be_taken_again() {
        let slots = Slots::new(1000).unwrap();
        for _ in 0..10_000 {
            assert!(slots.take());
            slots.put(1);
        }
    }

    #[test]
    fn batches_leave_some_for_all() {
        assert_eq!(batch_size(1022, 2), 127);
        assert_eq!(batch_size(7, 2), 1);
        assert_eq!(batch_size(0, 64), 1);
        assert_eq!(batch_size(100, 0), 100);
    }

    #[test]
    fn a_cpu_keeps_less_than_two_batches() {
        for batch in 1..8 {
            for free in 0..64 {
                let (kept, given) = keep(free, batch);
                assert_eq!(kept + given, free);
                assert_eq!(given % batch, 0);
                assert!(kept < 2 * batch);
                assert!(given == 0 || kept >= batch);
            }
        }
    }
}
