// SPDX-License-Identifier: GPL-2.0-only

//! Boots a machine and has aio-bench measure a list of points in it.

use std::path::Path;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};

use super::point::{Amount, Point};
use super::sample::Sample;
use crate::vm::report::{Section, Sections};
use crate::vm::{Boot, DelayedDisk, Host, Job, DELAYED_DISK_PARAMETERS};

/// The same layout of a process in every boot: it decides which pages of tables are touched.
const PARAMETERS: &str = "norandmaps";

/// What to measure in one boot.
pub struct Measurement<'a> {
    /// Names the boot's logs.
    pub name: &'a str,
    /// The kernel's image.
    pub kernel: &'a Path,
    /// The static aio-bench.
    pub program: &'a Path,
    /// What is run, in this order.
    pub points: &'a [Point],
    /// How much each of them does.
    pub amount: Amount,
    /// For all of them.
    pub timeout: Duration,
}

/// What came of one boot.
pub struct Measured {
    /// `/proc/version` of the guest.
    pub kernel_version: String,
    /// A sample for each point, in their order.
    pub samples: Vec<Sample>,
}

/// Measures all points in one boot.
///
/// Fails unless every one of them was measured and the kernel had nothing to complain of.
pub fn measure(host: &Host, measurement: &Measurement) -> Result<Measured> {
    let mut job = Job::of_script(host.ws, "bench")?;
    job.add(measurement.program, "bin/aio-bench")?;
    job.delayed = delayed_disks(measurement.points);
    let line = |point: &Point| point.line(measurement.amount) + "\n";
    let lines: String = measurement.points.iter().map(line).collect();
    job.add_text("points", &lines)?;
    let boot = Boot {
        name: measurement.name,
        kernel: measurement.kernel,
        job: &job,
        parameters: &parameters(&job),
        timeout: measurement.timeout,
    };
    let mut sections = Sections::default();
    let mut complete = Vec::new();
    let booted = host.boot(&boot, &mut |line| complete.extend(sections.line(line)))?;
    booted.require_clean()?;
    measured(measurement, &complete)
        .with_context(|| format!("the console is {}", booted.console.display()))
}

/// The delayed disks that the points need, each once.
fn delayed_disks(points: &[Point]) -> Vec<DelayedDisk> {
    let mut disks = Vec::new();
    for disk in points
        .iter()
        .filter_map(|point| point.device.delayed_disk())
    {
        if !disks.contains(&disk) {
            disks.push(disk);
        }
    }
    disks
}

/// Kernel parameters for the measurement, and for the disks of its machine.
fn parameters(job: &Job) -> String {
    match job.delayed.as_slice() {
        [] => PARAMETERS.to_owned(),
        _ => format!("{PARAMETERS} {DELAYED_DISK_PARAMETERS}"),
    }
}

/// The samples in a report: a section with the kernel's version, then one for each point.
fn measured(measurement: &Measurement, sections: &[Section]) -> Result<Measured> {
    let Some((version, runs)) = sections.split_first() else {
        bail!("the guest reported nothing");
    };
    ensure!(
        runs.len() == measurement.points.len(),
        "the guest reported {} of {} runs",
        runs.len(),
        measurement.points.len()
    );
    let mut samples = Vec::new();
    for (run, point) in runs.iter().zip(measurement.points) {
        let line = point.line(measurement.amount);
        ensure!(
            run.name == line,
            "the guest ran \"{}\" where \"{line}\" was asked for",
            run.name
        );
        ensure!(
            run.status == Some(0),
            "the run \"{line}\" ended with status {}",
            run.status.unwrap_or(-1)
        );
        samples.push(Sample::parse(&run.lines).context(line)?);
    }
    Ok(Measured {
        kernel_version: version.lines.join(" ").trim().to_owned(),
        samples,
    })
}

#[cfg(test)]
mod tests {
    use super::super::point::{Device, Engine, Load};
    use super::*;

    const POINTS: [Point; 2] = [
        Point::new(Engine::Aio, Device::NullBlk, Load::new(1, 1)),
        Point::new(Engine::Uring, Device::NullBlk, Load::new(1, 1)),
    ];
    const AMOUNT: Amount = Amount::Ios {
        warmup: 1,
        measured: 2,
    };

    fn measurement() -> Measurement<'static> {
        Measurement {
            name: "test",
            kernel: Path::new(""),
            program: Path::new(""),
            points: &POINTS,
            amount: AMOUNT,
            timeout: Duration::ZERO,
        }
    }

    fn section(name: &str, text: &str, status: i32) -> Section {
        Section::ended(name, &[text, ""], status)
    }

    fn run(point: usize, ticks: u32, status: i32) -> Section {
        let json = format!(
            r#"{{"iops":1,"ns_per_io":1,"ticks_per_io":{ticks},"user_ns_per_io":1,
            "system_ns_per_io":1,"ctxsw_per_io":0,"irqs_per_io":null,"latency_ns":null}}"#
        );
        section(&POINTS[point].line(AMOUNT), &json.replace('\n', ""), status)
    }

    #[test]
    fn each_delayed_disk_is_there_once() {
        let on = |device| Point::new(Engine::Aio, device, Load::new(1, 1));
        let points = [
            on(Device::Delayed1000us),
            on(Device::Nvme),
            on(Device::Delayed200us),
            on(Device::Delayed1000us),
        ];
        let micros = delayed_disks(&points)
            .iter()
            .map(|disk| disk.micros)
            .collect::<Vec<_>>();
        assert_eq!(micros, [1000, 200]);
        assert!(delayed_disks(&POINTS).is_empty());
    }

    #[test]
    fn each_point_has_its_sample() {
        let report = [
            section("version", "Linux version 7.3", 0),
            run(0, 10, 0),
            run(1, 20, 0),
        ];
        let measured = measured(&measurement(), &report).unwrap();
        assert_eq!(measured.kernel_version, "Linux version 7.3");
        let instructions = measured.samples.iter().map(Sample::instructions);
        assert_eq!(instructions.collect::<Vec<_>>(), [5.0, 10.0]);
    }

    #[test]
    fn what_failed_or_is_missing_is_an_error() {
        let version = || section("version", "x", 0);
        for report in [
            vec![],
            vec![version(), run(0, 10, 0)],
            vec![version(), run(1, 10, 0), run(0, 10, 0)],
            vec![version(), run(0, 10, 0), run(1, 10, 3)],
        ] {
            assert!(measured(&measurement(), &report).is_err());
        }
    }
}
