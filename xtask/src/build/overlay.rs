// SPDX-License-Identifier: GPL-2.0-only

//! The overlay: which files of the kernel tree this repository adds or changes, and how.
//!
//! A file at a kernel path is added; `FILE.patch` changes the tree's own FILE.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure, Context, Result};
use ignore::WalkBuilder;

use super::key;

/// Paths below a kernel folder that are user space of ours and no part of the staged tree.
const NOT_STAGED: &[&str] = &["tools/aio"];

/// What the staged tree has that the pristine tree has not, by path.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Overlay {
    /// Each file with its whole content.
    pub files: BTreeMap<PathBuf, Staged>,
}

/// A file of the overlay as it is staged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Staged {
    /// The whole content.
    pub content: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// Whether it is a new file, or a changed one.
    pub origin: Origin,
}

/// How a file of the overlay came about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Origin {
    /// The repository has the file.
    Added,
    /// The repository has a patch of the pristine file.
    Patched,
}

impl Overlay {
    /// Works out the overlay of the clone `root` on the tree `pristine`.
    ///
    /// Fails naming the file when a patch does not apply or an added file exists already.
    pub fn plan(root: &Path, pristine: &Path) -> Result<Self> {
        let mut overlay = Self::default();
        for path in overlay_paths(root, pristine)? {
            let (target, file) = stage(root, pristine, &path)?;
            if overlay.files.insert(target.clone(), file).is_some() {
                bail!(
                    "{0} and {0}.patch are both there: keep one",
                    target.display()
                );
            }
        }
        Ok(overlay)
    }

    /// A key of the whole content.
    pub fn key(&self) -> String {
        key::of(
            self.files
                .iter()
                .flat_map(|(path, file)| [path.as_os_str().as_encoded_bytes(), &file.content]),
        )
    }

    /// A key of what can change which configuration symbols there are.
    pub fn kconfig_key(&self) -> String {
        key::of(
            self.files
                .iter()
                .filter(|(path, _)| {
                    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
                    name.starts_with(b"Kconfig")
                })
                .map(|(_, file)| &file.content),
        )
    }
}

/// The overlay's own files in the clone: those in folders that the kernel has too, and patches of
/// files at the kernel's top.
fn overlay_paths(root: &Path, pristine: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    let folder = root.to_path_buf();
    let tree = pristine.to_path_buf();
    let walk = WalkBuilder::new(root)
        .standard_filters(false)
        .git_ignore(true)
        .require_git(false)
        .sort_by_file_path(Path::cmp)
        .filter_entry(move |entry| {
            let is_folder = entry.file_type().is_some_and(|kind| kind.is_dir());
            let path = entry.path().strip_prefix(&folder).unwrap_or(entry.path());
            is_overlay(path, is_folder, |path| tree.join(path).is_dir())
        })
        .build();
    for entry in walk {
        let entry = entry.context("cannot list the overlay")?;
        if entry.file_type().is_some_and(|kind| kind.is_file()) {
            paths.push(entry.path().strip_prefix(root)?.to_path_buf());
        }
    }
    Ok(paths)
}

/// Whether a path of the clone, relative to it, belongs to the overlay.
fn is_overlay(path: &Path, is_folder: bool, kernel_has: impl Fn(&Path) -> bool) -> bool {
    if NOT_STAGED.iter().any(|other| path == Path::new(other)) {
        return false;
    }
    match path.components().count() {
        0 => true,
        1 if is_folder => kernel_has(path),
        1 => super::has_extension(path, "patch"),
        _ => true,
    }
}

/// What the overlay's file `path` puts into the tree, and where.
fn stage(root: &Path, pristine: &Path, path: &Path) -> Result<(PathBuf, Staged)> {
    let source = root.join(path);
    let content = fs::read(&source).with_context(|| format!("cannot read {}", source.display()))?;
    if !super::has_extension(path, "patch") {
        ensure!(
            !pristine.join(path).exists(),
            "the kernel has {0} already: change it by {0}.patch",
            path.display()
        );
        let mode = mode(&source)?;
        return Ok((
            path.to_path_buf(),
            Staged {
                content,
                mode,
                origin: Origin::Added,
            },
        ));
    }
    let target = path.with_extension("");
    let original = pristine.join(&target);
    let old = fs::read(&original)
        .with_context(|| format!("{} changes a file the kernel has not", path.display()))?;
    let content = apply(&target, &old, &content)
        .with_context(|| format!("{} does not apply", path.display()))?;
    Ok((
        target,
        Staged {
            content,
            mode: mode(&original)?,
            origin: Origin::Patched,
        },
    ))
}

/// 0755 or 0644, as git keeps it.
fn mode(path: &Path) -> Result<u32> {
    let executable = fs::metadata(path)?.permissions().mode() & 0o100 != 0;
    Ok(if executable { 0o755 } else { 0o644 })
}

