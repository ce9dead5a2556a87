// SPDX-License-Identifier: GPL-2.0-only

//! Kiocbs in flight whose driver knows how to cancel them.
//!
//! C header: [`include/linux/aio.h`](srctree/include/linux/aio.h)

use super::{
    async_kiocb::{
        AsyncKiocb,
        KiocbData, //
    },
    late_cell::LateCell, //
};
use crate::{
    bindings,
    prelude::*,
    sync::{
        atomic::{
            ordering,
            Atomic, //
        },
        new_spinlock_irq,
        SpinLockIrq, //
    }, //
};
use core::{
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    }, //
};

/// A driver's function that cancels a kiocb. It is called with interrupts off and must not
/// complete the kiocb before it returns.
pub type CancelFn = unsafe extern "C" fn(*mut bindings::kiocb) -> c_int;

/// Membership of a kiocb on a [`CancelList`].
///
/// # Invariants
///
/// While `listed` is set, the entry is on the list of its kiocb's data, and the other fields are
/// set and belong to that list's lock.
pub(super) struct CancelEntry {
    listed: Atomic<bool>,
    next: LateCell<*const CancelEntry>,
    prev: LateCell<*const CancelEntry>,
    kiocb: LateCell<*mut bindings::kiocb>,
    cancel: LateCell<CancelFn>,
}

impl CancelEntry {
    #[inline]
    pub(super) const fn new() -> Self {
        Self {
            listed: Atomic::new(false),
            next: LateCell::new(),
            prev: LateCell::new(),
            kiocb: LateCell::new(),
            cancel: LateCell::new(),
        }
    }

    /// Whether a driver has made the kiocb cancellable, and nobody has cancelled it yet.
    ///
    /// Acquire pairs with the release in [`Entries::unlink`]: where this is false, the list does
    /// not look at the entry any more.
    #[inline]
    pub(super) fn is_listed(&self) -> bool {
        self.listed.load(ordering::Acquire)
    }
}

/// The ends of a list of [`CancelEntry`]s in the order of their registration.
struct Entries {
    first: *const CancelEntry,
    last: *const CancelEntry,
}

// SAFETY: The entries are shared by all that hold the lock around this, from whatever task.
unsafe impl Send for Entries {}

impl Entries {
    /// # Safety
    ///
    /// `entry` must be on no list, have its kiocb and its function set, and stay where it is until
    /// it is unlinked.
    unsafe fn push(&mut self, entry: &CancelEntry) {
        entry.prev.set(self.last);
        entry.next.set(ptr::null());
        match NonNull::new(self.last.cast_mut()) {
            // SAFETY: Listed entries are alive, and ours under the lock.
            Some(last) => unsafe { last.as_ref() }.next.set(entry),
            None => self.first = entry,
        }
        self.last = entry;
        entry.listed.store(true, ordering::Relaxed);
    }

    /// # Safety
    ///
    /// `entry` must be on this list. It must not be touched afterwards.
    unsafe fn unlink(&mut self, entry: &CancelEntry) {
        // SAFETY: By the caller's contract it is listed, so that they are set.
        let (prev, next) = unsafe { (entry.prev.get(), entry.next.get()) };
        match NonNull::new(prev.cast_mut()) {
            // SAFETY: Listed entries are alive, and ours under the lock.
            Some(prev) => unsafe { prev.as_ref() }.next.set(next),
            None => self.first = next,
        }
        match NonNull::new(next.cast_mut()) {
            // SAFETY: As above.
            Some(next) => unsafe { next.as_ref() }.prev.set(prev),
            None => self.last = prev,
        }
        // Last: the kiocb may be completed and freed from here on. Pairs with `is_listed()`.
        entry.listed.store(false, ordering::Release);
    }

    /// # Safety
    ///
    /// `entry` must be on this list.
    unsafe fn cancel(&mut self, entry: &CancelEntry) -> c_int {
        // SAFETY: By the caller's contract it is listed, so that they are set. The kiocb is in
        // flight: its completion waits for the lock that we hold.
        let result = unsafe { (entry.cancel.get())(entry.kiocb.get()) };
        // SAFETY: By the caller's contract.
        unsafe { self.unlink(entry) };
        result
    }
}

/// The cancellable kiocbs of one owner.
///
/// # Examples
///
/// ```
/// use kernel::fs::{
///     async_kiocb::KiocbData,
///     cancel_list::CancelList, //
/// };
///
/// /// Cancels a kiocb as io_cancel(2) does.
/// fn cancel<T: KiocbData>(list: &CancelList<T>, is_wanted: impl FnMut(&T) -> bool) -> Result {
///     match list.cancel_one(is_wanted) {
///         None => Err(EINVAL),
///         Some(0) => Ok(()),
///         Some(errno) => Err(Error::from_errno(errno)),
///     }
/// }
/// ```
#[pin_data]
pub struct CancelList<T> {
    #[pin]
    entries: SpinLockIrq<Entries>,
    _data: PhantomData<fn(T)>,
}

impl<T: KiocbData> CancelList<T> {
    /// An empty list.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            entries <- new_spinlock_irq!(Entries {
                first: ptr::null(),
                last: ptr::null(),
            }, "CancelList::entries"),
            _data: PhantomData,
        })
    }

    /// Adds a kiocb in flight.
    pub(super) fn add(&self, kiocb: &AsyncKiocb<T>, cancel: CancelFn) {
        let entry = &kiocb.cancel;
        if crate::warn_on!(entry.is_listed()) {
            return;
        }
        let mut entries = self.entries.lock();
        entry.kiocb.set(kiocb.as_raw());
        entry.cancel.set(cancel);
        // SAFETY: The entry is on no list; a kiocb in flight does not move, and takes itself off
        // the list when it completes.
        unsafe { entries.push(entry) };
    }

    /// Takes a kiocb that completes off the list, unless it was cancelled meanwhile.
    pub(super) fn remove(&self, entry: &CancelEntry) {
        let mut entries = self.entries.lock();
        if entry.is_listed() {
            // SAFETY: The entry is on the list of its owner, which this is.
            unsafe { entries.unlink(entry) };
        }
    }

    /// Cancels the oldest kiocb whose data is `wanted`. Returns what the driver returned.
    pub fn cancel_one(&self, mut wanted: impl FnMut(&T) -> bool) -> Option<c_int> {
        let mut entries = self.entries.lock();
        let mut next = entries.first;
        while let Some(entry) = NonNull::new(next.cast_mut()) {
            // SAFETY: Listed entries are alive while the lock is held.
            let entry = unsafe { entry.as_ref() };
            // SAFETY: Of a listed entry it is set, to the first field of a live `AsyncKiocb<T>`.
            let kiocb = unsafe { &*entry.kiocb.get().cast::<AsyncKiocb<T>>() };
            if wanted(kiocb.data()) {
                // SAFETY: The entry was found on this list.
                return Some(unsafe { entries.cancel(entry) });
            }
            // SAFETY: Of a listed entry it is set.
            next = unsafe { entry.next.get() };
        }
        None
    }

    /// Cancels all kiocbs.
    pub fn cancel_all(&self) {
        let mut entries = self.entries.lock();
        while let Some(entry) = NonNull::new(entries.first.cast_mut()) {
            // SAFETY: Listed entries are alive while the lock is held, and this one is listed.
            unsafe { entries.cancel(entry.as_ref()) };
        }
    }
}
