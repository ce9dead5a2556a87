// SPDX-License-Identifier: GPL-2.0-only

//! Whether the data of a file is on the device that its status names.
//!
//! A file system on several devices has the data of some files on another one. Of XFS that are the
//! files of its realtime device, which can be told by a flag. Of f2fs it may be any file, and
//! neither the file nor `/sys/fs/f2fs` tells how many devices there are.

use core::ffi::c_uint;

/// `XFS_SUPER_MAGIC`, of `linux/magic.h`.
const XFS: c_uint = 0x5846_5342;
/// `F2FS_SUPER_MAGIC`.
const F2FS: c_uint = 0xf2f5_2010;
/// `FS_XFLAG_REALTIME`, of `linux/fs.h`.
const REALTIME: c_uint = 1 << 0;

/// `FS_IOC_FSGETXATTR`: the request for [`Attributes`].
pub const GET_ATTRIBUTES: c_uint = 0x801c_581f;

/// `struct fsxattr`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Attributes {
    /// `FS_XFLAG_*`.
    pub flags: c_uint,
    others: [c_uint; 6],
}

const _: () = assert!(size_of::<Attributes>() == 0x1c);

/// Whether the data of a regular file may be on another device than its status tells.
///
/// `file_system` is the magic number of the one that it is on; `flags` are asked for where it takes
/// them. `None` is what could not be found out.
pub fn may_be_elsewhere(
    file_system: Option<c_uint>,
    flags: impl FnOnce() -> Option<c_uint>,
) -> bool {
    match file_system {
        Some(XFS) => flags().is_none_or(|flags| flags & REALTIME != 0),
        Some(F2FS) | None => true,
        Some(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_several_devices_may_be_on_any() {
        const PLAIN: c_uint = 1 << 31;
        for (attributes, elsewhere) in [
            (Some(PLAIN), false),
            (Some(PLAIN | REALTIME), true),
            (None, true),
        ] {
            assert_eq!(may_be_elsewhere(Some(XFS), || attributes), elsewhere);
        }
        for (file_system, elsewhere) in [(Some(F2FS), true), (Some(0xef53), false), (None, true)] {
            let found = may_be_elsewhere(file_system, || unreachable!());
            assert_eq!(found, elsewhere);
        }
    }
}
