// SPDX-License-Identifier: GPL-2.0-only

//! What the host itself must have: a few Debian packages, installed when missing and allowed.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{bail, Result};

use super::command;

/// A package of the host and how to tell that it is there.
#[derive(Clone, Copy, Debug)]
pub struct HostPackage {
    /// Debian's name for it.
    pub name: &'static str,
    /// A program on the path, or an absolute file name.
    pub provides: &'static str,
}

impl HostPackage {
    fn is_present(&self) -> bool {
        if self.provides.starts_with('/') {
            return Path::new(self.provides).exists();
        }
        let path = env::var_os("PATH").unwrap_or_default();
        env::split_paths(&path).any(|folder| folder.join(self.provides).is_file())
    }
}

/// Makes sure that the host has `packages`, installing what is missing.
///
/// Fails with one sentence that says what to do when it may not install, or cannot.
pub fn host_packages(packages: &[HostPackage]) -> Result<()> {
    let missing = packages
        .iter()
        .filter(|package| !package.is_present())
        .map(|package| package.name)
        .collect::<Vec<_>>();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.join(" ");
    if !is_root() {
        bail!("install what is missing on this host, as root: apt-get install {names}");
    }
    // The package lists of a fresh machine are empty or stale: fetch them and try once more.
    if apt_get(&["install", "--yes", "--no-install-recommends"], &missing)
        || apt_get(&["update"], &[])
            && apt_get(&["install", "--yes", "--no-install-recommends"], &missing)
    {
        return Ok(());
    }
    bail!("apt-get could not install {names}: is this a Debian host with a network?");
}

/// Whether this process may do as root does.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs apt-get without its noise and returns whether it worked.
fn apt_get(verb: &[&str], packages: &[&str]) -> bool {
    let mut command = Command::new("apt-get");
    command.args(verb).args(packages);
    command.env("DEBIAN_FRONTEND", "noninteractive");
    command::announce(&command);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presence_is_a_program_or_a_file() {
        let package = |provides| HostPackage {
            name: "x",
            provides,
        };
        assert!(package("sh").is_present());
        assert!(package("/bin/sh").is_present());
        assert!(!package("no-such-program-anywhere").is_present());
        assert!(!package("/no/such/file").is_present());
    }
}
