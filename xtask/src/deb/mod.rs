// SPDX-License-Identifier: GPL-2.0-only

//! `make deb`: Debian packages, of the kernel from a distribution's configuration and of hipri-run.
//!
//! With `CHECK=1`, they are installed in a Debian that boots by itself, from its own disk, and what
//! they promise is tried there.

mod check;
mod configuration;
mod kernel;
mod tools;
mod version;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{ensure, Context, Result};

use crate::build::{build_root, has_extension, Flavour, Workspace};
use crate::series::identity::Identity;
use crate::variable;
use configuration::Base;

/// The variable that has the packages installed and tried.
const CHECK: &str = "CHECK";

/// Whose packages they are when git does not say who makes them.
const NOBODY: (&str, &str) = ("Polled AIO", "root@localhost");

/// Makes the packages, prints their paths, and with `CHECK=1` tries them.
pub fn deb(ws: &Workspace, flavour: Flavour) -> Result<ExitCode> {
    ensure!(
        flavour == Flavour::Rust,
        "KERNEL=c is Debian's own kernel: install its packages instead"
    );
    let is_checked = variable::is_check_wanted(&env::var(CHECK).unwrap_or_default())?;
    let base = Base::wanted()?;
    let maintainer = maintainer(ws);
    let root = build_root(ws)?;
    let folder = ws.build.join("deb");
    empty(&folder)?;
    let tools = tools::package(ws, &root, &maintainer, &folder)?;
    let kernel = kernel::packages(ws, &root, &base, &maintainer, &folder)?;
    let packages = [vec![tools], kernel].concat();
    for package in &packages {
        println!("{} ({})", package.display(), size(package)?);
    }
    if is_checked {
        return check::check(ws, &root, &packages);
    }
    println!("to install them: apt install build/deb/*.deb");
    Ok(ExitCode::SUCCESS)
}

fn maintainer(ws: &Workspace) -> Identity {
    let (name, email) = NOBODY;
    Identity::configured(&ws.root).unwrap_or(Identity {
        name: name.to_owned(),
        email: email.to_owned(),
    })
}

/// Makes `folder` one without packages: those of another version must not be installed with ours.
fn empty(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    for package in packages_in(folder)? {
        fs::remove_file(package)?;
    }
    Ok(())
}

/// The packages in `folder`, by their names.
fn packages_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut packages = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if has_extension(&path, "deb") {
            packages.push(path);
        }
    }
    packages.sort();
    Ok(packages)
}

/// Copies a package to `folder`; returns its path there.
fn publish(package: &Path, folder: &Path) -> Result<PathBuf> {
    let name = package.file_name().context("a package has a name")?;
    let target = folder.join(name);
    fs::copy(package, &target).with_context(|| format!("cannot write {}", target.display()))?;
    Ok(target)
}

/// The size of a file, for readers.
fn size(file: &Path) -> Result<String> {
    Ok(match fs::metadata(file)?.len() {
        bytes if bytes < 1 << 20 => format!("{} KiB", bytes.div_ceil(1 << 10)),
        bytes => format!("{} MiB", bytes.div_ceil(1 << 20)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_packages_do_not_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["b.deb", "a.deb", "build.log"] {
            fs::write(path(name), "").unwrap();
        }
        let found = packages_in(folder.path()).unwrap();
        assert_eq!(found, [path("a.deb"), path("b.deb")]);
        empty(folder.path()).unwrap();
        assert!(packages_in(folder.path()).unwrap().is_empty());
        assert!(path("build.log").exists());
    }

    #[test]
    fn sizes_are_rounded_up() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        let size_of = |bytes: usize| {
            fs::write(&file, vec![0; bytes]).unwrap();
            size(&file).unwrap()
        };
        assert_eq!(size_of(1), "1 KiB");
        assert_eq!(size_of((1 << 20) + 1), "2 MiB");
    }
}
