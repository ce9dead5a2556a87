// SPDX-License-Identifier: GPL-2.0-only

//! `hipri-run --check FILE`: whether I/O on a file can be polled, and if not, what to do.
//!
//! The steps are in the order in which the kernel would refuse: the kernel itself, its setting, the
//! file, the device, and at last a polled read. A step that another one spoils is not taken.

mod device;
mod file;
mod kernel;
mod parameter;
mod polled_read;
mod system_call;

use std::fmt;
use std::path::Path;

/// What a step found.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    fact: String,
    /// What to do, where the fact keeps I/O from being polled.
    remedy: Option<String>,
}

impl Finding {
    fn good(fact: impl Into<String>) -> Self {
        Finding {
            fact: fact.into(),
            remedy: None,
        }
    }

    fn bad(fact: impl Into<String>, remedy: impl Into<String>) -> Self {
        Finding {
            fact: fact.into(),
            remedy: Some(remedy.into()),
        }
    }

    fn is_good(&self) -> bool {
        self.remedy.is_none()
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.remedy {
            None => write!(f, "ok    {}", self.fact),
            Some(remedy) => write!(f, "FAIL  {}\n      {remedy}", self.fact),
        }
    }
}

/// Checks `path` and prints what is found. Returns whether I/O on it can be polled.
pub fn check(path: &Path) -> bool {
    let findings = find(path);
    for finding in &findings {
        println!("{finding}");
    }
    let works = findings.iter().all(Finding::is_good);
    let shown = path.display();
    if works {
        println!("Polled AIO works on {shown}: run your program with `hipri-run PROGRAM`.");
    } else {
        println!("Polled AIO does not work on {shown}.");
    }
    works
}

fn find(path: &Path) -> Vec<Finding> {
    let mut findings = vec![kernel::offer()];
    if findings[0].is_good() {
        findings.push(kernel::setting());
    }
    match file::Direct::open(path) {
        Err(finding) => findings.push(finding),
        Ok(file) => {
            findings.push(file.finding());
            findings.push(device::of(&file.metadata).finding());
            findings.extend(file.placement());
            if findings.iter().all(Finding::is_good) {
                findings.push(polled_read::attempt(&file));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_stands_under_its_fact() {
        let good = Finding::good("it is");
        assert_eq!(good.to_string(), "ok    it is");
        let bad = Finding::bad("it is not", "do this");
        assert_eq!(bad.to_string(), "FAIL  it is not\n      do this");
    }

    #[test]
    fn a_missing_file_is_a_finding() {
        let findings = find(Path::new("/no/such/file"));
        let last = findings.last().unwrap();
        assert!(!last.is_good());
        assert!(last.fact.starts_with("/no/such/file"), "{last}");
    }
}
