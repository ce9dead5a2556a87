// SPDX-License-Identifier: GPL-2.0-only

//! Slab caches: allocators of objects of one type.
//!
//! A [`KmemCache`] allocates objects of one type, packed, and recycled among themselves.
//! A [`CacheBox`] is to such an object what a [`KBox`] is to one from the general allocator.
//!
//! C header: [`include/linux/slab.h`](srctree/include/linux/slab.h)

use crate::{
    alloc::{
        AllocError,
        Flags, //
    },
    bindings,
    init::InPlaceInit,
    prelude::*,
    sync::atomic::{
        Acquire,
        Atomic,
        Release, //
    }, //
};
use core::{
    marker::PhantomData,
    mem::{
        align_of,
        size_of,
        ManuallyDrop, //
    },
    ops::{
        BitOr,
        Deref,
        DerefMut, //
    },
    ptr::{
        null_mut,
        NonNull, //
    }, //
};
use pin_init::InPlaceWrite;

mod spares;

pub use spares::{
    SpareCell,
    Spares, //
};

/// Properties of a [`KmemCache`].
///
/// They can be combined with `|`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CacheFlags(bindings::slab_flags_t);

impl CacheFlags {
    /// Nothing special.
    pub const NONE: Self = Self(0);

    /// Aligns objects to cache lines: `SLAB_HWCACHE_ALIGN`.
    pub const HWCACHE_ALIGN: Self = Self(bindings::SLAB_HWCACHE_ALIGN);

    /// Charges objects to the memory cgroup of who allocates them: `SLAB_ACCOUNT`.
    pub const ACCOUNT: Self = Self(bindings::SLAB_ACCOUNT);

    /// Panics when the cache cannot be created: `SLAB_PANIC`.
    ///
    /// For what the kernel cannot boot without.
    pub const PANIC: Self = Self(bindings::SLAB_PANIC);
}

impl BitOr for CacheFlags {
    type Output = Self;

    fn bitor(self, rhs: Self) -> Self {
        Self(self.0 | rhs.0)
    }
}

/// A slab cache of objects of type `T`, in a static.
///
/// Wraps the kernel's `struct kmem_cache`. There is nothing to allocate from it before
/// [`KmemCache::create`], which is for the initialisation of a subsystem to call; and it is never
/// destroyed, so it is for code that is built in.
///
/// # Invariants
///
/// `cache` is null or a cache of objects with the size and alignment of `T`, without a constructor
/// and without `SLAB_TYPESAFE_BY_RCU`, that lives forever.
///
/// # Examples
///
/// ```
/// use kernel::alloc::kmem_cache::{
///     CacheBox,
///     CacheFlags,
///     Cached,
///     KmemCache, //
/// };
///
/// struct Request {
///     tag: u64,
/// }
///
/// static REQUESTS: KmemCache<Request> =
///     KmemCache::new(c"doctest_request", CacheFlags::HWCACHE_ALIGN);
///
/// impl Cached for Request {
///     #[inline]
///     fn cache() -> &'static KmemCache<Self> {
///         &REQUESTS
///     }
/// }
///
/// assert!(CacheBox::new(Request { tag: 1 }, GFP_KERNEL).is_err());
///
/// REQUESTS.create()?;
///
/// let mut request = CacheBox::new(Request { tag: 1 }, GFP_KERNEL)?;
/// request.tag += 1;
/// assert_eq!(request.tag, 2);
/// # Ok::<(), Error>(())
/// ```
pub struct KmemCache<T> {
    cache: Atomic<*mut bindings::kmem_cache>,
    name: &'static CStr,
    flags: CacheFlags,
    _objects: PhantomData<fn() -> T>,
}

// SAFETY: A `struct kmem_cache` may be used by any thread; the object itself holds no `T`.
unsafe impl<T> Send for KmemCache<T> {}
// SAFETY: As for `Send`; the C functions do the locking.
unsafe impl<T> Sync for KmemCache<T> {}

impl<T> KmemCache<T> {
    /// Describes a cache that will appear in `/proc/slabinfo` as `name`.
    pub const fn new(name: &'static CStr, flags: CacheFlags) -> Self {
        // INVARIANT: `cache` is null.
        Self {
            cache: Atomic::new(null_mut()),
            name,
            flags,
            _objects: PhantomData,
        }
    }

