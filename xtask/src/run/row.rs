// SPDX-License-Identifier: GPL-2.0-only

//! A row of the table: what was asked of fio, and what came of it.

use std::fmt;

use serde::Serialize;

use super::fio::FioJob;
use super::interrupts::DataQueueInterrupts;

/// Fewer interrupts per I/O than this is polling; a lone one may belong to an earlier row.
const POLLED_BELOW: f64 = 0.001;

/// What submits and reaps.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Engine {
    /// fio's libaio engine as it is.
    Libaio,
    /// The same under hipri-run.
    LibaioPolled,
    /// fio's io_uring engine with its own `--hipri`.
    UringPolled,
}

impl Engine {
    /// The name in tables, in `run.json` and towards the guest's script.
    pub fn name(self) -> &'static str {
        match self {
            Self::Libaio => "libaio",
            Self::LibaioPolled => "libaio+hipri",
            Self::UringPolled => "io_uring+hipri",
        }
    }

    fn is_polled(self) -> bool {
        self != Self::Libaio
    }
}

/// What the I/O is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pattern {
    /// 4 KiB random reads of a known pattern.
    RandomRead,
    /// 4 KiB random writes, then reads that verify them.
    RandomWrite,
}

impl Pattern {
    fn name(self) -> &'static str {
        match self {
            Self::RandomRead => "randread",
            Self::RandomWrite => "randwrite",
        }
    }
}

/// One fio run to be.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Plan {
    /// What submits and reaps.
    pub engine: Engine,
    /// What the I/O is.
    pub pattern: Pattern,
    /// How many I/Os are in flight at most.
    pub depth: u32,
    /// How many blocks are read or written, each once.
    pub blocks: u64,
}

impl Plan {
    /// A run of about a second under emulation.
    pub fn new(engine: Engine, pattern: Pattern, depth: u32) -> Self {
        let blocks = if depth == 1 { 4096 } else { 16384 };
        Self {
            engine,
            pattern,
            depth,
            blocks,
        }
    }

    /// Its line in the guest's file of rows.
    pub fn line(&self) -> String {
        format!("{} {}", self.key(), self.blocks)
    }

    /// What the guest's script calls it.
    pub fn key(&self) -> String {
        format!(
            "{} {} {}",
            self.engine.name(),
            self.pattern.name(),
            self.depth
        )
    }
}

/// Whether the data was right.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verify {
    /// Every block was read and held what it should.
    Ok,
    /// Some block did not, or fio failed.
    Failed,
    /// The kernel has no polled AIO: nothing ran.
    Unsupported,
}

/// What came of a fio run; numbers are absent where nothing ran.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// [`Engine::name`].
    pub engine: &'static str,
    /// `randread` or `randwrite`.
    pub rw: &'static str,
    /// I/Os in flight at most.
    pub depth: u32,
    /// I/Os per second, without the reads that verify writes.
    pub iops: Option<f64>,
    /// I/Os done, with the reads that verify writes.
    pub ios: Option<u64>,
    /// Interrupts of the NVMe data queues, per I/O done.
    pub irqs_per_io: Option<f64>,
    /// Context switches of fio's process, per I/O done.
    pub ctxsw_per_io: Option<f64>,
    /// Whether the data was right.
    pub verify: Verify,
}

impl Row {
    /// The row of a run that the kernel cannot do.
    pub fn unsupported(plan: &Plan) -> Self {
        Self {
            engine: plan.engine.name(),
            rw: plan.pattern.name(),
            depth: plan.depth,
            iops: None,
            ios: None,
            irqs_per_io: None,
            ctxsw_per_io: None,
            verify: Verify::Unsupported,
        }
    }

    /// The row of a run in which fio failed before it could say anything.
    pub fn failed(plan: &Plan) -> Self {
        Self {
            verify: Verify::Failed,
            ..Self::unsupported(plan)
        }
    }

    /// The row of a run from fio's own words and the interrupts it caused.
    pub fn measured(plan: &Plan, job: &FioJob, interrupts: DataQueueInterrupts) -> Self {
        let ios = job.read.total_ios + job.write.total_ios;
        let per_io = |count: u64| (ios > 0).then(|| count as f64 / ios as f64);
        let (main, reads_verify) = match plan.pattern {
            Pattern::RandomRead => (&job.read, true),
            Pattern::RandomWrite => (&job.write, job.read.total_ios == plan.blocks),
        };
        let all_verified = job.error == 0 && main.total_ios == plan.blocks && reads_verify;
        Self {
            iops: Some(main.iops),
            ios: Some(ios),
            irqs_per_io: per_io(interrupts.count()),
            ctxsw_per_io: per_io(job.ctx),
            verify: if all_verified {
                Verify::Ok
            } else {
                Verify::Failed
            },
            ..Self::unsupported(plan)
        }
    }

