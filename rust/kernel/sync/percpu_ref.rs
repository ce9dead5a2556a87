// SPDX-License-Identifier: GPL-2.0-only

//! Per-CPU reference counts that keep an [`Arc`] alive.
//!
//! A [`PercpuRef`] is a count that is almost free to take and to drop, because each CPU counts for
//! itself, until its first reference, the [`InitialRef`], is dropped. From then on the count is one
//! atomic integer, and the drop that takes it to zero is noticed.
//!
//! The count is a field of the object `T` it counts, and `T` lives in an [`Arc`].
//! [`PercpuRef::arm`] stores such an [`Arc`] in the count itself. Hence the life of a count:
//!
//! 1. [`PercpuRef::new`]: the count is one, nobody holds it, `T` may be dropped freely.
//! 2. [`PercpuRef::arm`]: the [`InitialRef`] holds that one, and `T` cannot be dropped any more.
//! 3. [`InitialRef::get`] and [`PercpuRef::try_get_live`] hand out further references, as
//!    [`HeldRef`].
//! 4. Dropping the [`InitialRef`] kills the count: [`PercpuRef::try_get_live`] starts to fail.
//! 5. The drop of the last [`HeldRef`] calls [`HasPercpuRef::released`].
//! 6. After an RCU grace period, a worker drops the [`Arc`] of step 2, in process context.
//!
//! Step 6 is why a `&T` that was found in an RCU protected place which held an [`InitialRef`] is
//! good for the whole read-side critical section that found it: taking the [`InitialRef`] out of
//! that place comes before step 4, and the grace period after it.
//!
//! C header: [`include/linux/percpu-refcount.h`](srctree/include/linux/percpu-refcount.h)

use crate::{
    alloc::Flags,
    bindings,
    container_of,
    error::to_result,
    prelude::*,
    static_lock_class,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        rcu,
        Arc,
        ArcBorrow, //
    },
    types::Opaque, //
};
use core::{
    marker::{
        PhantomData,
        PhantomPinned, //
    },
    mem::ManuallyDrop,
    ops::Deref,
    ptr::{
        null,
        NonNull, //
    }, //
};

/// A type with a [`PercpuRef`] that counts references to it.
///
/// `ID` tells apart several counts of one type. Its values have no meaning.
pub trait HasPercpuRef<const ID: u64 = 0>: Sized + Send + Sync + 'static {
    /// Returns the count.
    ///
    /// An implementation that does not return the same one every time is useless, but sound.
    fn percpu_ref(&self) -> &PercpuRef<Self, ID>;

    /// Called once, when the last reference has been dropped.
    ///
    /// `self` stays allocated for at least one more RCU grace period. This is called inside an RCU
    /// read-side critical section, in the context of whoever dropped the last reference, or in
    /// that of an RCU callback. It must not sleep, nor assume that interrupts are enabled.
    fn released(&self);
}

/// A per-CPU reference count, embedded in the object it counts.
///
/// Wraps the kernel's `struct percpu_ref`; see the [module documentation](self) for its life.
///
/// # Invariants
///
/// - `count` is initialised, and so is `release_work`.
/// - `owner` is null until the count is armed, and does not change afterwards.
/// - From then until `release_work` has run, `owner` is a pointer from [`Arc::into_raw`] whose
///   reference this object owns. `release_work` runs after the count has dropped to zero.
/// - While `owner` is null, the count is one and nobody owns that reference.
///
/// # Examples
///
/// ```
/// use kernel::sync::{
///     percpu_ref::{
///         HasPercpuRef,
///         PercpuRef, //
///     },
///     rcu,
///     Arc,
///     Completion, //
/// };
///
/// #[pin_data]
/// struct Session {
///     #[pin]
///     users: PercpuRef<Session>,
///     #[pin]
///     unused: Completion,
/// }
///
/// impl HasPercpuRef for Session {
///     fn percpu_ref(&self) -> &PercpuRef<Self> {
///         &self.users
///     }
///
///     fn released(&self) {
///         self.unused.complete_all();
///     }
/// }
///
/// let session = Arc::pin_init(
///     try_pin_init!(Session {
///         users <- PercpuRef::new(GFP_KERNEL),
///         unused <- Completion::new(),
///     }),
///     GFP_KERNEL,
/// )?;
///
/// let initial = PercpuRef::arm(session.clone())?;
/// let user = initial.get();
/// assert!(core::ptr::eq(&*user, &*session));
/// assert!(PercpuRef::try_get_live(&*session, &rcu::read_lock()).is_some());
///
/// // From here on there is one user left, and no new one.
/// drop(initial);
/// drop(user);
/// session.unused.wait_for_completion();
/// assert!(PercpuRef::try_get_live(&*session, &rcu::read_lock()).is_none());
/// # Ok::<(), Error>(())
/// ```
#[pin_data(PinnedDrop)]
#[repr(C)]
pub struct PercpuRef<T, const ID: u64 = 0> {
    #[pin]
    count: Opaque<bindings::percpu_ref>,
    /// The armed [`Arc`], beside `count` so that both are in one cache line.
    owner: Atomic<*const T>,
    #[pin]
    release_work: Opaque<bindings::rcu_work>,
    #[pin]
    _pin: PhantomPinned,
    _owner: PhantomData<Arc<T>>,
}

