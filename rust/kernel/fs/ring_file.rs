// SPDX-License-Identifier: GPL-2.0-only

//! A completion ring's memory: pages that the kernel and a user's mapping share.
//!
//! The user may write anything there at any time, so every value read is untrusted, and each is
//! read once. Page migration may replace a page under both locks, so addresses are good only while
//! one of them is held: [`Reading`] and [`Writing`] are the guards.
//!
//! C header: [`fs/aio/aio.h`](srctree/fs/aio/aio.h)

use crate::{
    alloc::AllocError,
    bindings,
    error::code::*,
    page::PAGE_SIZE,
    prelude::*,
    types::NotThreadSafe,
    uaccess::UserPtr, //
};
use core::{
    cell::UnsafeCell,
    ptr::{
        self,
        NonNull, //
    }, //
};

/// The memory of a ring, and the writers' state `S`.
///
/// # Examples
///
/// ```
/// use kernel::{
///     fs::ring_file::RingFile,
///     page::PAGE_SIZE, //
/// };
///
/// let ring = RingFile::new(2, 0)?;
/// assert_eq!(ring.size(), 2 * PAGE_SIZE);
///
/// let mut writing = ring.lock_writing();
/// *writing.state() += 1;
/// let count = *writing.state();
/// writing.store(3, count);
/// drop(writing);
/// assert_eq!(ring.lock_reading().load(3), 1);
///
/// // The header is no longer than a page.
/// assert_eq!(ring.lock_reading().load(PAGE_SIZE), 0);
/// # Ok::<(), Error>(())
/// ```
///
/// # Invariants
///
/// - `ring` came from `aio_ring_file_alloc()` and is freed with this.
/// - `state` is accessed with the ring's `tail_lock` held.
pub struct RingFile<S> {
    ring: NonNull<bindings::aio_ring_file>,
    state: UnsafeCell<S>,
}

// SAFETY: The ring and the state are protected by the ring's locks.
unsafe impl<S: Send> Send for RingFile<S> {}

// SAFETY: As above.
unsafe impl<S: Send> Sync for RingFile<S> {}

impl<S> RingFile<S> {
    /// Creates a zeroed ring of `pages` pages.
    pub fn new(pages: u32, state: S) -> Result<Self, AllocError> {
        // SAFETY: No requirements.
        let ring = unsafe { bindings::aio_ring_file_alloc(pages) };
        // INVARIANT: The ring is ours.
        Ok(Self {
            ring: NonNull::new(ring).ok_or(AllocError)?,
            state: UnsafeCell::new(state),
        })
    }

    /// Maps the ring into the current task, and returns the address. Fails with [`EINTR`] where
    /// the task is being killed, and [`ENOMEM`].
    pub fn map(&self) -> Result<usize> {
        // SAFETY: By the type invariants the ring is valid.
        let addr = unsafe { bindings::aio_ring_file_map(self.ring.as_ptr()) };
        // CAST: Errors are the last page of the address space, negative as a signed number.
        match addr as isize {
            errno if errno < 0 && errno >= -(bindings::MAX_ERRNO as isize) => {
                Err(Error::from_errno(errno as c_int))
            }
            _ => Ok(addr),
        }
    }

    /// Bytes of the ring, and of a mapping of the whole of it.
    #[inline]
    pub fn size(&self) -> usize {
        self.pages() << bindings::PAGE_SHIFT
    }

    /// Whether `file` is the one behind this ring.
    #[inline]
    pub fn is_backed_by(&self, file: *const bindings::file) -> bool {
        // SAFETY: By the type invariants the ring is valid; the pointer is compared only.
        unsafe { (*self.ring.as_ptr()).file.cast_const() == file }
    }

    #[inline]
    fn pages(&self) -> usize {
        // SAFETY: By the type invariants the ring is valid; the number never changes.
        unsafe { (*self.ring.as_ptr()).nr_folios as usize }
    }

    /// The kernel's address of a page.
    ///
    /// # Safety
    ///
    /// One of the ring's locks must be held, and the address not be used after.
    #[inline]
    unsafe fn page(&self, page: usize) -> Option<NonNull<u8>> {
        if page >= self.pages() {
            return None;
        }
        // SAFETY: The page is within the array, which the lock keeps as it is.
        unsafe {
            let folios = (*self.ring.as_ptr()).folios.as_ptr();
            NonNull::new(bindings::folio_address(*folios.add(page)).cast())
        }
    }

    /// Keeps the head, and so what readers may read, from changing; may sleep.
    #[inline]
    pub fn lock_reading(&self) -> Reading<'_, S> {
        // SAFETY: By the type invariants the lock is initialised.
        unsafe { bindings::mutex_lock(&raw mut (*self.ring.as_ptr()).lock) };
        Reading {
            ring: self,
            // SAFETY: The lock was just taken, and is held until the guard is dropped.
            header: unsafe { Header::of(self) },
            _not_send: NotThreadSafe,
        }
    }

    /// Becomes the only writer. In any context.
    #[inline]
    pub fn lock_writing(&self) -> Writing<'_, S> {
        // SAFETY: By the type invariants the lock is initialised.
        let irq_flags =
            unsafe { bindings::spin_lock_irqsave(&raw mut (*self.ring.as_ptr()).tail_lock) };
        Writing {
            ring: self,
            irq_flags,
            // SAFETY: The lock was just taken, and is held until the guard is dropped.
            header: unsafe { Header::of(self) },
            _not_send: NotThreadSafe,
        }
    }
}

