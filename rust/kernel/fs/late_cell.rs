// SPDX-License-Identifier: GPL-2.0-only

//! Cells that are written before they are read.

use core::{
    cell::Cell,
    mem::MaybeUninit, //
};

/// A [`Cell`] that is made without a value.
///
/// For what is set when an object gets on a list, and of no use before: to write it when the object
/// is made would be for nothing.
pub(super) struct LateCell<T>(Cell<MaybeUninit<T>>);

impl<T: Copy> LateCell<T> {
    /// One that is not set.
    #[inline]
    pub(super) const fn new() -> Self {
        Self(Cell::new(MaybeUninit::uninit()))
    }

    /// Sets the value.
    #[inline]
    pub(super) fn set(&self, value: T) {
        self.0.set(MaybeUninit::new(value));
    }

    /// Returns the value.
    ///
    /// # Safety
    ///
    /// It must have been set.
    #[inline]
    pub(super) unsafe fn get(&self) -> T {
        // SAFETY: By the caller's contract.
        unsafe { self.0.get().assume_init() }
    }
}