// SAFETY: The only use of the `T` behind a `PercpuRef` is after `arm()`, whose `T` is `Send` and
// `Sync`; the C count is made for use by several CPUs.
unsafe impl<T, const ID: u64> Send for PercpuRef<T, ID> {}
// SAFETY: As for `Send`.
unsafe impl<T, const ID: u64> Sync for PercpuRef<T, ID> {}

impl<T: HasPercpuRef<ID>, const ID: u64> PercpuRef<T, ID> {
    /// Returns an initialiser of a count that is not armed yet.
    ///
    /// It fails with [`ENOMEM`], and may sleep if `flags` let it.
    pub fn new(flags: Flags) -> impl PinInit<Self, Error> {
        // INVARIANT: Both C objects are initialised here; `percpu_ref_init()` without flags sets
        // the count to one.
        try_pin_init!(Self {
            count <- Opaque::try_ffi_init(|slot| {
                // SAFETY: `slot` is memory for a `struct percpu_ref`, `count` of a `PercpuRef<T,
                // ID>`, where `on_release` expects it.
                to_result(unsafe {
                    bindings::percpu_ref_init(slot, Some(Self::on_release), 0, flags.as_raw())
                })
            }),
            owner: Atomic::new(null()),
            release_work <- Opaque::ffi_init(|slot: *mut bindings::rcu_work| {
                // SAFETY: `slot` is memory for a `struct rcu_work`, `release_work` of a
                // `PercpuRef<T, ID>`, where `drop_owner` expects it; the name and the key are
                // static.
                unsafe {
                    bindings::init_work_with_key(
                        &raw mut (*slot).work,
                        Some(Self::drop_owner),
                        false,
                        c"PercpuRef::release_work".as_char_ptr(),
                        static_lock_class!().as_ptr(),
                    )
                }
            }),
            _pin: PhantomPinned,
            _owner: PhantomData,
        })
    }

    /// Makes the count keep `owner` alive, and returns its first reference.
    ///
    /// From here on `owner` lives until an RCU grace period after the last reference was dropped,
    /// whatever other [`Arc`] to it exist.
    ///
    /// This fails with [`EBUSY`] when the count was armed before, which it can be once only.
    pub fn arm(owner: Arc<T>) -> Result<InitialRef<T, ID>> {
        // The count that `percpu_ref()` returns need not be inside of `owner`, but it lives as long
        // as `owner` may be borrowed: until the `Arc` stored here is dropped.
        let this = NonNull::from(owner.percpu_ref());
        // SAFETY: `owner` is alive, hence what it returned is.
        let stored = unsafe { &this.as_ref().owner };

        // Whoever finds `owner` here has a reference to it already, or a `&T`, so there is nothing
        // else that this store has to be ordered with.
        if stored
            .cmpxchg(null(), Arc::as_ptr(&owner), Relaxed)
            .is_err()
        {
            return Err(EBUSY);
        }
        // INVARIANT: The reference of `owner` now belongs to `this`.
        let _ = Arc::into_raw(owner);

        // INVARIANT: The exchange succeeded, so the count was not armed and its one reference
        // belonged to nobody.
        Ok(InitialRef(this))
    }

