// SPDX-License-Identifier: GPL-2.0-only

//! System calls as the kernel has them, with no library between.

use std::io;

/// The arguments of a system call behind its number.
pub type Arguments = [u64; 6];

/// A system call to be made.
#[derive(Clone, Copy, Debug)]
pub struct SystemCall {
    /// Its number.
    pub number: libc::c_long,
    /// Its arguments.
    pub arguments: Arguments,
}

impl SystemCall {
    /// A call with up to six arguments.
    pub fn new(number: libc::c_long, arguments: &[u64]) -> Self {
        let mut all = [0; 6];
        all[..arguments.len()].copy_from_slice(arguments);
        Self {
            number,
            arguments: all,
        }
    }

    /// Makes the call. Returns what it returns, which is a negative error number where it fails.
    ///
    /// # Safety
    ///
    /// What the call does to the memory of this process must not touch anything but the program's
    /// own: its arena, its rings and places that are not mapped.
    pub unsafe fn make(&self) -> i64 {
        let [a, b, c, d, e, f] = self.arguments;
        // SAFETY: By the caller's contract.
        let result = unsafe { libc::syscall(self.number, a, b, c, d, e, f) };
        if result == -1 {
            -i64::from(last_error())
        } else {
            result
        }
    }
}

/// The error number of the library call before.
pub fn last_error() -> i32 {
    io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// What a library call returned, as the kernel has it: a negative error number where it failed.
pub fn with_error(result: i64) -> i64 {
    if result == -1 {
        -i64::from(last_error())
    } else {
        result
    }
}

/// The name of the error with this number.
fn error_name(number: i64) -> Option<&'static str> {
    const NAMES: &[(i32, &str)] = &[
        (libc::EPERM, "EPERM"),
        (libc::ENOENT, "ENOENT"),
        (libc::EINTR, "EINTR"),
        (libc::EIO, "EIO"),
        (libc::ENXIO, "ENXIO"),
        (libc::EBADF, "EBADF"),
        (libc::EAGAIN, "EAGAIN"),
        (libc::ENOMEM, "ENOMEM"),
        (libc::EACCES, "EACCES"),
        (libc::EFAULT, "EFAULT"),
        (libc::EBUSY, "EBUSY"),
        (libc::EEXIST, "EEXIST"),
        (libc::ENODEV, "ENODEV"),
        (libc::EISDIR, "EISDIR"),
        (libc::EINVAL, "EINVAL"),
        (libc::EFBIG, "EFBIG"),
        (libc::ENOSPC, "ENOSPC"),
        (libc::ESPIPE, "ESPIPE"),
        (libc::EPIPE, "EPIPE"),
        (libc::ERANGE, "ERANGE"),
        (libc::ENOSYS, "ENOSYS"),
        (libc::EOVERFLOW, "EOVERFLOW"),
        (libc::EOPNOTSUPP, "EOPNOTSUPP"),
        (libc::EMSGSIZE, "EMSGSIZE"),
        (libc::ECONNRESET, "ECONNRESET"),
        (libc::ENOTCONN, "ENOTCONN"),
        (libc::ENOBUFS, "ENOBUFS"),
        (libc::EINPROGRESS, "EINPROGRESS"),
        (libc::ETIME, "ETIME"),
        (libc::ECANCELED, "ECANCELED"),
    ];
    NAMES
        .iter()
        .find(|(known, _)| i64::from(*known) == number)
        .map(|(_, name)| *name)
}

/// A result in words: a number, or a minus and the name of an error.
pub fn result_text(result: i64) -> String {
    match result {
        -4095..=-1 => match error_name(-result) {
            Some(name) => format!("-{name}"),
            None => result.to_string(),
        },
        _ => result.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_have_names() {
        assert_eq!(result_text(5), "5");
        assert_eq!(result_text(-22), "-EINVAL");
        assert_eq!(result_text(-512), "-512");
        assert_eq!(result_text(-4096), "-4096");
    }
}
