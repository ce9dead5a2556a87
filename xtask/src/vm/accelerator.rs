// SPDX-License-Identifier: GPL-2.0-only

//! KVM where it works, emulation elsewhere.
//!
//! A /dev/kvm can exist, accept a machine and never run it, so only a machine that booted proves
//! anything. The verdict is kept in the cache for the running host kernel.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use super::{Boot, Host, Job, Lost};
use crate::build::{key, Architecture, BuildRoot, Workspace};

/// How the processors of a machine are run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Accelerator {
    /// By the host's processors.
    Kvm,
    /// By translation, one host thread for each.
    Emulation,
    /// By translation too, from the instructions of 64-bit Arm.
    Arm64Emulation,
    /// By translation, one processor only, whose every instruction takes [`NS_PER_INSTRUCTION`] on
    /// all clocks of the guest.
    InstructionClock,
}

/// Virtual nanoseconds: `shift=1`, two to the power of that.
pub const NS_PER_INSTRUCTION: f64 = 2.0;

/// A machine that works is up in two seconds.
const PROBE_TIMEOUT: Duration = Duration::from_secs(15);

impl Accelerator {
    /// What QEMU is told: arguments with a space between them.
    ///
    /// Five-level page tables only cost time where page walks are emulated, and so do the signed
    /// pointers of Arm's newest processors; this one, of servers, has none, but atomic instructions.
    pub fn arguments(self) -> &'static str {
        match self {
            Self::Kvm => "-accel kvm -cpu host -smp 2",
            Self::Emulation => "-accel tcg,thread=multi -cpu max,la57=off -smp 2",
            Self::Arm64Emulation => "-accel tcg,thread=multi -cpu neoverse-n1 -smp 2",
            Self::InstructionClock => {
                "-accel tcg -icount shift=1,sleep=off -cpu max,la57=off -smp 1"
            }
        }
    }
}

/// Finds out, by booting `kernel` once on this host, whether KVM works.
///
/// It runs no kernels of other architectures, so there is nothing to find out about those.
pub fn choose(host: &mut Host, kernel: &Path) -> Result<Accelerator> {
    if host.ws.architecture == Architecture::Arm64 {
        return Ok(Accelerator::Arm64Emulation);
    }
    if let Err(error) = File::options().read(true).write(true).open("/dev/kvm") {
        eprintln!("no KVM ({error}): machines are emulated");
        return Ok(Accelerator::Emulation);
    }
    let verdict = verdict_file(host.ws, &host.root)?;
    let accelerator = match fs::read_to_string(&verdict).as_deref() {
        Ok("boots") => Accelerator::Kvm,
        Ok(_) => Accelerator::Emulation,
        Err(_) => probe(host, kernel, &verdict)?,
    };
    if accelerator == Accelerator::Emulation {
        eprintln!("no machine boots under this host's KVM: machines are emulated");
    }
    Ok(accelerator)
}

/// Boots a job that does nothing under KVM, and remembers how that went.
fn probe(host: &mut Host, kernel: &Path, verdict: &Path) -> Result<Accelerator> {
    eprintln!("trying once whether a machine boots under KVM");
    let job = Job::of_script(host.ws, "nothing")?;
    let boot = Boot {
        name: "kvm-probe",
        kernel,
        job: &job,
        parameters: "",
        timeout: PROBE_TIMEOUT,
    };
    host.accelerator = Accelerator::Kvm;
    let outcome = host.boot(&boot, &mut |_| ());
    host.accelerator = Accelerator::Emulation;
    match outcome {
        Ok(_) => {
            fs::write(verdict, "boots")?;
            Ok(Accelerator::Kvm)
        }
        Err(error) => match error.downcast_ref::<Lost>() {
            // A kernel that fails says nothing about KVM.
            Some(lost) if lost.kernel_failed => Ok(Accelerator::Emulation),
            Some(_) => {
                fs::write(verdict, "does not boot")?;
                Ok(Accelerator::Emulation)
            }
            None => Err(error),
        },
    }
}

/// What [`choose`] found out on this host some time, if it did: without KVM, machines are slow.
pub fn known(ws: &Workspace, root: &BuildRoot) -> Result<Accelerator> {
    match fs::read_to_string(verdict_file(ws, root)?).as_deref() {
        Ok("boots") => Ok(Accelerator::Kvm),
        _ => Ok(Accelerator::Emulation),
    }
}

fn verdict_file(ws: &Workspace, root: &BuildRoot) -> Result<PathBuf> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let key = key::of([release.trim(), &root.key]);
    Ok(ws.cache.join("guest").join(format!("{key}.kvm")))
}
