// SPDX-License-Identifier: GPL-2.0-only

//! A Debian as an archive of files, made by mmdebstrap: the build root and the guest start as one.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{bail, Result};

use super::progress::Progress;
use super::{beside, command, key};

/// Debian's archive, where the build root, the kernel source and the guest come from.
pub const MIRROR: &str = "http://deb.debian.org/debian";

/// The release of the build root and the guest.
pub const SUITE: &str = "trixie";

/// What nobody reads inside either.
const EXCLUDED: &[&str] = &[
    "/usr/share/doc/*",
    "/usr/share/man/*",
    "/usr/share/locale/*",
];

/// What a Debian shall hold.
#[derive(Clone, Copy, Debug)]
pub struct Debian {
    /// What the user is told is being made.
    pub label: &'static str,
    /// mmdebstrap's variant: which packages are there unasked.
    pub variant: &'static str,
    /// The packages asked for, several to a string.
    pub packages: &'static [&'static str],
    /// How many lines mmdebstrap writes when nothing better is known.
    pub lines: u64,
}

impl Debian {
    /// A name for its content.
    pub fn key(&self) -> String {
        let packages = self.packages();
        key::of([MIRROR, SUITE, self.variant, &packages, &EXCLUDED.join(",")])
    }

    /// Makes the archive under a temporary name and renames it, so that none is ever half made.
    pub fn make(&self, archive: &Path) -> Result<()> {
        let partial = archive.with_extension("partial.tar");
        let log = archive.with_extension("log");
        let mut progress = Progress::towards(self.label, beside(archive, ".count"), self.lines);
        let mut mmdebstrap = self.mmdebstrap(&partial);
        let status = command::stream(&mut mmdebstrap, &log, |line| progress.step(line))?;
        if !status.success() {
            progress.abandon();
            let _ = fs::remove_file(&partial);
            bail!(
                "mmdebstrap could not make the {}: is there a network, and may this user make \
                 user namespaces? Its log is {}",
                self.label,
                log.display()
            );
        }
        progress.finish();
        Ok(fs::rename(partial, archive)?)
    }

    fn mmdebstrap(&self, archive: &Path) -> Command {
        let mut mmdebstrap = Command::new("mmdebstrap");
        mmdebstrap
            .args(["--verbose", "--format=tar", "--components=main"])
            .arg(format!("--variant={}", self.variant))
            .arg(format!("--include={}", self.packages()))
            .args(
                EXCLUDED
                    .iter()
                    .map(|path| format!("--dpkgopt=path-exclude={path}")),
            )
            .arg(SUITE)
            .arg(archive)
            .args([MIRROR, &format!("deb {MIRROR} {SUITE}-updates main")]);
        mmdebstrap
    }

    fn packages(&self) -> String {
        self.packages.join(" ").replace(' ', ",")
    }
}
