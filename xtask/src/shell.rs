// SPDX-License-Identifier: GPL-2.0-only

//! `make shell`: the guest on the user's terminal.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;

use crate::build::{Flavour, Workspace};
use crate::vm::{preload_programs, Boot, Host, Job};

/// Boots the kernel with fio and hipri-run, and waits for the user to leave the shell.
pub fn shell(ws: &Workspace, flavour: Flavour) -> Result<ExitCode> {
    let kernel = crate::vm::dev_kernel(ws, flavour, &ws.fragments())?;
    let host = Host::prepare(ws, &kernel)?;
    let job = Job::of_script(ws, "interactive")?;
    preload_programs(ws, &host.root)?.add_to(&job)?;
    let boot = Boot {
        name: "shell",
        kernel: &kernel,
        job: &job,
        parameters: "quiet",
        timeout: Duration::MAX,
    };
    println!("to leave the shell: exit or Ctrl-D; to kill the machine: Ctrl-A, then X");
    let status = host.boot_on_terminal(&boot)?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
