// SPDX-License-Identifier: GPL-2.0-only

//! `preadv2` and `pwritev2` with `RWF_HIPRI`, which Linux takes and, since it polls for asynchronous
//! I/O only, sleeps all the same.

use std::sync::Arc;

use crate::place::Place;
use crate::queue::{check_result, Direction, IoFailure, Queue};
use crate::slots::{Slot, Slots};

/// A queue of one I/O, which is done when its turn is over.
pub struct Preadv2Queue {
    files: Arc<[i32]>,
    slots: Arc<Slots>,
    direction: Direction,
    ready: Option<(Slot, Place)>,
}

impl Preadv2Queue {
    /// I/O on `files` with the buffers of `slots`.
    pub fn new(slots: Arc<Slots>, files: Arc<[i32]>) -> Self {
        Self {
            files,
            slots,
            direction: Direction::Read,
            ready: None,
        }
    }
}

impl Queue for Preadv2Queue {
    #[inline]
    fn prepare(&mut self, slot: Slot, place: Place) {
        self.ready = Some((slot, place));
    }

    #[inline]
    fn turn(&mut self, _want: usize, done: &mut Vec<Slot>) -> Result<(), IoFailure> {
        let Some((slot, place)) = self.ready.take() else {
            return Ok(());
        };
        let block_size = self.slots.block_size();
        let vector = libc::iovec {
            iov_base: self.slots.address(slot).cast(),
            iov_len: block_size,
        };
        let (name, number) = match self.direction {
            Direction::Read => ("preadv2", libc::SYS_preadv2),
            Direction::Write => ("pwritev2", libc::SYS_pwritev2),
        };
        let offset = i64::from(place.block) * block_size as i64;
        let file = self.files[place.file as usize];
        // SAFETY: The caller owns the slot, whose buffer the kernel uses during the call only.
        let moved = unsafe {
            libc::syscall(
                number,
                file,
                &raw const vector,
                1,
                offset,
                0,
                libc::RWF_HIPRI,
            )
        };
        if moved < 0 {
            return Err(IoFailure::last(name));
        }
        check_result(moved, block_size)?;
        done.push(slot);
        Ok(())
    }

    fn set_direction(&mut self, direction: Direction) {
        self.direction = direction;
    }
}
