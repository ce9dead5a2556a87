// SPDX-License-Identifier: GPL-2.0-only

//! The library of `tools/aio` for 32-bit programs.
//!
//! Debian has no Rust for 32-bit x86 beside the 64-bit one, but the source of `core`, which is all
//! that the library needs. It is compiled once for a build root, as the kernel does for itself.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::preload_cargo;
use crate::build::scratch::Scratch;
use crate::build::{command, key, lock, BuildRoot, Workspace};

/// What the programs run on, as rustc names it.
const TARGET: &str = "i686-unknown-linux-gnu";

/// The source of `core` in the build root.
const CORE: &str = "/usr/lib/rustlib/src/rust/library/core/src/lib.rs";

/// What rustc links with every program: here, with nothing in it.
const BUILTINS: &str = "#![feature(compiler_builtins)]\n#![compiler_builtins]\n#![no_std]\n";

/// Compiles the library; returns its path.
pub fn library(ws: &Workspace, root: &BuildRoot) -> Result<PathBuf> {
    let sysroot = sysroot(ws, root)?;
    let mut cargo = preload_cargo(ws, root, "build", &[(&sysroot, "/sysroot")])?;
    cargo.args(["--quiet", "--package", "hipri", "--target", TARGET]);
    cargo.env("CARGO_TARGET_I686_UNKNOWN_LINUX_GNU_LINKER", "gcc");
    cargo.env("RUSTFLAGS", "--sysroot=/sysroot");
    command::run(&mut cargo)?;
    let folder = super::target_folder(ws).join(TARGET).join("release");
    Ok(folder.join("libhipri.so"))
}

/// A folder with `core` where rustc looks for it, made first if the cache has none of this root.
fn sysroot(ws: &Workspace, root: &BuildRoot) -> Result<PathBuf> {
    let parent = ws.cache.join("narrow");
    let sysroot = parent.join(key::of([root.key.as_str(), TARGET, BUILTINS]));
    let _lock = lock::exclusive(&parent.join("lock"))?;
    if !sysroot.exists() {
        let partial = Scratch::new_in(&parent)?;
        compile(root, partial.path())?;
        partial.rename(&sysroot)?;
    }
    Ok(sysroot)
}

fn compile(root: &BuildRoot, folder: &Path) -> Result<()> {
    let libraries = format!("lib/rustlib/{TARGET}/lib");
    fs::create_dir_all(folder.join(&libraries))?;
    fs::write(folder.join("builtins.rs"), BUILTINS)?;
    for (name, source) in [("core", CORE), ("compiler_builtins", "builtins.rs")] {
        let mut rustc = root.command(&[(folder, "/sysroot")], "/sysroot");
        // `core` may use what is not stable.
        rustc.args(["env", "RUSTC_BOOTSTRAP=1", "rustc", "--edition=2021"]);
        rustc.args(["--target", TARGET, "--sysroot=.", "--cap-lints=allow"]);
        rustc.args(["-O", "-Cpanic=abort", "--crate-type=rlib"]);
        rustc.args(["--crate-name", name, "-o"]);
        rustc.arg(format!("{libraries}/lib{name}.rlib")).arg(source);
        command::run(&mut rustc)?;
    }
    Ok(())
}