    /// Creates the cache.
    ///
    /// It may be merged with another one whose objects have the same size. This may sleep. It fails
    /// with [`ENOMEM`], unless the flags have [`CacheFlags::PANIC`], and with [`EBUSY`] when the
    /// cache was created before.
    pub fn create(&'static self) -> Result {
        const { assert!(size_of::<T>() > 0 && size_of::<T>() <= u32::MAX as usize) };

        let mut args = bindings::kmem_cache_args {
            // CAST: An alignment is not larger than a size, which was checked.
            align: align_of::<T>() as u32,
            ..Default::default()
        };

        // SAFETY: `name` is a C string that lives forever. `args` is used during the call only, and
        // asks for nothing but an alignment.
        let cache = unsafe {
            bindings::__kmem_cache_create_args(
                self.name.as_char_ptr(),
                // CAST: Checked above.
                size_of::<T>() as u32,
                &mut args,
                self.flags.0,
            )
        };
        if cache.is_null() {
            return Err(ENOMEM);
        }

        // INVARIANT: The cache was created for `T` just now. `CacheFlags` has no
        // `SLAB_TYPESAFE_BY_RCU`. It is destroyed only if it does not get here.
        // ORDERING: Release pairs with the Acquire of `alloc()`: who finds the cache finds it
        // initialised.
        if self.cache.cmpxchg(null_mut(), cache, Release).is_err() {
            // SAFETY: The cache is ours, and nothing was allocated from it.
            unsafe { bindings::kmem_cache_destroy(cache) };
            return Err(EBUSY);
        }

        Ok(())
    }

    /// Allocates memory for one object.
    #[inline]
    fn alloc(&'static self, flags: Flags) -> Result<NonNull<T>, AllocError> {
        // ORDERING: Acquire pairs with the Release of `create()`.
        let cache = self.cache.load(Acquire);
        if cache.is_null() {
            return Err(AllocError);
        }

        // SAFETY: By the type invariants, the cache is valid.
        let ptr: *mut c_void = unsafe { bindings::kmem_cache_alloc(cache, flags.as_raw()) };

        NonNull::new(ptr.cast()).ok_or(AllocError)
    }
}

/// A type whose [`CacheBox`]es come from a cache of its own.
pub trait Cached: Sized + 'static {
    /// Returns the cache.
    fn cache() -> &'static KmemCache<Self>;
}

/// Memory from a [`KmemCache`] for an object that is yet to be written.
///
/// # Invariants
///
/// The pointer is to memory from a [`KmemCache<T>`] that is valid for a `T` and belongs to this
/// object.
pub struct UninitCacheBox<T: Cached>(NonNull<T>);

// SAFETY: The memory belongs to this object and holds no `T`.
unsafe impl<T: Cached> Send for UninitCacheBox<T> {}
// SAFETY: As for `Send`.
unsafe impl<T: Cached> Sync for UninitCacheBox<T> {}

impl<T: Cached> UninitCacheBox<T> {
    /// Turns it into a box, without writing the object.
    ///
    /// # Safety
    ///
    /// The object must have been written, through [`Self::as_mut_ptr`].
    #[inline]
    pub unsafe fn assume_init(self) -> CacheBox<T> {
        // INVARIANT: By the safety requirements, the object is initialised; the rest are our
        // invariants.
        CacheBox(ManuallyDrop::new(self).0)
    }

    /// Returns a pointer to where the object goes.
    #[inline]
    pub fn as_mut_ptr(&mut self) -> *mut T {
        self.0.as_ptr()
    }

    /// Writes the object.
    #[inline]
    pub fn write(self, value: T) -> CacheBox<T> {
        // SAFETY: By the type invariants, the memory is valid for a `T`.
        unsafe { self.0.write(value) };
        // SAFETY: The object was just written.
        unsafe { self.assume_init() }
    }
}

impl<T: Cached> Drop for UninitCacheBox<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariants, the memory is ours.
        unsafe { free(self.0) };
    }
}

impl<T: Cached> InPlaceWrite<T> for UninitCacheBox<T> {
    type Initialized = CacheBox<T>;

    #[inline]
    fn write_init<E>(mut self, init: impl Init<T, E>) -> Result<CacheBox<T>, E> {
        // SAFETY: The memory is valid for a `T`. On an error it is freed, not dropped.
        unsafe { pin_init::raw_try_init(self.as_mut_ptr(), init)? };
        // SAFETY: The object was just initialised.
        Ok(unsafe { self.assume_init() })
    }

    #[inline]
    fn write_pin_init<E>(mut self, init: impl PinInit<T, E>) -> Result<Pin<CacheBox<T>>, E> {
        // SAFETY: The memory is valid for a `T`. On an error it is freed, not dropped. It does not
        // move, as it is pinned below.
        unsafe { pin_init::raw_try_init(self.as_mut_ptr(), init)? };
        // SAFETY: The object was just initialised.
        Ok(unsafe { self.assume_init() }.into())
    }
}

