// SPDX-License-Identifier: GPL-2.0-only

//! The guest's disk: a small Debian with programs that use AIO, tracers and file system tools, and
//! our process 1.
//!
//! Two steps, each cached by what it is made from: mmdebstrap's archive of packages, which needs a
//! network, and the ext4 image of it and of `guest/init`, which takes two seconds. Machines write
//! to a snapshot of the image, never to the image.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::build::debian::Debian;
use crate::build::scratch::Scratch;
use crate::build::{command, key, lock, BuildRoot, Workspace};

/// What the guest has on top of a bare Debian without a package manager.
const DEBIAN: Debian = Debian {
    label: "guest",
    variant: "essential",
    packages: &[
        "dosfstools",
        "e2fsprogs",
        "fio",
        "ioping",
        "iproute2",
        "libaio1t64",
        "libc6-i386",
        "linux-perf",
        "mandoc",
        "mount",
        "procps",
        "python3",
        "python3-aiofile",
        "python3-caio",
        "strace",
        "stressapptest",
        "sysbench",
        "trace-cmd",
        "xfsprogs",
    ],
    lines: 1100,
};

/// The size of the disk; it is sparse on the host.
const IMAGE_SIZE: &str = "4G";

/// The guest's disk image, made first if the cache has none of its key.
pub fn guest_image(ws: &Workspace, root: &BuildRoot) -> Result<PathBuf> {
    let packages_key = DEBIAN.key();
    let init = fs::read(ws.root.join("guest/init")).context("cannot read guest/init")?;
    let image_key = key::of([packages_key.as_bytes(), IMAGE_SIZE.as_bytes(), &init]);

    let folder = ws.cache.join("guest");
    fs::create_dir_all(&folder)?;
    let _lock = lock::exclusive(&folder.join("lock"))?;
    let archive = folder.join(format!("{packages_key}.tar"));
    if !archive.exists() {
        DEBIAN.make(&archive)?;
    }
    let image = folder.join(format!("{image_key}.ext4"));
    if !image.exists() {
        make_image(ws, root, &archive, &image)?;
    }
    Ok(image)
}

/// Makes an ext4 image of the archive and of process 1.
fn make_image(ws: &Workspace, root: &BuildRoot, archive: &Path, image: &Path) -> Result<()> {
    let scratch = Scratch::new_in(image.parent().context("an image has a folder")?)?;
    let tree = scratch.path().join("tree");
    fs::create_dir(&tree)?;
    // The guest mounts its own /dev, and only root could make device nodes.
    let mut tar = Command::new("tar");
    tar.arg("-xf").arg(archive).arg("-C").arg(&tree);
    command::run(tar.args(["--no-same-owner", "--exclude=./dev/*"]))?;
    fs::copy(ws.root.join("guest/init"), tree.join("init"))?;

    let mut mke2fs = root.command(&[(scratch.path(), "/image")], "/image");
    mke2fs.args([
        "mke2fs",
        "-q",
        "-t",
        "ext4",
        "-L",
        "guest",
        "-E",
        "root_owner=0:0",
    ]);
    mke2fs.args(["-d", "tree", "guest.ext4", IMAGE_SIZE]);
    command::run(&mut mke2fs)?;
    Ok(fs::rename(scratch.path().join("guest.ext4"), image)?)
}
