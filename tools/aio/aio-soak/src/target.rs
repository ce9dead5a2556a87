// SPDX-License-Identifier: GPL-2.0-only

//! The files and devices that I/O is done to, and what lies in them.
//!
//! Each block has a content of its own that never changes: what is written is what lies there
//! already. So any number of threads may read and write anywhere in any order, be killed in the
//! middle or have their writes fail, and every read that succeeds can still be checked.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{ensure, Context as _, Result};

use crate::context::Context;
use crate::memory::Mapping;
use crate::random::scatter;

/// The unit of all I/O, in bytes.
pub const BLOCK: usize = 4096;

/// How much of each file or device is used, in blocks.
pub const BLOCKS: u64 = 2048;

/// How many blocks are laid down at once.
const CHUNK: u64 = 16;

/// A file or device.
pub struct Target {
    file: File,
    path: PathBuf,
    /// Whether reads of it can be polled.
    pub pollable: bool,
}

impl Target {
    /// Opens `path` with `O_DIRECT`, makes it if it is no device, and writes every block of it.
    pub fn prepare(path: &Path) -> Result<Self> {
        let cannot = || format!("cannot prepare {}", path.display());
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .custom_flags(libc::O_DIRECT)
            .open(path)
            .with_context(cannot)?;
        let is_device = file.metadata()?.file_type().is_block_device();
        let block = Mapping::private(CHUNK as usize * BLOCK).with_context(cannot)?;
        for first in (0..BLOCKS).step_by(CHUNK as usize) {
            // SAFETY: The mapping is that long, and nobody else has it.
            let bytes = unsafe {
                std::slice::from_raw_parts_mut(block.at::<u8>(0), CHUNK as usize * BLOCK)
            };
            lay_down(first, bytes);
            write(&file, bytes, first * BLOCK as u64).with_context(cannot)?;
        }
        ensure!(
            is_device || file.metadata()?.len() == BLOCKS * BLOCK as u64,
            "{} has another size than it was given",
            path.display()
        );
        let pollable = can_be_polled(&file).with_context(cannot)?;
        let path = path.to_owned();
        Ok(Self {
            file,
            path,
            pollable,
        })
    }

    /// Its descriptor.
    pub fn descriptor(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Times that a write is tried: faults may be injected by then.
const TRIES: u32 = 10;

fn write(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    let mut written = Ok(());
    for _ in 0..TRIES {
        written = file.write_all_at(bytes, at);
        if written.is_ok() {
            break;
        }
    }
    written
}

/// Whether a polled read of `file` succeeds.
fn can_be_polled(file: &File) -> io::Result<bool> {
    let context = Context::new(1)?;
    if !context.offers_polling() {
        return Ok(false);
    }
    let buffer = Mapping::private(BLOCK)?;
    let iocb = aio_abi::Iocb {
        opcode: aio_abi::PREAD,
        fildes: file.as_raw_fd() as u32,
        buf: buffer.at::<u8>(0) as u64,
        nbytes: BLOCK as u64,
        flags: aio_abi::FLAG_HIPRI,
        ..aio_abi::Iocb::default()
    };
    let mut events = [aio_abi::Event::default()];
    // SAFETY: The iocb and the buffer outlive the context, which is destroyed first.
    let submitted = unsafe { context.submit(&[&raw const iocb]) };
    let polled = match submitted {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => false,
        Err(error) => return Err(error),
        Ok(_) => {
            context.reap(1, &mut events, None)?;
            events[0].res == BLOCK as i64
        }
    };
    drop(context);
    Ok(polled)
}

/// Fills `bytes` with what lies in the blocks from `first` on.
pub fn lay_down(first: u64, bytes: &mut [u8]) {
    for (block, bytes) in (first..).zip(bytes.chunks_mut(BLOCK)) {
        for word in bytes.chunks_mut(8) {
            word.copy_from_slice(&scatter(block + 1).to_le_bytes());
        }
    }
}

/// Whether `bytes` are what lies in the blocks from `first` on.
pub fn lies_at(first: u64, bytes: &[u8]) -> bool {
    (first..).zip(bytes.chunks(BLOCK)).all(|(block, bytes)| {
        let word = scatter(block + 1).to_le_bytes();
        bytes.chunks(8).all(|found| found == word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_told_from_all_others() {
        let mut bytes = vec![0; 3 * BLOCK];
        assert!(!lies_at(5, &bytes));
        lay_down(5, &mut bytes);
        assert!(lies_at(5, &bytes));
        assert!(!lies_at(6, &bytes));
        bytes[2 * BLOCK + 9] ^= 1;
        assert!(!lies_at(5, &bytes));
    }
}
