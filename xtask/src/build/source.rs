// SPDX-License-Identifier: GPL-2.0-only

//! The kernel source the series is based on, unpacked in the cache: Debian's, or the user's own.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};

use super::progress::Progress;
use super::release::{inside, Package};
use super::root::BuildRoot;
use super::{command, key, lock, mirror, Workspace};

const PACKAGE: Package = Package {
    name: "linux-source-7.3",
    pin: "linux-source",
};

/// Checkpoints of tar (10 MiB each) when nothing better is known.
const CHECKPOINTS_ESTIMATE: u64 = 170;

/// An untouched source tree in the cache.
#[derive(Clone, Debug)]
pub struct Pristine {
    /// The tree; nobody writes to it.
    pub path: PathBuf,
    /// Names where the tree is from; trees, stages and objects are kept by it.
    pub key: String,
    /// Changes whenever the content of the tree does.
    pub generation: String,
    /// Whether the tree follows one that the user may change at any time.
    pub follows_user: bool,
}

impl Pristine {
    /// Held while the trees of this source change or are built.
    pub fn lock_file(&self, ws: &Workspace) -> PathBuf {
        lock_file(ws, &self.key)
    }

    /// Where objects of a kernel variant go: a change of compiler never mixes two kinds.
    pub fn objects_folder(&self, ws: &Workspace, root: &BuildRoot, variant: &str) -> PathBuf {
        let folder = format!("{}-{}", self.key, root.key);
        ws.cache.join("objects").join(folder).join(variant)
    }
}

fn lock_file(ws: &Workspace, key: &str) -> PathBuf {
    ws.cache.join("stage").join(format!("{key}.lock"))
}

/// The source tree to build on, fetched or copied first if the cache lacks it.
pub fn pristine(ws: &Workspace, root: &BuildRoot) -> Result<Pristine> {
    let folder = ws.cache.join("source");
    fs::create_dir_all(&folder)?;
    match &ws.kernel_src {
        Some(tree) => follow_user_tree(ws, &folder, tree),
        None => debian_tree(ws, &folder, root),
    }
}

fn debian_tree(ws: &Workspace, folder: &Path, root: &BuildRoot) -> Result<Pristine> {
    let release = PACKAGE.unpacked(ws, root, folder, |deb, tree| {
        unpack(folder, root, deb, tree)
    })?;
    let key = release.key();
    Ok(Pristine {
        path: folder.join(&key),
        generation: key.clone(),
        key,
        follows_user: false,
    })
}

