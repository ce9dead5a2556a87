// SPDX-License-Identifier: GPL-2.0-only

//! What the packaged kernel's configuration starts from: one of Debian's, or the user's own.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure, Context, Result};

use crate::build::release::{inside, Package};
use crate::build::scratch::Scratch;
use crate::build::{command, BuildRoot, Workspace};

/// The variable that chooses.
const VARIABLE: &str = "DEB_CONFIG";

/// Debian's configurations of the kernel that `configs/linux-source` pins.
const PACKAGE: Package = Package {
    name: "linux-config-7.3",
    pin: "linux-config",
};

/// A configuration to start from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Base {
    /// Debian's for virtual machines.
    Cloud,
    /// Debian's for all machines.
    Amd64,
    /// The user's own, in this file.
    Own(PathBuf),
}

impl Base {
    /// What `DEB_CONFIG` asks for; that for virtual machines when it is unset or empty.
    pub fn wanted() -> Result<Self> {
        Self::parse(&env::var(VARIABLE).unwrap_or_default())
    }

    fn parse(word: &str) -> Result<Self> {
        match word {
            "" | "cloud" => Ok(Self::Cloud),
            "amd64" => Ok(Self::Amd64),
            path if path.contains('/') => Ok(Self::Own(path.into())),
            other => bail!(
                "{VARIABLE}={other} is neither cloud nor amd64 nor the path of a configuration, \
                 such as ./{other} or /boot/config-7.3"
            ),
        }
    }

    /// A name for kernels that come of it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Cloud => "cloud",
            Self::Amd64 => "amd64",
            Self::Own(_) => "own",
        }
    }

    /// The configuration, fetched first if it is Debian's and the cache lacks it.
    pub fn file(&self, ws: &Workspace, root: &BuildRoot) -> Result<PathBuf> {
        let name = match self {
            Self::Cloud => "config.amd64_none_cloud-amd64",
            Self::Amd64 => "config.amd64_none_amd64",
            Self::Own(path) => {
                require_configuration(path)?;
                return Ok(path.clone());
            }
        };
        let place = ws.cache.join("config");
        fs::create_dir_all(&place)?;
        let release =
            PACKAGE.unpacked(ws, root, &place, |deb, folder| unpack(root, deb, folder))?;
        let path = place.join(release.key()).join(name);
        ensure!(path.exists(), "{} has no {name}", PACKAGE.name);
        Ok(path)
    }
}

/// Refuses a file that is no configuration of a kernel that we can make.
fn require_configuration(path: &Path) -> Result<()> {
    let bytes =
        fs::read(path).with_context(|| format!("cannot read {VARIABLE}={}", path.display()))?;
    ensure!(
        is_configuration(&String::from_utf8_lossy(&bytes)),
        "{VARIABLE}={} is no x86-64 kernel's configuration: name one such as /boot/config-7.3, \
         uncompressed",
        path.display()
    );
    Ok(())
}

fn is_configuration(text: &str) -> bool {
    text.lines().any(|line| line == "CONFIG_X86_64=y")
}

/// Makes `folder` that of the configurations in a package.
fn unpack(root: &BuildRoot, deb: &Path, folder: &Path) -> Result<()> {
    let download = deb.parent().context("a download has a folder")?;
    let scratch = Scratch::new_in(folder.parent().context("a folder is in one")?)?;
    let binds = [(download, "/download"), (scratch.path(), "/unpacked")];
    let mut extract = root.command(&binds, "/unpacked");
    extract.args(["dpkg-deb", "--extract"]);
    command::run(extract.arg(inside("/download", deb)).arg("."))?;
    let configs = format!("usr/src/{}", PACKAGE.name);
    let mut xz = root.command(&binds, &format!("/unpacked/{configs}"));
    xz.args(["xz", "--decompress"]);
    for entry in fs::read_dir(scratch.path().join(&configs))? {
        xz.arg(entry?.file_name());
    }
    command::run(&mut xz)?;
    let target = folder.display();
    fs::rename(scratch.path().join(&configs), folder)
        .with_context(|| format!("cannot make {target}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_base_is_debians_or_a_path() {
        assert_eq!(Base::parse("").unwrap(), Base::Cloud);
        assert_eq!(Base::parse("cloud").unwrap(), Base::Cloud);
        assert_eq!(Base::parse("amd64").unwrap(), Base::Amd64);
        for path in ["/boot/config-7.3.4", "./mine"] {
            assert_eq!(Base::parse(path).unwrap(), Base::Own(path.into()));
        }
        assert!(Base::parse("mine").is_err());
    }

    #[test]
    fn only_a_configuration_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config");
        assert!(require_configuration(&path).is_err());
        for (text, is_one) in [
            ("# words\nCONFIG_64BIT=y\nCONFIG_X86_64=y\n", true),
            ("CONFIG_ARM64=y\n", false),
            ("# CONFIG_X86_64=y\n", false),
            ("\u{1f}\u{8b}", false),
        ] {
            fs::write(&path, text).unwrap();
            assert_eq!(require_configuration(&path).is_ok(), is_one, "{text}");
        }
    }
}