    /// Takes a reference to `owner`, unless its count was killed or not armed yet.
    ///
    /// The [`rcu::Guard`] is what makes the count notice this reference when it is killed at the
    /// same time.
    #[inline]
    pub fn try_get_live(owner: &T, _guard: &rcu::Guard) -> Option<HeldRef<T, ID>> {
        let this = owner.percpu_ref();

        // Not armed, or, when `percpu_ref()` is wrong, the count of another object.
        if !core::ptr::eq(this.owner.load(Relaxed), owner) {
            return None;
        }

        // SAFETY:
        // - `this.count` is initialised by the type invariants, and alive since `this` is.
        // - `_guard` proves that the RCU read-side lock is held.
        if !unsafe { bindings::percpu_ref_tryget_live_rcu(this.count.get()) } {
            return None;
        }

        // INVARIANT: The reference was just taken, from a count that is armed.
        Some(HeldRef(this.into()))
    }

    /// The release function of `count`.
    ///
    /// # Safety
    ///
    /// `count` must be that of a [`PercpuRef<T, ID>`] which is armed, and the count must just have
    /// dropped to zero.
    unsafe extern "C" fn on_release(count: *mut bindings::percpu_ref) {
        // SAFETY: By the safety requirements, `count` is in a `PercpuRef<T, ID>`.
        let this = unsafe { container_of!(Opaque::cast_from(count), Self, count) };

        // SAFETY: By the type invariants, `owner` is alive until `release_work` has run, and it is
        // only queued below.
        let owner = unsafe { &*(*this).owner.load(Relaxed) };
        owner.released();

        // SAFETY: `release_work` is initialised by the type invariants. It is queued once only,
        // since the count drops to zero once, and it stays allocated until it has run, since
        // `owner` does. The workqueue exists from early boot.
        unsafe {
            bindings::queue_rcu_work(
                bindings::system_percpu_wq,
                Opaque::cast_into(&raw const (*this).release_work),
            )
        };
    }

    /// The function of `release_work`: drops the armed [`Arc`].
    ///
    /// # Safety
    ///
    /// `work` must be that of the `release_work` of a [`PercpuRef<T, ID>`] which is armed and whose
    /// count dropped to zero. This must be called once only.
    unsafe extern "C" fn drop_owner(work: *mut bindings::work_struct) {
        // SAFETY: By the safety requirements, `work` is in a `struct rcu_work`.
        let release_work = unsafe { container_of!(work, bindings::rcu_work, work) };
        // SAFETY: By the safety requirements, that is in a `PercpuRef<T, ID>`.
        let this = unsafe { container_of!(Opaque::cast_from(release_work), Self, release_work) };
        // SAFETY: `owner`, and hence `this`, is alive: this function ends that.
        let owner = unsafe { (*this).owner.load(Relaxed) };

        // INVARIANT: `release_work` has run.
        // SAFETY: By the type invariants, `owner` is from `Arc::into_raw()` and `this` owned its
        // reference. Nobody uses `this` as its owner any more, since no references are left.
        drop(unsafe { Arc::from_raw(owner) });
    }
}

#[pinned_drop]
impl<T, const ID: u64> PinnedDrop for PercpuRef<T, ID> {
    fn drop(self: Pin<&mut Self>) {
        // SAFETY: `count` is initialised by the type invariants. Nobody has a reference to it: when
        // it is armed, only `release_work` can have let `self` be dropped, and when it is not,
        // nobody ever had one.
        unsafe { bindings::percpu_ref_exit(self.count.get()) };
    }
}

/// Returns the object that a count counts.
///
/// # Safety
///
/// The caller must own a reference to `count`, for at least `'a`.
#[inline]
unsafe fn owner<'a, T, const ID: u64>(count: NonNull<PercpuRef<T, ID>>) -> &'a T {
    // SAFETY: By the safety requirements and the type invariants of `PercpuRef`, the count, which
    // is not zero, is armed, and keeps `owner` alive.
    unsafe { &*count.as_ref().owner.load(Relaxed) }
}

