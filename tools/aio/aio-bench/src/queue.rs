// SPDX-License-Identifier: GPL-2.0-only

//! What every engine can do.

use std::fmt;
use std::io;

use crate::place::Place;
use crate::slots::Slot;

/// Whether blocks are read or written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// From the device.
    Read,
    /// To the device.
    Write,
}

/// One thread's access to a context, a ring, or whatever takes I/O.
pub trait Queue {
    /// Readies the I/O of a slot that the caller owns.
    ///
    /// At most the batch that the queue was made for can be ready at once.
    fn prepare(&mut self, slot: Slot, place: Place);

    /// Submits what was readied, and waits until `want` I/Os have completed.
    ///
    /// Exactly `want` slots are added to `done`, which has room for them.
    fn turn(&mut self, want: usize, done: &mut Vec<Slot>) -> Result<(), IoFailure>;

    /// What I/Os do that are readied from here on.
    fn set_direction(&mut self, direction: Direction);
}

/// Why a turn failed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IoFailure {
    /// A system call of this name did, with this errno.
    Call(&'static str, i32),
    /// The kernel took fewer I/Os than it was given.
    Refused(&'static str),
    /// An I/O completed with this result, which is neither an error nor the whole block.
    Short(i64),
    /// An I/O completed with this errno.
    Io(i32),
}

impl IoFailure {
    /// A failure of the system call `name`, from errno.
    pub fn last(name: &'static str) -> Self {
        Self::Call(name, io::Error::last_os_error().raw_os_error().unwrap_or(0))
    }

    /// Whether the kernel said that it or the device cannot do this at all.
    pub fn is_unsupported(self) -> bool {
        match self {
            Self::Call(_, errno) | Self::Io(errno) => errno == libc::EOPNOTSUPP,
            Self::Refused(_) | Self::Short(_) => false,
        }
    }
}

impl fmt::Display for IoFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = |errno: &i32| io::Error::from_raw_os_error(*errno);
        match self {
            Self::Call(name, errno) => write!(f, "{name} failed: {}", reason(errno)),
            Self::Refused(name) => write!(f, "{name} did not take the whole batch"),
            Self::Short(bytes) => write!(f, "an I/O moved {bytes} bytes only"),
            Self::Io(errno) => write!(f, "an I/O failed: {}", reason(errno)),
        }
    }
}

impl std::error::Error for IoFailure {}

/// Checks the result of an I/O, a negated errno or a number of bytes.
#[inline]
pub fn check_result(result: i64, block_size: usize) -> Result<(), IoFailure> {
    if result == block_size as i64 {
        return Ok(());
    }
    Err(match i32::try_from(-result) {
        Ok(errno) if errno > 0 => IoFailure::Io(errno),
        _ => IoFailure::Short(result),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_block_is_a_success() {
        assert_eq!(check_result(4096, 4096), Ok(()));
        assert_eq!(check_result(0, 4096), Err(IoFailure::Short(0)));
        assert_eq!(check_result(512, 4096), Err(IoFailure::Short(512)));
        assert_eq!(check_result(-5, 4096), Err(IoFailure::Io(5)));
    }

    #[test]
    fn only_one_errno_means_unsupported() {
        assert!(IoFailure::Io(libc::EOPNOTSUPP).is_unsupported());
        assert!(IoFailure::Call("io_submit", libc::EOPNOTSUPP).is_unsupported());
        assert!(!IoFailure::Io(libc::EIO).is_unsupported());
        assert!(!IoFailure::Short(95).is_unsupported());
    }
}
