// SPDX-License-Identifier: GPL-2.0-only

//! Does AIO of all kinds at once, and counts what becomes of every I/O.
//!
//! Processes with several threads and contexts each submit reads and writes, polled and not, of
//! files and devices, and `fsync` and `poll` besides. They end by waiting for all of it, by
//! destroying contexts, exiting or executing another program with I/O in flight, or are killed. An
//! event that does not come or comes twice, a read that brings something else, a process that
//! hangs, and a context that is left are failures.

mod context;
mod counts;
mod crowd;
mod lane;
mod life;
mod memory;
mod nth;
mod random;
mod target;

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{ensure, Result};
use clap::{Args, Parser, Subcommand};

use life::World;
use target::Target;

/// Does AIO of all kinds at once, and counts what becomes of every I/O.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Has many processes do AIO, for a time; prints counts every minute.
    Run(Run),
    /// Fails each allocation and copy in turn that the system calls of AIO do.
    Nth(Nth),
    /// Does nothing: what a process becomes that executes another program.
    #[command(hide = true)]
    Nothing,
}

#[derive(Args)]
struct Run {
    /// For how long, in seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Processes at a time.
    #[arg(long, default_value_t = 4)]
    processes: usize,
    /// Names the first process's plan; the next has the next number.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The threads ask for injected faults, and I/O may fail, though no event may be lost.
    #[arg(long)]
    faults: bool,
    /// Files, made if need be, and devices, which are overwritten.
    #[arg(required = true)]
    targets: Vec<PathBuf>,
}

#[derive(Args)]
struct Nth {
    /// Files, made if need be, and devices, which are overwritten.
    #[arg(required = true)]
    targets: Vec<PathBuf>,
}

/// How long an event may take that nothing keeps from coming.
const PATIENCE: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let result = match Arguments::parse().verb {
        Verb::Run(options) => run(&options),
        Verb::Nth(options) => prepare(&options.targets).and_then(|targets| nth::run(&targets)),
        Verb::Nothing => Ok(()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("aio-soak: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Run) -> Result<()> {
    ensure!(options.processes > 0, "it takes a process at least");
    let targets = prepare(&options.targets)?;
    let world = World {
        targets,
        faults: options.faults,
        patience: PATIENCE * time_scale(),
    };
    let time = Duration::from_secs(options.seconds);
    crowd::run(&world, options.processes, time, options.seed)
}

/// Opens the targets and lays down what lies in them; prints which can be polled.
fn prepare(paths: &[PathBuf]) -> Result<Vec<Target>> {
    let targets = paths
        .iter()
        .map(|path| Target::prepare(path))
        .collect::<Result<Vec<_>>>()?;
    for target in &targets {
        let how = if target.pollable {
            "polled and not"
        } else {
            "not polled"
        };
        println!("target: {} {how}", target.path().display());
    }
    Ok(targets)
}

/// How many times longer than elsewhere things may take here, by `TIME_SCALE`.
fn time_scale() -> u32 {
    let scale = env::var("TIME_SCALE")
        .ok()
        .and_then(|text| text.parse().ok());
    scale.filter(|scale| *scale > 0).unwrap_or(1)
}