/// Applies a unified diff of the one file `target`; lines may have moved, context must agree.
fn apply(target: &Path, old: &[u8], patch: &[u8]) -> Result<Vec<u8>> {
    let patch = diffy::Patch::from_bytes(patch).context("it is no unified diff of one file")?;
    let named = patch.modified().unwrap_or_default();
    let named = named.strip_prefix(b"b/").unwrap_or(named);
    ensure!(
        named == target.as_os_str().as_encoded_bytes(),
        "its `+++` line names {}, not b/{}",
        String::from_utf8_lossy(named),
        target.display()
    );
    Ok(diffy::apply_bytes(old, &patch)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Trees {
        _folder: tempfile::TempDir,
        clone: PathBuf,
        pristine: PathBuf,
    }

    fn trees(clone: &[(&str, &str)], pristine: &[(&str, &str)]) -> Trees {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, files: &[(&str, &str)]| {
            let top = folder.path().join(name);
            for (path, text) in files {
                let path = top.join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            top
        };
        let (clone, pristine) = (write("clone", clone), write("pristine", pristine));
        Trees {
            _folder: folder,
            clone,
            pristine,
        }
    }

    fn plan(trees: &Trees) -> Result<Overlay> {
        Overlay::plan(&trees.clone, &trees.pristine)
    }

    const OLD: &str = "one\ntwo\nthree\n";
    const MOVED: &str = "zero\nnought\none\ntwo\nthree\n";
    const PATCH: &str =
        "--- a/fs/Makefile\n+++ b/fs/Makefile\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n";

    #[test]
    fn kernel_folders_are_staged_and_nothing_else() {
        let trees = trees(
            &[
                (".gitignore", "*.o\n"),
                ("Makefile", "ours"),
                ("README.md", "ours"),
                ("xtask/main.rs", "ours"),
                ("tools/aio/lib.rs", "user space"),
                ("tools/testing/.gitignore", "/binary\n"),
                ("tools/testing/binary", "built"),
                ("fs/aio/lib.rs", "new"),
                ("fs/aio/lib.o", "built"),
                ("fs/Makefile.patch", PATCH),
                (
                    "MAINTAINERS.patch",
                    &PATCH.replace("fs/Makefile", "MAINTAINERS"),
                ),
            ],
            &[
                ("fs/Makefile", OLD),
                ("tools/x", ""),
                ("MAINTAINERS", OLD),
                ("Makefile", ""),
            ],
        );
        let overlay = plan(&trees).unwrap();
        let found = overlay
            .files
            .iter()
            .map(|(path, file)| (path.to_str().unwrap(), file.origin))
            .collect::<Vec<_>>();
        assert_eq!(
            found,
            [
                ("MAINTAINERS", Origin::Patched),
                ("fs/Makefile", Origin::Patched),
                ("fs/aio/lib.rs", Origin::Added),
                ("tools/testing/.gitignore", Origin::Added),
            ]
        );
        assert_eq!(
            overlay.files[Path::new("fs/Makefile")].content,
            b"one\n2\nthree\n"
        );
    }

    #[test]
    fn a_patch_applies_where_lines_moved() {
        let trees = trees(&[("fs/Makefile.patch", PATCH)], &[("fs/Makefile", MOVED)]);
        let overlay = plan(&trees).unwrap();
        let content = &overlay.files[Path::new("fs/Makefile")].content;
        assert_eq!(content, b"zero\nnought\none\n2\nthree\n");
    }

    #[test]
    fn a_hunk_that_does_not_apply_names_the_patch() {
        let trees = trees(
            &[("fs/Makefile.patch", PATCH)],
            &[("fs/Makefile", "one\n2\nthree\n")],
        );
        let error = format!("{:#}", plan(&trees).unwrap_err());
        assert!(
            error.starts_with("fs/Makefile.patch does not apply"),
            "{error}"
        );
    }

    #[test]
    fn a_patch_must_name_its_own_file_and_have_one() {
        let other = trees(&[("fs/Kconfig.patch", PATCH)], &[("fs/Kconfig", OLD)]);
        assert!(format!("{:#}", plan(&other).unwrap_err()).contains("names fs/Makefile"));
        let none = trees(&[("fs/Makefile.patch", PATCH)], &[("fs/x", "")]);
        assert!(format!("{:#}", plan(&none).unwrap_err()).contains("the kernel has not"));
    }

    #[test]
    fn an_added_file_must_be_new() {
        let trees = trees(&[("fs/aio.c", "")], &[("fs/aio.c", "")]);
        assert!(format!("{:#}", plan(&trees).unwrap_err()).contains("fs/aio.c.patch"));
    }

    #[test]
    fn keys_follow_content() {
        let one = trees(
            &[("fs/aio/Kconfig", "a"), ("fs/aio/x.rs", "a")],
            &[("fs/x", "")],
        );
        let two = trees(
            &[("fs/aio/Kconfig", "a"), ("fs/aio/x.rs", "b")],
            &[("fs/x", "")],
        );
        let (one, two) = (plan(&one).unwrap(), plan(&two).unwrap());
        assert_ne!(one.key(), two.key());
        assert_eq!(one.kconfig_key(), two.kconfig_key());
    }
}
