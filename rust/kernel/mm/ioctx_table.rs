// SPDX-License-Identifier: GPL-2.0-only

//! The table of the AIO contexts of an address space.
//!
//! The table maps small numbers to contexts. Each context is in it by the [`InitialRef`] of its
//! [`PercpuRef`]: being in the table is what keeps it alive, and leaving the table is the beginning
//! of its end.
//!
//! Looking up a context takes no lock. [`IoctxTable::lookup`] works inside an RCU read-side
//! critical section, on memory that is freed after a grace period: the slots by `kfree_rcu()`, and
//! a context as [`percpu_ref`](crate::sync::percpu_ref) describes. Everything that changes the
//! table holds `mm->ioctx_lock`.
//!
//! This is `struct kioctx_table` and its users in `fs/aio.c`, for any type of context.
//!
//! C header: [`include/linux/mm_types.h`](srctree/include/linux/mm_types.h)

use crate::{
    alloc::{
        AllocError,
        Flags, //
    },
    mm::Mm,
    nospec,
    prelude::*,
    sync::{
        atomic::{
            Acquire,
            Atomic,
            Relaxed,
            Release, //
        },
        lock::{
            spinlock::SpinLockBackend,
            Lock, //
        },
        percpu_ref::{
            HasPercpuRef,
            HeldRef,
            InitialRef,
            PercpuRef, //
        },
        rcu, //
    },
    warn_on, //
};
use core::{
    ops::ControlFlow,
    ptr::{
        null_mut,
        NonNull, //
    }, //
};

mod slots;
use slots::{
    Header,
    NewSlots,
    Slot,
    Slots, //
};

/// How many slots the first table has. Each larger one has four times as many.
const FIRST_LEN: u32 = 4;

/// The type of the contexts that the tables of all address spaces hold.
///
/// # Safety
///
/// There must be one implementation in the kernel, as nothing in `struct mm_struct` says what its
/// table is a table of. [`impl_ioctx_table_entry!`](crate::impl_ioctx_table_entry) sees to that.
pub unsafe trait IoctxTableEntry<const ID: u64 = 0>: HasPercpuRef<ID> {}

/// Makes a type the one whose values are in the [`IoctxTable`] of an address space.
///
/// The number is that of the [`HasPercpuRef`] through which the table holds them. A second use of
/// this macro fails to link, and one in a module fails to compile.
///
/// # Examples
///
/// ```ignore
/// impl_ioctx_table_entry! {
///     impl IoctxTableEntry<USERS> for Context;
/// }
/// ```
#[macro_export]
macro_rules! impl_ioctx_table_entry {
    (impl IoctxTableEntry<$id:tt> for $entry:ty;) => {
        // SAFETY: The symbol defined below can be in the kernel once, and not in a module.
        unsafe impl $crate::mm::ioctx_table::IoctxTableEntry<$id> for $entry {}

        const _: () = {
            ::core::assert!(
                !::core::cfg!(MODULE),
                "the entries of an `IoctxTable` cannot be of a type in a module"
            );

            #[unsafe(no_mangle)]
            static RUST_IOCTX_TABLE_ENTRY: u8 = 0;
        };
    };
}
pub use impl_ioctx_table_entry;

/// The table of one address space.
///
/// # Invariants
///
/// - `root` is null or from `NewSlots::into_raw()`. It changes under `lock` only, and what it
///   pointed to before is freed after an RCU grace period.
/// - A slot that `root` leads to changes under `lock` only. What it holds is owned by the table.
///   Slots that `root` no longer leads to own nothing.
pub struct IoctxTable<'a, T, const ID: u64 = 0> {
    root: &'a Atomic<*mut Header<T, ID>>,
    lock: &'a Lock<(), SpinLockBackend>,
}

impl<'a, T: IoctxTableEntry<ID>, const ID: u64> IoctxTable<'a, T, ID> {
    /// Returns the table of an address space.
    #[inline]
    pub fn of(mm: &'a Mm) -> Self {
        const { assert!(cfg!(CONFIG_AIO_RUST), "the tables are those of fs/aio.c") };
        let mm = mm.as_raw();

        // INVARIANT: `mm_init_aio()` has set the pointer to null and initialised the lock. Rust
        // code gets at the two through this function only, which is always of the same `T`, and
        // the C code that does, `fs/aio.c`, is not built, as was checked above.
        Self {
            // SAFETY: The pointer is in `mm`, and valid for as long. All access to it is atomic,
            // but that of `dump_mm()`, which prints it.
            root: unsafe { Atomic::from_ptr((&raw mut (*mm).__bindgen_anon_1.ioctx_table).cast()) },
            // SAFETY: The lock is in `mm`, valid for as long, and initialised.
            lock: unsafe { Lock::from_raw(&raw mut (*mm).__bindgen_anon_1.ioctx_lock) },
        }
    }
}

