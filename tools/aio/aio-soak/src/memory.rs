// SPDX-License-Identifier: GPL-2.0-only

//! Memory that the kernel or another process writes at any time.

use std::io;
use std::ptr::{self, NonNull};

/// Pages of this process, zeroed.
pub struct Mapping {
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: A mapping is an address range; what is done with it is for the user to prove.
unsafe impl Send for Mapping {}
// SAFETY: As above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Memory of this process alone, present from the start.
    pub fn private(len: usize) -> io::Result<Self> {
        Self::map(len, libc::MAP_PRIVATE | libc::MAP_POPULATE)
    }

    /// Memory that children share with their parent.
    pub fn shared(len: usize) -> io::Result<Self> {
        Self::map(len, libc::MAP_SHARED)
    }

    fn map(len: usize, flags: i32) -> io::Result<Self> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let flags = flags | libc::MAP_ANONYMOUS;
        // SAFETY: A new mapping at an address of the kernel's choice touches nothing that exists.
        let start = unsafe { libc::mmap(ptr::null_mut(), len, access, flags, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        NonNull::new(start.cast())
            .map(|start| Self { start, len })
            .ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }

    /// The address of the `T` at `offset` bytes, which lies in the mapping.
    pub fn at<T>(&self, offset: usize) -> *mut T {
        assert!(offset + size_of::<T>() <= self.len && offset % align_of::<T>() == 0);
        self.start.as_ptr().wrapping_add(offset).cast()
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: The mapping is this object's, which is not used after.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}
