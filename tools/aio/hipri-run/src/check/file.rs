// SPDX-License-Identifier: GPL-2.0-only

//! Whether a file can be opened for direct I/O, and what that demands.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use aio_abi::placement::{may_be_elsewhere, Attributes, GET_ATTRIBUTES};
use libc::c_uint;

use super::Finding;
use crate::failure;

/// Assumed where the kernel does not tell: more than any device demands.
const SAFE_ALIGNMENT: usize = 4096;

/// A file that is open for direct I/O.
pub struct Direct {
    path: PathBuf,
    /// The file.
    pub file: File,
    /// What is known of it.
    pub metadata: Metadata,
    demand: Demand,
}

/// What the kernel tells about direct I/O on a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Demand {
    /// Nothing.
    Unknown,
    /// That it must be multiples of these, in bytes.
    Aligned {
        /// Its offsets and lengths.
        offset: usize,
        /// Its addresses in memory.
        memory: usize,
    },
    /// That there is none: the page cache has a part in all I/O, though `O_DIRECT` is accepted.
    Impossible,
}

impl Direct {
    /// Opens `path` for reading past the page cache.
    ///
    /// # Errors
    ///
    /// What keeps it from that.
    pub fn open(path: &Path) -> Result<Self, Finding> {
        let shown = path.display();
        let metadata = path.metadata().map_err(|error| {
            let reason = failure::reason(&error);
            Finding::bad(format!("{shown}: {reason}"), "name an existing file")
        })?;
        if metadata.is_dir() {
            return Err(Finding::bad(
                format!("{shown} is a directory"),
                "name a file in it, or the block device that it is on",
            ));
        }
        let mut options = OpenOptions::new();
        let direct = options.read(true).custom_flags(libc::O_DIRECT).open(path);
        let file = direct.map_err(|error| refusal(path, &error))?;
        let demand = Demand::of(&file);
        Ok(Direct {
            path: path.to_owned(),
            file,
            metadata,
            demand,
        })
    }

    /// Bytes that a read can have, and that memory can be aligned to.
    pub fn block(&self) -> usize {
        match self.demand {
            Demand::Aligned { offset, memory } => offset.max(memory),
            Demand::Unknown | Demand::Impossible => SAFE_ALIGNMENT,
        }
    }

    /// That it is open, and what I/O on it must look like.
    pub fn finding(&self) -> Finding {
        let shown = self.path.display();
        let demand = match self.demand {
            Demand::Aligned { offset, memory } => format!(
                "for offsets and lengths in multiples of {offset} bytes, in memory aligned to {memory}"
            ),
            Demand::Unknown => {
                "for what its file system demands of offsets, lengths and memory".to_owned()
            }
            Demand::Impossible => return cached(&self.path),
        };
        Finding::good(format!("{shown} opens with O_DIRECT, {demand}"))
    }
}

impl Direct {
    /// That hipri-run leaves the file alone, where its data may be on another device than the one
    /// whose poll queues can be looked at.
    pub fn placement(&self) -> Option<Finding> {
        let elsewhere = self.metadata.is_file()
            && may_be_elsewhere(file_system(&self.file), || attributes(&self.file));
        elsewhere.then(|| {
            Finding::bad(
                "the file may be on another device than its file system names, as on f2fs and \
                 on a realtime device of XFS: hipri-run does not poll for it",
                "use a file on ext4, or on the data device of an xfs, or have the program set \
                 IOCB_FLAG_HIPRI by itself",
            )
        })
    }
}

/// The magic number of the file system that a file is on.
fn file_system(file: &File) -> Option<c_uint> {
    // SAFETY: all zeroes is a valid value, and there is room for one.
    unsafe {
        let mut statistics: libc::statfs64 = std::mem::zeroed();
        let result = libc::fstatfs64(file.as_raw_fd(), &mut statistics);
        (result == 0).then_some(statistics.f_type as c_uint)
    }
}

/// The `FS_XFLAG_*` of a file.
fn attributes(file: &File) -> Option<c_uint> {
    let mut attributes = Attributes::default();
    let place = &raw mut attributes;
    // SAFETY: there is room for the result.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), GET_ATTRIBUTES as _, place) };
    (result == 0).then_some(attributes.flags)
}

/// `O_DIRECT` is accepted, and has no effect.
fn cached(path: &Path) -> Finding {
    let shown = path.display();
    Finding::bad(
        format!(
            "{shown} opens with O_DIRECT, but its file system does its I/O through the page cache"
        ),
        "use a file with none of what makes it do so: journaling of data, fs-verity, compression, \
         and data that is kept in the inode",
    )
}

