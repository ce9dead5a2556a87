// SPDX-License-Identifier: GPL-2.0-only

//! The staged tree: a copy of the pristine tree with the overlay in it.
//!
//! Only files whose content changed are written, with the current time, so that a build in the
//! object tree of an earlier stage stays incremental; this holds across clones that share it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::overlay::Overlay;
use super::source::Pristine;
use super::{beside, command, key, mirror, Flavour, Workspace};

/// A source tree as it is compiled.
#[derive(Clone, Debug)]
pub struct Stage {
    /// The tree.
    pub tree: PathBuf,
    /// What is in it on top of the pristine one.
    pub overlay: Overlay,
    /// A key of its whole content.
    pub key: String,
    /// A key of what decides which configuration symbols there are.
    pub kconfig_key: String,
}

/// Brings the tree of `flavour` up to date with the clone. The source's lock is held.
pub fn staged(ws: &Workspace, pristine: &Pristine, flavour: Flavour) -> Result<Stage> {
    let overlay = match flavour {
        Flavour::Rust => Overlay::plan(&ws.root, &pristine.path)?,
        Flavour::C => Overlay::default(),
    };
    let key = key::of([&pristine.generation, &overlay.key()]);
    let kconfig_key = key::of([&pristine.generation, &overlay.kconfig_key()]);
    let tree = match flavour {
        Flavour::Rust => folder(ws, pristine),
        Flavour::C => pristine.path.clone(),
    };
    if flavour == Flavour::Rust {
        bring_up_to_date(&tree, pristine, &overlay)?;
    }
    Ok(Stage {
        tree,
        overlay,
        key,
        kconfig_key,
    })
}

/// Where the tree with the overlay is.
pub fn folder(ws: &Workspace, pristine: &Pristine) -> PathBuf {
    ws.cache.join("stage").join(&pristine.key)
}

/// Copies a staged tree with its time stamps: what was made from it is as good for the copy.
pub fn duplicate(tree: &Path, copy: &Path) -> Result<()> {
    fs::copy(beside(tree, ".overlay"), beside(copy, ".overlay"))?;
    copy_folder(tree, copy)
}

/// Makes `tree` the pristine one with `overlay` in it; who calls has locked it against others.
pub fn bring_up_to_date(tree: &Path, pristine: &Pristine, overlay: &Overlay) -> Result<()> {
    let record = beside(tree, ".overlay");
    let before = if tree.exists() {
        read_record(&record)?
    } else {
        copy_tree(pristine, tree)?
    };
    let now = overlay.files.keys().cloned().collect::<BTreeSet<_>>();
    // Should this be interrupted, the next run still knows each path that may differ.
    write_record(&record, before.union(&now))?;
    if pristine.follows_user {
        let paths = mirror::everything(&pristine.path)?;
        let ours = |path: &Path| before.contains(path) || now.contains(path);
        mirror::update(&paths, &pristine.path, tree, &ours)?;
    }
    for path in before.difference(&now) {
        restore(tree, &pristine.path, path)?;
    }
    for (path, file) in &overlay.files {
        let path = tree.join(path);
        super::write_if_changed(&path, &file.content)?;
        super::set_mode(&path, file.mode)?;
    }
    write_record(&record, now.iter())
}

/// Copies the pristine tree; no path differs yet.
fn copy_tree(pristine: &Pristine, tree: &Path) -> Result<BTreeSet<PathBuf>> {
    copy_folder(&pristine.path, tree)?;
    Ok(BTreeSet::new())
}

/// Copies a folder under a temporary name and renames it.
fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    let partial = beside(to, ".partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    fs::create_dir_all(to.parent().context("a tree has a folder")?)?;
    let mut cp = Command::new("cp");
    cp.args(["--archive", "--reflink=auto"])
        .args([from, &partial]);
    command::run(&mut cp)?;
    Ok(fs::rename(&partial, to)?)
}

/// Gives a path that left the overlay its pristine content, or removes it.
fn restore(tree: &Path, pristine: &Path, path: &Path) -> Result<()> {
    let (original, staged) = (pristine.join(path), tree.join(path));
    if original.exists() {
        super::write_if_changed(&staged, &fs::read(&original)?)?;
        return Ok(fs::set_permissions(
            &staged,
            fs::metadata(&original)?.permissions(),
        )?);
    }
    match fs::remove_file(&staged) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    for folder in path.ancestors().skip(1) {
        // Fails, as it should, on the first folder that has other files.
        if pristine.join(folder).exists() || fs::remove_dir(tree.join(folder)).is_err() {
            break;
        }
    }
    Ok(())
}

fn read_record(record: &Path) -> Result<BTreeSet<PathBuf>> {
    let text = fs::read_to_string(record)
        .with_context(|| format!("{} is lost: remove the folder beside it", record.display()))?;
    Ok(text.lines().map(PathBuf::from).collect())
}