    /// Whether nothing ran because the kernel cannot do it.
    pub fn is_unsupported(&self) -> bool {
        self.verify == Verify::Unsupported
    }

    /// Why the row is not what `plan` promises, if it is not.
    pub fn fault(&self, plan: &Plan) -> Option<String> {
        let polled = self.irqs_per_io.map(|irqs| irqs < POLLED_BELOW);
        let fault = match (self.verify, plan.engine.is_polled(), polled) {
            (Verify::Unsupported, ..) => "this kernel has no polled AIO".to_owned(),
            (Verify::Failed, ..) => "fio failed or found wrong data".to_owned(),
            (Verify::Ok, _, None) => "no I/O was done".to_owned(),
            (Verify::Ok, true, Some(false)) => {
                format!(
                    "{} interrupts per I/O: it was not polled",
                    number(self.irqs_per_io, 4)
                )
            }
            (Verify::Ok, false, Some(true)) => {
                "no interrupts without the flag: it was polled".to_owned()
            }
            (Verify::Ok, true, Some(true)) | (Verify::Ok, false, Some(false)) => return None,
        };
        Some(format!("{}: {fault}", plan.key()))
    }

    /// The head of the table whose lines rows print as.
    pub fn header() -> String {
        format!(
            "{:<15} {:<9} {:>5} {:>9} {:>8} {:>10}  {}",
            "engine", "rw", "depth", "IOPS", "irqs/IO", "ctxsw/IO", "verify"
        )
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verify = match self.verify {
            Verify::Ok => "ok",
            Verify::Failed => "failed",
            Verify::Unsupported => "unsupported",
        };
        write!(
            f,
            "{:<15} {:<9} {:>5} {:>9} {:>8} {:>10}  {verify}",
            self.engine,
            self.rw,
            self.depth,
            number(self.iops, 0),
            number(self.irqs_per_io, 4),
            number(self.ctxsw_per_io, 4),
        )
    }
}

fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.decimals$}"))
}

#[cfg(test)]
mod tests {
    use super::super::fio::FioDirection;
    use super::*;

    const PLAN: Plan = Plan {
        engine: Engine::LibaioPolled,
        pattern: Pattern::RandomWrite,
        depth: 16,
        blocks: 1000,
    };

    fn job(reads: u64, writes: u64) -> FioJob {
        let direction = |total_ios| FioDirection {
            iops: 10.0,
            total_ios,
        };
        FioJob {
            error: 0,
            ctx: 20,
            read: direction(reads),
            write: direction(writes),
        }
    }

    fn interrupts(count: u64) -> DataQueueInterrupts {
        DataQueueInterrupts::of_count(count)
    }

    #[test]
    fn a_polled_verified_row_has_no_fault() {
        let row = Row::measured(&PLAN, &job(1000, 1000), interrupts(1));
        assert_eq!(row.ios, Some(2000));
        assert_eq!(row.irqs_per_io, Some(0.0005));
        assert_eq!(row.ctxsw_per_io, Some(0.01));
        assert_eq!(row.fault(&PLAN), None);
    }

    #[test]
    fn interrupts_are_a_fault_of_a_polled_row_only() {
        let row = Row::measured(&PLAN, &job(1000, 1000), interrupts(2));
        assert!(row.fault(&PLAN).unwrap().contains("not polled"));
        let plain = Plan {
            engine: Engine::Libaio,
            ..PLAN
        };
        assert_eq!(
            Row::measured(&plain, &job(1000, 1000), interrupts(2)).fault(&plain),
            None
        );
        let silent = Row::measured(&plain, &job(1000, 1000), interrupts(0));
        assert!(silent.fault(&plain).unwrap().contains("was polled"));
    }

    #[test]
    fn writes_that_were_not_all_read_back_are_not_verified() {
        let row = Row::measured(&PLAN, &job(999, 1000), interrupts(0));
        assert_eq!(row.verify, Verify::Failed);
        assert!(row.fault(&PLAN).is_some());
        let failed = FioJob {
            error: 84,
            ..job(1000, 1000)
        };
        assert_eq!(
            Row::measured(&PLAN, &failed, interrupts(0)).verify,
            Verify::Failed
        );
    }

    #[test]
    fn what_did_not_run_has_no_numbers_and_a_fault() {
        let row = Row::unsupported(&PLAN);
        assert!(row.fault(&PLAN).unwrap().contains("no polled AIO"));
        let json = serde_json::to_value(&row).unwrap();
        assert_eq!(json["verify"], "unsupported");
        assert!(json["iops"].is_null());
        assert!(Row::measured(&PLAN, &job(0, 0), interrupts(0))
            .fault(&PLAN)
            .is_some());
    }
}