/// Takes one more reference.
///
/// # Safety
///
/// The caller must own a reference to `count`.
#[inline]
unsafe fn get<T, const ID: u64>(count: NonNull<PercpuRef<T, ID>>) -> HeldRef<T, ID> {
    // SAFETY: By the safety requirements, the count is alive.
    unsafe { bindings::percpu_ref_get(count.as_ref().count.get()) };
    // INVARIANT: The reference was just taken, from a count that is armed, since it has an owner.
    HeldRef(count)
}

/// Returns a new [`Arc`] to the object that a count counts.
///
/// # Safety
///
/// The caller must own a reference to `count`.
#[inline]
unsafe fn to_arc<T, const ID: u64>(count: NonNull<PercpuRef<T, ID>>) -> Arc<T> {
    // SAFETY:
    // - By the type invariants of `PercpuRef`, `owner` is from `Arc::into_raw()`.
    // - The reference that the caller owns keeps the reference of that `Arc` from being dropped.
    // - There is no `UniqueArc`, since there is an `Arc`.
    unsafe { ArcBorrow::from_raw(owner(count)) }.into()
}

/// The first reference of a [`PercpuRef`].
///
/// There is one for each count, and it is neither counted in nor out of a CPU's share: as long as
/// it exists, taking and dropping [`HeldRef`]s is cheap. Dropping it kills the count: that is as
/// expensive as an RCU callback, and may be done in any context but NMI. Since the count is not
/// atomic before, dropping it never calls [`HasPercpuRef::released`] itself.
///
/// # Invariants
///
/// The count is alive and armed, was not killed, and its initial reference belongs to this object.
#[must_use = "dropping the initial reference kills the count"]
pub struct InitialRef<T, const ID: u64 = 0>(NonNull<PercpuRef<T, ID>>);

// SAFETY: The count may be used from any thread. What an `InitialRef` gives access to is a `&T` and
// an `Arc<T>`, which may be sent when `T` is `Send` and `Sync`.
unsafe impl<T: Send + Sync, const ID: u64> Send for InitialRef<T, ID> {}
// SAFETY: As for `Send`.
unsafe impl<T: Send + Sync, const ID: u64> Sync for InitialRef<T, ID> {}

impl<T, const ID: u64> InitialRef<T, ID> {
    /// Takes one more reference.
    #[inline]
    pub fn get(&self) -> HeldRef<T, ID> {
        // SAFETY: By the type invariants, `self` owns a reference.
        unsafe { get(self.0) }
    }

    /// Returns a new [`Arc`] to the object, which does not count as a reference.
    ///
    /// Where the last such [`Arc`] is dropped, the object may be dropped.
    #[inline]
    pub fn to_arc(&self) -> Arc<T> {
        // SAFETY: By the type invariants, `self` owns a reference.
        unsafe { to_arc(self.0) }
    }

    /// Gives up ownership of the reference.
    #[inline]
    pub fn into_raw(self) -> NonNull<PercpuRef<T, ID>> {
        ManuallyDrop::new(self).0
    }

    /// Takes over ownership of the reference.
    ///
    /// # Safety
    ///
    /// `count` must be from [`Self::into_raw`], and not have been passed here since.
    #[inline]
    pub unsafe fn from_raw(count: NonNull<PercpuRef<T, ID>>) -> Self {
        // INVARIANT: That of the `InitialRef` passed to `into_raw()`.
        Self(count)
    }

    /// Returns the object behind a pointer from [`Self::into_raw`].
    ///
    /// # Safety
    ///
    /// For the whole of `'a`, the reference must not have been passed to [`Self::from_raw`] and
    /// dropped, or an RCU read-side critical section that began before it was must continue.
    #[inline]
    pub unsafe fn borrow_raw<'a>(count: NonNull<PercpuRef<T, ID>>) -> &'a T {
        // SAFETY: Either there is a reference, or, since an RCU grace period comes between its drop
        // and that of the owner, the owner is still alive.
        unsafe { owner(count) }
    }
}

impl<T, const ID: u64> Deref for InitialRef<T, ID> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: By the type invariants, `self` owns a reference.
        unsafe { owner(self.0) }
    }
}

impl<T, const ID: u64> Drop for InitialRef<T, ID> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariants, the count is alive and was not killed. Killing it drops
        // the initial reference, which is ours.
        unsafe { bindings::percpu_ref_kill_and_confirm(self.0.as_ref().count.get(), None) };
    }
}

