// SPDX-License-Identifier: GPL-2.0-only

//! Copies of source trees that follow their original, touching only what changed.

use std::collections::BTreeSet;
use std::fs::{self, Metadata};
use std::os::unix::fs::{symlink, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ignore::WalkBuilder;

use super::git::git;
use super::{beside, command};

/// The paths, relative to `tree`, of its sources.
///
/// In a git checkout these are what git tracks or would add, whatever was built in it; elsewhere
/// all files.
pub fn sources(tree: &Path) -> Result<BTreeSet<PathBuf>> {
    if !tree.join(".git").exists() {
        return everything(tree);
    }
    let mut git = git(tree);
    // A tree may belong to another user; listing its files runs nothing of it.
    git.args([
        "-c",
        "safe.directory=*",
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]);
    let listed = command::read(&mut git)?;
    Ok(listed
        .split_terminator('\0')
        .map(PathBuf::from)
        .filter(|path| fs::symlink_metadata(tree.join(path)).is_ok_and(|file| !file.is_dir()))
        .collect())
}

/// The paths, relative to `tree`, of every file and symbolic link in it but git's own.
pub fn everything(tree: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut paths = BTreeSet::new();
    let walk = WalkBuilder::new(tree)
        .standard_filters(false)
        .filter_entry(|entry| entry.file_name() != ".git")
        .build();
    for entry in walk {
        let entry = entry.with_context(|| format!("cannot list {}", tree.display()))?;
        if entry.file_type().is_some_and(|kind| !kind.is_dir()) {
            paths.insert(entry.path().strip_prefix(tree)?.to_path_buf());
        }
    }
    Ok(paths)
}

/// Makes `to` hold the files `paths` of `from`, and no others but those that `keep` names.
///
/// Files that `keep` names are left alone. A new copy takes over time stamps; what changes in a
/// copy that was there gets the current time, so that make sees it even when the original is
/// older than the objects. Returns whether anything changed.
pub fn update(
    paths: &BTreeSet<PathBuf>,
    from: &Path,
    to: &Path,
    keep: &dyn Fn(&Path) -> bool,
) -> Result<bool> {
    if !to.exists() {
        let partial = beside(to, ".partial");
        if partial.exists() {
            fs::remove_dir_all(&partial)?;
        }
        fs::create_dir_all(&partial)?;
        for path in paths {
            copy(&from.join(path), &partial.join(path), Stamp::Kept)?;
        }
        fs::rename(&partial, to)?;
        return Ok(true);
    }
    let mut changed = false;
    for path in paths.iter().filter(|path| !keep(path)) {
        if !is_same(&from.join(path), &to.join(path))? {
            copy(&from.join(path), &to.join(path), Stamp::Now)?;
            changed = true;
        }
    }
    for path in everything(to)?.difference(paths).filter(|path| !keep(path)) {
        fs::remove_file(to.join(path))?;
        changed = true;
    }
    Ok(changed)
}

/// Whether two files agree: by size, mode and time, or else by content.
fn is_same(from: &Path, to: &Path) -> Result<bool> {
    let original = fs::symlink_metadata(from)?;
    let Ok(copy) = fs::symlink_metadata(to) else {
        return Ok(false);
    };
    if original.file_type() != copy.file_type() {
        return Ok(false);
    }
    if original.is_symlink() {
        return Ok(fs::read_link(from)? == fs::read_link(to)?);
    }
    if original.len() != copy.len() || original.mode() != copy.mode() {
        return Ok(false);
    }
    Ok(modified(&original) == modified(&copy) || fs::read(from)? == fs::read(to)?)
}

fn modified(metadata: &Metadata) -> (i64, i64) {
    (metadata.mtime(), metadata.mtime_nsec())
}

/// Which time stamp a copy gets.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Stamp {
    Kept,
    Now,
}

fn copy(from: &Path, to: &Path, stamp: Stamp) -> Result<()> {
    fs::create_dir_all(to.parent().context("a file has a folder")?)?;
    if fs::symlink_metadata(to).is_ok() {
        fs::remove_file(to).with_context(|| format!("cannot replace {}", to.display()))?;
    }
    let metadata = fs::symlink_metadata(from)?;
    if metadata.is_symlink() {
        return Ok(symlink(fs::read_link(from)?, to)?);
    }
    fs::copy(from, to).with_context(|| format!("cannot copy to {}", to.display()))?;
    if stamp == Stamp::Kept {
        fs::File::open(to)?.set_modified(metadata.modified()?)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn a_copy_follows_its_original() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        write(&from.join("a/one"), "1");
        write(&from.join("two"), "2");
        symlink("two", from.join("link")).unwrap();
        let update = || update(&everything(&from).unwrap(), &from, &to, &|_| false).unwrap();
        assert!(update());
        assert!(!update());
        assert_eq!(fs::read_link(to.join("link")).unwrap(), Path::new("two"));

        let untouched = fs::metadata(to.join("two")).unwrap().modified().unwrap();
        write(&from.join("a/one"), "changed");
        assert!(update());
        assert_eq!(fs::read_to_string(to.join("a/one")).unwrap(), "changed");
        assert_eq!(
            fs::metadata(to.join("two")).unwrap().modified().unwrap(),
            untouched
        );

        fs::remove_file(from.join("two")).unwrap();
        assert!(update());
        assert!(!to.join("two").exists());
    }

    #[test]
    fn a_change_is_newer_than_objects_even_if_the_original_is_old() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        write(&from.join("file"), "new");
        write(&to.join("file"), "old");
        let built = std::time::SystemTime::now() - std::time::Duration::from_secs(5);
        let long_ago = built - std::time::Duration::from_secs(3600);
        fs::File::open(from.join("file"))
            .unwrap()
            .set_modified(long_ago)
            .unwrap();
        assert!(update(&everything(&from).unwrap(), &from, &to, &|_| false).unwrap());
        assert!(fs::metadata(to.join("file")).unwrap().modified().unwrap() > built);
    }

    #[test]
    fn kept_files_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        write(&from.join("patched"), "pristine");
        write(&to.join("patched"), "ours");
        write(&to.join("added"), "ours");
        let keep = |path: &Path| path == Path::new("patched") || path == Path::new("added");
        assert!(!update(&everything(&from).unwrap(), &from, &to, &keep).unwrap());
        assert_eq!(fs::read_to_string(to.join("patched")).unwrap(), "ours");
        assert!(to.join("added").exists());
    }

    #[test]
    fn what_a_build_left_in_a_checkout_is_no_source() {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        write(
            &tree.join(".gitignore"),
            ".*\n!.gitignore\n*.o\n/include/config/\n",
        );
        write(&tree.join("a.c"), "");
        write(&tree.join("a.o"), "");
        write(&tree.join(".config"), "");
        write(&tree.join("include/config/auto.conf"), "");
        assert_eq!(sources(&tree).unwrap().len(), 5);
        let initialised = git(&tree).args(["init", "--quiet"]).status();
        assert!(initialised.unwrap().success());
        let found = sources(&tree).unwrap();
        assert_eq!(found, [".gitignore", "a.c"].map(PathBuf::from).into());
    }
}
