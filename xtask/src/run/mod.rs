// SPDX-License-Identifier: GPL-2.0-only

//! `make run`: unmodified fio on an emulated NVMe device, plain and polled.
//!
//! A polled row counts only if the device's data queues raised no interrupts, and any row only if
//! fio verified what it read or wrote.

mod fio;
mod interrupts;
mod measure;
mod row;

use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::build::{self, Flavour, Workspace};
use crate::vm::{preload_programs, Host};
pub use measure::{measure, Measurement};
pub use row::{Engine, Pattern, Plan, Row};

/// How long the machine may take for all rows; they take a quarter of a minute under emulation.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Measures all rows, prints them as they arrive and writes `build/results/run.json`.
pub fn run(ws: &Workspace, flavour: Flavour) -> Result<ExitCode> {
    let kernel = build::kernel(ws, flavour, &ws.fragments())?;
    let host = Host::prepare(ws, &kernel.image)?;
    let programs = preload_programs(ws, &host.root)?;
    let measurement = Measurement {
        name: "run",
        kernel: &kernel.image,
        programs: &programs,
        plans: &all_plans(),
        timeout: TIMEOUT,
    };
    let mut first = true;
    let measured = measure(&host, &measurement, &mut |row| {
        if std::mem::take(&mut first) {
            println!("{}", Row::header());
        }
        println!("{row}");
    })?;
    write_json(&host, &measured.rows)?;

    let faults = measured.faults(measurement.plans);
    for fault in &faults {
        println!("failed: {fault}");
    }
    measured.booted.require_clean()?;
    if !faults.is_empty() {
        println!(
            "what fio and the kernel said is in {}",
            measured.booted.console.display()
        );
        return Ok(ExitCode::FAILURE);
    }
    println!("polled rows raised no interrupts on the data queues, and all rows were verified");
    Ok(ExitCode::SUCCESS)
}

/// Random reads, then random writes, each by every engine at both depths.
fn all_plans() -> Vec<Plan> {
    let mut plans = Vec::new();
    for pattern in [Pattern::RandomRead, Pattern::RandomWrite] {
        for depth in [1, 16] {
            for engine in [Engine::Libaio, Engine::LibaioPolled, Engine::UringPolled] {
                plans.push(Plan::new(engine, pattern, depth));
            }
        }
    }
    plans
}

fn write_json(host: &Host, rows: &[Row]) -> Result<()> {
    let path = host.results().join("run.json");
    let json = serde_json::to_string_pretty(rows)?;
    fs::write(&path, json + "\n").with_context(|| format!("cannot write {}", path.display()))
}
