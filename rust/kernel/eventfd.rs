// SPDX-License-Identifier: GPL-2.0-only

//! Event notification to user space through a file descriptor.
//!
//! C header: [`include/linux/eventfd.h`](srctree/include/linux/eventfd.h)

use crate::{
    bindings,
    error::from_err_ptr,
    prelude::*, //
};
use core::ptr::NonNull;

/// An eventfd that user space waits on.
///
/// Wraps the kernel's `struct eventfd_ctx`.
///
/// # Invariants
///
/// The pointer is valid, and this object owns a reference to what it points to.
///
/// # Examples
///
/// ```
/// use kernel::eventfd::EventFdContext;
///
/// // No file has this descriptor.
/// let error = EventFdContext::from_fd(u32::MAX).map(|_| ()).unwrap_err();
/// # if cfg!(CONFIG_EVENTFD) {
/// assert_eq!(error, EBADF);
/// # }
/// ```
pub struct EventFdContext(NonNull<bindings::eventfd_ctx>);

// SAFETY: A reference to a `struct eventfd_ctx` may be put by any thread.
unsafe impl Send for EventFdContext {}
// SAFETY: `eventfd_signal()` may be called by several threads at once.
unsafe impl Sync for EventFdContext {}

impl EventFdContext {
    /// Returns the eventfd behind a file descriptor of this process.
    ///
    /// It fails with [`EBADF`] if no file is open as `fd`, with [`EINVAL`] if the file is not an
    /// eventfd, and with [`ENOSYS`] if the kernel has no eventfds.
    #[inline]
    pub fn from_fd(fd: u32) -> Result<Self> {
        // SAFETY: Any number may be looked up.
        // CAST: A descriptor that is too large becomes a negative one, which no file has either.
        let ctx = from_err_ptr(unsafe { bindings::eventfd_ctx_fdget(fd as c_int) })?;

        // INVARIANT: `eventfd_ctx_fdget()` gave us a reference.
        Ok(Self(NonNull::new(ctx).ok_or(EBADF)?))
    }

    /// Adds one to the counter of the eventfd, and wakes up who waits for that.
    ///
    /// It does not sleep, and may be called in any context but NMI.
    #[inline]
    pub fn signal(&self) {
        // SAFETY: By the type invariants, the pointer is valid.
        unsafe { bindings::eventfd_signal(self.0.as_ptr()) };
    }
}

impl Drop for EventFdContext {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariants, the reference is ours.
        unsafe { bindings::eventfd_ctx_put(self.0.as_ptr()) };
    }
}
