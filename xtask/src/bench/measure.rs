// SPDX-License-Identifier: GPL-2.0-only

//! Boots a machine and has aio-bench measure a list of points in it.

use std::path::Path;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};

use super::point::{Amount, Point};
use super::sample::Sample;
use crate::vm::report::{Section, Sections};
use crate::vm::{Boot, Host, Job};

/// The same layout of a process in every boot: it decides which pages of tables are touched.
const PARAMETERS: &str = "norandmaps";

/// What to measure in one boot.
pub struct Measurement<'a> {
    /// Names the boot's logs.
    pub name: &'a str,
    /// The bzImage.
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
    let job = Job::of_script(host.ws, "bench")?;
    job.add(measurement.program, "bin/aio-bench")?;
    let line = |point: &Point| point.arguments(measurement.amount) + "\n";
    let lines: String = measurement.points.iter().map(line).collect();
    job.add_text("points", &lines)?;
    let boot = Boot {
        name: measurement.name,
        kernel: measurement.kernel,
        job: &job,
        parameters: PARAMETERS,
        timeout: measurement.timeout,
    };
    let mut sections = Sections::default();
    let mut complete = Vec::new();
    let booted = host.boot(&boot, &mut |line| complete.extend(sections.line(line)))?;
    booted.require_clean()?;
    measured(measurement, &complete)
        .with_context(|| format!("the console is {}", booted.console.display()))
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
        let arguments = point.arguments(measurement.amount);
        ensure!(
            run.name == arguments,
            "the guest ran \"{}\" where \"{arguments}\" was asked for",
            run.name
        );
        ensure!(
            run.status == Some(0),
            "\"aio-bench {arguments}\" ended with status {}",
            run.status.unwrap_or(-1)
        );
        samples.push(Sample::parse(&run.lines).context(arguments)?);
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
        Section {
            name: name.to_owned(),
            lines: vec![text.to_owned(), String::new()],
            status: Some(status),
        }
    }

    fn run(point: usize, ticks: u32, status: i32) -> Section {
        let json = format!(
            r#"{{"iops":1,"ns_per_io":1,"ticks_per_io":{ticks},"user_ns_per_io":1,
            "system_ns_per_io":1,"ctxsw_per_io":0,"irqs_per_io":null,"latency_ns":null}}"#
        );
        let arguments = POINTS[point].arguments(AMOUNT);
        section(&arguments, &json.replace('\n', ""), status)
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