/// A reference taken from a [`PercpuRef`].
///
/// Taking, cloning and dropping one costs an increment or decrement of a variable of this CPU as
/// long as the [`InitialRef`] exists. It may be dropped in any context but NMI.
///
/// # Invariants
///
/// The count is alive and armed, and one of its references belongs to this object.
pub struct HeldRef<T, const ID: u64 = 0>(NonNull<PercpuRef<T, ID>>);

// SAFETY: A reference may be dropped by another thread than the one which took it. What it gives
// access to is a `&T` and an `Arc<T>`, which may be sent when `T` is `Send` and `Sync`.
unsafe impl<T: Send + Sync, const ID: u64> Send for HeldRef<T, ID> {}
// SAFETY: As for `Send`.
unsafe impl<T: Send + Sync, const ID: u64> Sync for HeldRef<T, ID> {}

impl<T, const ID: u64> HeldRef<T, ID> {
    /// Returns a new [`Arc`] to the object, which does not count as a reference.
    ///
    /// Where the last such [`Arc`] is dropped, the object may be dropped.
    #[inline]
    pub fn to_arc(&self) -> Arc<T> {
        // SAFETY: By the type invariants, `self` owns a reference.
        unsafe { to_arc(self.0) }
    }

    /// Returns the object for as long as the RCU read-side critical section continues, even if this
    /// reference is dropped meanwhile.
    #[inline]
    pub fn deref_rcu<'a>(&self, _guard: &'a rcu::Guard) -> &'a T {
        // SAFETY: By the type invariants, `self` owns a reference. Once it is dropped, an RCU grace
        // period, which `_guard` holds up, comes before the drop of the owner.
        unsafe { owner(self.0) }
    }
}

impl<T, const ID: u64> Deref for HeldRef<T, ID> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: By the type invariants, `self` owns a reference.
        unsafe { owner(self.0) }
    }
}

impl<T, const ID: u64> Clone for HeldRef<T, ID> {
    #[inline]
    fn clone(&self) -> Self {
        // SAFETY: By the type invariants, `self` owns a reference.
        unsafe { get(self.0) }
    }
}

impl<T, const ID: u64> Drop for HeldRef<T, ID> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariants, the count is alive and one reference is ours.
        unsafe { bindings::percpu_ref_put(self.0.as_ref().count.get()) };
    }
}

/// Any number of references taken from one [`PercpuRef`], which cost as much as one.
///
/// # Examples
///
/// ```
/// use kernel::sync::percpu_ref::{
///     HasPercpuRef,
///     HeldRef,
///     HeldRefs, //
/// };
///
/// /// Hands a reference to each of `jobs`, by one change of the count.
/// fn hand_out<T: HasPercpuRef>(object: &HeldRef<T>, jobs: &mut [Option<HeldRef<T>>; 8]) {
///     let mut refs = HeldRefs::new(object, 8);
///     for job in jobs {
///         *job = refs.take();
///     }
/// }
/// ```
///
/// # Invariants
///
/// Where `nr` is not zero, the count is alive and armed, and `nr` of its references belong to this
/// object.
pub struct HeldRefs<T, const ID: u64 = 0> {
    count: NonNull<PercpuRef<T, ID>>,
    nr: usize,
}

impl<T, const ID: u64> HeldRefs<T, ID> {
    /// Takes `nr` references more of what `held` is a reference to.
    // No more at once, so that those which are forgotten do not make the count wrap, ever.
    #[inline]
    pub fn new(held: &HeldRef<T, ID>, nr: u32) -> Self {
        // CAST: It is no narrower.
        let nr = nr as usize;
        // SAFETY: By the type invariants of `HeldRef`, the count is alive.
        unsafe { bindings::percpu_ref_get_many(held.0.as_ref().count.get(), nr) };
        // INVARIANT: The references were just taken, from a count that is armed.
        Self { count: held.0, nr }
    }

