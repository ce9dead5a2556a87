// SPDX-License-Identifier: GPL-2.0-only

//! Boots a machine for a list of fio runs and makes rows of its report.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::fio;
use super::interrupts::DataQueueInterrupts;
use super::row::{Plan, Row};
use crate::vm::report::{Section, Sections};
use crate::vm::{Boot, Booted, Host, Job, PreloadPrograms};

/// What to measure.
pub struct Measurement<'a> {
    /// Names the boot's logs.
    pub name: &'a str,
    /// The kernel's image.
    pub kernel: &'a Path,
    /// hipri-run and its library.
    pub programs: &'a PreloadPrograms,
    /// The fio runs, reads before writes.
    pub plans: &'a [Plan],
    /// For all of them.
    pub timeout: Duration,
}

/// What came of it.
pub struct Measured {
    /// One row for each plan that the guest got to, in their order.
    pub rows: Vec<Row>,
    /// The boot they come from.
    pub booted: Booted,
}

impl Measured {
    /// Every way in which the rows are not what `plans` promise.
    pub fn faults(&self, plans: &[Plan]) -> Vec<String> {
        let missing = plans.get(self.rows.len()..).unwrap_or_default();
        let missing = missing
            .iter()
            .map(|plan| format!("{}: it did not run", plan.key()));
        let faulty = self
            .rows
            .iter()
            .zip(plans)
            .filter_map(|(row, plan)| row.fault(plan));
        faulty.chain(missing).collect()
    }
}

/// Runs all plans in one boot; each row goes to `seen` as it arrives.
pub fn measure(
    host: &Host,
    measurement: &Measurement,
    seen: &mut dyn FnMut(&Row),
) -> Result<Measured> {
    let job = Job::of_script(host.ws, "fio-rows")?;
    let lines: String = measurement
        .plans
        .iter()
        .map(|plan| plan.line() + "\n")
        .collect();
    job.add_text("rows", &lines)?;
    measurement.programs.add_to(&job)?;
    let boot = Boot {
        name: measurement.name,
        kernel: measurement.kernel,
        job: &job,
        parameters: "",
        timeout: measurement.timeout,
    };
    let mut sections = Sections::default();
    let mut rows = Rows {
        plans: measurement.plans,
        ..Rows::default()
    };
    let mut failure = None;
    let booted = host.boot(&boot, &mut |line| {
        let row = sections
            .line(line)
            .map_or(Ok(None), |section| rows.section(&section));
        match row {
            Ok(Some(row)) => seen(row),
            Ok(None) => {}
            Err(error) => failure = failure.take().or(Some(error)),
        }
    })?;
    match failure {
        Some(error) => Err(error),
        None => Ok(Measured {
            rows: rows.rows,
            booted,
        }),
    }
}

/// Rows as sections of the report complete them.
#[derive(Default)]
struct Rows<'a> {
    plans: &'a [Plan],
    rows: Vec<Row>,
    before: Option<DataQueueInterrupts>,
    fio: Option<Section>,
}

impl Rows<'_> {
    /// Takes a section; returns the row it completes.
    fn section(&mut self, section: &Section) -> Result<Option<&Row>> {
        match section.name.as_str() {
            "prepare" => Ok(None),
            "interrupts before" => {
                self.before = Some(DataQueueInterrupts::parse(&section.lines)?);
                Ok(None)
            }
            "interrupts after" => self.complete(section).map(Some),
            name if name.starts_with("unsupported ") => {
                let plan = self.next_plan(name)?;
                self.rows.push(Row::unsupported(plan));
                Ok(self.rows.last())
            }
            _ => {
                self.fio = Some(section.clone());
                Ok(None)
            }
        }
    }

    /// The row of the fio run between two counts of interrupts.
    fn complete(&mut self, after: &Section) -> Result<&Row> {
        let before = self
            .before
            .take()
            .context("no interrupts were counted before a row")?;
        let section = self
            .fio
            .take()
            .context("interrupts were counted without a row")?;
        let plan = self.next_plan(&section.name)?;
        let interrupts = DataQueueInterrupts::parse(&after.lines)?.since(before);
        let row = match fio::parse(&section.lines) {
            Ok(job) if section.status == Some(0) => Row::measured(plan, &job, interrupts),
            _ => Row::failed(plan),
        };
        self.rows.push(row);
        self.rows.last().context("a row was just added")
    }

    /// The plan whose turn it is, which the section must be of.
    fn next_plan(&self, section: &str) -> Result<&Plan> {
        let plan = self.plans.get(self.rows.len());
        plan.filter(|plan| section.ends_with(&plan.key()))
            .with_context(|| format!("the guest reported \"{section}\", which was not asked for"))
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::{Engine, Pattern, Verify};
    use super::*;

    fn queue(count: u64) -> String {
        format!(" 31: {count} 0 PCI-MSIX 1-edge nvme0q1")
    }

    #[test]
    fn three_sections_make_a_row() {
        let plans = [Plan {
            engine: Engine::Libaio,
            pattern: Pattern::RandomRead,
            depth: 1,
            blocks: 10,
        }];
        let mut rows = Rows {
            plans: &plans,
            ..Rows::default()
        };
        let json = r#""jobs":[{"error":0,"ctx":5,
            "read":{"iops":1.5,"total_ios":10},"write":{"iops":0,"total_ios":0}}]}"#;
        let before = Section::ended("interrupts before", &[&queue(3)], 0);
        let run = Section::ended("fio libaio randread 1", &["{", json], 0);
        let after = Section::ended("interrupts after", &[&queue(13)], 0);
        assert!(rows.section(&before).unwrap().is_none());
        assert!(rows.section(&run).unwrap().is_none());
        let row = rows.section(&after).unwrap().unwrap();
        assert_eq!((row.verify, row.irqs_per_io), (Verify::Ok, Some(1.0)));
    }

    #[test]
    fn a_failed_fio_and_a_stranger_do_not_pass() {
        let plans = [Plan::new(Engine::UringPolled, Pattern::RandomRead, 1)];
        let mut rows = Rows {
            plans: &plans,
            ..Rows::default()
        };
        rows.section(&Section::ended("interrupts before", &[&queue(3)], 0))
            .unwrap();
        rows.section(&Section::ended(
            "fio io_uring+hipri randread 1",
            &["{", "}"],
            1,
        ))
        .unwrap();
        let row = rows
            .section(&Section::ended("interrupts after", &[&queue(3)], 0))
            .unwrap()
            .unwrap();
        assert_eq!(row.verify, Verify::Failed);
        assert!(rows
            .section(&Section::ended("unsupported libaio randread 1", &[], 0))
            .is_err());
    }
}
