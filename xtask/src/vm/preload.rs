// SPDX-License-Identifier: GPL-2.0-only

//! Programs of `tools/aio`, compiled for the guest: hipri-run and its libraries, and static ones.
//!
//! They are compiled in the build root, whose Debian is the guest's. Their crates are fetched by
//! the host's cargo, which fetched ours: how this host reaches crates.io is known to it only.

mod narrow;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::Job;
use crate::build::scratch::Scratch;
use crate::build::{command, key, lock, BuildRoot, Workspace};

/// Named, so that what runs while compiling is not compiled like the program.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// hipri-run and its libraries, linked against the guest's C library.
pub struct PreloadPrograms {
    folder: PathBuf,
    /// The library for 32-bit programs.
    narrow: PathBuf,
}

impl PreloadPrograms {
    /// Puts the program on the job's path, and the libraries where it looks for them.
    pub fn add_to(&self, job: &Job) -> Result<()> {
        self.files()
            .iter()
            .try_for_each(|(file, name)| job.add(file, name))
    }

    /// Each file and its place under a prefix such as `/usr`: the libraries are in the folders that
    /// the guest's two dynamic linkers call `$LIB`.
    pub fn files(&self) -> [(PathBuf, &'static str); 3] {
        let wide = self.folder.join("libhipri.so");
        [
            (self.folder.join("hipri-run"), "bin/hipri-run"),
            (wide, "lib/x86_64-linux-gnu/libhipri.so"),
            (self.narrow.clone(), "lib32/libhipri.so"),
        ]
    }
}

/// Compiles `tools/aio` in the build root, whose Debian is the guest's.
pub fn preload_programs(ws: &Workspace, root: &BuildRoot) -> Result<PreloadPrograms> {
    let mut cargo = preload_cargo(ws, root, "build", &[])?;
    cargo.args(["--quiet", "--package", "hipri", "--package", "hipri-run"]);
    command::run(&mut cargo)?;
    Ok(PreloadPrograms {
        folder: target_folder(ws).join("release"),
        narrow: narrow::library(ws, root)?,
    })
}

/// Compiles a program of `tools/aio` that needs no library where it runs; returns its path.
pub fn static_program(ws: &Workspace, root: &BuildRoot, package: &str) -> Result<PathBuf> {
    let mut cargo = preload_cargo(ws, root, "build", &[])?;
    cargo.args(["--quiet", "--package", package, "--target", TARGET]);
    cargo.env("RUSTFLAGS", "-Ctarget-feature=+crt-static");
    command::run(&mut cargo)?;
    let folder = target_folder(ws).join(TARGET).join("release");
    Ok(folder.join(package))
}

/// Puts the programs that README.md shows beside hipri-run on the job's path.
pub fn add_static_programs(ws: &Workspace, root: &BuildRoot, job: &Job) -> Result<()> {
    for name in ["aio-bench", "container-seccomp"] {
        let program = static_program(ws, root, name)?;
        job.add(&program, &format!("bin/{name}"))?;
    }
    Ok(())
}

/// A cargo command in the build root on the workspace `tools/aio`, with more binds of (host path,
/// path inside).
pub fn preload_cargo(
    ws: &Workspace,
    root: &BuildRoot,
    verb: &str,
    more_binds: &[(&Path, &str)],
) -> Result<Command> {
    let source = ws.root.join("tools/aio");
    let target = target_folder(ws);
    fs::create_dir_all(&target)?;
    let crates = vendored_crates(ws, &source)?;
    let mut binds = vec![
        (source.as_path(), "/src"),
        (&target, "/target"),
        (&crates, "/crates"),
    ];
    binds.extend(more_binds);
    let mut cargo = root.command(&binds, "/src");
    cargo.env("CARGO_TARGET_DIR", "/target");
    cargo.args(["cargo", verb, "--release", "--locked", "--offline"]);
    cargo.args(["--config", "source.crates-io.replace-with='vendored'"]);
    cargo.args(["--config", "source.vendored.directory='/crates'"]);
    Ok(cargo)
}

fn target_folder(ws: &Workspace) -> PathBuf {
    ws.build.join("tools-aio")
}

/// The sources of all crates in the lock file, fetched once for its content.
fn vendored_crates(ws: &Workspace, source: &Path) -> Result<PathBuf> {
    let pins = source.join("Cargo.lock");
    let pinned = fs::read(&pins).with_context(|| format!("cannot read {}", pins.display()))?;
    let parent = ws.cache.join("crates");
    let crates = parent.join(key::of([pinned]));
    let _lock = lock::exclusive(&parent.join("lock"))?;
    if crates.exists() {
        return Ok(crates);
    }
    let partial = Scratch::new_in(&parent)?;
    let mut cargo = Command::new("cargo");
    cargo.args(["vendor", "--quiet", "--locked", "--manifest-path"]);
    cargo.arg(source.join("Cargo.toml")).arg(partial.path());
    command::read(&mut cargo)
        .context("cannot fetch the crates of tools/aio: is there a network?")?;
    partial.rename(&crates)?;
    Ok(crates)
}
