// SPDX-License-Identifier: GPL-2.0-only

//! What a machine is to do: a folder with a program named `run`, handed over as a tar disk; with
//! what it takes and what it makes the kernel say.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::delayed::DelayedDisk;
use super::nvme::Nvme;
use crate::build::scratch::Scratch;
use crate::build::{command, Workspace};

/// The files of a job. In the guest they lie in `/run/job`, whose `bin` is on the path.
pub struct Job {
    folder: Scratch,
    /// NVMe devices on top of the usual one.
    pub nvmes: Vec<Nvme>,
    /// Disks that take their time; they can be polled with [`super::DELAYED_DISK_PARAMETERS`].
    pub delayed: Vec<DelayedDisk>,
    /// Whether QEMU's monitor is to listen at `<name of the boot>.monitor` in the results.
    pub monitor: bool,
    /// Complaints that the job provokes: what they contain.
    pub provokes: &'static [&'static str],
}

impl Job {
    /// A job whose `run` is the shell script `guest/<script>` of the repository.
    pub fn of_script(ws: &Workspace, script: &str) -> Result<Self> {
        let job = Self {
            folder: Scratch::new_in(&ws.build)?,
            nvmes: Vec::new(),
            delayed: Vec::new(),
            monitor: false,
            provokes: &[],
        };
        let scripts = ws.root.join("guest");
        job.add(&scripts.join(script), "run")?;
        for library in ["report.sh", "disks.sh"] {
            job.add(&scripts.join(library), library)?;
        }
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
