// SPDX-License-Identifier: GPL-2.0-only

//! Packages of Debian's kernel, of which the repository pins a version, unpacked in the cache.
//!
//! The newest one is taken; that of the pinned version is verified by its hash.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{bail, Context, Result};
use serde::{Deserialize, Serialize};

use super::debian::{MIRROR, SUITE};
use super::root::BuildRoot;
use super::scratch::Scratch;
use super::{archive, command, key, lock, Workspace};

/// A package in the backports of the build root's release.
#[derive(Clone, Copy, Debug)]
pub struct Package {
    /// Its name.
    pub name: &'static str,
    /// The file under `configs/` that pins it: a line `version V` and a line `sha256 H`.
    pub pin: &'static str,
}

/// A version of a package.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Release {
    /// Debian's version.
    pub version: String,
    /// The hash of the whole package.
    pub sha256: String,
}

impl Release {
    /// The name of the folder with what is in it.
    pub fn key(&self) -> String {
        format!("{}-{}", self.version.replace('~', "."), &self.sha256[..8])
    }
}

impl Package {
    /// The release that an earlier run took for this pin, or else the newest one, of which `unpack`
    /// makes the folder `place/<key>`, given the package's file.
    pub fn unpacked(
        &self,
        ws: &Workspace,
        root: &BuildRoot,
        place: &Path,
        unpack: impl FnOnce(&Path, &Path) -> Result<()>,
    ) -> Result<Release> {
        let pin = self.pinned(ws)?;
        let record = place.join(format!("{}.json", pin.key()));
        let _lock = lock::exclusive(&place.join("lock"))?;
        if let Some(release) = recorded(&record, place) {
            return Ok(release);
        }
        let download = Scratch::new_in(place)?;
        let deb = self.download(ws, root, download.path())?;
        let release = release_of(root, &deb)?;
        self.verify(&release, &pin)?;
        unpack(&deb, &place.join(release.key()))?;
        fs::write(&record, serde_json::to_vec_pretty(&release)?)?;
        Ok(release)
    }

    fn pinned(&self, ws: &Workspace) -> Result<Release> {
        let path = ws.root.join("configs").join(self.pin);
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        self.parse_pin(&text)
    }

    fn parse_pin(&self, text: &str) -> Result<Release> {
        let value = |name: &str| {
            text.lines()
                .filter_map(|line| line.split_once(' '))
                .find(|(word, _)| *word == name)
                .map(|(_, value)| value.trim().to_owned())
                .with_context(|| format!("configs/{} has no line `{name}`", self.pin))
        };
        Ok(Release {
            version: value("version")?,
            sha256: value("sha256")?,
        })
    }

    fn download(&self, ws: &Workspace, root: &BuildRoot, folder: &Path) -> Result<PathBuf> {
        let entry = format!("deb {MIRROR} {SUITE}-backports main");
        archive::fetch(ws, root, &[&entry], &["download", self.name], folder)?;
        fs::read_dir(folder)?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .find(|path| super::has_extension(path, "deb"))
            .with_context(|| format!("apt-get downloaded no {}", self.name))
    }

    fn verify(&self, release: &Release, pin: &Release) -> Result<()> {
        if release.version != pin.version {
            eprintln!(
                "Debian offers {} {} (sha256 {}); this repository was made with {}. Going on.",
                self.name, release.version, release.sha256, pin.version
            );
        } else if release.sha256 != pin.sha256 {
            bail!(
                "{} {} has sha256 {}, not {} as in configs/{}: do not use it",
                self.name,
                release.version,
                release.sha256,
                pin.sha256,
                self.pin
            );
        }
        Ok(())
    }
}

/// What an earlier run took for this pin, if its folder is still there.
fn recorded(record: &Path, place: &Path) -> Option<Release> {
    let release: Release = serde_json::from_slice(&fs::read(record).ok()?).ok()?;
    place.join(release.key()).exists().then_some(release)
}

fn release_of(root: &BuildRoot, deb: &Path) -> Result<Release> {
    let folder = deb.parent().context("a download has a folder")?;
    let mut query = root.command(&[(folder, "/download")], "/download");
    query.args(["dpkg-deb", "--field"]);
    query.arg(inside("/download", deb)).arg("Version");
    Ok(Release {
        version: command::read(&mut query)?,
        sha256: key::file_sha256(deb)?,
    })
}

/// A file's path inside the build root, where its folder is bound to `folder`.
pub fn inside(folder: &str, file: &Path) -> PathBuf {
    Path::new(folder).join(file.file_name().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKAGE: Package = Package {
        name: "linux-x",
        pin: "linux-x",
    };

    #[test]
    fn the_pin_is_read_and_named() {
        let text = "# words\nversion 7.3.4-1~bpo13+1\nsha256 0123456789abcdef\n";
        let pin = PACKAGE.parse_pin(text).unwrap();
        assert_eq!(pin.key(), "7.3.4-1.bpo13+1-01234567");
        let error = PACKAGE.parse_pin("version 7.3.4\n").unwrap_err();
        assert_eq!(error.to_string(), "configs/linux-x has no line `sha256`");
    }

    #[test]
    fn a_pin_binds_its_own_version_only() {
        let release = |version: &str, sha256: &str| Release {
            version: version.to_owned(),
            sha256: sha256.to_owned(),
        };
        let verify = |release, pin| PACKAGE.verify(&release, &pin);
        assert!(verify(release("7.3.4", "a"), release("7.3.4", "a")).is_ok());
        assert!(verify(release("7.3.4", "b"), release("7.3.4", "a")).is_err());
        assert!(verify(release("7.3.5", "b"), release("7.3.4", "a")).is_ok());
    }

    #[test]
    fn what_was_taken_counts_while_it_is_there() {
        let place = tempfile::tempdir().unwrap();
        let record = place.path().join("record.json");
        let release = Release {
            version: "1".to_owned(),
            sha256: "0123456789".to_owned(),
        };
        fs::write(&record, serde_json::to_vec(&release).unwrap()).unwrap();
        assert_eq!(recorded(&record, place.path()), None);
        fs::create_dir(place.path().join(release.key())).unwrap();
        assert_eq!(recorded(&record, place.path()), Some(release));
    }
}
