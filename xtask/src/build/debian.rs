// SPDX-License-Identifier: GPL-2.0-only

//! A Debian as an archive of files, made by mmdebstrap: the build root and the guests start as one.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{bail, Result};

use super::progress::Progress;
use super::{beside, command, key};

/// Debian's archive, where the build root, the kernel source and the guest come from.
pub const MIRROR: &str = "http://deb.debian.org/debian";

/// The release of the build root and the guests.
pub const SUITE: &str = "trixie";

/// What nobody reads inside most.
pub const DOCUMENTATION: &[&str] = &["/usr/share/doc/*", "/usr/share/man/*", TRANSLATIONS];

/// What nobody reads inside any.
pub const TRANSLATIONS: &str = "/usr/share/locale/*";

/// What becomes of packages.
#[derive(Clone, Copy, Debug)]
pub enum Packages {
    /// They are installed, with those that this variant of mmdebstrap's has unasked.
    Installed(&'static str),
    /// They are unpacked, with the essential ones: they are of this architecture, of which no
    /// program runs here, and so nothing configures them.
    Unpacked(&'static str),
}

impl Packages {
    /// mmdebstrap's name for what it starts with.
    fn variant(self) -> &'static str {
        match self {
            Self::Installed(variant) => variant,
            Self::Unpacked(_) => "extract",
        }
    }

    /// What mmdebstrap is told on top.
    fn options(self) -> Vec<String> {
        match self {
            Self::Installed(_) => Vec::new(),
            Self::Unpacked(architecture) => vec![
                format!("--architectures={architecture}"),
                "--include=?essential".to_owned(),
            ],
        }
    }
}

/// What a Debian shall hold.
#[derive(Clone, Copy, Debug)]
pub struct Debian {
    /// What the user is told is being made.
    pub label: &'static str,
    /// What becomes of its packages.
    pub setup: Packages,
    /// The packages asked for, several to a string.
    pub packages: &'static [&'static str],
    /// Which files of them are left out.
    pub excluded: &'static [&'static str],
    /// How many lines mmdebstrap writes when nothing better is known.
    pub lines: u64,
}

impl Debian {
    /// A name for its content.
    pub fn key(&self) -> String {
        let (packages, excluded) = (self.packages(), self.excluded.join(","));
        let mut parts = vec![MIRROR, SUITE, self.setup.variant(), &packages, &excluded];
        let options = self.setup.options();
        parts.extend(options.iter().map(String::as_str));
        key::of(parts)
    }

    /// Makes the archive under a temporary name and renames it, so that none is ever half made.
    pub fn make(&self, archive: &Path) -> Result<()> {
        self.make_with(archive, &[])
    }

    /// The same, with more `options` of mmdebstrap's, which the key knows nothing of.
    pub fn make_with(&self, archive: &Path, options: &[String]) -> Result<()> {
        let partial = archive.with_extension("partial.tar");
        let log = archive.with_extension("log");
        let mut progress = Progress::towards(self.label, beside(archive, ".count"), self.lines);
        let mut mmdebstrap = self.mmdebstrap(options, &partial);
        let status = command::stream(&mut mmdebstrap, &log, |line| progress.step(line))?;
        if !status.success() {
            progress.abandon();
            let _ = fs::remove_file(&partial);
            bail!(
                "mmdebstrap could not make the {}: is there a network, and may this user make \
                 user namespaces, with a range of ids in /etc/subuid and /etc/subgid? Its log is {}",
                self.label,
                log.display()
            );
        }
        progress.finish();
        Ok(fs::rename(partial, archive)?)
    }

    fn mmdebstrap(&self, options: &[String], archive: &Path) -> Command {
        let mut mmdebstrap = Command::new("mmdebstrap");
        mmdebstrap
            .args(["--verbose", "--format=tar", "--components=main"])
            .arg(format!("--variant={}", self.setup.variant()))
            .args(self.setup.options())
            .arg(format!("--include={}", self.packages()))
            .args(self.excluded.iter().map(exclusion))
            .args(options)
            .arg(SUITE)
            .arg(archive)
            .args([MIRROR, &format!("deb {MIRROR} {SUITE}-updates main")]);
        mmdebstrap
    }

    fn packages(&self) -> String {
        self.packages.join(" ").replace(' ', ",")
    }
}

fn exclusion(path: &&str) -> String {
    format!("--dpkgopt=path-exclude={path}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn debian(setup: Packages) -> Debian {
        Debian {
            label: "x",
            setup,
            packages: &["a b", "c"],
            excluded: &["/x/*"],
            lines: 1,
        }
    }

    fn arguments(setup: Packages) -> Vec<String> {
        let mmdebstrap = debian(setup).mmdebstrap(&["--x".to_owned()], Path::new("/x.tar"));
        let words = mmdebstrap.get_args().map(|word| word.to_string_lossy());
        words.map(String::from).collect()
    }

    #[test]
    fn packages_of_another_architecture_are_unpacked_only() {
        let words = arguments(Packages::Unpacked("arm64"));
        for word in [
            "--variant=extract",
            "--architectures=arm64",
            "--include=?essential",
            "--include=a,b,c",
            "--dpkgopt=path-exclude=/x/*",
            "--x",
        ] {
            assert!(words.iter().any(|other| other == word), "{words:?}");
        }
        let installed = arguments(Packages::Installed("apt"));
        assert!(installed.iter().any(|word| word == "--variant=apt"));
        assert!(!installed.iter().any(|word| word.contains("arch")));
    }

    #[test]
    fn a_key_is_of_an_architecture() {
        let key = |architecture| debian(Packages::Unpacked(architecture)).key();
        assert_ne!(key("arm64"), key("riscv64"));
        assert_ne!(key("arm64"), debian(Packages::Installed("extract")).key());
    }
}