    /// How many there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.nr
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.nr == 0
    }

    /// Takes one out, if there is one left.
    #[inline]
    pub fn take(&mut self) -> Option<HeldRef<T, ID>> {
        self.nr = self.nr.checked_sub(1)?;
        // INVARIANT: One of our references now belongs to the `HeldRef`.
        Some(HeldRef(self.count))
    }

    /// Puts one in, to be dropped with the others. One of another object is dropped at once.
    #[inline]
    pub fn put(&mut self, held: HeldRef<T, ID>) {
        if self.nr == 0 {
            self.count = held.0;
        }
        if self.count == held.0 {
            // INVARIANT: The reference of `held` is ours now. There are fewer than addresses.
            self.nr = self.nr.wrapping_add(1);
            core::mem::forget(held);
        }
    }
}

impl<T, const ID: u64> Default for HeldRefs<T, ID> {
    #[inline]
    fn default() -> Self {
        // INVARIANT: `nr` is zero.
        Self {
            count: NonNull::dangling(),
            nr: 0,
        }
    }
}

impl<T, const ID: u64> Drop for HeldRefs<T, ID> {
    #[inline]
    fn drop(&mut self) {
        if self.nr > 0 {
            // SAFETY: By the type invariants, the count is alive and `nr` references are ours.
            unsafe { bindings::percpu_ref_put_many(self.count.as_ref().count.get(), self.nr) };
        }
    }
}

#[cfg(CONFIG_RUST_PERCPU_REF_KUNIT_TEST)]
#[kunit_tests(rust_percpu_ref)]
mod tests {
    use super::*;
    use crate::{
        sync::{
            rcu::synchronize_rcu,
            Completion, //
        },
        workqueue, //
    };

    /// What outlives a [`Counted`], to see what happened to it.
    #[pin_data]
    struct Fate {
        releases: Atomic<u32>,
        #[pin]
        released: Completion,
        #[pin]
        dropped: Completion,
    }

    impl Fate {
        fn new() -> Result<Arc<Self>> {
            Arc::pin_init(
                pin_init!(Self {
                    releases: Atomic::new(0),
                    released <- Completion::new(),
                    dropped <- Completion::new(),
                }),
                GFP_KERNEL,
            )
        }
    }

    #[pin_data(PinnedDrop)]
    struct Counted {
        #[pin]
        users: PercpuRef<Counted>,
        /// Whose count [`HasPercpuRef::percpu_ref`] returns instead of its own.
        confused_with: Option<Arc<Counted>>,
        fate: Arc<Fate>,
    }

    impl Counted {
        fn new(fate: &Arc<Fate>, confused_with: Option<Arc<Counted>>) -> Result<Arc<Self>> {
            Arc::pin_init(
                try_pin_init!(Self {
                    users <- PercpuRef::new(GFP_KERNEL),
                    confused_with,
                    fate: fate.clone(),
                }),
                GFP_KERNEL,
            )
        }
    }

    impl HasPercpuRef for Counted {
        fn percpu_ref(&self) -> &PercpuRef<Self> {
            match &self.confused_with {
                Some(other) => &other.users,
                None => &self.users,
            }
        }

        fn released(&self) {
            self.fate.releases.fetch_add(1, Relaxed);
            self.fate.released.complete_all();
        }
    }

    #[pinned_drop]
    impl PinnedDrop for Counted {
        fn drop(self: Pin<&mut Self>) {
            self.fate.dropped.complete_all();
        }
    }

    #[test]
    fn not_armed_is_not_counted() -> Result {
        let fate = Fate::new()?;
        let counted = Counted::new(&fate, None)?;

        assert!(PercpuRef::try_get_live(&*counted, &rcu::read_lock()).is_none());
        drop(counted);
        fate.dropped.wait_for_completion();
        assert_eq!(fate.releases.load(Relaxed), 0);
        Ok(())
    }

    #[test]
    fn arms_once() -> Result {
        let fate = Fate::new()?;
        let counted = Counted::new(&fate, None)?;

        let initial = PercpuRef::arm(counted.clone())?;
        assert!(PercpuRef::arm(counted.clone()).is_err_and(|e| e == EBUSY));
        drop(initial);
        fate.released.wait_for_completion();
        assert!(PercpuRef::arm(counted).is_err_and(|e| e == EBUSY));
        fate.dropped.wait_for_completion();
        assert_eq!(fate.releases.load(Relaxed), 1);
        Ok(())
    }

