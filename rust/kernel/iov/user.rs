// SPDX-License-Identifier: GPL-2.0-only

//! I/O vectors over a user's memory, imported for the length of one submission.
//!
//! C header: [`include/linux/uio.h`](srctree/include/linux/uio.h)

use crate::{
    bindings,
    error::to_result,
    prelude::*,
    types::Opaque,
    uaccess::UserPtr, //
};
use core::{
    mem::MaybeUninit,
    ptr, //
};

/// The way data goes, seen from the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// From the file into the user's memory.
    Read,
    /// From the user's memory into the file.
    Write,
}

impl Direction {
    /// The value C calls `rw` or `type`: `READ` or `WRITE`, which also are `ITER_DEST` and
    /// `ITER_SOURCE`.
    #[inline]
    pub(crate) fn as_raw(self) -> c_int {
        match self {
            Direction::Read => bindings::ITER_DEST as c_int,
            Direction::Write => bindings::ITER_SOURCE as c_int,
        }
    }
}

/// What a user's pointer and length describe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// One buffer; the length is in bytes.
    Buffer,
    /// An array of `struct iovec`; the length is in elements.
    Vector,
    /// An array of `struct compat_iovec`, as a 32-bit task passes it.
    CompatVector,
}

/// An `iov_iter` over a user's memory.
///
/// # Invariants
///
/// `iter` of the space is initialised; at first it had `count` bytes in `nr_segs` segments, and
/// stood before the first of them. The `iovec` array that it may refer to is in the space.
pub struct UserIter<'a> {
    space: &'a mut ImportSpace,
    count: usize,
}

impl UserIter<'_> {
    /// Bytes there were at first.
    #[inline]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Goes back to the start.
    pub fn rewind(&mut self) {
        let mut start = bindings::iov_iter_state {
            iov_offset: 0,
            count: self.count,
            nr_segs: self.space.nr_segs,
        };
        // SAFETY: By the type invariants the iterator was in this state.
        unsafe { bindings::iov_iter_restore(self.as_raw(), &mut start) };
    }

    /// The `iov_iter`, valid for as long as `self`.
    #[inline]
    pub(crate) fn as_raw(&mut self) -> *mut bindings::iov_iter {
        self.space.iter.get()
    }
}

/// Number of `iovec`s that need no allocation.
const INLINE_VECTORS: usize = bindings::UIO_FASTIOV as usize;

/// Where an `iov_iter` is made, and the `iovec` array that it may refer to.
///
/// # Examples
///
/// ```
/// use kernel::{
///     iov::user::{
///         Direction,
///         ImportSpace,
///         Layout, //
///     },
///     uaccess::UserPtr, //
/// };
///
/// let mut space = ImportSpace::new();
/// let buffer = UserPtr::from_addr(0x1000);
/// let iter = space.import(Direction::Read, Layout::Buffer, buffer, 512)?;
/// assert_eq!(iter.count(), 512);
///
/// // No user has memory up there.
/// let buffer = UserPtr::from_addr(usize::MAX);
/// let result = space.import(Direction::Read, Layout::Buffer, buffer, 512);
/// assert_eq!(result.err(), Some(EFAULT));
/// # Ok::<(), Error>(())
/// ```
///
/// # Invariants
///
/// `allocated` is null or an array from `kmalloc()` that this object owns.
pub struct ImportSpace {
    iter: Opaque<bindings::iov_iter>,
    nr_segs: usize,
    inline: MaybeUninit<[bindings::iovec; INLINE_VECTORS]>,
    allocated: *mut bindings::iovec,
}

impl ImportSpace {
    /// An empty one.
    #[inline]
    pub const fn new() -> Self {
        // INVARIANT: Null.
        Self {
            iter: Opaque::uninit(),
            nr_segs: 1,
            inline: MaybeUninit::uninit(),
            allocated: ptr::null_mut(),
        }
    }

    /// Imports what `layout` says lies at `addr`.
    ///
    /// Fails with [`EFAULT`] where the user's range is not one, with [`EINVAL`] where there are
    /// more than `UIO_MAXIOV` vectors or a negative length, and with [`ENOMEM`]; see
    /// `import_ubuf()` and `import_iovec()`.
    #[inline(always)]
    pub fn import(
        &mut self,
        direction: Direction,
        layout: Layout,
        addr: UserPtr,
        len: usize,
    ) -> Result<UserIter<'_>> {
        match layout {
            Layout::Buffer => self.import_buffer(direction, addr, len)?,
            Layout::Vector => self.import_vector(direction, addr, len, false)?,
            Layout::CompatVector => self.import_vector(direction, addr, len, true)?,
        }
        // SAFETY: The import succeeded, so that the iterator is initialised.
        let count = unsafe { bindings::iov_iter_count(self.iter.get()) };
        // INVARIANT: What was just imported stands at its start. `inline` and `allocated` stay as
        // they are while `self` is borrowed.
        Ok(UserIter { space: self, count })
    }

    #[inline(always)]
    fn import_buffer(&mut self, direction: Direction, addr: UserPtr, len: usize) -> Result {
        // SAFETY: `iter` is valid for writes; the range is checked by the callee.
        to_result(unsafe {
            bindings::import_ubuf(direction.as_raw(), addr.as_mut_ptr(), len, self.iter.get())
        })
    }

    #[inline(never)]
    fn import_vector(
        &mut self,
        direction: Direction,
        addr: UserPtr,
        len: usize,
        compat: bool,
    ) -> Result {
        let mut vectors: *mut bindings::iovec = self.inline.as_mut_ptr().cast();
        // SAFETY:
        // - `vectors` points at room for `INLINE_VECTORS` elements.
        // - `iter` is valid for writes.
        // - The user's range is checked by the callee.
        let imported = unsafe {
            bindings::__import_iovec(
                direction.as_raw(),
                addr.as_const_ptr().cast(),
                // The C parameter is an `unsigned int` as well, and as in C truncates.
                len as c_uint,
                INLINE_VECTORS as c_uint,
                &mut vectors,
                self.iter.get(),
                compat,
            )
        };
        if imported < 0 {
            return Err(Error::from_errno(imported as c_int));
        }
        self.free();
        // INVARIANT: The callee leaves null here, or an array of its own from `kmalloc()`.
        self.allocated = vectors;
        // SAFETY: The call above succeeded.
        self.nr_segs = unsafe { bindings::iov_iter_nr_segs(self.iter.get()) };
        Ok(())
    }

    /// Frees the array of an earlier import.
    fn free(&mut self) {
        // SAFETY: By the type invariants it is ours, or null.
        unsafe { bindings::kfree(self.allocated.cast()) };
        // INVARIANT: Null.
        self.allocated = ptr::null_mut();
    }
}

impl Default for ImportSpace {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for ImportSpace {
    #[inline]
    fn drop(&mut self) {
        if !self.allocated.is_null() {
            self.free();
        }
    }
}
