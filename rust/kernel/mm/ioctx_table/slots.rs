// SPDX-License-Identifier: GPL-2.0-only

//! The memory behind an [`IoctxTable`](super::IoctxTable).

use crate::{
    alloc::{
        allocator::Kmalloc,
        flags::__GFP_ZERO,
        AllocError,
        Allocator,
        Flags,
        NumaNode, //
    },
    bindings,
    mm::Mm,
    sync::{
        atomic::Atomic,
        percpu_ref::PercpuRef, //
    },
    types::Opaque, //
};
use core::{
    alloc::Layout,
    marker::PhantomData,
    mem::ManuallyDrop,
    ptr::NonNull, //
};

/// Holds one context, or is free: null.
///
/// What is not null is from [`InitialRef::into_raw`].
///
/// [`InitialRef::into_raw`]: crate::sync::percpu_ref::InitialRef::into_raw
pub(super) type Slot<T, const ID: u64> = Atomic<*mut PercpuRef<T, ID>>;

/// What `mm->ioctx_table` points to: this, followed by `len` slots.
///
/// To C it is a `struct kioctx_table`, which C knows the name of only.
#[repr(C)]
pub(super) struct Header<T, const ID: u64> {
    rcu: Opaque<bindings::kvfree_rcu_head>,
    len: u32,
    slots: [Slot<T, ID>; 0],
}

/// A pointer to a number of slots.
///
/// # Invariants
///
/// For `'a`, the pointer is valid, and so are the `len` slots behind the header; `len` does not
/// change.
pub(super) struct Slots<'a, T, const ID: u64>(NonNull<Header<T, ID>>, PhantomData<&'a Mm>);

impl<T, const ID: u64> Clone for Slots<'_, T, ID> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T, const ID: u64> Copy for Slots<'_, T, ID> {}

impl<'a, T, const ID: u64> Slots<'a, T, ID> {
    /// Returns the slots that a pointer points to.
    ///
    /// # Safety
    ///
    /// If it is not null, `header` must be from [`NewSlots::into_raw`], and not be passed to
    /// [`Self::free_rcu`] by anyone else before the end of `'a`, except when all of `'a` is in an
    /// RCU read-side critical section that began before that.
    #[inline]
    pub(super) unsafe fn from_raw(header: *mut Header<T, ID>) -> Option<Self> {
        // INVARIANT: The memory is not freed within `'a` by the safety requirements.
        Some(Self(NonNull::new(header)?, PhantomData))
    }

    /// Returns how many slots there are.
    #[inline]
    pub(super) fn len(self) -> u32 {
        // SAFETY: By the type invariants, the pointer is valid.
        unsafe { (*self.0.as_ptr()).len }
    }

    /// Returns the slots.
    #[inline]
    pub(super) fn as_slice(self) -> &'a [Slot<T, ID>] {
        // SAFETY: By the type invariants, the slots are valid for `'a`.
        unsafe {
            core::slice::from_raw_parts(
                (&raw const (*self.0.as_ptr()).slots).cast(),
                self.len() as usize,
            )
        }
    }

    /// Frees the memory after an RCU grace period. This does not sleep.
    ///
    /// # Safety
    ///
    /// This must be called once, when the pointer can only be found any more by those who found it
    /// in an RCU read-side critical section before.
    pub(super) unsafe fn free_rcu(self) {
        let header = self.0.as_ptr();
        // SAFETY: The memory is from `Kmalloc`; `rcu` is in it, and for this use only. By the
        // safety requirements, nobody uses it after a grace period.
        unsafe { bindings::kvfree_call_rcu((*header).rcu.get(), header.cast()) };
    }
}

/// Slots that nobody else knows of.
///
/// # Invariants
///
/// The memory is from [`Kmalloc`], belongs to this object, and is a header and its slots.
pub(super) struct NewSlots<T, const ID: u64>(NonNull<Header<T, ID>>);

impl<T, const ID: u64> NewSlots<T, ID> {
    /// Allocates `len` free slots.
    pub(super) fn new(len: u32, flags: Flags) -> Result<Self, AllocError> {
        let layout = Self::layout(len)?;
        let memory = Kmalloc::alloc(layout, flags | __GFP_ZERO, NumaNode::NO_NODE)?;
        let header = memory.cast::<Header<T, ID>>();

        // SAFETY: The memory is large enough for a header, and aligned.
        unsafe { (&raw mut (*header.as_ptr()).len).write(len) };

        // INVARIANT: `len` was just written. All else may be, and is, zero: null pointers, and a
        // head that is not in use.
        Ok(Self(header))
    }

    fn layout(len: u32) -> Result<Layout, AllocError> {
        let slots = Layout::array::<Slot<T, ID>>(len as usize).map_err(|_| AllocError)?;
        let (layout, offset) = Layout::new::<Header<T, ID>>()
            .extend(slots)
            .map_err(|_| AllocError)?;
        debug_assert_eq!(offset, core::mem::offset_of!(Header<T, ID>, slots));

        Ok(layout.pad_to_align())
    }

    /// Returns the slots.
    pub(super) fn as_slots(&self) -> Slots<'_, T, ID> {
        // INVARIANT: The memory is valid for as long as `self` is.
        Slots(self.0, PhantomData)
    }

    /// Gives up ownership of the memory.
    pub(super) fn into_raw(self) -> *mut Header<T, ID> {
        ManuallyDrop::new(self).0.as_ptr()
    }
}

impl<T, const ID: u64> Drop for NewSlots<T, ID> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants, the memory is ours, and slab memory, since `Kmalloc`
        // gave it.
        unsafe { bindings::kfree(self.0.as_ptr().cast()) };
    }
}
