// SPDX-License-Identifier: GPL-2.0-only

//! What is read of fio's JSON.

use anyhow::{Context, Result};
use serde::Deserialize;

/// One job of a fio run.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct FioJob {
    /// The first error, as an errno; 0 if there was none.
    pub error: i32,
    /// Context switches, voluntary or not.
    pub ctx: u64,
    /// All reads, those that verify writes among them.
    pub read: FioDirection,
    /// All writes.
    pub write: FioDirection,
}

/// The I/O of one direction.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct FioDirection {
    /// I/Os per second.
    pub iops: f64,
    /// I/Os done.
    pub total_ios: u64,
}

#[derive(Deserialize)]
struct FioOutput {
    jobs: Vec<FioJob>,
}

/// Reads the only job from what fio wrote, which may have notes before the JSON.
pub fn parse(lines: &[String]) -> Result<FioJob> {
    let start = lines
        .iter()
        .position(|line| line == "{")
        .context("fio wrote no JSON")?;
    let output: FioOutput =
        serde_json::from_str(&lines[start..].join("\n")).context("fio wrote unknown JSON")?;
    output.jobs.into_iter().next().context("fio ran no job")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn notes_before_the_json_are_skipped() {
        let text = r#"fio: a note
{
  "fio version": "fio-3.39",
  "jobs": [{
    "jobname": "row", "error": 0, "ctx": 42,
    "read": {"iops": 12.5, "total_ios": 100, "bw": 1},
    "write": {"iops": 0.0, "total_ios": 0}
  }]
}
"#;
        let job = parse(&lines(text)).unwrap();
        assert_eq!((job.error, job.ctx), (0, 42));
        assert_eq!(
            job.read,
            FioDirection {
                iops: 12.5,
                total_ios: 100
            }
        );
    }

    #[test]
    fn no_json_and_no_job_are_errors() {
        assert!(parse(&lines("fio: no such engine")).is_err());
        assert!(parse(&lines("{\n\"jobs\": []\n}")).is_err());
        assert!(parse(&lines("{\n\"jobs\": [")).is_err());
    }
}
