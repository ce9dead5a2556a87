// SPDX-License-Identifier: GPL-2.0-only

//! Memory that the kernel reads and writes while a thread waits for it.

use std::io;
use std::ptr::{self, NonNull};

/// Pages of this process, zeroed, present from the start.
pub struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: A mapping is an address range; what is done with it is for the user to prove.
unsafe impl Send for Mapping {}
// SAFETY: As above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes of anonymous memory.
    pub fn anonymous(len: usize) -> io::Result<Self> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE;
        Self::map(len, flags, -1, 0)
    }

    /// Maps `len` bytes of the object `fd` at `offset`, shared with the kernel.
    pub fn of_object(fd: i32, len: usize, offset: i64) -> io::Result<Self> {
        Self::map(len, libc::MAP_SHARED | libc::MAP_POPULATE, fd, offset)
    }

    fn map(len: usize, flags: i32, fd: i32, offset: i64) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: A new mapping at an address of the kernel's choice touches nothing that exists.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, access, flags, fd, offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(start.cast())
            .map(|start| Self { start, len })
            .ok_or_else(|| io::Error::from_raw_os_error(libc::ENOMEM))
    }

    /// The address of the `T` at `offset` bytes, which is not checked.
    #[inline]
    pub fn at<T>(&self, offset: usize) -> *mut T {
        debug_assert!(offset + size_of::<T>() <= self.len && offset % align_of::<T>() == 0);
        self.start.as_ptr().wrapping_add(offset).cast()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: The mapping is this object's, which is not used after.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}