/// Frees memory of a [`KmemCache<T>`].
///
/// # Safety
///
/// `ptr` must be from [`KmemCache::alloc`] and must not be used again.
#[inline]
unsafe fn free<T>(ptr: NonNull<T>) {
    // `kfree()` finds the cache of any slab object. `kmem_cache_free()` would have to be told it,
    // and nothing makes `Cached::cache()` return the same one every time.
    //
    // SAFETY: By the safety requirements, `ptr` is of a slab cache and may be freed.
    unsafe { bindings::kfree(ptr.as_ptr().cast()) };
}

/// An owned object in a [`KmemCache`].
///
/// # Invariants
///
/// The pointer is to memory from a [`KmemCache<T>`] that belongs to this object and holds an
/// initialised `T`.
pub struct CacheBox<T: Cached>(NonNull<T>);

// SAFETY: A `CacheBox` owns its object, so it may be sent when the object may be.
unsafe impl<T: Cached + Send> Send for CacheBox<T> {}
// SAFETY: A `CacheBox` owns its object, so it may be shared when the object may be.
unsafe impl<T: Cached + Sync> Sync for CacheBox<T> {}

impl<T: Cached> CacheBox<T> {
    /// Allocates memory and moves `value` there.
    #[inline]
    pub fn new(value: T, flags: Flags) -> Result<Self, AllocError> {
        Ok(Self::new_uninit(flags)?.write(value))
    }

    /// Allocates memory without writing to it.
    ///
    /// This is for an object that is to be written in place, or made only when there is memory
    /// for it.
    #[inline]
    pub fn new_uninit(flags: Flags) -> Result<UninitCacheBox<T>, AllocError> {
        // INVARIANT: Allocated just now, for this object.
        Ok(UninitCacheBox(T::cache().alloc(flags)?))
    }

    /// Gives up ownership of the object.
    #[inline]
    pub fn into_raw(self) -> NonNull<T> {
        ManuallyDrop::new(self).0
    }

    /// Takes over ownership of the object.
    ///
    /// # Safety
    ///
    /// `ptr` must be from [`Self::into_raw`], and not have been passed here since.
    #[inline]
    pub unsafe fn from_raw(ptr: NonNull<T>) -> Self {
        // INVARIANT: Those of the box passed to `into_raw()`.
        Self(ptr)
    }

    /// Forgets the object, without dropping it, and keeps its memory.
    #[inline]
    pub fn forget_object(self) -> UninitCacheBox<T> {
        // INVARIANT: The memory was ours, and nobody can use the object in it any more.
        UninitCacheBox(self.into_raw())
    }

    /// Pins the object.
    #[inline]
    pub fn into_pin(this: Self) -> Pin<Self> {
        this.into()
    }

    /// Gives up ownership of a pinned object.
    #[inline]
    pub fn pinned_into_raw(this: Pin<Self>) -> NonNull<T> {
        // SAFETY: The object is not moved, and has to be pinned again by `pinned_from_raw()`.
        unsafe { Pin::into_inner_unchecked(this) }.into_raw()
    }

    /// Takes over ownership of a pinned object.
    ///
    /// # Safety
    ///
    /// `ptr` must be from [`Self::pinned_into_raw`], the object must not have been moved, and the
    /// pointer must not have been passed here since.
    #[inline]
    pub unsafe fn pinned_from_raw(ptr: NonNull<T>) -> Pin<Self> {
        // SAFETY: By the safety requirements, which are those of this function too.
        unsafe { Self::from_raw(ptr) }.into()
    }
}

impl<T: Cached> From<CacheBox<T>> for Pin<CacheBox<T>> {
    #[inline]
    fn from(this: CacheBox<T>) -> Self {
        // SAFETY: The object moves only when the box is taken apart, which `Pin` does not allow
        // unless `T` is `Unpin`.
        unsafe { Pin::new_unchecked(this) }
    }
}

impl<T: Cached> InPlaceInit<T> for CacheBox<T> {
    type PinnedSelf = Pin<Self>;

    #[inline]
    fn try_pin_init<E>(init: impl PinInit<T, E>, flags: Flags) -> Result<Pin<Self>, E>
    where
        E: From<AllocError>,
    {
        Self::new_uninit(flags)?.write_pin_init(init)
    }

    #[inline]
    fn try_init<E>(init: impl Init<T, E>, flags: Flags) -> Result<Self, E>
    where
        E: From<AllocError>,
    {
        Self::new_uninit(flags)?.write_init(init)
    }
}

impl<T: Cached> Deref for CacheBox<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: By the type invariants, the object is initialised and ours.
        unsafe { self.0.as_ref() }
    }
}