    #[test]
    fn keeps_its_owner_alive() -> Result {
        let fate = Fate::new()?;

        let initial = PercpuRef::arm(Counted::new(&fate, None)?)?;
        assert!(Arc::ptr_eq(&initial.fate, &fate));
        assert!(core::ptr::eq(&*initial.to_arc(), &*initial));

        let held = initial.get();
        drop(initial);
        synchronize_rcu();
        assert_eq!(fate.releases.load(Relaxed), 0);
        assert!(Arc::ptr_eq(&held.fate, &fate));

        let clone = held.clone();
        drop(held);
        synchronize_rcu();
        assert_eq!(fate.releases.load(Relaxed), 0);
        assert!(core::ptr::eq(&*clone.to_arc(), &*clone));

        drop(clone);
        fate.dropped.wait_for_completion();
        assert_eq!(fate.releases.load(Relaxed), 1);
        Ok(())
    }

    #[test]
    fn many_count_as_many() -> Result {
        let fate = Fate::new()?;
        let initial = PercpuRef::arm(Counted::new(&fate, None)?)?;
        let held = initial.get();
        drop(initial);

        let mut refs = HeldRefs::new(&held, 2);
        let first = refs.take();
        let second = refs.take();
        assert!(refs.take().is_none());
        drop((refs, held, first));
        synchronize_rcu();
        assert_eq!(fate.releases.load(Relaxed), 0);

        let mut refs = HeldRefs::default();
        if let Some(second) = second {
            refs.put(second.clone());
            refs.put(second);
        }
        assert_eq!(fate.releases.load(Relaxed), 0);
        drop(refs);
        fate.dropped.wait_for_completion();
        assert_eq!(fate.releases.load(Relaxed), 1);
        Ok(())
    }

    #[test]
    fn many_are_of_one_object() -> Result {
        let fates = [Fate::new()?, Fate::new()?];
        let first = PercpuRef::arm(Counted::new(&fates[0], None)?)?;
        let second = PercpuRef::arm(Counted::new(&fates[1], None)?)?;

        let mut refs = HeldRefs::default();
        refs.put(first.get());
        refs.put(second.get());
        drop(first);
        drop(second);
        // That of the other object was dropped at once.
        fates[1].dropped.wait_for_completion();
        synchronize_rcu();
        assert_eq!(fates[0].releases.load(Relaxed), 0);
        drop(refs);
        fates[0].dropped.wait_for_completion();
        Ok(())
    }

    #[test]
    fn is_not_live_once_killed() -> Result {
        let fate = Fate::new()?;
        let counted = Counted::new(&fate, None)?;

        let initial = PercpuRef::arm(counted.clone())?;
        let held = PercpuRef::try_get_live(&*counted, &rcu::read_lock());
        assert!(held.is_some());
        drop(initial);
        assert!(PercpuRef::try_get_live(&*counted, &rcu::read_lock()).is_none());
        drop(held);
        fate.released.wait_for_completion();
        assert!(PercpuRef::try_get_live(&*counted, &rcu::read_lock()).is_none());
        Ok(())
    }

    #[test]
    fn drops_in_another_thread() -> Result {
        let fate = Fate::new()?;

        let initial = PercpuRef::arm(Counted::new(&fate, None)?)?;
        for _ in 0..100 {
            let held = initial.get();
            workqueue::system_long().try_spawn(GFP_KERNEL, move || drop(held))?;
        }
        drop(initial);
        fate.dropped.wait_for_completion();
        assert_eq!(fate.releases.load(Relaxed), 1);
        Ok(())
    }

    #[test]
    fn survives_a_wrong_implementation() -> Result {
        let fate = Fate::new()?;
        let right = Counted::new(&fate, None)?;
        let wrong = Counted::new(&fate, Some(right.clone()))?;

        // This is the count of `right`, but the references are to `wrong`.
        let initial = PercpuRef::arm(wrong.clone())?;
        assert!(core::ptr::eq(&*initial, &*wrong));
        assert!(core::ptr::eq(&*initial.get(), &*wrong));
        assert!(PercpuRef::try_get_live(&*right, &rcu::read_lock()).is_none());
        assert!(PercpuRef::arm(right).is_err_and(|e| e == EBUSY));
        drop(wrong);
        drop(initial);
        fate.dropped.wait_for_completion();
        Ok(())
    }
}