/// The first page of a ring, for as long as one of its locks is held.
///
/// # Invariants
///
/// One of the locks is held for as long as this exists, and the pointer is null or to a page.
struct Header(*mut u32);

impl Header {
    /// # Safety
    ///
    /// One of the locks of `ring` must be held for as long as this exists.
    #[inline]
    unsafe fn of<S>(ring: &RingFile<S>) -> Self {
        // SAFETY: By the caller's contract.
        let page = unsafe { ring.page(0) };
        // INVARIANT: By the caller's contract.
        Self(page.map_or(ptr::null_mut(), |page| page.as_ptr().cast()))
    }

    #[inline]
    fn word(&self, index: usize) -> Option<NonNull<u32>> {
        if index >= PAGE_SIZE / size_of::<u32>() {
            return None;
        }
        // SAFETY: By the type invariants this is inside a page.
        NonNull::new(self.0).map(|page| unsafe { page.add(index) })
    }

    #[inline]
    fn load(&self, index: usize) -> u32 {
        match self.word(index) {
            // SAFETY: By the type invariants the word is valid for reads.
            Some(word) => unsafe { word.as_ptr().read_volatile() },
            None => 0,
        }
    }

    #[inline]
    fn store(&self, index: usize, value: u32) {
        if let Some(word) = self.word(index) {
            // SAFETY: By the type invariants the word is valid for writes.
            unsafe { word.as_ptr().write_volatile(value) };
        }
    }
}

impl<S> Drop for RingFile<S> {
    fn drop(&mut self) {
        // SAFETY: By the type invariants the ring is ours, and nobody can use it any more.
        unsafe { bindings::aio_ring_file_free(self.ring.as_ptr()) };
    }
}

/// Unmaps a mapping of a ring from the current task, if that has an address space. Whatever else
/// the task has mapped there since is unmapped instead, which is its own affair.
pub fn unmap(addr: usize, size: usize) {
    if current!().mm().is_some() {
        // SAFETY: Unmaps user memory only, of an address space that there is.
        unsafe { bindings::vm_munmap(addr, size) };
    }
}

/// The readers' lock of a ring.
pub struct Reading<'a, S> {
    ring: &'a RingFile<S>,
    header: Header,
    _not_send: NotThreadSafe,
}

impl<S> Reading<'_, S> {
    /// Reads a word of the header, by its index.
    #[inline]
    pub fn load(&self, index: usize) -> u32 {
        self.header.load(index)
    }

    /// Writes a word of the header, by its index.
    #[inline]
    pub fn store(&self, index: usize, value: u32) {
        self.header.store(index, value);
    }

    /// Copies `len` bytes at `offset` of a page to a user. Fails with [`EFAULT`].
    #[inline]
    pub fn copy_to_user(&self, page: usize, offset: usize, to: UserPtr, len: usize) -> Result {
        if offset.checked_add(len).is_none_or(|end| end > PAGE_SIZE) {
            return Err(EFAULT);
        }
        // SAFETY: The readers' lock is held, and the bytes are within the page. That the user may
        // write to it meanwhile is no worse than any other copy between two of its buffers.
        let left = unsafe {
            let start = self.ring.page(page).ok_or(EFAULT)?.add(offset);
            bindings::copy_to_user(to.as_mut_ptr(), start.as_ptr().cast(), len)
        };
        if left == 0 {
            Ok(())
        } else {
            Err(EFAULT)
        }
    }
}

impl<S> Drop for Reading<'_, S> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The lock is held by this guard.
        unsafe { bindings::mutex_unlock(&raw mut (*self.ring.ring.as_ptr()).lock) };
    }
}

/// The writers' lock of a ring.
pub struct Writing<'a, S> {
    ring: &'a RingFile<S>,
    irq_flags: usize,
    header: Header,
    _not_send: NotThreadSafe,
}

impl<S> Writing<'_, S> {
    /// The writers' state.
    #[inline]
    pub fn state(&mut self) -> &mut S {
        // SAFETY: The writers' lock is held, and `self` borrowed for as long as the state.
        unsafe { &mut *self.ring.state.get() }
    }

    /// Reads a word of the header, by its index.
    #[inline]
    pub fn load(&self, index: usize) -> u32 {
        self.header.load(index)
    }

    /// Writes a word of the header, by its index.
    #[inline]
    pub fn store(&self, index: usize, value: u32) {
        self.header.store(index, value);
    }

    /// Writes the `slot`th group of four words of a page. Outside of the ring it does nothing.
    #[inline]
    pub fn write(&self, page: usize, slot: usize, words: &[u64; 4]) {
        if slot >= PAGE_SIZE / size_of::<[u64; 4]>() {
            return;
        }
        // SAFETY: The writers' lock is held; the slot is inside the page.
        unsafe {
            if let Some(page) = self.ring.page(page) {
                page.cast::<[u64; 4]>()
                    .add(slot)
                    .as_ptr()
                    .write_volatile(*words);
            }
        }
    }
}

impl<S> Drop for Writing<'_, S> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: The lock is held by this guard, since the flags were saved.
        unsafe {
            bindings::spin_unlock_irqrestore(
                &raw mut (*self.ring.ring.as_ptr()).tail_lock,
                self.irq_flags,
            )
        };
    }
}
