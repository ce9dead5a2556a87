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
    let file = opened(path)?;
    if !locks(&file, path)? {
        eprintln!("waiting for another build that holds {}", path.display());
        flock(&file, FlockOperation::LockExclusive)?;
    }
    Ok(CacheLock { _file: file })
}

/// Takes the lock that `path` stands for, if nobody holds it.
pub fn try_exclusive(path: &Path) -> Result<Option<CacheLock>> {
    let file = opened(path)?;
    Ok(locks(&file, path)?.then_some(CacheLock { _file: file }))
}

fn opened(path: &Path) -> Result<File> {
    fs::create_dir_all(path.parent().context("a lock file has a folder")?)?;
    File::create(path).with_context(|| format!("cannot write {}", path.display()))
}

/// Whether the lock was free, and so is taken.
fn locks(file: &File, path: &Path) -> Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_until_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/lock");
        let lock = exclusive(&path).unwrap();
        assert!(try_exclusive(&path).unwrap().is_none());
        drop(lock);
        assert!(try_exclusive(&path).unwrap().is_some());
    }
}
