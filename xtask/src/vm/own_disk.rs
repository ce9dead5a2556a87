// SPDX-License-Identifier: GPL-2.0-only

//! Machines that boot by themselves, from their own disk, and keep what is written to it from one
//! boot to the next.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use super::accelerator::{self, Accelerator};
use super::boot::{Booted, Life};
use super::platform::Platform;
use super::{clean, qemu, Job};
use crate::build::scratch::Scratch;
use crate::build::{build_root, command, BuildRoot, Workspace};

/// A machine that nobody hands a kernel.
pub struct CleanMachine<'a> {
    ws: &'a Workspace,
    root: BuildRoot,
    accelerator: Accelerator,
    /// Its disk, and an NVMe namespace.
    disks: Scratch,
}

/// systemd stops one service after the other, on emulated processors.
const POWER_OFF: Duration = Duration::from_secs(180);

/// The size of the emulated NVMe namespace; it is sparse on the host.
const NVME_BYTES: u64 = 1 << 30;

impl<'a> CleanMachine<'a> {
    /// A machine on which nothing has been done yet.
    pub fn new(ws: &'a Workspace) -> Result<Self> {
        let root = build_root(ws)?;
        qemu::require_version(&root)?;
        let image = clean::disk_image(ws, &root)?;
        let disks = Scratch::new_in(&ws.build)?;
        let mut cp = Command::new("cp");
        cp.args(["--sparse=always", "--reflink=auto"]).arg(image);
        command::run(cp.arg(disks.path().join("disk.raw")))?;
        File::create(disks.path().join("nvme.raw"))?.set_len(NVME_BYTES)?;
        Ok(Self {
            ws,
            accelerator: accelerator::known(ws, &root)?,
            root,
            disks,
        })
    }

    /// Boots it for a job, which it ends by powering off.
    pub fn boot(
        &self,
        name: &str,
        job: &Job,
        timeout: Duration,
        seen: &mut dyn FnMut(&str),
    ) -> Result<Booted> {
        let results = self.ws.build.join("results");
        fs::create_dir_all(&results)?;
        job.write_archive(&self.disks.path().join("job.tar"))?;
        let life = Life {
            name,
            results: &results,
            provokes: job.provokes,
            timeout,
            power_off: POWER_OFF,
        };
        life.live(self.command(name, &results), seen)
    }

    fn command(&self, name: &str, results: &Path) -> Command {
        let binds = [(self.disks.path(), "/disks"), (results, "/results")];
        let mut qemu = self.root.command(&binds, "/disks");
        let platform = Platform::of(self.ws.architecture);
        qemu.args([platform.program, "-nodefaults", "-no-user-config"]);
        qemu.args(["-no-reboot", "-display", "none"]);
        qemu.args(["-machine", platform.machine, "-m", "2G"]);
        qemu.args(self.accelerator.arguments().split(' '));
        for port in ["console", "report"] {
            let file = format!("file,id={port},path=/results/{name}.{port}.log");
            qemu.args(["-chardev", &file, "-serial", &format!("chardev:{port}")]);
        }
        qemu.args(["-drive", "file=disk.raw,if=virtio,format=raw"]);
        qemu.args(["-drive", "file=job.tar,if=virtio,format=raw,readonly=on"]);
        qemu.args(["-drive", "file=nvme.raw,if=none,id=nvme0,format=raw"]);
        qemu.args(["-device", "nvme,serial=nvme0,drive=nvme0"]);
        qemu
    }
}
