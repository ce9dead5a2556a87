// SPDX-License-Identifier: GPL-2.0-only

//! The QEMU command line: which machine there is, and what it is made of.

use std::path::Path;
use std::process::Command;

use anyhow::{bail, Context, Result};

use super::accelerator::Accelerator;
use super::delayed::DelayedDisk;
use super::nvme::Nvme;
use super::pace::Pace;
use super::platform::Platform;
use crate::build::{command, BuildRoot};

/// Emulated NVMe of older versions loses completions that are polled for.
const OLDEST_VERSION: u32 = 10;

/// What every kernel is told.
///
/// An oops ends the machine at once: what runs after one proves nothing. The root's inode tables stay
/// as they are: the worker that zeroes them would still be at it when the power goes.
const PARAMETERS: &str = "root=/dev/vda rootfstype=ext4 rootflags=noinit_itable rw \
    init=/init panic=-1 oops=panic sysctl.kernel.hung_task_timeout_secs=60 \
    nvme.poll_queues=1 null_blk.nr_devices=1 null_blk.poll_queues=2";

/// Where the first serial port goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Console {
    /// Into a file, which is watched.
    Log,
    /// To the user's terminal.
    Terminal,
}

/// A machine to be.
///
/// Host paths; each file's folder is bound into the build root.
#[derive(Clone, Copy, Debug)]
pub struct Machine<'a> {
    /// What kind it is.
    pub platform: Platform,
    /// The kernel's image.
    pub kernel: &'a Path,
    /// The guest's root disk, of which a snapshot is written to.
    pub image: &'a Path,
    /// A folder with `job.tar` and the namespaces, where the snapshot goes too.
    pub scratch: &'a Path,
    /// A folder for `<name>.console.log` and `<name>.report.log`.
    pub results: &'a Path,
    /// The name of the boot.
    pub name: &'a str,
    /// NVMe devices on top of the usual one.
    pub nvmes: &'a [Nvme],
    /// Disks that take their time.
    pub delayed: &'a [DelayedDisk],
    /// Whether the monitor listens at `<name>.monitor` in the results.
    pub monitor: bool,
    /// Kernel parameters on top of the usual ones.
    pub parameters: &'a str,
    /// How the processors are run.
    pub accelerator: Accelerator,
    /// How much memory it has, and what its kernel is told of its slowness.
    pub pace: Pace,
    /// Where the console goes.
    pub console: Console,
}

impl Machine<'_> {
    /// The command that runs the machine, in the build root.
    pub fn command(&self, root: &BuildRoot) -> Result<Command> {
        let kernel = self.kernel.parent().context("a kernel has a folder")?;
        let image = self.image.parent().context("an image has a folder")?;
        let binds = [
            (kernel, "/kernel"),
            (image, "/image"),
            (self.scratch, "/scratch"),
            (self.results, "/results"),
        ];
        let mut qemu = root.command(&binds, "/scratch");
        // The snapshot is made in TMPDIR.
        qemu.env("TMPDIR", "/scratch");
        qemu.args([
            self.platform.program,
            "-nodefaults",
            "-no-user-config",
            "-no-reboot",
        ]);
        qemu.args(["-display", "none", "-machine", self.platform.machine]);
        qemu.args(["-m", self.pace.memory]);
        qemu.args(self.accelerator.arguments().split(' '));
        qemu.args(["-kernel", &in_folder("/kernel", self.kernel)]);
        qemu.args(["-append", &self.kernel_parameters()]);
        self.add_serial_ports(&mut qemu);
        self.add_disks(&mut qemu);
        if self.monitor {
            let socket = format!("unix:/results/{}.monitor,server=on,wait=off", self.name);
            qemu.args(["-qmp", &socket]);
        }
        Ok(qemu)
    }

    /// The usual ones, those of its kind and its pace, and its own, of which the last counts.
    fn kernel_parameters(&self) -> String {
        let (kind, pace) = (self.platform.parameters, self.pace.parameters);
        let all = [kind, PARAMETERS, pace, self.parameters];
        let given = all.into_iter().filter(|parameters| !parameters.is_empty());
        given.collect::<Vec<_>>().join(" ")
    }

    fn add_serial_ports(&self, qemu: &mut Command) {
        let console = match self.console {
            Console::Log => format!("file,id=console,path=/results/{}.console.log", self.name),
            Console::Terminal => "stdio,id=console,mux=on,signal=off".to_owned(),
        };
        let report = format!("file,id=report,path=/results/{}.report.log", self.name);
        qemu.args(["-chardev", &console, "-serial", "chardev:console"]);
        if self.console == Console::Terminal {
            // Ctrl-A X kills the machine.
            qemu.args(["-mon", "chardev=console"]);
        }
        qemu.args(["-chardev", &report, "-serial", "chardev:report"]);
    }

    fn add_disks(&self, qemu: &mut Command) {
        let root = in_folder("/image", self.image);
        let root = format!("file={root},if=virtio,format=raw,snapshot=on");
        qemu.args(["-drive", &root]);
        qemu.args(["-drive", "file=job.tar,if=virtio,format=raw,readonly=on"]);
        qemu.args(["-drive", "file=nvme.raw,if=none,id=nvme0,format=raw"]);
        qemu.args(["-device", "nvme,serial=nvme0,drive=nvme0"]);
        for nvme in self.nvmes {
            qemu.args(nvme.arguments());
        }
        for (index, disk) in self.delayed.iter().enumerate() {
            qemu.args(disk.arguments(index));
        }
    }
}

/// The name that `file` has inside, when its folder is bound to `folder`.
fn in_folder(folder: &str, file: &Path) -> String {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    format!("{folder}/{name}")
}

/// What QEMU says its version is.
pub fn banner(root: &BuildRoot) -> Result<String> {
    let mut qemu = root.command(&[], "/");
    let text = command::read(qemu.args(["qemu-system-x86_64", "--version"]))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// Refuses a QEMU whose NVMe device cannot be polled.
pub fn require_version(root: &BuildRoot) -> Result<()> {
    let banner = banner(root)?;
    match major_version(&banner) {
        Some(version) if version >= OLDEST_VERSION => Ok(()),
        Some(version) => bail!(
            "QEMU {version} loses polled NVMe completions: use a build root with QEMU \
             {OLDEST_VERSION} or newer"
        ),
        None => bail!("QEMU does not say its version but \"{banner}\""),
    }
}

fn major_version(banner: &str) -> Option<u32> {
    let (_, rest) = banner.split_once("version ")?;
    rest.split(['.', ' ']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_in_the_banner() {
        let banner = "QEMU emulator version 10.0.13 (Debian 1:10.0.13+ds-0+deb13u1)\nCopyright";
        assert_eq!(major_version(banner), Some(10));
        assert_eq!(
            major_version("QEMU emulator version 7.2.22 (Debian)"),
            Some(7)
        );
        assert_eq!(major_version("no such program"), None);
    }

    #[test]
    fn files_keep_their_names_inside() {
        assert_eq!(
            in_folder("/kernel", Path::new("/a/b/bzImage")),
            "/kernel/bzImage"
        );
    }
}
