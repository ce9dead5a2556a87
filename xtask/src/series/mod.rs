// SPDX-License-Identifier: GPL-2.0-only

//! `make series`: the overlay as mails, of which each is one patch with one purpose.
//!
//! The texts of `series/` say what each patch is for and what of the overlay it takes. The mails
//! are written to `build/series`, applied with git am, and must give the overlay's tree. With
//! `CHECK=1`, the kernel is built and booted after each of them.

mod checkpatch;
pub mod identity;
mod maintainer;
mod message;
mod repository;
mod script;
mod split;
mod steps;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{ensure, Result};

use crate::build::git::git;
use crate::build::overlay::Overlay;
use crate::build::{build_root, has_extension, source, Workspace};
use identity::Identity;
use message::Series;
use repository::Repository;

/// The folder of the texts, in the clone.
pub const TEXTS: &str = "series";

/// What the cover letter has in place of the kernel that the series is for.
const BASE: &str = "@BASE@";

/// The variable that has every step built and booted.
const CHECK: &str = "CHECK";

/// The variable that names the steps for that, if not all are meant.
const STEPS: &str = "STEPS";

/// Writes the series, verifies it, and lets checkpatch look at it.
pub fn series(ws: &Workspace) -> Result<ExitCode> {
    let texts = ws.root.join(TEXTS);
    let mut series = Series::read(&texts)?;
    let variable = |name| env::var(name).unwrap_or_default();
    let steps = steps::wanted(&variable(CHECK), &variable(STEPS), series.patches.len())?;
    let author = Identity::wanted(&ws.root)?;
    let root = build_root(ws)?;
    let pristine = source::pristine(ws, &root)?;
    let mut overlay = Overlay::plan(&ws.root, &pristine.path)?;
    maintainer::enter(&mut overlay, &author)?;
    series.cover = series.cover.replace(BASE, &base(&pristine.path)?);
    let stages = split::split(&overlay, &pristine.path, &series.patches)?;
    let mut repository = Repository::new(
        &ws.build,
        &pristine.path,
        &overlay,
        &author,
        last_change(&ws.root),
    )?;
    for (stage, patch) in stages.iter().zip(&series.patches) {
        repository.commit(stage, &patch.message)?;
    }
    let patches = export(&repository, &series, &ws.build.join("series"))?;
    verify(&repository, &overlay, &patches)?;
    checkpatch::check(&root, &pristine.path, &texts, &patches)?;
    if !steps.is_empty() {
        steps::check(ws, &root, &pristine, &stages, &series.patches, &steps)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the mails to `folder`, in which no older ones stay, and prints their paths.
fn export(repository: &Repository, series: &Series, folder: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(folder)?;
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if has_extension(&path, "patch") {
            fs::remove_file(path)?;
        }
    }
    let patches = repository.export(&series.cover, folder)?;
    for patch in &patches {
        println!("{}", patch.display());
    }
    Ok(patches)
}

/// Applies the mails and compares what comes out with the overlay.
fn verify(repository: &Repository, overlay: &Overlay, patches: &[PathBuf]) -> Result<()> {
    let applied = repository.applied(patches)?;
    let wanted = repository.overlaid(overlay)?;
    if applied != wanted {
        println!("{}", repository.difference(&wanted, &applied)?);
    }
    ensure!(
        applied == wanted,
        "git am of the patches does not give the overlay's tree"
    );
    println!(
        "git am: {} patches give the overlay's tree, {} files, {applied}",
        patches.len(),
        overlay.files.len()
    );
    Ok(())
}

/// The name of the kernel in `tree`, such as Linux 7.3.4.
fn base(tree: &Path) -> Result<String> {
    Ok(format!("Linux {}", source::version(tree)?))
}

/// When the clone was last committed to, so that the same commit gives the same mails.
fn last_change(clone: &Path) -> Option<String> {
    let mut git = git(clone);
    git.args(["log", "-1", "--format=%cI"]);
    let output = git.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