fn write_record<'a>(record: &Path, paths: impl Iterator<Item = &'a PathBuf>) -> Result<()> {
    let lines = paths
        .map(|path| format!("{}\n", path.display()))
        .collect::<Vec<_>>()
        .concat();
    super::write_if_changed(record, lines.as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::overlay::{Origin, Staged};
    use super::*;

    struct Trees {
        _folder: tempfile::TempDir,
        pristine: Pristine,
        tree: PathBuf,
    }

    fn trees() -> Trees {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pristine");
        fs::create_dir_all(path.join("fs")).unwrap();
        fs::write(path.join("fs/Makefile"), "old").unwrap();
        fs::write(path.join("fs/other.c"), "other").unwrap();
        let pristine = Pristine {
            path,
            key: "key".to_owned(),
            generation: "1".to_owned(),
            follows_user: false,
        };
        Trees {
            tree: folder.path().join("stage"),
            pristine,
            _folder: folder,
        }
    }

    fn overlay(files: &[(&str, &str)]) -> Overlay {
        let staged = |text: &str| Staged {
            content: text.into(),
            mode: 0o644,
            origin: Origin::Added,
        };
        Overlay {
            files: files
                .iter()
                .map(|(path, text)| (path.into(), staged(text)))
                .collect(),
        }
    }

    fn modified(path: &Path) -> std::time::SystemTime {
        fs::metadata(path).unwrap().modified().unwrap()
    }

    #[test]
    fn only_changes_are_written() {
        let t = trees();
        let first = overlay(&[
            ("fs/Makefile", "new"),
            ("fs/aio/a.rs", "a"),
            ("fs/aio/b.rs", "b"),
        ]);
        bring_up_to_date(&t.tree, &t.pristine, &first).unwrap();
        let makefile = modified(&t.tree.join("fs/Makefile"));
        let other = modified(&t.tree.join("fs/other.c"));
        assert_eq!(other, modified(&t.pristine.path.join("fs/other.c")));

        let second = overlay(&[("fs/Makefile", "new"), ("fs/aio/a.rs", "changed")]);
        bring_up_to_date(&t.tree, &t.pristine, &second).unwrap();
        assert_eq!(modified(&t.tree.join("fs/Makefile")), makefile);
        assert_eq!(
            fs::read_to_string(t.tree.join("fs/aio/a.rs")).unwrap(),
            "changed"
        );
        assert!(!t.tree.join("fs/aio/b.rs").exists());
    }

    #[test]
    fn what_leaves_the_overlay_is_restored_as_a_change() {
        let t = trees();
        let both = overlay(&[("fs/Makefile", "new"), ("fs/aio/a.rs", "a")]);
        bring_up_to_date(&t.tree, &t.pristine, &both).unwrap();
        let patched = modified(&t.tree.join("fs/Makefile"));
        bring_up_to_date(&t.tree, &t.pristine, &overlay(&[])).unwrap();
        assert_eq!(
            fs::read_to_string(t.tree.join("fs/Makefile")).unwrap(),
            "old"
        );
        assert!(modified(&t.tree.join("fs/Makefile")) >= patched);
        assert!(!t.tree.join("fs/aio").exists());
        assert!(t.tree.join("fs/other.c").exists());
    }

    #[test]
    fn a_copy_is_as_old_as_the_tree_and_knows_what_differs() {
        let t = trees();
        let first = overlay(&[("fs/Makefile", "new"), ("fs/aio/a.rs", "a")]);
        bring_up_to_date(&t.tree, &t.pristine, &first).unwrap();
        let copy = beside(&t.tree, "-copy");
        duplicate(&t.tree, &copy).unwrap();
        let makefile = |tree: &Path| modified(&tree.join("fs/Makefile"));
        assert_eq!(makefile(&copy), makefile(&t.tree));
        bring_up_to_date(&copy, &t.pristine, &overlay(&[("fs/Makefile", "new")])).unwrap();
        assert_eq!(makefile(&copy), makefile(&t.tree));
        assert!(!copy.join("fs/aio").exists());
    }

    #[test]
    fn a_users_tree_is_followed_around_the_overlay() {
        let mut t = trees();
        t.pristine.follows_user = true;
        let ours = overlay(&[("fs/Makefile", "new"), ("fs/aio/a.rs", "a")]);
        bring_up_to_date(&t.tree, &t.pristine, &ours).unwrap();
        fs::write(t.pristine.path.join("fs/other.c"), "edited").unwrap();
        bring_up_to_date(&t.tree, &t.pristine, &ours).unwrap();
        assert_eq!(
            fs::read_to_string(t.tree.join("fs/other.c")).unwrap(),
            "edited"
        );
        assert_eq!(
            fs::read_to_string(t.tree.join("fs/Makefile")).unwrap(),
            "new"
        );
        assert!(t.tree.join("fs/aio/a.rs").exists());
    }
}
