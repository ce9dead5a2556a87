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

use crate::build::debian::{Debian, Packages, DOCUMENTATION};
use crate::build::scratch::Scratch;
use crate::build::{command, key, lock, Architecture, BuildRoot, Workspace};

/// What the guest has on top of a bare Debian without a package manager.
const X86: Debian = Debian {
    label: "guest",
    setup: Packages::Installed("essential"),
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
    excluded: DOCUMENTATION,
    lines: 1100,
};

/// What the stages for arm64 and a shell need.
const ARM64: Debian = Debian {
    label: "arm64 guest",
    setup: Packages::Unpacked("arm64"),
    packages: &[
        "dosfstools",
        "e2fsprogs",
        "fio",
        "iproute2",
        "libaio1t64",
        "mount",
        "procps",
        "strace",
        "xfsprogs",
    ],
    excluded: DOCUMENTATION,
    lines: 360,
};

/// The size of the disk; it is sparse on the host.
const IMAGE_SIZE: &str = "4G";

/// The guest of a workspace's architecture, on disk.
#[derive(Clone, Debug)]
pub struct Guest {
    /// Its disk.
    pub image: PathBuf,
    /// The files of its packages.
    archive: PathBuf,
}

impl Guest {
    /// The guest's disk and archive, made first if the cache has none of their keys.
    pub fn prepare(ws: &Workspace, root: &BuildRoot) -> Result<Self> {
        let debian = match ws.architecture {
            Architecture::X86 => X86,
            Architecture::Arm64 => ARM64,
        };
        let packages_key = debian.key();
        let init = fs::read(ws.root.join("guest/init")).context("cannot read guest/init")?;
        let image_key = key::of([packages_key.as_bytes(), IMAGE_SIZE.as_bytes(), &init]);

        let folder = ws.cache.join("guest");
        fs::create_dir_all(&folder)?;
        let _lock = lock::exclusive(&folder.join("lock"))?;
        let guest = Self {
            image: folder.join(format!("{image_key}.ext4")),
            archive: folder.join(format!("{packages_key}.tar")),
        };
        if !guest.archive.exists() {
            debian.make(&guest.archive)?;
        }
        if !guest.image.exists() {
            guest.make_image(ws, root, debian.setup)?;
        }
        Ok(guest)
    }

    /// Unpacks the files of its packages that match `pattern`, as tar's wildcards do, into
    /// `folder`.
    pub fn unpack(&self, pattern: &str, folder: &Path) -> Result<()> {
        let mut tar = self.tar(folder);
        command::run(tar.args(["--wildcards", pattern]))
    }

    /// Makes an ext4 image of the archive and of process 1.
    fn make_image(&self, ws: &Workspace, root: &BuildRoot, setup: Packages) -> Result<()> {
        let scratch = Scratch::new_in(self.image.parent().context("an image has a folder")?)?;
        let tree = scratch.path().join("tree");
        fs::create_dir(&tree)?;
        command::run(&mut self.tar(&tree))?;
        if let Packages::Unpacked(_) = setup {
            add_accounts(&tree)?;
        }
        fs::copy(ws.root.join("guest/init"), tree.join("init"))?;

        let mut mke2fs = root.command(&[(scratch.path(), "/image")], "/image");
        mke2fs.args(["mke2fs", "-q", "-t", "ext4", "-L", "guest"]);
        mke2fs.args(["-E", "root_owner=0:0"]);
        mke2fs.args(["-d", "tree", "guest.ext4", IMAGE_SIZE]);
        command::run(&mut mke2fs)?;
        Ok(fs::rename(scratch.path().join("guest.ext4"), &self.image)?)
    }

    /// Unpacks all, or what is named by further arguments, into `folder`.
    ///
    /// The guest mounts its own /dev, and only root could make device nodes.
    fn tar(&self, folder: &Path) -> Command {
        let mut tar = Command::new("tar");
        tar.arg("-xf").arg(&self.archive).arg("-C").arg(folder);
        tar.args(["--no-same-owner", "--exclude=./dev/*"]);
        tar
    }
}

/// Gives a system whose packages nobody configured the users and groups that base-passwd would
/// have. Nothing else that a package does when it is configured is missed.
fn add_accounts(tree: &Path) -> Result<()> {
    for name in ["passwd", "group"] {
        let master = tree.join(format!("usr/share/base-passwd/{name}.master"));
        fs::copy(&master, tree.join("etc").join(name))
            .with_context(|| format!("cannot copy {}", master.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unpacked_system_gets_its_accounts() {
        let tree = tempfile::tempdir().unwrap();
        let masters = tree.path().join("usr/share/base-passwd");
        fs::create_dir_all(&masters).unwrap();
        fs::create_dir(tree.path().join("etc")).unwrap();
        assert!(add_accounts(tree.path()).is_err());
        for name in ["passwd", "group"] {
            fs::write(masters.join(format!("{name}.master")), name).unwrap();
        }
        add_accounts(tree.path()).unwrap();
        let passwd = fs::read_to_string(tree.path().join("etc/passwd")).unwrap();
        assert_eq!(passwd, "passwd");
    }
}
