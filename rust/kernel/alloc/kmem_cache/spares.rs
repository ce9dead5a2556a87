// SPDX-License-Identifier: GPL-2.0-only

//! Memory of slab caches that is kept for the objects to come.
//!
//! Who frees and allocates objects of a cache all the time, in batches, and mostly on behalf of the
//! same owner, saves the way through the allocator.

use super::{
    Cached,
    UninitCacheBox, //
};
use crate::sync::atomic::{
    Acquire,
    Atomic,
    Relaxed,
    Release, //
};
use core::{
    marker::PhantomData,
    mem::{
        align_of,
        size_of,
        ManuallyDrop, //
    },
    ptr::{
        null_mut,
        NonNull, //
    }, //
};

/// Memory from a [`KmemCache`](super::KmemCache) that is kept for objects to come, linked through
/// itself.
///
/// # Invariants
///
/// `top` is null or points to memory of an [`UninitCacheBox`] which this object owns, and which
/// holds such a pointer in turn.
pub struct Spares<T: Cached> {
    top: *mut Spare,
    _memory: PhantomData<T>,
}

/// The pointer that spare memory holds.
struct Spare(*mut Spare);

impl<T: Cached> Spares<T> {
    const HOLDS_A_POINTER: () =
        assert!(size_of::<T>() >= size_of::<Spare>() && align_of::<T>() >= align_of::<Spare>());

    /// No memory.
    #[inline]
    pub const fn new() -> Self {
        // INVARIANT: Null.
        Self {
            top: null_mut(),
            _memory: PhantomData,
        }
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.top.is_null()
    }

    /// Adds some.
    #[inline]
    pub fn push(&mut self, memory: UninitCacheBox<T>) {
        let () = Self::HOLDS_A_POINTER;
        let spare: *mut Spare = ManuallyDrop::new(memory).0.as_ptr().cast();
        // SAFETY: The memory is ours, and large and aligned enough.
        unsafe { spare.write(Spare(self.top)) };
        // INVARIANT: It holds the pointer of before.
        self.top = spare;
    }

    /// Takes out what was added last.
    #[inline]
    pub fn pop(&mut self) -> Option<UninitCacheBox<T>> {
        let spare = NonNull::new(self.top)?;
        // SAFETY: By the type invariants, it holds one.
        self.top = unsafe { spare.as_ref().0 };
        // INVARIANT: By the type invariants, it was memory of an `UninitCacheBox`, and ours.
        Some(UninitCacheBox(spare.cast()))
    }

    #[cold]
    fn free_all(&mut self) {
        while self.pop().is_some() {}
    }
}

impl<T: Cached> Default for Spares<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Cached> Drop for Spares<T> {
    #[inline]
    fn drop(&mut self) {
        if !self.top.is_null() {
            self.free_all();
        }
    }
}

/// A place to leave [`Spares`] in for others, without a lock.
///
/// # Examples
///
/// ```
/// use kernel::alloc::kmem_cache::{
///     CacheBox,
///     CacheFlags,
///     Cached,
///     KmemCache,
///     SpareCell,
///     Spares, //
/// };
///
/// struct Job(u64);
///
/// static JOBS: KmemCache<Job> = KmemCache::new(c"doctest_spare_job", CacheFlags::NONE);
///
/// impl Cached for Job {
///     fn cache() -> &'static KmemCache<Self> {
///         &JOBS
///     }
/// }
///
/// JOBS.create()?;
/// let cell = SpareCell::new();
///
/// let mut spares = Spares::new();
/// spares.push(CacheBox::new(Job(1), GFP_KERNEL)?.forget_object());
/// cell.leave(spares);
///
/// let mut spares = cell.take();
/// let job = spares.pop().map(|memory| memory.write(Job(2)));
/// assert_eq!(job.map(|job| job.0), Some(2));
/// assert!(spares.pop().is_none());
/// # Ok::<(), Error>(())
/// ```
///
/// # Invariants
///
/// The pointer is that of [`Spares`] which this object owns.
pub struct SpareCell<T: Cached> {
    top: Atomic<*mut Spare>,
    _spares: PhantomData<Spares<T>>,
}

