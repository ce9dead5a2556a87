// SPDX-License-Identifier: GPL-2.0-only

//! The kernel's packages, made by its own `bindeb-pkg`.
//!
//! They are built in a source tree and an object tree of their own: it takes long, and nobody else
//! shall have to wait for it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::configuration::Base;
use super::version::{package_version, LastChange};
use super::{packages_in, publish};
use crate::build::kmake::{read_text, run_shown, Compiler, KernelMake, Start};
use crate::build::lock::{self, CacheLock};
use crate::build::overlay::Overlay;
use crate::build::progress::Progress;
use crate::build::source::{self, Pristine};
use crate::build::{beside, config, key, stage, BuildRoot, Workspace};
use crate::series::identity::Identity;

/// The name of the object tree.
const OBJECTS: &str = "objects";

/// What is merged into the configuration, by names under `configs/`.
const FRAGMENTS: &[&str] = &["rust", "aio-rust", "deb"];

/// What the release of every kernel packaged here has in it.
const NAME: &str = "polled-aio";

/// A package that is made and left out: Debian's own serves all architectures, this one would take
/// its place and serve one.
const LEFT_OUT: &str = "linux-libc-dev_";

/// The lines of make's output that name an object, when nothing better is known.
const OBJECTS_ESTIMATE: u64 = 13_000;

/// What the packages are made with.
struct Builder<'a> {
    ws: &'a Workspace,
    root: &'a BuildRoot,
    base: &'a Base,
    maintainer: &'a Identity,
    pristine: Pristine,
    overlay: Overlay,
    tree: PathBuf,
    /// Packages land here.
    folder: PathBuf,
    /// The object tree, which is in that folder: where packages land is not for us to choose.
    objects: PathBuf,
    _lock: CacheLock,
}

/// Makes the packages and copies them to `target`; returns their paths there.
pub fn packages(
    ws: &Workspace,
    root: &BuildRoot,
    base: &Base,
    maintainer: &Identity,
    target: &Path,
) -> Result<Vec<PathBuf>> {
    let builder = Builder::prepare(ws, root, base, maintainer)?;
    let config = builder.configure(&target.join("config.log"))?;
    let version = builder.version(&config)?;
    builder.package(&version, &target.join("build.log"))?;
    let is_wanted = |package: &&PathBuf| {
        let name = package.file_name().unwrap_or_default().to_string_lossy();
        !name.starts_with(LEFT_OUT)
    };
    packages_in(&builder.folder)?
        .iter()
        .filter(is_wanted)
        .map(|package| publish(package, target))
        .collect()
}

impl<'a> Builder<'a> {
    /// Brings the source tree up to date with the clone.
    fn prepare(
        ws: &'a Workspace,
        root: &'a BuildRoot,
        base: &'a Base,
        maintainer: &'a Identity,
    ) -> Result<Self> {
        let pristine = source::pristine(ws, root)?;
        let tree = beside(&stage::folder(ws, &pristine), "-deb");
        let lock = lock::exclusive(&beside(&tree, ".lock"))?;
        let overlay = Overlay::plan(&ws.root, &pristine.path)?;
        copy_source(ws, &pristine, &overlay, &tree)?;
        let folder = pristine.objects_folder(ws, root, &format!("deb-{}", base.name()));
        let objects = folder.join(OBJECTS);
        fs::create_dir_all(&objects)?;
        Ok(Self {
            ws,
            root,
            base,
            maintainer,
            pristine,
            overlay,
            tree,
            folder,
            objects,
            _lock: lock,
        })
    }

