// SPDX-License-Identifier: GPL-2.0-only

//! Folders for a while, removed when they are dropped.
//!
//! Nothing is dropped when a user interrupts this program. So each folder is locked until its
//! process ends, and those that nobody holds any more are removed before the next one is made.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tempfile::TempDir;

use super::lock::{self, CacheLock};

/// The name of the lock in each folder, and of the one beside all folders of a place.
const LOCK: &str = "lock";

/// An empty folder, removed with what is in it when dropped.
pub struct Scratch {
    // Removed before the lock is let go.
    _folder: TempDir,
    content: PathBuf,
    _lock: CacheLock,
}

impl Scratch {
    /// Makes one in `tmp` of the folder `place`, and so on its file system.
    pub fn new_in(place: &Path) -> Result<Self> {
        let all = place.join("tmp");
        // Until the new one has its lock, another process would take it for a leftover.
        let _lock = lock::exclusive(&all.join(LOCK))?;
        remove_leftovers(&all)?;
        let folder = tempfile::tempdir_in(&all)?;
        let lock = lock::exclusive(&folder.path().join(LOCK))?;
        let content = folder.path().join("content");
        fs::create_dir(&content)?;
        Ok(Self {
            _folder: folder,
            content,
            _lock: lock,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.content
    }

    /// Keeps it after all, as `path`.
    pub fn rename(self, path: &Path) -> Result<()> {
        fs::rename(&self.content, path).with_context(|| format!("cannot make {}", path.display()))
    }
}

/// Removes the folders in `all` whose makers are gone.
fn remove_leftovers(all: &Path) -> Result<()> {
    for entry in fs::read_dir(all)? {
        let folder = entry?.path();
        if folder.is_dir() {
            // One that cannot be removed, such as another user's, keeps nobody from working.
            let _ = remove_unless_held(&folder);
        }
    }
    Ok(())
}

fn remove_unless_held(folder: &Path) -> Result<()> {
    match lock::try_exclusive(&folder.join(LOCK))? {
        Some(_lock) => Ok(fs::remove_dir_all(folder)?),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect::<Vec<_>>();
        names.sort();
        names
    }

    #[test]
    fn it_is_removed_when_dropped() {
        let place = tempfile::tempdir().unwrap();
        let scratch = Scratch::new_in(place.path()).unwrap();
        fs::write(scratch.path().join("file"), "").unwrap();
        drop(scratch);
        assert_eq!(names(&place.path().join("tmp")), ["lock"]);
    }

    #[test]
    fn it_can_be_kept_by_another_name() {
        let place = tempfile::tempdir().unwrap();
        let scratch = Scratch::new_in(place.path()).unwrap();
        fs::write(scratch.path().join("file"), "").unwrap();
        scratch.rename(&place.path().join("kept")).unwrap();
        assert_eq!(names(&place.path().join("kept")), ["file"]);
        assert_eq!(names(&place.path().join("tmp")), ["lock"]);
    }

    #[test]
    fn what_nobody_holds_is_removed_before_the_next() {
        let place = tempfile::tempdir().unwrap();
        let all = place.path().join("tmp");
        for leftover in ["unlocked/content", "without-lock/content"] {
            fs::create_dir_all(all.join(leftover)).unwrap();
        }
        fs::write(all.join("unlocked/lock"), "").unwrap();
        let held = Scratch::new_in(place.path()).unwrap();
        assert_eq!(names(&all).len(), 2);
        let next = Scratch::new_in(place.path()).unwrap();
        assert!(held.path().exists() && next.path().exists());
        assert_eq!(names(&all).len(), 3);
    }
}
