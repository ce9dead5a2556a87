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
    marker::PhantomData,
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
/// `'vec` is the life of the `iovec` array; it is invariant, so that it names one import and no
/// other.
///
/// # Invariants
///
/// `iter` is initialised, and the `iovec` array it may refer to lives for `'vec`.
pub struct UserIter<'vec> {
    iter: Opaque<bindings::iov_iter>,
    _import: PhantomData<fn(&'vec ()) -> &'vec ()>,
}

impl<'vec> UserIter<'vec> {
    /// Bytes not transferred yet.
    #[inline]
    pub fn count(&self) -> usize {
        // SAFETY: By the type invariants the iterator is initialised.
        unsafe { bindings::iov_iter_count(self.iter.get()) }
    }

    /// Remembers the present position, for [`UserIter::rewind`].
    #[inline]
    pub fn mark(&self) -> Mark<'vec> {
        // SAFETY: By the type invariants the iterator is initialised. The copy refers to the same
        // `iovec` array, which is never written to.
        Mark(unsafe { ptr::read(self.iter.get()) }, PhantomData)
    }

    /// Goes back to a position remembered of this very iterator.
    #[inline]
    pub fn rewind(&mut self, mark: &Mark<'vec>) {
        // SAFETY: `'vec` ties the mark to this import, so it refers to the array of this iterator.
        unsafe { ptr::copy_nonoverlapping(&mark.0, self.iter.get(), 1) };
    }

    /// The `iov_iter`, valid for as long as `self`.
    #[inline]
    pub(crate) fn as_raw(&mut self) -> *mut bindings::iov_iter {
        self.iter.get()
    }
}

/// A position inside a [`UserIter`].
pub struct Mark<'vec>(bindings::iov_iter, PhantomData<fn(&'vec ()) -> &'vec ()>);

/// Number of `iovec`s that need no allocation.
const INLINE_VECTORS: usize = bindings::UIO_FASTIOV as usize;

/// Imports what `layout` says lies at `addr` and calls `f` with the iterator over it.
///
/// Fails with [`EFAULT`] where the user's range is not one, with [`EINVAL`] where there are more
/// than `UIO_MAXIOV` vectors or a negative length, and with [`ENOMEM`]; see `import_ubuf()` and
/// `import_iovec()`.
#[inline]
pub fn import<R>(
    direction: Direction,
    layout: Layout,
    addr: UserPtr,
    len: usize,
    f: impl for<'vec> FnOnce(&mut UserIter<'vec>) -> R,
) -> Result<R> {
    match layout {
        Layout::Buffer => import_buffer(direction, addr, len, f),
        Layout::Vector => import_vector(direction, addr, len, false, f),
        Layout::CompatVector => import_vector(direction, addr, len, true, f),
    }
}

#[inline]
fn import_buffer<R>(
    direction: Direction,
    addr: UserPtr,
    len: usize,
    f: impl for<'vec> FnOnce(&mut UserIter<'vec>) -> R,
) -> Result<R> {
    let mut iter = UserIter {
        iter: Opaque::uninit(),
        _import: PhantomData,
    };
    // SAFETY: `iter` is valid for writes; the range is checked by the callee.
    to_result(unsafe {
        bindings::import_ubuf(direction.as_raw(), addr.as_mut_ptr(), len, iter.as_raw())
    })?;
    // INVARIANT: The call above succeeded, and a single buffer has no array.
    Ok(f(&mut iter))
}

fn import_vector<R>(
    direction: Direction,
    addr: UserPtr,
    len: usize,
    compat: bool,
    f: impl for<'vec> FnOnce(&mut UserIter<'vec>) -> R,
) -> Result<R> {
    let mut inline = MaybeUninit::<[bindings::iovec; INLINE_VECTORS]>::uninit();
    let mut vectors: *mut bindings::iovec = inline.as_mut_ptr().cast();
    let mut iter = UserIter {
        iter: Opaque::uninit(),
        _import: PhantomData,
    };
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
            iter.as_raw(),
            compat,
        )
    };
    if imported < 0 {
        return Err(Error::from_errno(imported as c_int));
    }
    // INVARIANT: The call above succeeded; `inline` and what `vectors` may own live until the end
    // of this function.
    let result = f(&mut iter);
    // SAFETY: `vectors` is null or was allocated with `kmalloc()` by the callee.
    unsafe { bindings::kfree(vectors.cast()) };
    Ok(result)
}
