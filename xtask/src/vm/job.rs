// SPDX-License-Identifier: GPL-2.0-only

//! What a machine is to do: a folder with a program named `run`, handed over as a tar disk.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::build::{command, Workspace};

/// The files of a job. In the guest they lie in `/run/job`, whose `bin` is on the path.
pub struct Job {
    folder: TempDir,
}

impl Job {
    /// A job whose `run` is the shell script `guest/<script>` of the repository.
    pub fn of_script(ws: &Workspace, script: &str) -> Result<Self> {
        let scratch = ws.build.join("tmp");
        fs::create_dir_all(&scratch)?;
        let job = Self {
            folder: tempfile::tempdir_in(scratch)?,
        };
        let scripts = ws.root.join("guest");
        job.add(&scripts.join(script), "run")?;
        job.add(&scripts.join("report.sh"), "report.sh")?;
        Ok(job)
    }

    /// Adds a copy of `file` as `name`, a path inside the job; it keeps its mode.
    pub fn add(&self, file: &Path, name: &str) -> Result<()> {
        let target = self.place(name)?;
        fs::copy(file, target).with_context(|| format!("cannot copy {}", file.display()))?;
        Ok(())
    }

    /// Adds a file of the given content.
    pub fn add_text(&self, name: &str, content: &str) -> Result<()> {
        let target = self.place(name)?;
        fs::write(&target, content).with_context(|| format!("cannot write {}", target.display()))
    }

    /// Writes the whole job as a tar archive.
    pub fn write_archive(&self, archive: &Path) -> Result<()> {
        let run = self.folder.path().join("run");
        fs::set_permissions(run, fs::Permissions::from_mode(0o755))?;
        let mut tar = Command::new("tar");
        tar.args(["--owner=0", "--group=0", "-cf"]).arg(archive);
        tar.arg("-C").arg(self.folder.path()).arg(".");
        command::run(&mut tar)
    }

    fn place(&self, name: &str) -> Result<PathBuf> {
        let target = self.folder.path().join(name);
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        Ok(target)
    }
}
