// SPDX-License-Identifier: GPL-2.0-only

//! `build/results/bench.json`: every figure, the targets, and the environment.

use std::collections::BTreeMap;

use serde::Serialize;

use super::environment::{KernelFacts, MachineFacts};
use super::figures::{Figures, Series};
use super::median::Median;
use super::point::Point;
use super::sample::{Latency, Sample};
use super::target::Judgement;

/// The whole file.
#[derive(Serialize)]
pub struct Results<'a> {
    /// What was measured on.
    pub environment: Environment<'a>,
    /// One of each kernel and point.
    pub rows: Vec<Row>,
    /// One of each target and load.
    pub targets: &'a [Judgement],
}

/// What was measured on.
#[derive(Serialize)]
pub struct Environment<'a> {
    /// By the name of the kernel's flavour.
    pub kernels: BTreeMap<&'static str, KernelFacts>,
    /// The machines.
    #[serde(flatten)]
    pub machines: &'a MachineFacts,
}

/// The medians of one point on one kernel; what was not measured there is absent.
#[derive(Serialize)]
pub struct Row {
    kernel: &'static str,
    #[serde(flatten)]
    point: Point,
    /// How many boots the medians are of.
    boots: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    instr_per_io: Option<Median>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ns_per_io: Option<Median>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_user_ns_per_io: Option<Median>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_system_ns_per_io: Option<Median>,
    irqs_per_io: Option<Median>,
    ctxsw_per_io: Option<Median>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ns: Option<Latency>,
}

/// A row of each series of `figures`.
pub fn rows(figures: &Figures) -> Vec<Row> {
    figures.series().iter().map(Row::of).collect()
}

impl Row {
    /// Time is not a figure where the clocks count instructions, nor are they where they do not.
    fn of(series: &Series) -> Self {
        let is_timed = series.point.device.is_timed();
        let timed = |value: fn(&Sample) -> f64| {
            is_timed.then(|| series.median(|sample| Some(value(sample))))?
        };
        let counted = || series.median(|sample| Some(sample.instructions()));
        Self {
            kernel: series.kernel.name(),
            point: series.point,
            boots: series.samples.len(),
            instr_per_io: if is_timed { None } else { counted() },
            ns_per_io: timed(|sample| sample.ns_per_io),
            cpu_user_ns_per_io: timed(|sample| sample.user_ns_per_io),
            cpu_system_ns_per_io: timed(|sample| sample.system_ns_per_io),
            irqs_per_io: series.median(|sample| sample.irqs_per_io),
            ctxsw_per_io: series.median(|sample| Some(sample.ctxsw_per_io)),
            latency_ns: latency(series),
        }
    }
}

/// The median of each percentile.
pub fn latency(series: &Series) -> Option<Latency> {
    let median = |part: fn(&Latency) -> f64| {
        let found = series.median(|sample| sample.latency_ns.as_ref().map(part));
        found.map(|found| found.median)
    };
    Some(Latency {
        mean: median(|latency| latency.mean)?,
        p50: median(|latency| latency.p50)?,
        p90: median(|latency| latency.p90)?,
        p99: median(|latency| latency.p99)?,
        p999: median(|latency| latency.p999)?,
        max: median(|latency| latency.max)?,
    })
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::sample;
    use super::super::point::{Device, Engine, Load};
    use super::*;
    use crate::build::Flavour;

    fn row(device: Device, sample: Sample) -> serde_json::Value {
        let mut figures = Figures::default();
        let point = Point::new(Engine::Aio, device, Load::new(16, 4));
        figures.add(Flavour::C, &[point], &[sample]);
        serde_json::to_value(&rows(&figures)[0]).unwrap()
    }

    #[test]
    fn a_counted_row_has_instructions_and_no_time() {
        let row = row(Device::NullBlk, sample(5000.0));
        assert_eq!(row["instr_per_io"]["median"], 5000.0);
        assert_eq!(
            (&row["kernel"], &row["engine"]),
            (&"c".into(), &"aio".into())
        );
        assert_eq!((&row["depth"], &row["batch"]), (&16.into(), &4.into()));
        assert_eq!((&row["threads"], &row["boots"]), (&1.into(), &1.into()));
        assert!(row.get("ns_per_io").is_none() && row["irqs_per_io"].is_null());
    }

    #[test]
    fn a_timed_row_has_times_and_no_instructions() {
        let latency = Latency {
            mean: 1.0,
            p50: 2.0,
            p90: 3.0,
            p99: 4.0,
            p999: 5.0,
            max: 6.0,
        };
        let timed = Sample {
            irqs_per_io: Some(0.5),
            latency_ns: Some(latency),
            ..sample(5000.0)
        };
        let row = row(Device::Nvme, timed);
        assert_eq!(row["ns_per_io"]["median"], 10_000.0);
        assert_eq!(row["irqs_per_io"]["median"], 0.5);
        assert_eq!(row["latency_ns"]["p99"], 4.0);
        assert!(row.get("instr_per_io").is_none());
    }
}
