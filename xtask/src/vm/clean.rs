// SPDX-License-Identifier: GPL-2.0-only

//! The disk of a clean machine: Debian as it installs itself, with its own kernel, boot loader,
//! systemd and apt.
//!
//! It differs from a user's in what `guest/clean` adds: a serial console, and a service that does
//! the job on a second disk. Like the guest's disk it is made in two steps, of which only the first
//! needs a network.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{ensure, Context, Result};

use crate::build::debian::{Debian, Packages, TRANSLATIONS};
use crate::build::host::is_root;
use crate::build::scratch::Scratch;
use crate::build::{command, key, lock, BuildRoot, Workspace};

/// What it has on top of a bare Debian with apt.
const DEBIAN: Debian = Debian {
    label: "clean Debian",
    setup: Packages::Installed("apt"),
    packages: &[
        "bpftrace",
        "dbus",
        "e2fsprogs",
        "fio",
        "grub-pc-bin",
        "grub2-common",
        "initramfs-tools",
        "libc6-i386",
        "linux-image-cloud-amd64",
        "man-db",
        "manpages-dev",
        "systemd-sysv",
        "udev",
    ],
    // It has the manual pages that ours are installed beside.
    excluded: &[TRANSLATIONS],
    lines: 1650,
};

/// What makes it boot, in the clone.
const CUSTOMIZATION: &str = "guest/clean";

const SECTOR: u64 = 512;

/// Where the only partition begins, in sectors; the boot loader is before it.
const PARTITION_START: u32 = 2048;

/// How large it is, in MiB; it is sparse on the host.
const PARTITION_MIB: u32 = 3071;

/// What the boot loader may take of the first sector: the partition table follows.
const BOOT_CODE: usize = 440;

/// Where the boot loader is in the file system.
const GRUB: &str = "boot/grub/i386-pc";

/// The disk's image, made first if the cache has none of its key.
pub fn disk_image(ws: &Workspace, root: &BuildRoot) -> Result<PathBuf> {
    let files = ws.root.join(CUSTOMIZATION);
    let folder = ws.cache.join("guest");
    let key = content_key(&files)?;
    fs::create_dir_all(&folder)?;
    let _lock = lock::exclusive(&folder.join("clean.lock"))?;
    let archive = folder.join(format!("clean-{key}.tar"));
    if !archive.exists() {
        DEBIAN.make_with(&archive, &[hook(&files)])?;
    }
    let image = folder.join(format!("clean-{key}.disk"));
    if !image.exists() {
        make_image(root, &archive, &image)?;
    }
    Ok(image)
}

/// A name for what is made of `files`.
fn content_key(files: &Path) -> Result<String> {
    let size = PARTITION_MIB.to_le_bytes();
    let mut parts = vec![DEBIAN.key().into_bytes(), size.to_vec()];
    parts.extend(key::parts_of_folder(files)?);
    Ok(key::of(parts))
}

/// What has mmdebstrap run the customization, when the packages are there.
fn hook(files: &Path) -> String {
    let folder = command::quoted(&files.to_string_lossy());
    format!("--customize-hook={folder}/customize \"$1\" {folder}")
}

/// Makes the image of a disk with the archive's files in its partition and the boot loader before.
fn make_image(root: &BuildRoot, archive: &Path, image: &Path) -> Result<()> {
    let scratch = Scratch::new_in(image.parent().context("an image has a folder")?)?;
    let tree = scratch.path().join("tree");
    fs::create_dir(&tree)?;
    // The machine mounts its own /dev, and only root could make device nodes.
    let mut tar = Command::new("tar");
    tar.arg("-xf").arg(archive).arg("-C").arg(&tree);
    tar.args(["--numeric-owner", "--exclude=./dev/*"]);
    if !is_root() {
        // Then all is root's in the machine: only caches of manual pages suffer.
        tar.arg("--no-same-owner");
    }
    command::run(&mut tar)?;
    let disk = scratch.path().join("disk");
    make_disk(&tree.join(GRUB), &disk)?;
    let mut mke2fs = root.command(&[(scratch.path(), "/image")], "/image");
    let offset = u64::from(PARTITION_START) * SECTOR;
    mke2fs.args(["mke2fs", "-q", "-F", "-t", "ext4"]);
    mke2fs.args(["-E", &format!("root_owner=0:0,offset={offset}")]);
    mke2fs.args(["-d", "tree", "disk", &format!("{PARTITION_MIB}M")]);
    command::run(&mut mke2fs)?;
    Ok(fs::rename(disk, image)?)
}

/// Makes an empty disk with a partition table and the boot loader in the folder `grub`.
fn make_disk(grub: &Path, disk: &Path) -> Result<()> {
    let read = |name: &str| {
        let path = grub.join(name);
        fs::read(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let (boot, core) = (read("boot.img")?, read("core.img")?);
    let start = u64::from(PARTITION_START) * SECTOR;
    ensure!(
        boot.len() as u64 == SECTOR && core.len() as u64 <= start - SECTOR,
        "the boot loader does not fit before the partition"
    );
    let mut file = File::create(disk)?;
    file.set_len(start + (u64::from(PARTITION_MIB) << 20))?;
    file.write_all(&boot[..BOOT_CODE])?;
    file.seek(SeekFrom::Start(PARTITION_TABLE))?;
    file.write_all(&partition_table())?;
    // The first sector of the boot loader knows that the rest follows.
    Ok(file.write_all(&core)?)
}

/// Where a disk has the table of its partitions; the signature ends the sector.
const PARTITION_TABLE: u64 = 446;

/// One bootable partition, of Linux, that is told by sectors only.
fn partition_table() -> Vec<u8> {
    const BOOTABLE: u8 = 0x80;
    const LINUX: u8 = 0x83;
    const SIGNATURE: [u8; 2] = [0x55, 0xaa];
    let sectors = PARTITION_MIB << 11;
    let mut table = vec![BOOTABLE, 0, 0, 0, LINUX, 0, 0, 0];
    table.extend(PARTITION_START.to_le_bytes());
    table.extend(sectors.to_le_bytes());
    table.resize(64, 0);
    table.extend(SIGNATURE);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_begins_with_the_boot_loader() {
        let folder = tempfile::tempdir().unwrap();
        let disk = folder.path().join("disk");
        fs::write(folder.path().join("boot.img"), [1; 512]).unwrap();
        fs::write(folder.path().join("core.img"), [2; 1000]).unwrap();
        make_disk(folder.path(), &disk).unwrap();
        assert_eq!(fs::metadata(&disk).unwrap().len(), 3 << 30);
        let mut start = vec![0; 2048];
        std::io::Read::read_exact(&mut File::open(&disk).unwrap(), &mut start).unwrap();
        assert_eq!((start[0], start[439], start[440]), (1, 1, 0));
        assert_eq!((start[446], start[450]), (0x80, 0x83));
        assert_eq!(start[454..458], [0, 8, 0, 0]);
        assert_eq!(start[510..513], [0x55, 0xaa, 2]);
        assert_eq!((start[511 + 1000], start[512 + 1000]), (2, 0));
    }

    #[test]
    fn a_boot_loader_that_is_too_large_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("boot.img"), [1; 512]).unwrap();
        fs::write(folder.path().join("core.img"), vec![2; 1 << 20]).unwrap();
        assert!(make_disk(folder.path(), &folder.path().join("disk")).is_err());
    }
}
