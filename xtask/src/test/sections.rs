// SPDX-License-Identifier: GPL-2.0-only

//! Stages whose guest job reports a section for each program.

use std::time::Duration;

use anyhow::Result;

use super::case::{boot_cases, Case};
use super::Bench;
use crate::vm::report::{Section, Sections};
use crate::vm::{Boot, Booted, Host, Job};

/// Boots the kernel under test for `job`, makes cases of each section by `cases_of`, and prints
/// how each section ended when it did.
pub fn run(
    bench: &Bench,
    name: &str,
    job: &Job,
    timeout: Duration,
    cases_of: fn(&Section) -> Vec<Case>,
) -> Result<Vec<Case>> {
    let machine = Boot {
        name,
        kernel: &bench.kernel.image,
        job,
        parameters: "",
        timeout,
    };
    boot(&bench.host, &machine, cases_of)
}

/// The same, on a machine of its own kind.
pub fn boot(
    host: &Host,
    boot: &Boot,
    cases_of: impl Fn(&Section) -> Vec<Case>,
) -> Result<Vec<Case>> {
    collect(|seen| host.boot(boot, seen), cases_of)
}

/// The same, of a machine that `live` sees through its job.
pub fn collect(
    live: impl FnOnce(&mut dyn FnMut(&str)) -> Result<Booted>,
    cases_of: impl Fn(&Section) -> Vec<Case>,
) -> Result<Vec<Case>> {
    let mut sections = Sections::default();
    let mut cases = Vec::new();
    let booted = live(&mut |line| {
        if let Some(section) = sections.line(line) {
            let found = cases_of(&section);
            print(&section.name, &found);
            cases.extend(found);
        }
    })?;
    if let Some(section) = sections.interrupted() {
        cases.push(Case::failed(&section.name, &["it did not end".to_owned()]));
    }
    cases.extend(boot_cases(&booted));
    Ok(cases)
}

fn print(section: &str, cases: &[Case]) {
    println!("  {section}: {}", super::case::Totals::of(cases));
}
