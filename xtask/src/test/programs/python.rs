// SPDX-License-Identifier: GPL-2.0-only

//! The libaio module of PyPI, fetched by the host's pip.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, Context, Result};

use super::super::case::Case;
use super::super::Bench;
use crate::build::scratch::Scratch;
use crate::build::{command, key, lock};
use crate::vm::Job;

/// The module's own tests.
pub const TESTS: &str = "python-libaio tests";
/// A script of ours that uses it.
pub const DIRECT: &str = "python-libaio direct";

const RELEASE: &str = "libaio==0.9.5";
const TARBALL: &str = "libaio-0.9.5.tar.gz";
const TARBALL_SHA256: &str = "5f674b21a63389308eaf76f5fa2227cadc63d739295dc75d295cfc55c521228a";

/// Its files, which need no compiling.
const FILES: &[&str] = &[
    "__init__.py",
    "_version.py",
    "eventfd.py",
    "ioprio.py",
    "libaio.py",
    "linux_fs.py",
    "test.py",
];

/// Adds the module to the job. Returns skipped cases where the host has no pip and none was
/// fetched before.
pub fn add_module(bench: &Bench, job: &Job) -> Result<Vec<Case>> {
    let folder = bench.ws.cache.join("pypi");
    fs::create_dir_all(&folder)?;
    let _lock = lock::exclusive(&folder.join("lock"))?;
    let tarball = folder.join(TARBALL);
    if !tarball.exists() {
        let Some(pip) = pip() else {
            let skipped = |name| Case::skipped(name, "this host has no pip to fetch it with");
            return Ok([TESTS, DIRECT].map(skipped).to_vec());
        };
        fetch(pip, &folder)?;
    }
    let hash = key::file_sha256(&tarball)?;
    if hash != TARBALL_SHA256 {
        let tarball = tarball.display();
        bail!("{tarball} has the hash {hash}, not {TARBALL_SHA256}: delete it");
    }
    unpack(&tarball, &folder, job)?;
    Ok(Vec::new())
}

/// A command that is the host's pip.
fn pip() -> Option<Command> {
    let works = |pip: &mut Command| command::read(pip.arg("--version")).is_ok();
    let candidates: [&[&str]; 2] = [&["pip3"], &["python3", "-m", "pip"]];
    candidates.into_iter().find_map(|words| {
        let command = || {
            let mut command = Command::new(words[0]);
            command.args(&words[1..]);
            command
        };
        works(&mut command()).then(command)
    })
}

/// Downloads the source, whose hash pip checks before it asks it for its dependencies.
fn fetch(mut pip: Command, folder: &Path) -> Result<()> {
    let wanted = folder.join("wanted");
    let line = format!("{RELEASE} --hash=sha256:{TARBALL_SHA256}\n");
    fs::write(&wanted, line)?;
    pip.args(["download", "--quiet", "--no-deps", "--no-binary=:all:"]);
    pip.args(["--require-hashes", "--dest"]).arg(folder);
    pip.arg("--requirement").arg(&wanted);
    command::read(&mut pip).context("pip cannot fetch libaio: is there a network?")?;
    Ok(())
}

fn unpack(tarball: &Path, folder: &Path, job: &Job) -> Result<()> {
    let scratch = Scratch::new_in(folder)?;
    let mut tar = Command::new("tar");
    tar.arg("-xf").arg(tarball).arg("-C").arg(scratch.path());
    command::run(tar.arg("--strip-components=1"))?;
    let module: PathBuf = scratch.path().join("libaio");
    for file in FILES {
        job.add(&module.join(file), &format!("python/libaio/{file}"))?;
    }
    Ok(())
}