fn refusal(path: &Path, error: &io::Error) -> Finding {
    let shown = path.display();
    match error.raw_os_error() {
        Some(libc::EINVAL) => Finding::bad(
            format!("{shown} does not open with O_DIRECT: its file system does not support it"),
            "put the file on one that does, such as ext4 or xfs on a disk",
        ),
        Some(libc::EACCES | libc::EPERM) => Finding::bad(
            format!("{shown} may not be read"),
            "run hipri-run --check as a user who may",
        ),
        _ => Finding::bad(
            format!("{shown} does not open: {}", failure::reason(error)),
            "name a file that does",
        ),
    }
}

impl Demand {
    fn of(file: &File) -> Self {
        // SAFETY: all zeroes is a valid value, and the path is a valid string.
        let status = unsafe {
            let mut status: libc::statx = std::mem::zeroed();
            let file = file.as_raw_fd();
            let wanted = libc::STATX_DIOALIGN;
            let flags = libc::AT_EMPTY_PATH;
            match libc::statx(file, c"".as_ptr(), flags, wanted, &mut status) {
                0 => status,
                _ => return Demand::Unknown,
            }
        };
        Self::told(&status)
    }

    /// What a file's status tells.
    fn told(status: &libc::statx) -> Self {
        match (status.stx_dio_offset_align, status.stx_dio_mem_align) {
            _ if status.stx_mask & libc::STATX_DIOALIGN == 0 => Demand::Unknown,
            (0, _) => Demand::Impossible,
            (offset, memory) => Demand::Aligned {
                offset: offset as usize,
                memory: memory as usize,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(path: &str) -> Finding {
        match Direct::open(Path::new(path)) {
            Err(finding) => finding,
            Ok(_) => panic!("{path} was opened"),
        }
    }

    #[test]
    fn what_cannot_be_opened_is_told_why() {
        let directory = refused("/proc");
        assert_eq!(directory.fact, "/proc is a directory");
        let missing = refused("/no/such/file");
        assert_eq!(missing.fact, "/no/such/file: no such file or directory");
        let without = refused("/proc/self/status");
        assert!(without.fact.contains("does not support it"), "{without}");
    }

    #[test]
    fn the_block_satisfies_both_demands() {
        let file = File::open("/proc/self/exe").unwrap();
        let metadata = file.metadata().unwrap();
        let mut direct = Direct {
            path: "f".into(),
            file,
            metadata,
            demand: Demand::Unknown,
        };
        assert_eq!(direct.block(), SAFE_ALIGNMENT);
        assert!(direct.finding().is_good());
        direct.demand = Demand::Aligned {
            offset: 512,
            memory: 4,
        };
        assert_eq!(direct.block(), 512);
        let finding = direct.finding().to_string();
        assert!(finding.contains("multiples of 512 bytes, in memory aligned to 4"));
    }

    #[test]
    fn most_files_are_where_they_say() {
        let file = File::open("/proc/self/exe").unwrap();
        assert!(file_system(&file).is_some());
        let mut direct = Direct {
            path: "f".into(),
            metadata: file.metadata().unwrap(),
            file,
            demand: Demand::Unknown,
        };
        assert_eq!(direct.placement(), None);
        // A descriptor that tells nothing: the file was opened for its path only.
        let options = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_PATH)
            .clone();
        direct.file = options.open("/proc/self/exe").unwrap();
        assert_eq!(attributes(&direct.file), None);
    }

    #[test]
    fn a_file_that_the_page_cache_has_a_part_in_is_not_polled() {
        // SAFETY: all zeroes is a valid value.
        let mut status: libc::statx = unsafe { std::mem::zeroed() };
        assert_eq!(Demand::told(&status), Demand::Unknown);
        status.stx_mask = libc::STATX_DIOALIGN;
        let file = File::open("/proc/self/exe").unwrap();
        let direct = Direct {
            path: "f".into(),
            metadata: file.metadata().unwrap(),
            file,
            demand: Demand::told(&status),
        };
        let finding = direct.finding();
        assert!(!finding.is_good(), "{finding}");
        assert!(
            finding.fact.ends_with("through the page cache"),
            "{finding}"
        );
        (status.stx_dio_offset_align, status.stx_dio_mem_align) = (512, 4);
        let (offset, memory) = (512, 4);
        assert_eq!(Demand::told(&status), Demand::Aligned { offset, memory });
    }
}
