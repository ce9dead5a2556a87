// SPDX-License-Identifier: GPL-2.0-only

//! Where programs have their files: made before a program runs, looked at after it.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};

use super::arena::pattern;
use super::digest::Digest;
use crate::program::{Device, Layout, Object, Place, Program};

/// The folders and devices that programs may use.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// A folder on tmpfs.
    pub tmpfs: PathBuf,
    /// A folder on ext4.
    pub ext4: PathBuf,
    /// A folder on xfs.
    pub xfs: PathBuf,
    /// An NVMe namespace, of which both ends are overwritten.
    pub nvme: PathBuf,
    /// A null_blk disk that keeps data.
    pub null_block: PathBuf,
}

/// Bytes at the start of a device that programs read and write.
const DEVICE_START: u64 = 256 << 10;
/// Bytes at its end.
const DEVICE_END: u64 = 64 << 10;

impl Places {
    /// The folder of a file system.
    pub fn folder(&self, place: Place) -> Result<&Path> {
        let folder = match place {
            Place::Tmpfs => &self.tmpfs,
            Place::Ext4 => &self.ext4,
            Place::Xfs => &self.xfs,
        };
        given(folder, &format!("{place:?}"))
    }

    /// The node of a device.
    pub fn device(&self, device: Device) -> Result<&Path> {
        let node = match device {
            Device::Nvme => &self.nvme,
            Device::NullBlock => &self.null_block,
        };
        given(node, &format!("{device:?}"))
    }

    /// The path of a program's file with this number.
    pub fn file(&self, place: Place, index: usize) -> Result<PathBuf> {
        Ok(self.folder(place)?.join(format!("file{index}")))
    }

    /// The path of the regular file with this number.
    pub fn path_of(&self, program: &Program, index: usize) -> Result<PathBuf> {
        match program.object(index) {
            Some(Object::Regular { place, .. }) => self.file(place, index),
            _ => bail!("file {index} is not a regular one"),
        }
    }

    /// The path of a named pipe.
    pub fn fifo(&self, index: usize) -> Result<PathBuf> {
        self.file(Place::Tmpfs, index)
    }

    /// Makes all that a program expects to be there.
    pub fn prepare(&self, program: &Program) -> Result<()> {
        for (index, file) in program.files.iter().enumerate() {
            match file.object {
                Object::Regular {
                    place,
                    size,
                    layout,
                } => {
                    let path = self.file(place, index)?;
                    make_regular(&path, size.into(), layout, index as u64)
                        .with_context(|| format!("cannot make {}", path.display()))?;
                }
                Object::Fifo => make_fifo(&self.fifo(index)?)?,
                _ => {}
            }
        }
        for device in devices(program) {
            let path = self.device(device)?;
            reset_device(path).with_context(|| format!("cannot reset {}", path.display()))?;
        }
        Ok(())
    }

    /// A line for each regular file and device: what is in it now.
    pub fn describe(&self, program: &Program) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        for (index, file) in program.files.iter().enumerate() {
            if let Object::Regular { place, .. } = file.object {
                let path = self.file(place, index)?;
                lines.push(format!("file {index} {}", describe_file(&path)?));
            }
        }
        for device in devices(program) {
            let digest = describe_device(self.device(device)?)?;
            lines.push(format!("device {device:?} {digest}"));
        }
        Ok(lines)
    }

    /// Removes what was made.
    pub fn clean(&self, program: &Program) -> Result<()> {
        for (index, file) in program.files.iter().enumerate() {
            match file.object {
                Object::Regular { place, .. } => fs::remove_file(self.file(place, index)?)?,
                Object::Fifo => fs::remove_file(self.fifo(index)?)?,
                _ => {}
            }
        }
        Ok(())
    }
}

fn given<'a>(path: &'a Path, name: &str) -> Result<&'a Path> {
    if path.as_os_str().is_empty() {
        bail!("a program wants {name}, which was not given");
    }
    Ok(path)
}

/// The devices that a program uses, each once.
fn devices(program: &Program) -> Vec<Device> {
    let used = |device: &Device| {
        let mut files = program.files.iter();
        files.any(|file| file.object == Object::Raw(*device))
    };
    [Device::Nvme, Device::NullBlock]
        .into_iter()
        .filter(used)
        .collect()
}

/// A file of this size, on disk.
fn make_regular(path: &Path, size: u64, layout: Layout, seed: u64) -> Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .open(path)?;
    match layout {
        Layout::Written => file.write_all_at(&pattern(seed + 1, size), 0)?,
        Layout::Sparse => file.set_len(size)?,
        Layout::Unwritten if size > 0 => allocate(&file, size)?,
        Layout::Unwritten => {}
    }
    file.sync_data()?;
    Ok(())
}

fn allocate(file: &File, size: u64) -> Result<()> {
    // SAFETY: No memory is involved.
    let done = unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, size as i64) };
    if done != 0 {
        return Err(io::Error::last_os_error()).context("cannot allocate");
    }
    Ok(())
}

fn make_fifo(path: &Path) -> Result<()> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: The path ends in a zero.
    if unsafe { libc::mkfifo(name.as_ptr(), 0o600) } != 0 {
        return Err(io::Error::last_os_error()).with_context(|| path.display().to_string());
    }
    Ok(())
}

/// Memory as direct I/O wants it.
#[repr(C, align(4096))]
struct Aligned([u8; DEVICE_START as usize]);

fn open_device(path: &Path) -> Result<(File, u64)> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    // SAFETY: No memory is involved.
    let size = unsafe { libc::lseek(file.as_raw_fd(), 0, libc::SEEK_END) };
    if size < (DEVICE_START + DEVICE_END) as i64 {
        bail!("{} is too small", path.display());
    }
    Ok((file, size as u64))
}

fn reset_device(path: &Path) -> Result<()> {
    let (file, size) = open_device(path)?;
    let mut memory = Box::new(Aligned([0; DEVICE_START as usize]));
    memory.0.copy_from_slice(&pattern(77, DEVICE_START));
    file.write_all_at(&memory.0, 0)?;
    file.write_all_at(&memory.0[..DEVICE_END as usize], size - DEVICE_END)?;
    Ok(())
}

fn describe_device(path: &Path) -> Result<String> {
    let (file, size) = open_device(path)?;
    let mut memory = Box::new(Aligned([0; DEVICE_START as usize]));
    file.read_exact_at(&mut memory.0, 0)?;
    let start = Digest::of(&memory.0);
    let end = &mut memory.0[..DEVICE_END as usize];
    file.read_exact_at(end, size - DEVICE_END)?;
    Ok(format!("{start} {}", Digest::of(end)))
}

/// The size of a file, and digests of its first and its last part.
fn describe_file(path: &Path) -> Result<String> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    let start = read_part(&file, 0, size.min(DEVICE_START * 2))?;
    let end = read_part(&file, size.saturating_sub(DEVICE_END), size.min(DEVICE_END))?;
    Ok(format!(
        "{size} {} {}",
        Digest::of(&start),
        Digest::of(&end)
    ))
}

fn read_part(file: &File, offset: u64, bytes: u64) -> Result<Vec<u8>> {
    let mut part = vec![0; bytes as usize];
    file.read_exact_at(&mut part, offset)?;
    Ok(part)
}