impl<T: HasPercpuRef<ID>, const ID: u64> IoctxTable<'_, T, ID> {
    /// Puts a context into the free slot of the lowest number, which is its id.
    ///
    /// `on_slot` is called once with the context and the id, before anyone can look it up. It must
    /// not sleep, as the table is locked. When there is no free slot, the table grows by an
    /// allocation with `flags`. If that fails, the context is in the error.
    pub fn insert(
        &self,
        context: InitialRef<T, ID>,
        flags: Flags,
        on_slot: impl FnOnce(&T, u32),
    ) -> Result<u32, InsertError<T, ID>> {
        loop {
            let len = {
                let guard = self.lock.lock();
                let slots = self.slots(&guard);

                if let Some((id, slot)) = slots.and_then(free_slot) {
                    on_slot(&context, id);
                    // ORDERING: Release pairs with the Acquire of `lookup()`: who finds the context
                    // finds what `on_slot` wrote to it.
                    slot.store(context.into_raw().as_ptr(), Release);
                    return Ok(id);
                }

                slots.map_or(0, Slots::len)
            };

            match larger(len, flags) {
                Ok(slots) => self.replace(slots),
                Err(AllocError) => return Err(InsertError { context }),
            }
        }
    }

    /// Makes `new` the table, unless it has become as large in the meantime.
    fn replace(&self, new: NewSlots<T, ID>) {
        let guard = self.lock.lock();
        let old = self.slots(&guard);

        if let Some(old) = old {
            if old.len() >= new.as_slots().len() {
                // `new` is freed.
                return;
            }

            for (from, to) in old.as_slice().iter().zip(new.as_slots().as_slice()) {
                to.store(from.load(Relaxed), Relaxed);
            }
        }

        // INVARIANT: `lock` is held. The slots of `new` own what those of `old` did until now.
        // ORDERING: Release pairs with the Acquire of `lookup()`: who finds the table finds the
        // slots just written.
        self.root.store(new.into_raw(), Release);

        if let Some(old) = old {
            // SAFETY: `old` was the table until now, so this is the one time it is replaced, and
            // can be found any more by those only who found it in `lookup()`.
            unsafe { old.free_rcu() };
        }
    }

    /// Returns the context of an id, if it is in the table, alive, and `matches`.
    ///
    /// `matches` must not sleep: it is called inside an RCU read-side critical section.
    #[inline]
    pub fn lookup(&self, id: u32, matches: impl FnOnce(&T) -> bool) -> Option<HeldRef<T, ID>> {
        let guard = rcu::read_lock();

        // ORDERING: Acquire pairs with the Release of `replace()`.
        //
        // SAFETY: By the type invariants, the memory is not freed while `guard` exists.
        let slots = unsafe { Slots::from_raw(self.root.load(Acquire)) }?.as_slice();
        let index = id as usize;
        if index >= slots.len() {
            return None;
        }

        let index = nospec::array_index(index, slots.len());
        // SAFETY: There is a slot, since the check above passed, and the index is one of a slot.
        let slot = unsafe { slots.get_unchecked(index) };
        // ORDERING: Acquire pairs with the Release of `insert()`.
        let count = NonNull::new(slot.load(Acquire))?;

        // SAFETY: By the type invariants, the slot owned the reference when it was loaded, and
        // `guard` is older than that and outlives `context`.
        let context = unsafe { InitialRef::borrow_raw(count) };
        if !matches(context) {
            return None;
        }

        PercpuRef::try_get_live(context, &guard)
    }

    /// Takes a context out of the table, unless `while_locked` returns `false`.
    ///
    /// `while_locked` is called once, with the table locked, so that of several callers for one
    /// context it can pick one. It must not sleep. This returns [`None`] if it returned `false`, or
    /// if what `id` is the id of is not `expected`, which is a bug of the caller, and warned about.
    pub fn remove(
        &self,
        id: u32,
        expected: &T,
        while_locked: impl FnOnce() -> bool,
    ) -> Option<InitialRef<T, ID>> {
        let guard = self.lock.lock();

        if !while_locked() {
            return None;
        }

        let found = self
            .slots(&guard)
            .and_then(|slots| slots.as_slice().get(id as usize))
            .filter(|slot| {
                self.context(slot, &guard)
                    .is_some_and(|c| core::ptr::eq(c, expected))
            });
        if warn_on!(found.is_none()) {
            return None;
        }

        found.and_then(take)
    }

    /// Calls `f` with each context, by ascending id, until it breaks, and returns what it broke
    /// with.
    ///
    /// `f` must not sleep: the table is locked.
    pub fn find<B>(&self, mut f: impl FnMut(&T) -> ControlFlow<B>) -> Option<B> {
        let guard = self.lock.lock();

        for slot in self.slots(&guard)?.as_slice() {
            let Some(context) = self.context(slot, &guard) else {
                continue;
            };
            if let ControlFlow::Break(result) = f(context) {
                return Some(result);
            }
        }

        None
    }

    /// Empties the table, calling `f` with each context, by ascending id, and frees it.
    ///
    /// `f` may sleep, as the table is not locked: the contexts cannot be found any more. This is
    /// what to do when the last user of an address space is gone.
    pub fn take_all(&self, f: impl FnMut(InitialRef<T, ID>)) {
        let root = {
            let _guard = self.lock.lock();
            // INVARIANT: `lock` is held. The slots own their contexts still, but are emptied before
            // anything else happens to them.
            self.root.xchg(null_mut(), Relaxed)
        };

        // SAFETY: By the type invariants, `root` is from `NewSlots::into_raw()`. It is freed below
        // and nowhere else, as it cannot be found in the table any more.
        let Some(slots) = (unsafe { Slots::from_raw(root) }) else {
            return;
        };
        slots.as_slice().iter().filter_map(take).for_each(f);

        // SAFETY: `slots` was the table, can be found any more by those only who found it in
        // `lookup()`, and was taken out of there once.
        unsafe { slots.free_rcu() };
    }

    /// Returns the slots of a table that is locked.
    fn slots<'g>(&self, _guard: &'g TableGuard<'_>) -> Option<Slots<'g, T, ID>> {
        // SAFETY: By the type invariants, the root is from `NewSlots::into_raw()`. Whoever frees
        // it replaces it under the lock before, which is held. `replace()`, which does so under
        // this guard, does not use it afterwards.
        unsafe { Slots::from_raw(self.root.load(Relaxed)) }
    }

    /// Returns the context in a slot of a table that is locked.
    fn context<'g>(&self, slot: &Slot<T, ID>, _guard: &'g TableGuard<'_>) -> Option<&'g T> {
        let count = NonNull::new(slot.load(Relaxed))?;
        // SAFETY: By the type invariants, the slot owns the reference, and only who holds the lock
        // takes it out.
        Some(unsafe { InitialRef::borrow_raw(count) })
    }
}

