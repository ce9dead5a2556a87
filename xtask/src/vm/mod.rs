// SPDX-License-Identifier: GPL-2.0-only

//! Virtual machines: a kernel, Debian's user space, emulated devices, and a job to run.
//!
//! A machine is booted for one job and thrown away. What the job says comes back as a report on a
//! serial port of its own; the console is watched while the machine runs and searched for splats
//! at the end. A machine that dies, hangs or never says how its job ended is [`Lost`], which is
//! not the same as a job that failed.

mod accelerator;
mod boot;
mod clean;
mod delayed;
mod follow;
mod image;
mod job;
mod lost;
mod monitor;
mod nvme;
mod own_disk;
mod pace;
mod platform;
mod preload;
mod qemu;
mod races;
pub mod report;
mod splat;

pub use accelerator::NS_PER_INSTRUCTION;
pub use boot::{Boot, Booted};
pub use delayed::{DelayedDisk, PARAMETERS as DELAYED_DISK_PARAMETERS};
pub use job::Job;
pub use lost::Lost;
pub use monitor::Monitor;
pub use nvme::Nvme;
pub use own_disk::CleanMachine;
pub use preload::{
    add_static_programs, preload_cargo, preload_programs, static_program, PreloadPrograms,
};
pub use qemu::banner as qemu_banner;
pub use splat::kernel_message;

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::build::{build_root, BuildRoot, Workspace};
use accelerator::Accelerator;
use image::Guest;
use pace::Pace;

/// What every boot on this host has in common.
#[derive(Clone)]
pub struct Host<'a> {
    /// Where results and scratch files go.
    pub ws: &'a Workspace,
    /// The root that QEMU and the compilers come from.
    pub root: BuildRoot,
    /// What the machines start from.
    pub guest: Guest,
    accelerator: Accelerator,
    pace: Pace,
}

impl<'a> Host<'a> {
    /// Readies the build root and the guest's disk, and finds out whether KVM can boot `kernel`.
    pub fn prepare(ws: &'a Workspace, kernel: &Path) -> Result<Self> {
        let root = build_root(ws)?;
        qemu::require_version(&root)?;
        let guest = Guest::prepare(ws, &root)?;
        let accelerator = Accelerator::Emulation;
        let mut host = Self {
            ws,
            root,
            guest,
            accelerator,
            pace: Pace::of(ws.mode.as_deref()),
        };
        host.accelerator = accelerator::choose(&mut host, kernel)?;
        Ok(host)
    }

    /// The same, but for machines of one processor whose clocks count its instructions.
    pub fn with_instruction_clock(&self) -> Self {
        Self {
            accelerator: Accelerator::InstructionClock,
            ..self.clone()
        }
    }

    /// How the processors of its machines are run, in QEMU's words.
    pub fn accelerator(&self) -> &'static str {
        self.accelerator.arguments()
    }

    /// The folder where logs and verdicts go.
    pub fn results(&self) -> PathBuf {
        self.ws.build.join("results")
    }
}
