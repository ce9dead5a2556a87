// SPDX-License-Identifier: GPL-2.0-only

//! The thread's errno, and the two ways in which AIO calls report errors.

use libc::{c_int, c_long};

use crate::system::KernelResult;

/// What it is.
pub fn get() -> c_int {
    // SAFETY: the C library returns a valid pointer to the calling thread's errno.
    unsafe { *libc::__errno_location() }
}

fn set(errno: c_int) {
    // SAFETY: as in `get`.
    unsafe { *libc::__errno_location() = errno }
}

/// The caller's errno, put back when this is dropped: what the library calls for its own purposes
/// stays unseen.
pub struct Preserved(c_int);

/// Keeps errno as it is until the returned value is dropped.
pub fn preserve() -> Preserved {
    Preserved(get())
}

impl Drop for Preserved {
    fn drop(&mut self) {
        set(self.0);
    }
}

/// Takes what `syscall(2)` returned, -1 with an errno, into the kernel's form.
pub fn to_kernel(returned: c_long) -> KernelResult {
    if returned == -1 {
        -KernelResult::from(get())
    } else {
        returned
    }
}

/// Reports a result in the kernel's form the way `syscall(2)` does.
pub fn from_kernel(result: KernelResult) -> c_long {
    match c_int::try_from(-result) {
        Ok(errno @ 1..=4095) => {
            set(errno);
            -1
        }
        _ => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_say_the_same() {
        set(0);
        assert_eq!(from_kernel(-KernelResult::from(libc::EINVAL)), -1);
        assert_eq!(get(), libc::EINVAL);
        assert_eq!(to_kernel(-1), -KernelResult::from(libc::EINVAL));
    }

    #[test]
    fn success_leaves_errno_alone() {
        set(libc::EIO);
        assert_eq!(from_kernel(16), 16);
        assert_eq!(to_kernel(16), 16);
        assert_eq!(get(), libc::EIO);
    }

    #[test]
    fn preserved_errno_comes_back() {
        set(libc::EIO);
        {
            let _errno = preserve();
            set(libc::EBADF);
        }
        assert_eq!(get(), libc::EIO);
    }
}
