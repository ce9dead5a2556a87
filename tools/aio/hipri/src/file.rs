// SPDX-License-Identifier: GPL-2.0-only

//! What the file behind a descriptor tells about polling.
//!
//! The kernel refuses to poll a block device that has no poll queues, but not a file on one: it
//! accepts the I/O, and the context is polled, before the device is reached. Every read would then
//! fail in a program that would have run. So the device is looked at first, in sysfs. Where a file
//! is on one block device and sysfs cannot be read, as in a sandbox, nothing is polled. For a block
//! device, and for a file system that is not on one, the kernel has the word then.
//!
//! Where the data of a file may be on another device than its status names, as with f2fs, nothing is
//! polled either.

use core::ffi::CStr;
use core::fmt::Write;
use core::mem::MaybeUninit;

use aio_abi::placement::{may_be_elsewhere, Attributes, GET_ATTRIBUTES};
use libc::{c_int, c_long, c_uint};

use crate::line::Line;
use crate::linux::{self, system_call};

/// Whether I/O on a file may be polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileState {
    /// As far as can be told from here.
    Pollable,
    /// It is not open with `O_DIRECT`.
    Buffered,
    /// Its device has no poll queues.
    WithoutPollQueues,
    /// Which device it is on, or whether that has any, cannot be told.
    DeviceUnknown,
    /// The same, and may be otherwise the next time: there was no descriptor left to read it by.
    DeviceUnknownForNow,
    /// The descriptor is not open.
    Closed,
}

/// Looks at the file behind `fd`: some system calls, so not for every I/O.
pub fn look_up(fd: u32) -> FileState {
    let fd = fd as c_int;
    match linux::descriptor_control(fd, libc::F_GETFL, 0) {
        ..0 => FileState::Closed,
        flags if flags & c_long::from(libc::O_DIRECT) == 0 => FileState::Buffered,
        _ => match status(fd) {
            Some(status) if is_elsewhere(fd, &status) => FileState::DeviceUnknown,
            Some(status) => state_on_device(&status, c"/sys/dev/block"),
            None => FileState::DeviceUnknownForNow,
        },
    }
}

/// The status of the file behind `fd`, if there is one.
pub fn status(fd: c_int) -> Option<libc::stat64> {
    #[cfg(target_pointer_width = "64")]
    const NUMBER: c_long = libc::SYS_fstat;
    #[cfg(target_pointer_width = "32")]
    const NUMBER: c_long = libc::SYS_fstat64;
    #[cfg(target_pointer_width = "32")]
    const _: () = assert!(size_of::<libc::stat64>() == 96);
    let mut status = MaybeUninit::<libc::stat64>::zeroed();
    let place = status.as_mut_ptr() as c_long;
    // SAFETY: there is room for the result, which the C library has as the kernel.
    let result = unsafe { system_call(NUMBER, [fd.into(), place, 0, 0, 0, 0]) };
    // SAFETY: every value is one of the structure.
    (result == 0).then(|| unsafe { status.assume_init() })
}

/// Whether the data of a file may be on another device than its status tells.
fn is_elsewhere(fd: c_int, status: &libc::stat64) -> bool {
    let is_regular = status.st_mode & libc::S_IFMT == libc::S_IFREG;
    is_regular && may_be_elsewhere(file_system(fd), || attributes(fd))
}

/// The magic number of the file system that the file behind `fd` is on.
fn file_system(fd: c_int) -> Option<c_uint> {
    let mut statistics = MaybeUninit::<libc::statfs64>::zeroed();
    let place = statistics.as_mut_ptr() as c_long;
    #[cfg(target_pointer_width = "64")]
    let (number, arguments) = (libc::SYS_fstatfs, [fd.into(), place, 0, 0, 0, 0]);
    #[cfg(target_pointer_width = "32")]
    let (number, arguments) = {
        let size = size_of::<libc::statfs64>() as c_long;
        (libc::SYS_fstatfs64, [fd, size, place, 0, 0, 0])
    };
    // SAFETY: there is room for the result.
    let result = unsafe { system_call(number, arguments) };
    // SAFETY: every value is one of the structure.
    (result == 0).then(|| unsafe { statistics.assume_init() }.f_type as c_uint)
}

