// SPDX-License-Identifier: GPL-2.0-only

//! `make soak`: AIO of all kinds at once, for an hour.
//!
//! `tools/aio/aio-soak` does it in the guest and prints what became of all I/Os every minute.
//! `MINUTES=` says for how long, `SEED=` names other processes.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;

use crate::build::{self, Flavour, Workspace};
use crate::variable;
use crate::vm::report::{Line, Sections};
use crate::vm::{static_program, Boot, Host, Job};

/// The program that does the work, by its package in `tools/aio`.
pub const PACKAGE: &str = "aio-soak";

/// How long it lasts unless `MINUTES` says otherwise.
const MINUTES: u64 = 60;

/// The most that `MINUTES` may say: a month.
const MOST_MINUTES: u64 = 31 * 24 * 60;

/// What the machine needs before and after.
const OVERHEAD: Duration = Duration::from_secs(300);

/// The processes at a time: more than the machine has processors.
const PROCESSES: u32 = 6;

/// Boots the kernel, soaks it, and fails on a lost event, a context that is left, or a splat.
pub fn soak(ws: &Workspace, flavour: Flavour) -> Result<ExitCode> {
    let minutes = variable::number_within("MINUTES", MINUTES, 1..=MOST_MINUTES)?;
    let seed = variable::number("SEED", 1)?;
    let kernel = build::kernel(ws, flavour, &ws.fragments())?;
    let host = Host::prepare(ws, &kernel.image)?;
    let job = Job::of_script(ws, "soak")?;
    job.add(
        &static_program(ws, &host.root, PACKAGE)?,
        &format!("bin/{PACKAGE}"),
    )?;
    let arguments = format!(
        "--seconds {} --processes {PROCESSES} --seed {seed}\n",
        minutes * 60
    );
    job.add_text("arguments", &arguments)?;
    let boot = Boot {
        name: "soak",
        kernel: &kernel.image,
        job: &job,
        parameters: "",
        timeout: Duration::from_secs(minutes * 60) + OVERHEAD,
    };
    let mut sections = Sections::default();
    let mut failed = Vec::new();
    let booted = host.boot(&boot, &mut |line| {
        if let (Line::Text(text), false) = (Line::of(line), line.is_empty()) {
            println!("{text}");
        }
        if let Some(section) = sections.line(line) {
            if section.status != Some(0) {
                failed.push(section.name);
            }
        }
    })?;
    failed.extend(sections.interrupted().map(|section| section.name));
    for splat in &booted.splats {
        println!("the kernel said: {splat}");
    }
    booted.require_clean()?;
    if failed.is_empty() {
        println!("{minutes} minutes passed");
        return Ok(ExitCode::SUCCESS);
    }
    println!("{} failed with SEED={seed}", failed.join(", "));
    Ok(ExitCode::FAILURE)
}