/// Unpacks the source package under a temporary name, then renames it.
fn unpack(folder: &Path, root: &BuildRoot, deb: &Path, tree: &Path) -> Result<()> {
    let partial = folder.join("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    fs::create_dir_all(partial.join("tree"))?;
    let download = deb.parent().context("a download has a folder")?;
    let binds = [(download, "/download"), (partial.as_path(), "/partial")];
    let mut extract = root.command(&binds, "/partial");
    extract
        .args(["dpkg-deb", "--extract"])
        .arg(inside("/download", deb))
        .arg("/partial/deb");
    command::run(&mut extract)?;
    let mut tar = root.command(&binds, "/partial");
    tar.args([
        "tar",
        "--strip-components=1",
        "--no-same-owner",
        "-C",
        "tree",
    ]);
    tar.args(["--checkpoint=1024", "--checkpoint-action=echo=%u"]);
    tar.args(["-xf", &format!("deb/usr/src/{}.tar.xz", PACKAGE.name)]);
    let memory = folder.join("unpack.count");
    let mut progress = Progress::towards("kernel source", memory, CHECKPOINTS_ESTIMATE);
    let log = folder.join("unpack.log");
    let status = command::stream(&mut tar, &log, |_| progress.step(""))?;
    if !status.success() {
        progress.abandon();
        bail!(
            "the kernel source does not unpack: is the disk full? See {}",
            log.display()
        );
    }
    progress.finish();
    fs::rename(partial.join("tree"), tree)?;
    Ok(fs::remove_dir_all(&partial)?)
}

/// Brings a copy of the user's tree up to date; what a build left in it is not copied.
fn follow_user_tree(ws: &Workspace, folder: &Path, tree: &Path) -> Result<Pristine> {
    let tree = tree
        .canonicalize()
        .with_context(|| format!("KERNEL_SRC={} is not there", tree.display()))?;
    let makefile = fs::read_to_string(tree.join("Makefile")).unwrap_or_default();
    if !is_linux_7_3(&makefile) {
        bail!(
            "KERNEL_SRC={} is no Linux 7.3 tree: its Makefile says otherwise",
            tree.display()
        );
    }
    let paths = mirror::sources(&tree)?;
    if paths.contains(Path::new(".config")) || paths.contains(Path::new("include/config/auto.conf"))
    {
        bail!(
            "KERNEL_SRC={} was built in place: run `make mrproper` there first",
            tree.display()
        );
    }
    let key = format!("tree-{}", key::of([tree.as_os_str().as_encoded_bytes()]));
    let path = folder.join(&key);
    let _lock = lock::exclusive(&lock_file(ws, &key))?;
    let stamp = folder.join(format!("{key}.generation"));
    eprintln!("copying what changed in {}", tree.display());
    let generation = generation_after(&stamp, &key, || {
        mirror::update(&paths, &tree, &path, &|_| false)
    })?;
    Ok(Pristine {
        path,
        key,
        generation,
        follows_user: true,
    })
}

/// The generation of a tree after `update`, which says whether it changed anything.
///
/// `stamp` keeps it, but not while `update` runs: after one that was interrupted nobody can tell
/// any more what it changed, and the tree has to count as a new one.
fn generation_after(
    stamp: &Path,
    key: &str,
    update: impl FnOnce() -> Result<bool>,
) -> Result<String> {
    let before = fs::read_to_string(stamp).ok();
    if before.is_some() {
        fs::remove_file(stamp)?;
    }
    let changed = update()?;
    let generation = match before {
        Some(generation) if !changed => generation,
        _ => {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
            format!("{key}-{}", now.as_nanos())
        }
    };
    super::write_if_changed(stamp, generation.as_bytes())?;
    Ok(generation)
}

/// The version of the kernel in `tree`, such as 7.3.4.
pub fn version(tree: &Path) -> Result<String> {
    let makefile = fs::read_to_string(tree.join("Makefile"))?;
    let value = |name: &str| {
        makefile
            .lines()
            .filter_map(|line| line.split_once('='))
            .find(|(left, _)| left.trim() == name)
            .map(|(_, right)| right.trim().to_owned())
            .with_context(|| format!("the kernel's Makefile has no {name}"))
    };
    let (version, patchlevel) = (value("VERSION")?, value("PATCHLEVEL")?);
    let sublevel = match value("SUBLEVEL")?.as_str() {
        "0" => String::new(),
        number => format!(".{number}"),
    };
    let extra = value("EXTRAVERSION")?;
    Ok(format!("{version}.{patchlevel}{sublevel}{extra}"))
}

/// Whether a kernel's top Makefile says that it is of the 7.3 series.
fn is_linux_7_3(makefile: &str) -> bool {
    let says = |name: &str, value: &str| {
        makefile
            .lines()
            .filter_map(|line| line.split_once('='))
            .any(|(left, right)| left.trim() == name && right.trim() == value)
    };
    says("VERSION", "7") && says("PATCHLEVEL", "3")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generation_lasts_until_a_change_or_an_interrupt() {
        let folder = tempfile::tempdir().unwrap();
        let stamp = folder.path().join("stamp");
        let after = |changed| generation_after(&stamp, "key", || changed);
        let first = after(Ok(true)).unwrap();
        assert_eq!(after(Ok(false)).unwrap(), first);
        let second = after(Ok(true)).unwrap();
        assert_ne!(second, first);
        after(Err(anyhow::anyhow!("interrupted"))).unwrap_err();
        let third = after(Ok(false)).unwrap();
        assert_ne!(third, second);
        assert_eq!(after(Ok(false)).unwrap(), third);
    }

    #[test]
    fn a_kernel_is_named_as_it_is_released() {
        let folder = tempfile::tempdir().unwrap();
        let named = |sublevel: &str, extra: &str| {
            let text = format!(
                "VERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = {sublevel}\nEXTRAVERSION ={extra}\n"
            );
            fs::write(folder.path().join("Makefile"), text).unwrap();
            version(folder.path()).unwrap()
        };
        assert_eq!(named("4", ""), "7.3.4");
        assert_eq!(named("0", " -rc1"), "7.3-rc1");
    }

    #[test]
    fn a_user_tree_must_be_7_3() {
        assert!(is_linux_7_3("VERSION = 7\nPATCHLEVEL = 3\nSUBLEVEL = 9\n"));
        assert!(!is_linux_7_3("VERSION = 7\nPATCHLEVEL = 2\n"));
        assert!(!is_linux_7_3(""));
    }
}