// SAFETY: Whoever takes the memory has it for itself, and it holds no `T`.
unsafe impl<T: Cached> Send for SpareCell<T> {}
// SAFETY: As for `Send`.
unsafe impl<T: Cached> Sync for SpareCell<T> {}

impl<T: Cached> SpareCell<T> {
    /// An empty one.
    #[inline]
    pub const fn new() -> Self {
        // INVARIANT: That of no memory.
        Self {
            top: Atomic::new(null_mut()),
            _spares: PhantomData,
        }
    }

    /// Takes all that is there.
    #[inline]
    pub fn take(&self) -> Spares<T> {
        let top = if self.top.load(Relaxed).is_null() {
            null_mut()
        } else {
            // ORDERING: Acquire pairs with the Release in `leave()`.
            self.top.xchg(null_mut(), Acquire)
        };
        // INVARIANT: It was ours.
        Spares {
            top,
            _memory: PhantomData,
        }
    }

    /// Leaves memory here, or frees it where there is some already.
    #[inline]
    pub fn leave(&self, mut spares: Spares<T>) {
        // ORDERING: Release pairs with the Acquire in `take()`: who takes the memory finds the
        // pointers in it.
        if !spares.top.is_null() && self.top.cmpxchg(null_mut(), spares.top, Release).is_ok() {
            // INVARIANT: It is ours now.
            spares.top = null_mut();
        }
    }
}

impl<T: Cached> Default for SpareCell<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Cached> Drop for SpareCell<T> {
    fn drop(&mut self) {
        drop(self.take());
    }
}

#[cfg(CONFIG_RUST_KMEM_CACHE_KUNIT_TEST)]
#[macros::kunit_tests(rust_kmem_cache_spares)]
mod tests {
    use super::{
        super::{
            CacheBox,
            CacheFlags,
            KmemCache, //
        },
        *, //
    };
    use crate::prelude::*;

    struct Object {
        values: [u64; 3],
    }

    impl Object {
        fn new(value: u64) -> Self {
            Self { values: [value; 3] }
        }
    }

    static OBJECTS: KmemCache<Object> = KmemCache::new(c"kunit_rust_spare", CacheFlags::NONE);

    impl Cached for Object {
        fn cache() -> &'static KmemCache<Self> {
            // Tests run in any order, and may be run again.
            match OBJECTS.create() {
                Ok(()) | Err(_) => &OBJECTS,
            }
        }
    }

    fn spares(nr: u64) -> Result<Spares<Object>> {
        let mut spares = Spares::new();
        for value in 0..nr {
            spares.push(CacheBox::new(Object::new(value), GFP_KERNEL)?.forget_object());
        }
        Ok(spares)
    }

    fn count(mut spares: Spares<Object>) -> usize {
        core::iter::from_fn(|| spares.pop()).count()
    }

    #[test]
    fn what_is_put_in_comes_out_once() -> Result {
        assert_eq!(count(spares(0)?), 0);
        assert_eq!(count(spares(5)?), 5);
        Ok(())
    }

    #[test]
    fn memory_can_be_written_again() -> Result {
        let mut spares = spares(2)?;
        let memory = spares.pop().ok_or(ENOMEM)?;
        let object = memory.write(Object::new(7));
        assert_eq!(object.values, [7; 3]);
        spares.push(object.forget_object());
        assert_eq!(count(spares), 2);
        Ok(())
    }

    #[test]
    fn a_cell_holds_what_was_left_first() -> Result {
        let cell = SpareCell::new();
        assert_eq!(count(cell.take()), 0);

        cell.leave(spares(2)?);
        // These are freed.
        cell.leave(spares(3)?);
        assert_eq!(count(cell.take()), 2);
        assert_eq!(count(cell.take()), 0);
        Ok(())
    }

    #[test]
    fn nothing_takes_no_place() -> Result {
        let cell = SpareCell::new();
        cell.leave(Spares::new());
        cell.leave(spares(1)?);
        assert_eq!(count(cell.take()), 1);
        Ok(())
    }
}
