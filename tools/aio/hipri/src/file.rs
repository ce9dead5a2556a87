// SPDX-License-Identifier: GPL-2.0-only

//! What the file behind a descriptor tells about polling.
//!
//! The kernel refuses to poll a block device that has no poll queues, but not a file on one: it
//! accepts the I/O, and the context is polled, before the device is reached. Every read would then
//! fail in a program that would have run. So the device is looked at first, in sysfs. Where that
//! says nothing, as for a file system that is not on one block device, the kernel has the word.

use core::ffi::{CStr, FromBytesUntilNulError};
use core::fmt::Write;
use core::mem::MaybeUninit;

use libc::c_int;

use crate::line::Line;

/// Whether I/O on a file may be polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileState {
    /// As far as can be told from here.
    Pollable,
    /// It is not open with `O_DIRECT`.
    Buffered,
    /// Its device has no poll queues.
    WithoutPollQueues,
    /// The descriptor is not open.
    Closed,
}

/// Looks at the file behind `fd`: some system calls, so not for every I/O.
pub fn look_up(fd: u32) -> FileState {
    let fd = fd as c_int;
    // SAFETY: fcntl with F_GETFL touches no memory.
    match unsafe { libc::fcntl(fd, libc::F_GETFL) } {
        -1 => FileState::Closed,
        flags if flags & libc::O_DIRECT == 0 => FileState::Buffered,
        _ if device_polls(fd) == Some(false) => FileState::WithoutPollQueues,
        _ => FileState::Pollable,
    }
}

/// Whether the block device that `fd` is, or is on, has poll queues; `None` where sysfs has no
/// answer.
fn device_polls(fd: c_int) -> Option<bool> {
    let mut status = MaybeUninit::<libc::stat64>::uninit();
    // SAFETY: there is room for the result.
    if unsafe { libc::fstat64(fd, status.as_mut_ptr()) } != 0 {
        return None;
    }
    // SAFETY: fstat64 succeeded.
    let status = unsafe { status.assume_init() };
    let is_device = status.st_mode & libc::S_IFMT == libc::S_IFBLK;
    let device = if is_device {
        status.st_rdev
    } else {
        status.st_dev
    };
    // A partition has no queue, it is in the folder of a disk that has.
    ["", "../"].into_iter().find_map(|disk| {
        let (major, minor) = (libc::major(device), libc::minor(device));
        let mut path = Line::<96>::new();
        let attribute = "queue/io_poll\0";
        write!(path, "/sys/dev/block/{major}:{minor}/{disk}{attribute}").ok()?;
        read_bool(CStr::from_bytes_until_nul(path.as_bytes()))
    })
}

/// The value of a sysfs attribute that is 0 or 1.
fn read_bool(path: Result<&CStr, FromBytesUntilNulError>) -> Option<bool> {
    let path = path.ok()?;
    // SAFETY: the path is a valid string.
    let file = unsafe { libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    if file < 0 {
        return None;
    }
    let mut value = 0u8;
    // SAFETY: there is room for one byte, and the descriptor is ours.
    let read = unsafe {
        let read = libc::read(file, (&raw mut value).cast(), 1);
        libc::close(file);
        read
    };
    match value {
        b'0' if read == 1 => Some(false),
        b'1' if read == 1 => Some(true),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_closed_descriptor_and_a_buffered_file_are_told_apart() {
        assert_eq!(look_up(u32::MAX), FileState::Closed);
        let file = File::open("/proc/self/exe").unwrap();
        assert_eq!(look_up(file.as_raw_fd() as u32), FileState::Buffered);
    }

    #[test]
    fn nothing_is_known_of_a_file_on_no_block_device() {
        let file = File::open("/proc/self/status").unwrap();
        assert_eq!(device_polls(file.as_raw_fd()), None);
    }

    #[test]
    fn attributes_are_read_as_they_are() {
        let path = std::env::temp_dir().join(format!("hipri-attribute-{}", std::process::id()));
        let read = |content: &str| {
            fs::write(&path, content).unwrap();
            let mut text = Line::<96>::new();
            write!(text, "{}\0", path.display()).unwrap();
            read_bool(CStr::from_bytes_until_nul(text.as_bytes()))
        };
        let values = ["0\n", "1\n", "", "x\n"].map(read);
        fs::remove_file(&path).unwrap();
        assert_eq!(values, [Some(false), Some(true), None, None]);
        assert_eq!(read_bool(Ok(c"/no/such/attribute")), None);
    }
}
