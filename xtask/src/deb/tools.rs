// SPDX-License-Identifier: GPL-2.0-only

//! The package of hipri-run, made by debhelper from `tools/aio/debian`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{ensure, Context, Result};

use super::version::{package_version, LastChange};
use super::{packages_in, publish};
use crate::build::kmake::read_text;
use crate::build::scratch::Scratch;
use crate::build::{command, key, mirror, BuildRoot, Workspace};
use crate::series::identity::Identity;
use crate::vm::preload_programs;

/// The folder of all that is packaged, in the clone.
const SOURCE: &str = "tools/aio";

/// What of it goes into the package beside what is compiled.
const TAKEN: &[&str] = &["debian", "man", "README.md"];

/// Stands for who makes the package.
const MAINTAINER: &str = "@MAINTAINER@";

/// Makes the package and copies it to `target`; returns its path there.
pub fn package(
    ws: &Workspace,
    root: &BuildRoot,
    maintainer: &Identity,
    target: &Path,
) -> Result<PathBuf> {
    let scratch = Scratch::new_in(&ws.build)?;
    let folder = scratch.path().join("hipri-run");
    gather(ws, root, &folder)?;
    let person = format!("{} <{}>", maintainer.name, maintainer.email);
    let control = folder.join("debian/control");
    fs::write(&control, read_text(&control)?.replace(MAINTAINER, &person))?;
    let change = LastChange::of(&ws.root, [Path::new(SOURCE)]);
    let version = package_version(
        &program_version(root, &folder)?,
        &change,
        &key::of(key::parts_of_folder(&folder)?),
    );
    let changelog = changelog(&version, &person, &change.date);
    fs::write(folder.join("debian/changelog"), changelog)?;

    let mut build = root.command(&[(scratch.path(), "/package")], "/package/hipri-run");
    build.env("DEB_BUILD_OPTIONS", "noautodbgsym");
    build.args(["dpkg-buildpackage", "--build=binary", "--no-sign"]);
    build.arg("--no-check-builddeps");
    let log = target.join("hipri-run.log");
    let status = command::stream(&mut build, &log, |_| ())?;
    ensure!(
        status.success(),
        "hipri-run cannot be packaged, see {}",
        log.display()
    );
    let packages = packages_in(scratch.path())?;
    publish(
        packages.first().context("debhelper made no package")?,
        target,
    )
}

/// Makes `folder` that of all that goes into the package, compiled where need be.
fn gather(ws: &Workspace, root: &BuildRoot, folder: &Path) -> Result<()> {
    let source = ws.root.join(SOURCE);
    for name in TAKEN {
        copy(&source.join(name), &folder.join(name))?;
    }
    for (file, name) in preload_programs(ws, root)?.files() {
        copy(&file, &folder.join("built").join(name))?;
    }
    Ok(())
}

/// Copies a file, or a folder with all in it.
fn copy(from: &Path, to: &Path) -> Result<()> {
    if from.is_dir() {
        for path in mirror::everything(from)? {
            copy(&from.join(&path), &to.join(&path))?;
        }
        return Ok(());
    }
    fs::create_dir_all(to.parent().context("a file has a folder")?)?;
    fs::copy(from, to).with_context(|| format!("cannot copy {}", from.display()))?;
    Ok(())
}

/// What the program says its version is.
fn program_version(root: &BuildRoot, folder: &Path) -> Result<String> {
    let mut program = root.command(&[(folder, "/package")], "/package");
    let said = command::read(program.args(["built/bin/hipri-run", "--version"]))?;
    let version = said.strip_prefix("hipri-run ");
    Ok(version
        .context("hipri-run does not say its version")?
        .to_owned())
}

fn changelog(version: &str, maintainer: &str, date: &str) -> String {
    format!(
        "hipri-run ({version}) trixie; urgency=medium\n\n  \
           * Made from the source by `make deb`.\n\n -- {maintainer}  {date}\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLONE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

    #[test]
    fn what_is_taken_is_there() {
        for name in TAKEN {
            assert!(Path::new(CLONE).join(SOURCE).join(name).exists(), "{name}");
        }
    }

    #[test]
    fn the_control_file_leaves_open_who_makes_the_package() {
        let path = Path::new(CLONE).join(SOURCE).join("debian/control");
        let control = read_text(path).unwrap();
        assert!(control.contains(&format!("\nMaintainer: {MAINTAINER}\n")));
    }

    #[test]
    fn a_changelog_has_its_blanks_where_dpkg_wants_them() {
        let text = changelog("1+2.3", "A <a@b.c>", "Tue, 24 Nov 2026 00:22:00 +0000");
        let lines = text.lines().collect::<Vec<_>>();
        assert_eq!(lines[0], "hipri-run (1+2.3) trixie; urgency=medium");
        assert_eq!(lines[2], "  * Made from the source by `make deb`.");
        assert_eq!(lines[4], " -- A <a@b.c>  Tue, 24 Nov 2026 00:22:00 +0000");
    }
}