impl<T: Cached> DerefMut for CacheBox<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: By the type invariants, the object is initialised and ours.
        unsafe { self.0.as_mut() }
    }
}

impl<T: Cached> Drop for CacheBox<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariants, the object is initialised and ours; it is not used again.
        unsafe { self.0.drop_in_place() };
        // SAFETY: By the type invariants, the memory is ours.
        unsafe { free(self.0) };
    }
}

#[cfg(CONFIG_RUST_KMEM_CACHE_KUNIT_TEST)]
#[kunit_tests(rust_kmem_cache)]
mod tests {
    use super::*;
    use crate::sync::{
        atomic::Relaxed,
        Arc, //
    };

    /// An object that counts its drops.
    #[repr(align(32))]
    struct Object {
        value: u64,
        drops: Option<Arc<Atomic<u32>>>,
    }

    impl Object {
        fn new(value: u64) -> Self {
            Self { value, drops: None }
        }
    }

    impl Drop for Object {
        fn drop(&mut self) {
            if let Some(drops) = &self.drops {
                drops.fetch_add(1, Relaxed);
            }
        }
    }

    static OBJECTS: KmemCache<Object> =
        KmemCache::new(c"kunit_rust_object", CacheFlags::HWCACHE_ALIGN);

    impl Cached for Object {
        fn cache() -> &'static KmemCache<Self> {
            // Tests run in any order, and may be run again.
            match OBJECTS.create() {
                Ok(()) | Err(_) => &OBJECTS,
            }
        }
    }

    /// An object whose cache is never created.
    struct Homeless;

    static NOWHERE: KmemCache<Homeless> = KmemCache::new(c"kunit_rust_nowhere", CacheFlags::NONE);

    impl Cached for Homeless {
        fn cache() -> &'static KmemCache<Self> {
            &NOWHERE
        }
    }

    #[test]
    fn nothing_comes_from_a_cache_not_created() {
        assert!(CacheBox::new(Homeless, GFP_KERNEL).is_err());
    }

    #[test]
    fn is_created_once() {
        let _ = OBJECTS.create();
        assert_eq!(OBJECTS.create(), Err(EBUSY));
    }

    #[test]
    fn objects_are_apart_and_aligned() -> Result {
        let mut objects = KVec::new();

        for value in 0..100 {
            objects.push(CacheBox::new(Object::new(value), GFP_KERNEL)?, GFP_KERNEL)?;
        }
        for (value, object) in objects.iter().enumerate() {
            assert_eq!(object.value, value as u64);
            assert_eq!(
                core::ptr::from_ref(&**object).addr() % align_of::<Object>(),
                0
            );
        }
        Ok(())
    }

    #[test]
    fn drops_once() -> Result {
        let drops = Arc::new(Atomic::new(0), GFP_KERNEL)?;

        let mut object = CacheBox::new(Object::new(1), GFP_KERNEL)?;
        object.drops = Some(drops.clone());
        let raw = object.into_raw();
        assert_eq!(drops.load(Relaxed), 0);

        // SAFETY: `raw` is from `into_raw()`.
        let object = unsafe { CacheBox::from_raw(raw) };
        let raw = CacheBox::pinned_into_raw(CacheBox::into_pin(object));
        assert_eq!(drops.load(Relaxed), 0);

        // SAFETY: `raw` is from `pinned_into_raw()`.
        drop(unsafe { CacheBox::pinned_from_raw(raw) });
        assert_eq!(drops.load(Relaxed), 1);
        Ok(())
    }

    #[test]
    fn memory_not_written_to_is_not_dropped() -> Result {
        drop(CacheBox::<Object>::new_uninit(GFP_KERNEL)?);

        let object = CacheBox::<Object>::new_uninit(GFP_KERNEL)?.write(Object::new(7));
        assert_eq!(object.value, 7);
        Ok(())
    }

    #[test]
    fn initialises_in_place() -> Result {
        let counter = Arc::new(Atomic::new(0), GFP_KERNEL)?;

        let drops = Some(counter.clone());
        let object = CacheBox::<Object>::pin_init(init!(Object { value: 5, drops }), GFP_KERNEL)?;
        assert_eq!(object.value, 5);
        drop(object);
        assert_eq!(counter.load(Relaxed), 1);

        let drops = Some(counter.clone());
        let failed = CacheBox::<Object>::init(
            try_init!(Object {
                value: Err(EINVAL)?,
                drops,
            }? Error),
            GFP_KERNEL,
        );
        assert!(failed.is_err_and(|e| e == EINVAL));
        assert_eq!(counter.load(Relaxed), 1);
        Ok(())
    }
}
