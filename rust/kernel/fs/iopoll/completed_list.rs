// SPDX-License-Identifier: GPL-2.0-only

//! Completed kiocbs in the order of their completion.

use super::Link;
use crate::fs::async_kiocb::{
    AsyncKiocb,
    CompletedKiocb,
    KiocbData, //
};
use core::{
    mem::{
        self,
        ManuallyDrop, //
    },
    ptr::{
        self,
        NonNull, //
    }, //
};

/// Completed kiocbs, the oldest first. Dropping it drops them.
///
/// # Invariants
///
/// From `first` on, linked by `below`, are `len` kiocbs that have completed, and that this owns.
/// The last of them is `last`; where there are none, both are null.
pub struct CompletedList<T: KiocbData> {
    first: Link<T>,
    last: Link<T>,
    len: usize,
}

// SAFETY: The kiocbs are owned by the list, and their data is `Send`.
unsafe impl<T: KiocbData> Send for CompletedList<T> {}

impl<T: KiocbData> CompletedList<T> {
    /// An empty list.
    #[inline]
    pub const fn new() -> Self {
        // INVARIANT: There are none.
        Self {
            first: ptr::null_mut(),
            last: ptr::null_mut(),
            len: 0,
        }
    }

    /// How many there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The data and the result of the oldest one.
    #[inline]
    pub fn first(&self) -> Option<(&T, isize)> {
        let first = NonNull::new(self.first)?;
        // SAFETY: By the type invariants it is alive, and owned by `self`, which is borrowed.
        let kiocb: &AsyncKiocb<T> = unsafe { first.as_ref() };
        Some((kiocb.data(), kiocb.result()))
    }

    /// Takes the oldest one out.
    #[inline]
    pub fn pop(&mut self) -> Option<CompletedKiocb<T>> {
        let first = NonNull::new(self.first)?;
        // SAFETY: By the type invariants it is alive and ours.
        self.first = unsafe { below(first) };
        if self.first.is_null() {
            self.last = ptr::null_mut();
        }
        // INVARIANT: There was at least this one.
        self.len = self.len.wrapping_sub(1);
        // SAFETY: By the type invariants it has completed, and nobody else has a pointer to it.
        Some(unsafe { CompletedKiocb::from_raw(first) })
    }

    /// Takes the oldest ones out, up to `max`.
    ///
    /// All of them at once cost as much as one.
    #[inline]
    pub fn split_front(&mut self, max: usize) -> Self {
        if self.len <= max {
            return mem::take(self);
        }
        let mut front = Self::new();
        while front.len < max {
            let Some(first) = NonNull::new(self.first) else {
                break;
            };
            if front.first.is_null() {
                front.first = self.first;
            }
            // INVARIANT: What is passed over goes from one list to the other.
            front.last = self.first;
            front.len = front.len.wrapping_add(1);
            self.len = self.len.wrapping_sub(1);
            // SAFETY: By the type invariants it is alive and ours.
            self.first = unsafe { below(first) };
        }
        if let Some(last) = NonNull::new(front.last) {
            // SAFETY: It is ours, now in `front`.
            unsafe { last.as_ref() }.poll.below.set(ptr::null_mut());
        }
        front
    }

    /// Puts a kiocb before the oldest one.
    ///
    /// # Safety
    ///
    /// The kiocb must have completed and belong to the caller, who gives it away.
    #[inline]
    pub(super) unsafe fn push_front(&mut self, kiocb: NonNull<AsyncKiocb<T>>) {
        // SAFETY: By the caller's contract it is alive.
        unsafe { kiocb.as_ref() }.poll.below.set(self.first.cast());
        // INVARIANT: It is ours now, and before the first one.
        self.first = kiocb.as_ptr();
        if self.last.is_null() {
            self.last = self.first;
        }
        self.len = self.len.wrapping_add(1);
    }

    /// Appends the kiocbs of another list.
    #[inline]
    pub(super) fn append(&mut self, other: Self) {
        if other.is_empty() {
            return;
        }
        let other = ManuallyDrop::new(other);
        match NonNull::new(self.last) {
            // SAFETY: By the type invariants it is alive and ours.
            Some(last) => unsafe { last.as_ref() }.poll.below.set(other.first.cast()),
            None => self.first = other.first,
        }
        // INVARIANT: They were the other list's, and are now behind the last one.
        self.last = other.last;
        self.len = self.len.wrapping_add(other.len);
    }

    /// Drops what is on the list.
    #[cold]
    fn drop_all(&mut self) {
        while self.pop().is_some() {}
    }
}

/// The kiocb behind one on a list.
///
/// # Safety
///
/// The kiocb must be on a list that belongs to the caller.
#[inline]
unsafe fn below<T: KiocbData>(kiocb: NonNull<AsyncKiocb<T>>) -> Link<T> {
    // SAFETY: By the caller's contract it is alive, and linked by this.
    unsafe { kiocb.as_ref().poll.below.get() }.cast()
}

impl<T: KiocbData> Default for CompletedList<T> {
    #[inline]
    fn default() -> Self {
        Self::new()
    }
}

impl<T: KiocbData> Drop for CompletedList<T> {
    #[inline]
    fn drop(&mut self) {
        if !self.is_empty() {
            self.drop_all();
        }
    }
}
