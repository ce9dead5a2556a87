// SPDX-License-Identifier: GPL-2.0-only

//! What a run found out, and how it is printed.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::clock::Spent;
use crate::histogram::Histogram;
use crate::options::{Engine, Options};

/// The result of a run; times are in nanoseconds.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// How I/O was submitted and reaped.
    pub engine: Engine,
    /// Devices or files.
    pub files: Vec<String>,
    /// I/Os in flight in each context of each thread.
    pub depth: u32,
    /// I/Os submitted and reaped at once.
    pub batch: u32,
    /// Bytes of an I/O.
    pub block_size: u32,
    /// Threads that did I/O.
    pub threads: u32,
    /// Contexts of each thread.
    pub contexts: u32,
    /// Whether the threads shared them.
    pub shared: bool,
    /// Threads that slept.
    pub idle_threads: u32,
    /// Whether it wrote.
    pub write: bool,
    /// I/Os that were measured.
    pub ios: u64,
    /// I/Os per second.
    pub iops: f64,
    /// Time per I/O.
    pub ns_per_io: f64,
    /// Ticks of the time stamp counter per I/O.
    pub ticks_per_io: f64,
    /// Processor time in user mode per I/O.
    pub user_ns_per_io: f64,
    /// Processor time in the kernel per I/O.
    pub system_ns_per_io: f64,
    /// Context switches per I/O.
    pub ctxsw_per_io: f64,
    /// Those of them that the process did not ask for.
    pub involuntary_ctxsw_per_io: f64,
    /// Interrupts of the devices' I/O queues per I/O, if they can be told.
    pub irqs_per_io: Option<f64>,
    /// From submission to the return of the call that reaped it, if it was asked for.
    pub latency_ns: Option<Latency>,
}

/// Latencies in nanoseconds.
#[derive(Clone, Copy, Debug, Serialize)]
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

impl Outcome {
    /// The result of `ios` I/Os done with `options`.
    pub fn new(options: &Options, ios: u64, spent: &Spent, latencies: &Histogram) -> Self {
        let per_io = |amount: f64| amount / ios as f64;
        let ns = |time: Duration| time.as_nanos() as f64;
        let switches = spent.voluntary_switches + spent.involuntary_switches;
        Self {
            engine: options.engine,
            files: options
                .files
                .iter()
                .map(|file| file.display().to_string())
                .collect(),
            depth: options.depth,
            batch: options.batch,
            block_size: options.block_size,
            threads: options.threads,
            contexts: options.contexts,
            shared: options.shared,
            idle_threads: options.idle_threads,
            write: options.write,
            ios,
            iops: ios as f64 / spent.time.as_secs_f64(),
            ns_per_io: per_io(ns(spent.time)),
            ticks_per_io: per_io(spent.ticks as f64),
            user_ns_per_io: per_io(ns(spent.user)),
            system_ns_per_io: per_io(ns(spent.system)),
            ctxsw_per_io: per_io(switches as f64),
            involuntary_ctxsw_per_io: per_io(spent.involuntary_switches as f64),
            irqs_per_io: spent.interrupts.map(|count| per_io(count as f64)),
            latency_ns: Latency::new(latencies, ns(spent.time) / spent.ticks as f64),
        }
    }
}

impl Latency {
    /// From a histogram in ticks of `ns_per_tick`; none if it is empty.
    fn new(ticks: &Histogram, ns_per_tick: f64) -> Option<Self> {
        let quantile = |share| Some(ticks.quantile(share)? as f64 * ns_per_tick);
        Some(Self {
            mean: ticks.mean()? * ns_per_tick,
            p50: quantile(0.5)?,
            p90: quantile(0.9)?,
            p99: quantile(0.99)?,
            p999: quantile(0.999)?,
            max: ticks.max()? as f64 * ns_per_tick,
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} I/Os, {:.0} a second; each took {:.0} ns, {:.0} ns of the processor in user mode \
             and {:.0} ns in the kernel",
            self.ios, self.iops, self.ns_per_io, self.user_ns_per_io, self.system_ns_per_io
        )?;
        write!(f, "context switches per I/O: {:.4}", self.ctxsw_per_io)?;
        if let Some(interrupts) = self.irqs_per_io {
            write!(f, "; interrupts per I/O: {interrupts:.4}")?;
        }
        if let Some(latency) = &self.latency_ns {
            write!(
                f,
                "\nlatency in us: mean {:.1}, 50% {:.1}, 90% {:.1}, 99% {:.1}, 99.9% {:.1}, max {:.1}",
                latency.mean / 1e3,
                latency.p50 / 1e3,
                latency.p90 / 1e3,
                latency.p99 / 1e3,
                latency.p999 / 1e3,
                latency.max / 1e3
            )?;
        }
        Ok(())
    }
}
