// SPDX-License-Identifier: GPL-2.0-only

//! The files and devices that I/O is done to.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{ensure, Context, Result};

/// Files that are open with `O_DIRECT`, and what is common to them.
pub struct Files {
    files: Vec<File>,
    blocks: u32,
}

impl Files {
    /// Opens all of `paths`, for writing too if `write`.
    ///
    /// Fails if one cannot be opened so, or is smaller than one block.
    pub fn open(paths: &[PathBuf], write: bool, block_size: u32) -> Result<Self> {
        let mut files = Vec::new();
        let mut blocks = u32::MAX;
        for path in paths {
            let mut options = File::options();
            options.read(true).write(write);
            options.custom_flags(libc::O_DIRECT);
            let mut file = options
                .open(path)
                .with_context(|| format!("cannot open {} with O_DIRECT", path.display()))?;
            let bytes = file
                .seek(SeekFrom::End(0))
                .with_context(|| format!("cannot tell the size of {}", path.display()))?;
            let count = bytes / u64::from(block_size);
            ensure!(count > 0, "{} is smaller than a block", path.display());
            blocks = blocks.min(u32::try_from(count).unwrap_or(u32::MAX));
            files.push(file);
        }
        Ok(Self { files, blocks })
    }

    /// How many whole blocks each of them has at least.
    pub fn blocks(&self) -> u32 {
        self.blocks
    }

    /// Their descriptors, valid while this lives.
    pub fn descriptors(&self) -> Arc<[i32]> {
        self.files.iter().map(AsRawFd::as_raw_fd).collect()
    }

    /// The kernel's names of the block devices that they are or lie on, such as `nvme0n1`.
    pub fn device_names(&self) -> Vec<String> {
        self.files.iter().filter_map(device_name).collect()
    }
}

fn device_name(file: &File) -> Option<String> {
    let metadata = file.metadata().ok()?;
    let number = if metadata.file_type().is_block_device() {
        metadata.rdev()
    } else {
        metadata.dev()
    };
    let (major, minor) = (libc::major(number), libc::minor(number));
    let uevent = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/uevent")).ok()?;
    uevent
        .lines()
        .find_map(|line| line.strip_prefix("DEVNAME="))
        .map(str::to_owned)
}
