// SPDX-License-Identifier: GPL-2.0-only

//! What belongs to the I/Os in flight: a slot for each, with its buffer.
//!
//! A slot is owned by one thread, or by the kernel from submission to completion. Whoever reaps it
//! owns it next, so that threads which share a context exchange slots through it.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::memory::Mapping;
use crate::place::Place;

/// The index of a slot.
pub type Slot = u32;

/// All slots of a context or ring.
pub struct Slots {
    block_size: usize,
    buffers: Mapping,
    places: Box<[AtomicU64]>,
    started: Box<[AtomicU64]>,
}

impl Slots {
    /// Makes `count` slots with buffers of `block_size` bytes.
    pub fn new(count: usize, block_size: usize) -> io::Result<Self> {
        let zeros = || (0..count).map(|_| AtomicU64::new(0)).collect();
        Ok(Self {
            block_size,
            buffers: Mapping::anonymous(count * block_size)?,
            places: zeros(),
            started: zeros(),
        })
    }

    /// The number of slots.
    pub fn count(&self) -> usize {
        self.places.len()
    }

    /// The bytes in a buffer.
    pub fn block_size(&self) -> usize {
        self.block_size
    }

    /// The address of a slot's buffer.
    #[inline]
    pub fn address(&self, slot: Slot) -> *mut u8 {
        self.buffers.at(slot as usize * self.block_size)
    }

    /// The content of a slot's buffer, in words.
    ///
    /// # Safety
    ///
    /// The caller owns the slot and has no other reference to its buffer.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn words(&self, slot: Slot) -> &mut [u64] {
        let words = self.block_size / size_of::<u64>();
        // SAFETY: The buffer lies in the mapping, has been written by `mmap` at least, and is
        // aligned as all blocks are; nobody else refers to it.
        unsafe { std::slice::from_raw_parts_mut(self.address(slot).cast(), words) }
    }

    /// Notes where the slot's I/O goes.
    pub fn set_place(&self, slot: Slot, place: Place) {
        self.places[slot as usize].store(place.pack(), Relaxed);
    }

    /// Where the slot's last I/O went.
    pub fn place(&self, slot: Slot) -> Place {
        Place::unpack(self.places[slot as usize].load(Relaxed))
    }

    /// Notes when the slot's I/O was submitted, in ticks.
    pub fn set_started(&self, slot: Slot, ticks: u64) {
        self.started[slot as usize].store(ticks, Relaxed);
    }

    /// When the slot's last I/O was submitted, in ticks.
    pub fn started(&self, slot: Slot) -> u64 {
        self.started[slot as usize].load(Relaxed)
    }
}