/// Proof that a table is locked.
type TableGuard<'a> = crate::sync::lock::Guard<'a, (), SpinLockBackend>;

/// Returns the free slot of the lowest number.
fn free_slot<T, const ID: u64>(slots: Slots<'_, T, ID>) -> Option<(u32, &Slot<T, ID>)> {
    (0..)
        .zip(slots.as_slice())
        .find(|(_, slot)| slot.load(Relaxed).is_null())
}

/// Allocates the slots to have after `len` ones have turned out to be too few.
fn larger<T, const ID: u64>(len: u32, flags: Flags) -> Result<NewSlots<T, ID>, AllocError> {
    let len = match len {
        0 => FIRST_LEN,
        len => len.checked_mul(4).ok_or(AllocError)?,
    };

    NewSlots::new(len, flags)
}

/// Takes what is in a slot that owns it.
fn take<T, const ID: u64>(slot: &Slot<T, ID>) -> Option<InitialRef<T, ID>> {
    let count = NonNull::new(slot.xchg(null_mut(), Relaxed))?;
    // SAFETY: What is in a slot is from `InitialRef::into_raw()`. It is in no other one that owns
    // it, and no longer in this one.
    Some(unsafe { InitialRef::from_raw(count) })
}

/// A context that there was no memory for in a table.
pub struct InsertError<T, const ID: u64 = 0> {
    /// The context.
    pub context: InitialRef<T, ID>,
}

impl<T, const ID: u64> From<InsertError<T, ID>> for Error {
    fn from(_: InsertError<T, ID>) -> Error {
        ENOMEM
    }
}

#[cfg(CONFIG_RUST_IOCTX_TABLE_KUNIT_TEST)]
#[kunit_tests(rust_ioctx_table)]
mod tests {
    use super::*;
    use crate::{
        bindings,
        new_spinlock,
        sync::{
            Arc,
            Completion,
            SpinLock, //
        },
        workqueue::Queue, //
    };