/// The `FS_XFLAG_*` of the file behind `fd`.
fn attributes(fd: c_int) -> Option<c_uint> {
    let mut attributes = Attributes::default();
    let place = (&raw mut attributes) as c_long;
    let arguments = [fd.into(), GET_ATTRIBUTES as c_long, place, 0, 0, 0];
    // SAFETY: there is room for the result.
    let result = unsafe { system_call(libc::SYS_ioctl, arguments) };
    (result == 0).then_some(attributes.flags)
}

/// What the block device tells that a file of this status is, or is on; `devices` is the folder of
/// them in sysfs.
fn state_on_device(status: &libc::stat64, devices: &CStr) -> FileState {
    let kind = status.st_mode & libc::S_IFMT;
    let device = if kind == libc::S_IFBLK {
        status.st_rdev
    } else {
        status.st_dev
    };
    match device_polls(devices, libc::major(device), libc::minor(device)) {
        Ok(true) => FileState::Pollable,
        Ok(false) => FileState::WithoutPollQueues,
        // The kernel refuses all others on submission, where they cannot be polled.
        Err(_) if kind != libc::S_IFREG || libc::major(device) == 0 => FileState::Pollable,
        Err(libc::EMFILE | libc::ENFILE) => FileState::DeviceUnknownForNow,
        Err(_) => FileState::DeviceUnknown,
    }
}

/// Whether the block device of this number has poll queues; the errno where sysfs has no answer.
fn device_polls(devices: &CStr, major: c_uint, minor: c_uint) -> Result<bool, c_int> {
    let devices = devices.to_str().map_err(|_| libc::EINVAL)?;
    let read = |disk| {
        let mut path = Line::<96>::new();
        let attribute = "queue/io_poll\0";
        write!(path, "{devices}/{major}:{minor}/{disk}{attribute}").map_err(|_| libc::EINVAL)?;
        let path = CStr::from_bytes_until_nul(path.as_bytes()).map_err(|_| libc::ENAMETOOLONG)?;
        read_bool(path)
    };
    match read("") {
        // A partition has no queue, it is in the folder of a disk that has.
        Err(libc::ENOENT) => read("../"),
        answer => answer,
    }
}

