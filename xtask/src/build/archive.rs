// SPDX-License-Identifier: GPL-2.0-only

//! Single packages from Debian's archive, fetched inside the build root.

use std::fs;
use std::path::Path;

use anyhow::{bail, Result};

use super::root::BuildRoot;
use super::scratch::Scratch;
use super::{command, Workspace};

/// Runs `apt-get VERB...` with the lists of `entries` (lines of a sources.list) fetched afresh.
///
/// The command runs in `folder`, where a download lands. Fails with one sentence when the archive
/// cannot be reached; what apt said goes to a log that the sentence names.
pub fn fetch(
    ws: &Workspace,
    root: &BuildRoot,
    entries: &[&str],
    verb: &[&str],
    folder: &Path,
) -> Result<()> {
    let state = Scratch::new_in(&ws.cache)?;
    for subfolder in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(state.path().join(subfolder))?;
    }
    fs::write(state.path().join("sources.list"), entries.join("\n") + "\n")?;
    let log = ws.cache.join("apt.log");
    for verb in [&["update"], verb] {
        let mut apt = root.command(
            &[(state.path(), "/apt"), (folder, "/download")],
            "/download",
        );
        apt.arg("apt-get").args(OPTIONS).args(verb);
        if !command::stream(&mut apt, &log, |_| ())?.success() {
            bail!(
                "apt-get {} failed: is there a network? See {}",
                verb.join(" "),
                log.display()
            );
        }
    }
    Ok(())
}

/// Keeps apt's state out of the build root, which is read-only, and makes failures fail.
const OPTIONS: &[&str] = &[
    "--quiet",
    "--option=Dir::State::lists=/apt/lists",
    "--option=Dir::Cache=/apt/cache",
    "--option=Dir::Etc::SourceList=/apt/sources.list",
    "--option=Dir::Etc::SourceParts=/dev/null",
    "--option=APT::Sandbox::User=root",
    "--option=APT::Update::Error-Mode=any",
    "--option=Debug::NoLocking=true",
];