    /// The kernel's make.
    fn make(&self) -> KernelMake<'_> {
        KernelMake {
            root: self.root,
            tree: &self.tree,
            objects: &self.objects,
            compiler: Compiler::Llvm,
            architecture: self.ws.architecture,
        }
    }

    /// Resolves the configuration, if anything that decides it changed, and returns it.
    ///
    /// Fails naming each line of the fragments that did not survive.
    fn configure(&self, log: &Path) -> Result<String> {
        let base = self.base.file(self.ws, self.root)?;
        // What MODE asks for comes last.
        let more = self.ws.fragments();
        let fragments = config::files(self.ws, FRAGMENTS.iter().chain(&more))?;
        let symbols = key::of([&self.pristine.generation, &self.overlay.kconfig_key()]);
        self.make()
            .configure(Start::File(&base), &fragments, &symbols, log)?;
        read_text(self.objects.join(".config"))
    }

    /// The version of the packages: a revision comes last, which the kernel takes for the number of
    /// its build.
    fn version(&self, config: &str) -> Result<String> {
        let key = key::of([&self.pristine.generation, &self.overlay.key(), config]);
        let change = LastChange::of(&self.ws.root, places(&self.ws.root, &self.overlay));
        let kernel = source::version(&self.pristine.path)?;
        Ok(format!("{}-1", package_version(&kernel, &change, &key)))
    }

    /// Has the kernel package itself, if not all is as it was the last time.
    fn package(&self, version: &str, log: &Path) -> Result<()> {
        let stamp = self.folder.join("packaged");
        if fs::read_to_string(&stamp).is_ok_and(|old| old == version) {
            return Ok(());
        }
        let _ = fs::remove_file(&stamp);
        super::empty(&self.folder)?;
        let name = format!("LOCALVERSION=-{NAME}-{}", self.base.name());
        let arguments = [
            name.as_str(),
            "DPKG_FLAGS=--no-check-builddeps",
            "bindeb-pkg",
        ];
        let kernel = self.make();
        let mut inside = kernel.inside()?;
        inside.arg("--bind").arg(&self.folder).arg("/deb");
        let objects = format!("/deb/{OBJECTS}");
        let mut make = kernel.make(inside, &objects, &arguments);
        make.env("KDEB_PKGVERSION", version);
        make.env("KDEB_CHANGELOG_DIST", "trixie");
        make.env("DEBFULLNAME", &self.maintainer.name);
        make.env("DEBEMAIL", &self.maintainer.email);
        let memory = beside(&self.folder, ".count");
        let progress = Progress::towards("kernel packages", memory, OBJECTS_ESTIMATE);
        run_shown(make, log, progress)?;
        Ok(fs::write(&stamp, version)?)
    }
}

/// Makes `tree` the source with the overlay in it.
///
/// A copy of a user's tree follows it whenever a command asks for it, so these take turns.
fn copy_source(ws: &Workspace, pristine: &Pristine, overlay: &Overlay, tree: &Path) -> Result<()> {
    let file = pristine.lock_file(ws);
    let follows_user = pristine.follows_user;
    let _lock = follows_user.then(|| lock::exclusive(&file)).transpose()?;
    stage::bring_up_to_date(tree, pristine, overlay)
}

/// What of the clone decides what the kernel is: folders at its top.
fn places<'a>(clone: &Path, overlay: &'a Overlay) -> BTreeSet<&'a Path> {
    let tops = overlay.files.keys().filter_map(|path| path.iter().next());
    let mut places = tops
        .map(Path::new)
        .filter(|top| clone.join(top).is_dir())
        .collect::<BTreeSet<_>>();
    places.insert(Path::new("configs"));
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::overlay::{Origin, Staged};

    #[test]
    fn the_overlays_folders_and_the_fragments_decide() {
        let clone = tempfile::tempdir().unwrap();
        fs::create_dir(clone.path().join("fs")).unwrap();
        let staged = |origin| Staged {
            content: Vec::new(),
            mode: 0o644,
            origin,
        };
        let overlay = Overlay {
            files: [
                ("fs/aio/a.rs".into(), staged(Origin::Added)),
                ("fs/Makefile".into(), staged(Origin::Patched)),
                ("MAINTAINERS".into(), staged(Origin::Patched)),
            ]
            .into(),
        };
        let found = places(clone.path(), &overlay);
        assert_eq!(found, ["configs", "fs"].map(Path::new).into());
    }

    #[test]
    fn the_fragments_are_there() {
        let configs = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../configs"));
        for name in FRAGMENTS {
            assert!(configs.join(format!("{name}.config")).exists(), "{name}");
        }
    }
}