/// The value of a sysfs attribute that is 0 or 1; the errno where it cannot be read.
fn read_bool(path: &CStr) -> Result<bool, c_int> {
    let flags = (libc::O_RDONLY | libc::O_CLOEXEC).into();
    let address = path.as_ptr() as c_long;
    let arguments = [libc::AT_FDCWD.into(), address, flags, 0, 0, 0];
    // SAFETY: the path is a valid string.
    let opened = unsafe { system_call(libc::SYS_openat, arguments) };
    let file = linux::descriptor(opened).ok_or(-opened as c_int)?;
    let mut value = 0u8;
    let place = (&raw mut value) as c_long;
    // SAFETY: there is room for one byte.
    let read = unsafe { system_call(libc::SYS_read, [file.into(), place, 1, 0, 0, 0]) };
    linux::close(file);
    match value {
        b'0' if read == 1 => Ok(false),
        b'1' if read == 1 => Ok(true),
        _ => Err(libc::EIO),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::fs::{self, File};
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;
    use crate::linux::outlives_cancellation;

    #[test]
    fn a_closed_descriptor_and_a_buffered_file_are_told_apart() {
        assert_eq!(look_up(u32::MAX), FileState::Closed);
        let file = File::open("/proc/self/exe").unwrap();
        assert_eq!(look_up(file.as_raw_fd() as u32), FileState::Buffered);
    }

    /// A sysfs with the disk 9:0, its partition 9:1 and nothing else.
    struct Sysfs(PathBuf);

    impl Sysfs {
        fn new(name: &str, io_poll: &str) -> Self {
            let root = std::env::temp_dir().join(format!("hipri-{name}-{}", std::process::id()));
            fs::create_dir_all(root.join("9:0/queue")).unwrap();
            fs::create_dir(root.join("9:0/part")).unwrap();
            symlink("9:0/part", root.join("9:1")).unwrap();
            fs::write(root.join("9:0/queue/io_poll"), io_poll).unwrap();
            Sysfs(root)
        }

        /// The state of a file of this kind on this device.
        fn state(&self, kind: libc::mode_t, device: (c_uint, c_uint)) -> FileState {
            state_on_device(&status_of(kind, device), &self.devices())
        }

        fn devices(&self) -> CString {
            CString::new(self.0.to_str().unwrap()).unwrap()
        }
    }

    impl Drop for Sysfs {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn status_of(kind: libc::mode_t, (major, minor): (c_uint, c_uint)) -> libc::stat64 {
        let file = File::open("/proc/self/exe").unwrap();
        let mut status = status(file.as_raw_fd()).unwrap();
        status.st_mode = kind;
        status.st_dev = libc::makedev(major, minor);
        status.st_rdev = status.st_dev;
        status
    }

    #[test]
    fn a_disk_and_its_partition_tell_whether_they_poll() {
        for (io_poll, state) in [
            ("1\n", FileState::Pollable),
            ("0\n", FileState::WithoutPollQueues),
        ] {
            let sysfs = Sysfs::new("told", io_poll);
            for kind in [libc::S_IFREG, libc::S_IFBLK] {
                assert_eq!(sysfs.state(kind, (9, 0)), state);
                assert_eq!(sysfs.state(kind, (9, 1)), state);
            }
        }
    }

    #[test]
    fn no_look_is_a_cancellation_point() {
        let sysfs = Sysfs::new("cancelled", "1\n");
        let devices = sysfs.devices();
        let file = File::open("/proc/self/exe").unwrap();
        let on_partition = status_of(libc::S_IFREG, (9, 1));
        let looks = || {
            let looked = look_up(file.as_raw_fd() as u32);
            let state = state_on_device(&on_partition, &devices);
            (looked, state) == (FileState::Buffered, FileState::Pollable)
        };
        assert!(outlives_cancellation(looks));
    }

    #[test]
    fn a_file_is_not_pollable_where_its_device_cannot_be_looked_at() {
        for io_poll in ["", "x\n"] {
            let sysfs = Sysfs::new("unknown", io_poll);
            for device in [(8, 0), (9, 0)] {
                let state = sysfs.state(libc::S_IFREG, device);
                assert_eq!(state, FileState::DeviceUnknown);
            }
        }
    }

    #[test]
    fn what_the_kernel_refuses_on_submission_is_left_to_it() {
        let sysfs = Sysfs::new("left", "");
        assert_eq!(sysfs.state(libc::S_IFBLK, (8, 0)), FileState::Pollable);
        assert_eq!(sysfs.state(libc::S_IFREG, (0, 42)), FileState::Pollable);
    }

    #[test]
    fn a_file_system_has_its_number() {
        let file = File::open("/proc/self/status").unwrap();
        let proc = libc::PROC_SUPER_MAGIC as c_uint;
        assert_eq!(file_system(file.as_raw_fd()), Some(proc));
        assert_eq!(file_system(-1), None);
    }

    #[test]
    fn a_device_is_where_it_is_whatever_its_file_system() {
        let status = status_of(libc::S_IFBLK, (8, 0));
        assert!(!is_elsewhere(-1, &status));
        let status = status_of(libc::S_IFREG, (8, 0));
        assert!(is_elsewhere(-1, &status));
    }

    /// In a process of its own, as the limit is one of the process.
    #[test]
    fn without_descriptors_the_device_is_unknown_for_now() {
        let status = status_of(libc::S_IFREG, (8, 0));
        // SAFETY: the child makes system calls only; the status is written by waitpid.
        let ended = unsafe {
            let child = libc::fork();
            if child == 0 {
                let none = libc::rlimit {
                    rlim_cur: 0,
                    rlim_max: 0,
                };
                libc::setrlimit(libc::RLIMIT_NOFILE, &none);
                let state = state_on_device(&status, c"/sys/dev/block");
                libc::_exit((state != FileState::DeviceUnknownForNow).into());
            }
            let mut ended = -1;
            libc::waitpid(child, &mut ended, 0);
            ended
        };
        assert_eq!(ended, 0);
    }
}
