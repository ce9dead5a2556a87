// SPDX-License-Identifier: GPL-2.0-only

//! The build root: a Debian trixie with every tool, so that the host's own tools do not matter.
//!
//! It is made once by mmdebstrap, never changed, and entered by bubblewrap, which binds it
//! read-only. Everything runs inside under the same paths on every machine and for every clone,
//! so that compiler caches hit.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::command;
use super::debian::{Debian, Packages, DOCUMENTATION};
use super::host::{host_packages, is_root, HostPackage};
use super::{beside, key, lock, Workspace};

/// What the host needs for making and entering a root.
const HOST_PACKAGES: &[HostPackage] = &[
    HostPackage {
        name: "mmdebstrap",
        provides: "mmdebstrap",
    },
    HostPackage {
        name: "bubblewrap",
        provides: "bwrap",
    },
    HostPackage {
        name: "debian-archive-keyring",
        provides: "/usr/share/keyrings/debian-archive-keyring.gpg",
    },
];

/// What it needs besides where the user is not root: mmdebstrap gives files to several owners.
const HOST_PACKAGES_OF_USERS: &[HostPackage] = &[HostPackage {
    name: "uidmap",
    provides: "newuidmap",
}];

/// What the build root has on top of a bare Debian.
const DEBIAN: Debian = Debian {
    label: "build root",
    setup: Packages::Installed("apt"),
    packages: &[
        // The kernel and its packages
        "bc bindgen bison ccache clang cpio debhelper dpkg-dev flex gcc kmod libc6-dev libdw-dev",
        "libelf-dev libssl-dev lld llvm make pahole perl python3 rsync rust-src rustc xz-utils",
        "zlib1g-dev",
        // Its checks
        "rust-clippy rustfmt sparse",
        // User space for the guest, in 64 and 32 bits, and for the other architecture
        "ca-certificates cargo lib32gcc-14-dev libaio-dev libc6-dev-i386",
        "gcc-aarch64-linux-gnu libc6-dev-arm64-cross",
        // The virtual machines and their disks
        "e2fsprogs qemu-system-arm qemu-system-x86",
    ],
    excluded: DOCUMENTATION,
    lines: 1500,
};

/// The same on every machine and for every clone, so that equal sources give equal objects.
const VARIABLES: &[(&str, &str)] = &[
    ("PATH", "/usr/bin:/usr/sbin"),
    ("HOME", "/tmp"),
    ("LC_ALL", "C.UTF-8"),
    ("CARGO_HOME", "/cargo"),
    ("CCACHE_DIR", "/ccache"),
    ("CCACHE_COMPILERCHECK", "content"),
    ("KBUILD_BUILD_TIMESTAMP", "2026-01-01 00:00:00 UTC"),
    ("KBUILD_BUILD_USER", "polled"),
    ("KBUILD_BUILD_HOST", "aio"),
];

/// What the host's user may have set to reach a network, and what a terminal needs.
const INHERITED: &[&str] = &["http_proxy", "https_proxy", "no_proxy", "ALL_PROXY", "TERM"];

/// A build root on disk.
#[derive(Clone, Debug)]
pub struct BuildRoot {
    /// Its content key.
    pub key: String,
    /// A script that enters it, kept by its content; a user may run it too.
    enter: PathBuf,
}

impl BuildRoot {
    /// A command that runs inside, in `workdir`, with `binds` of (host path, guest path) writable.
    ///
    /// It lacks its program: the first argument to add, after further options of bubblewrap if
    /// any. The environment is bare but for what a network needs; the network is the host's. All
    /// processes inside end with the command, and with the thread that started it.
    pub fn command(&self, binds: &[(&Path, &str)], workdir: &str) -> Command {
        let mut command = Command::new(&self.enter);
        command.env_clear();
        for name in INHERITED {
            if let Ok(value) = env::var(name) {
                command.env(name, value);
            }
        }
        for (host, guest) in binds {
            command.arg("--bind").arg(host).arg(guest);
        }
        command.args(["--chdir", workdir]);
        command
    }
}

/// The script that enters the root at `root`, with the caches of `ws` inside.
fn enter_script(root: &Path, ws: &Workspace) -> Result<String> {
    let mut options = vec!["--die-with-parent --unshare-pid --unshare-ipc".to_owned()];
    let mut option = |words: &[&str]| options.push(words.join(" "));
    if !is_root() {
        option(&["--unshare-user --uid 0 --gid 0"]);
    }
    for folder in ["usr", "etc", "var"] {
        option(&[
            "--ro-bind",
            &quoted_path(&root.join(folder))?,
            &format!("/{folder}"),
        ]);
    }
    for link in ["bin", "sbin", "lib", "lib32", "lib64"] {
        option(&["--symlink", &format!("usr/{link}"), &format!("/{link}")]);
    }
    for file in ["/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs"] {
        option(&["--ro-bind-try", file, file]);
    }
    option(&["--dev /dev --dev-bind-try /dev/kvm /dev/kvm"]);
    option(&["--proc /proc --tmpfs /tmp --tmpfs /run"]);
    for cache in ["cargo", "ccache"] {
        let folder = ws.cache.join(cache);
        fs::create_dir_all(&folder)?;
        option(&["--bind", &quoted_path(&folder)?, &format!("/{cache}")]);
    }
    for (name, value) in VARIABLES {
        option(&["--setenv", name, &command::quoted(value)]);
    }
    Ok(format!(
        "#!/bin/sh\n\
         # Runs a program in the build root: --chdir / PROGRAM ARGUMENTS...\n\
         exec bwrap \\\n  {} \\\n  \"$@\"\n",
        options.join(" \\\n  ")
    ))
}

fn quoted_path(path: &Path) -> Result<String> {
    let path = path
        .to_str()
        .with_context(|| format!("{} is no UTF-8", path.display()))?;
    Ok(command::quoted(path))
}

/// The build root, made first if the cache has none of its key.
pub fn build_root(ws: &Workspace) -> Result<BuildRoot> {
    let key = DEBIAN.key();
    let path = ws.cache.join("root").join(&key);
    let of_users = if is_root() {
        &[]
    } else {
        HOST_PACKAGES_OF_USERS
    };
    host_packages(&[HOST_PACKAGES, of_users].concat())?;
    let _lock = lock::exclusive(&beside(&path, ".lock"))?;
    if !path.exists() {
        make_root(&path)?;
    }
    let script = enter_script(&path, ws)?;
    let enter = ws
        .cache
        .join("root")
        .join(format!("enter-{}", key::of([&script])));
    super::write_if_changed(&enter, script.as_bytes())?;
    super::set_mode(&enter, 0o755)?;
    Ok(BuildRoot { key, enter })
}

/// Makes a root under a temporary name and renames it, so that none is ever half made.
fn make_root(path: &Path) -> Result<()> {
    let partial = beside(path, ".partial");
    let archive = beside(path, ".tar");
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    DEBIAN.make(&archive)?;
    unpack_root(&archive, &partial)?;
    fs::remove_file(&archive)?;
    fs::rename(&partial, path).with_context(|| format!("cannot make {}", path.display()))
}

/// Unpacks a root as the user, who then owns it: device nodes come from bubblewrap.
fn unpack_root(archive: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let mut tar = Command::new("tar");
    tar.arg("-xf").arg(archive).arg("-C").arg(folder);
    tar.args(["--no-same-owner", "--exclude=./dev/*"]);
    command::run(&mut tar)?;
    // Bubblewrap binds the host's over them and needs something to bind over.
    for file in ["etc/resolv.conf", "etc/hosts"] {
        fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.join(file))?;
    }
    Ok(())
}
