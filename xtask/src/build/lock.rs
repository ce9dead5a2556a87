// SPDX-License-Identifier: GPL-2.0-only

//! Locks on the cache: clones and commands that share it take turns.

use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{flock, FlockOperation};
use rustix::io::Errno;

/// Held until dropped, or until the process ends in whatever way.
#[must_use]
pub struct CacheLock {
    _file: File,
}

/// Takes the lock that `path` stands for; says so when it has to wait for another process.
///
/// It is not recursive: a process that asks twice waits for itself.
pub fn exclusive(path: &Path) -> Result<CacheLock> {
    fs::create_dir_all(path.parent().context("a lock file has a folder")?)?;
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    if let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        if error != Errno::WOULDBLOCK {
            return Err(error).with_context(|| format!("cannot lock {}", path.display()));
        }
        eprintln!("waiting for another build that holds {}", path.display());
        flock(&file, FlockOperation::LockExclusive)?;
    }
    Ok(CacheLock { _file: file })
}
