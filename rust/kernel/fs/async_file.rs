// SPDX-License-Identifier: GPL-2.0-only

//! Files as asynchronous I/O uses them: by explicit position, from any task.
//!
//! C headers: [`include/linux/fs.h`](srctree/include/linux/fs.h),
//! [`include/linux/file.h`](srctree/include/linux/file.h)

use crate::{
    bindings,
    error::{
        code::*,
        to_result, //
    },
    fs::LocalFile,
    prelude::*,
    sync::aref::ARef, //
};

/// A counted reference to a file that any task may use, because `f_pos` is never touched.
///
/// [`LocalFile`] must stay on its thread for the sake of a possible `fdget_pos()` caller that
/// skipped `f_pos_lock`. All operations offered here take their position elsewhere (a kiocb) or
/// have none, so that caller cannot be disturbed.
///
/// # Invariants
///
/// No operation on the inner file reads or writes `f_pos`.
///
/// # Examples
///
/// ```
/// use kernel::fs::AsyncFile;
///
/// // No process has this descriptor open.
/// assert_eq!(AsyncFile::from_fd(u32::MAX).err(), Some(EBADF));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
pub struct AsyncFile(ARef<LocalFile>);

// SAFETY: By the type invariants `f_pos`, the only thread-local part of a file, is not touched.
unsafe impl Send for AsyncFile {}

// SAFETY: As for `Send`; everything else in a `struct file` synchronises itself.
unsafe impl Sync for AsyncFile {}

impl AsyncFile {
    /// Takes a reference to the file behind a descriptor of the current task, as `fget()` does.
    ///
    /// Fails with [`EBADF`] when there is none.
    #[inline]
    pub fn from_fd(fd: u32) -> Result<Self> {
        LocalFile::fget(fd).map(Self).map_err(|_| EBADF)
    }

    /// Returns whether the file can be synced at all, that is, has an `->fsync`.
    #[inline]
    pub fn has_fsync(&self) -> bool {
        // SAFETY: An open file has valid operations for as long as it lives.
        unsafe { (*(*self.as_ptr()).f_op).fsync.is_some() }
    }

    /// Returns whether completions of the file's direct I/O can be found by polling: it has an
    /// `->iopoll`, and where it is a block device, that has poll queues.
    #[inline]
    pub fn can_poll(&self) -> bool {
        // SAFETY: An open file has valid operations and a valid mapping for as long as it lives.
        unsafe {
            (*(*self.as_ptr()).f_op).iopoll.is_some()
                && bindings::file_queue_can_poll(self.as_ptr())
        }
    }

    /// Writes the file's data back, and its metadata unless `datasync`; see `vfs_fsync()`.
    pub fn fsync(&self, datasync: bool) -> Result {
        // SAFETY: The pointer is valid for as long as `self` holds its reference.
        to_result(unsafe { bindings::vfs_fsync(self.as_ptr(), datasync.into()) })
    }

    /// Returns the `struct file`, valid for as long as `self`.
    #[inline]
    pub fn as_ptr(&self) -> *mut bindings::file {
        self.0.as_ptr()
    }

    /// Gives the reference away as a pointer that owns it.
    #[inline]
    pub fn into_raw(self) -> *mut bindings::file {
        ARef::into_raw(self.0).as_ptr().cast()
    }
}
