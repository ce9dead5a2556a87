// SPDX-License-Identifier: GPL-2.0-only

//! What is read of aio-bench's JSON.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::vm::NS_PER_INSTRUCTION;

/// The result of one run; times are in nanoseconds.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
pub struct Sample {
    /// I/Os per second.
    pub iops: f64,
    /// Time per I/O.
    pub ns_per_io: f64,
    /// Ticks of the time stamp counter per I/O: nanoseconds, where the clocks count instructions.
    pub ticks_per_io: f64,
    /// Processor time in user mode per I/O.
    pub user_ns_per_io: f64,
    /// Processor time in the kernel per I/O.
    pub system_ns_per_io: f64,
    /// Context switches per I/O.
    pub ctxsw_per_io: f64,
    /// Interrupts of the device's I/O queues per I/O, where they can be told.
    pub irqs_per_io: Option<f64>,
    /// Latencies, if they were asked for.
    pub latency_ns: Option<Latency>,
}

/// Latencies in nanoseconds.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct Latency {
    /// The mean.
    pub mean: f64,
    /// Half of all I/Os took no longer.
    pub p50: f64,
    /// Nine of ten.
    pub p90: f64,
    /// 99 per cent.
    pub p99: f64,
    /// 99.9 per cent.
    pub p999: f64,
    /// The longest.
    pub max: f64,
}

impl Sample {
    /// Reads the only line of JSON of what aio-bench wrote.
    pub fn parse(lines: &[String]) -> Result<Self> {
        let json = lines
            .iter()
            .find(|line| line.starts_with('{'))
            .context("aio-bench printed no result")?;
        serde_json::from_str(json).context("aio-bench printed an unknown result")
    }

    /// Instructions per I/O, of a machine whose clocks count them.
    pub fn instructions(&self) -> f64 {
        self.ticks_per_io / NS_PER_INSTRUCTION
    }

    /// Processor time per I/O, in nanoseconds.
    pub fn cpu_ns(&self) -> f64 {
        self.user_ns_per_io + self.system_ns_per_io
    }

    /// How much of a processor's time it took: 1 is all of it.
    pub fn cpu_share(&self) -> f64 {
        self.cpu_ns() / self.ns_per_io
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"engine":"aio","ios":16384,"iops":1e5,"ns_per_io":10001.5,
        "ticks_per_io":10000.0,"user_ns_per_io":100.0,"system_ns_per_io":9000.5,
        "ctxsw_per_io":0.5,"irqs_per_io":null,"latency_ns":null}"#;

    #[test]
    fn a_result_is_found_among_other_lines() {
        let lines = ["".to_owned(), LINE.replace('\n', "")];
        let sample = Sample::parse(&lines).unwrap();
        assert_eq!(sample.instructions(), 5000.0);
        assert_eq!(sample.cpu_ns(), 9100.5);
        assert_eq!((sample.irqs_per_io, sample.latency_ns), (None, None));
    }

    #[test]
    fn no_result_and_half_a_result_are_errors() {
        assert!(Sample::parse(&["aio-bench: no".to_owned()]).is_err());
        assert!(Sample::parse(&[r#"{"iops":1}"#.to_owned()]).is_err());
    }
}