    /// What an address space has.
    #[pin_data]
    struct Root {
        root: Atomic<*mut Header<Context, 0>>,
        #[pin]
        lock: SpinLock<()>,
    }

    impl Root {
        fn new() -> Result<Arc<Self>> {
            Arc::pin_init(
                pin_init!(Self {
                    root: Atomic::new(null_mut()),
                    lock <- new_spinlock!(()),
                }),
                GFP_KERNEL,
            )
        }

        fn table(&self) -> IoctxTable<'_, Context> {
            // INVARIANT: `root` is null at first, and used through tables with this lock only.
            IoctxTable {
                root: &self.root,
                lock: &self.lock,
            }
        }
    }

    const ALIVE: u32 = 0x600d_600d;

    #[pin_data(PinnedDrop)]
    struct Context {
        #[pin]
        users: PercpuRef<Context>,
        name: u64,
        id: Atomic<u32>,
        /// [`ALIVE`] until it is dropped.
        state: Atomic<u32>,
        gone: Option<Arc<Gone>>,
    }

    /// Counts contexts that were dropped.
    #[pin_data]
    struct Gone {
        left: Atomic<u32>,
        #[pin]
        all: Completion,
    }

    impl Gone {
        fn new(contexts: u32) -> Result<Arc<Self>> {
            Arc::pin_init(
                pin_init!(Self {
                    left: Atomic::new(contexts),
                    all <- Completion::new(),
                }),
                GFP_KERNEL,
            )
        }
    }

    impl HasPercpuRef for Context {
        fn percpu_ref(&self) -> &PercpuRef<Self> {
            &self.users
        }

        fn released(&self) {}
    }

    #[pinned_drop]
    impl PinnedDrop for Context {
        fn drop(self: Pin<&mut Self>) {
            self.state.store(0, Relaxed);
            if let Some(gone) = &self.gone {
                if gone.left.fetch_sub(1, Relaxed) == 1 {
                    gone.all.complete_all();
                }
            }
        }
    }

    fn context(name: u64, gone: Option<&Arc<Gone>>) -> Result<InitialRef<Context>> {
        PercpuRef::arm(Arc::pin_init(
            try_pin_init!(Context {
                users <- PercpuRef::new(GFP_KERNEL),
                name,
                id: Atomic::new(u32::MAX),
                state: Atomic::new(ALIVE),
                gone: gone.cloned(),
            }),
            GFP_KERNEL,
        )?)
    }

    fn insert(table: &IoctxTable<'_, Context>, name: u64, gone: Option<&Arc<Gone>>) -> Result<u32> {
        Ok(
            table.insert(context(name, gone)?, GFP_KERNEL, |context, id| {
                context.id.store(id, Relaxed);
            })?,
        )
    }

    #[test]
    fn empty_table_has_nothing() -> Result {
        let root = Root::new()?;
        let table = root.table();

        assert!(table.lookup(0, |_| true).is_none());
        assert!(table.lookup(u32::MAX, |_| true).is_none());
        assert_eq!(table.find(|_| ControlFlow::Break(())), None);
        table.take_all(|_| assert!(false));
        Ok(())
    }

    #[test]
    fn grows_and_finds_all() -> Result {
        const CONTEXTS: u32 = 70;

        let gone = Gone::new(CONTEXTS)?;
        let root = Root::new()?;
        let table = root.table();

        // Ids ascend, through tables of 4, 16, 64 and 256 slots.
        for id in 0..CONTEXTS {
            assert_eq!(insert(&table, id.into(), Some(&gone))?, id);
        }
        for id in 0..CONTEXTS {
            let found = table.lookup(id, |context| context.name == u64::from(id));
            assert_eq!(found.map(|context| context.id.load(Relaxed)), Some(id));
            assert!(table.lookup(id, |context| context.name == 1000).is_none());
        }
        assert!(table.lookup(CONTEXTS, |_| true).is_none());
        assert!(table.lookup(256, |_| true).is_none());

        let mut names = 0;
        table.take_all(|context| {
            assert_eq!(context.name, names);
            names += 1;
        });
        assert_eq!(names, CONTEXTS.into());
        assert!(table.lookup(0, |_| true).is_none());
        gone.all.wait_for_completion();
        Ok(())
    }

    #[test]
    fn reuses_the_lowest_id() -> Result {
        let gone = Gone::new(6)?;
        let root = Root::new()?;
        let table = root.table();

        for id in 0..5 {
            assert_eq!(insert(&table, id.into(), Some(&gone))?, id);
        }
        for id in [3, 1] {
            let found = table.lookup(id, |_| true).ok_or(ENOENT)?;
            assert!(table.remove(id, &found, || true).is_some());
            assert!(table.lookup(id, |_| true).is_none());
        }
        assert_eq!(insert(&table, 5, Some(&gone))?, 1);
        assert_eq!(
            table.lookup(1, |_| true).map(|context| context.name),
            Some(5)
        );

        table.take_all(drop);
        gone.all.wait_for_completion();
        Ok(())
    }

    #[test]
    fn removal_is_up_to_the_caller() -> Result {
        let root = Root::new()?;
        let table = root.table();

        let id = insert(&table, 1, None)?;
        let found = table.lookup(id, |_| true).ok_or(ENOENT)?;
        assert!(table.remove(id, &found, || false).is_none());
        assert!(table.lookup(id, |_| true).is_some());
        let initial = table.remove(id, &found, || true).ok_or(ENOENT)?;
        assert!(core::ptr::eq(&*initial, &*found));

        // What was removed can be put back, if it was not killed.
        let id = table.insert(initial, GFP_KERNEL, |_, _| ())?;
        assert!(table.lookup(id, |_| true).is_some());
        table.take_all(drop);
        Ok(())
    }

    #[test]
    fn find_stops_at_the_first() -> Result {
        let root = Root::new()?;
        let table = root.table();
        let mut seen = 0;

        for name in [10, 20, 20, 30] {
            insert(&table, name, None)?;
        }
        let id = table.find(|context| {
            seen += 1;
            match context.name {
                20 => ControlFlow::Break(context.id.load(Relaxed)),
                _ => ControlFlow::Continue(()),
            }
        });
        assert_eq!(id, Some(1));
        assert_eq!(seen, 2);
        table.take_all(drop);
        Ok(())
    }

    #[test]
    fn too_many_slots_are_refused() {
        assert!(larger::<Context, 0>(u32::MAX / 2, GFP_KERNEL).is_err());
        assert_eq!(
            larger::<Context, 0>(0, GFP_KERNEL).map(|s| s.as_slots().len()),
            Ok(4)
        );
        assert_eq!(
            larger::<Context, 0>(4, GFP_KERNEL).map(|s| s.as_slots().len()),
            Ok(16)
        );
    }

    #[test]
    fn lookups_race_with_removals() -> Result {
        const ROUNDS: u32 = 500;
        const IDS: u32 = 8;

        let gone = Gone::new(ROUNDS * IDS)?;
        let root = Root::new()?;
        let readers = Gone::new(2)?;
        let wrong = Arc::new(Atomic::new(0u32), GFP_KERNEL)?;
        let stop = Arc::new(Atomic::new(0u32), GFP_KERNEL)?;

        // SAFETY: This workqueue always exists.
        let unbound = unsafe { Queue::from_raw(bindings::system_dfl_wq) };
        for _ in 0..2 {
            let (root, readers) = (root.clone(), readers.clone());
            let (wrong, stop) = (wrong.clone(), stop.clone());
            unbound.try_spawn(GFP_KERNEL, move || {
                let is_wrong = |context: &Context| context.state.load(Relaxed) != ALIVE;
                for round in 0..u32::MAX {
                    let mut seen_dead = false;
                    let found = root.table().lookup(round % IDS, |context| {
                        seen_dead = is_wrong(context);
                        true
                    });
                    if seen_dead || found.is_some_and(|context| is_wrong(&context)) {
                        wrong.fetch_add(1, Relaxed);
                    }
                    if stop.load(Relaxed) != 0 {
                        break;
                    }
                }
                if readers.left.fetch_sub(1, Relaxed) == 1 {
                    readers.all.complete_all();
                }
            })?;
        }

        for round in 0..ROUNDS {
            let table = root.table();
            for _ in 0..IDS {
                insert(&table, round.into(), Some(&gone))?;
            }
            if round % 2 == 0 {
                table.take_all(drop);
                continue;
            }
            for id in 0..IDS {
                let found = table.lookup(id, |_| true).ok_or(ENOENT)?;
                drop(table.remove(id, &found, || true));
            }
        }
        stop.store(1, Relaxed);
        readers.all.wait_for_completion();
        root.table().take_all(drop);
        gone.all.wait_for_completion();
        assert_eq!(wrong.load(Relaxed), 0);
        Ok(())
    }
}
