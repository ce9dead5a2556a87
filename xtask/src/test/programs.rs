// SPDX-License-Identifier: GPL-2.0-only

//! Real programs, each run as it is and under hipri-run: it must say the same, and as much of its
//! I/O must be polled as can be.

mod check;
mod program;
mod python;
mod transcript;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use super::case::Case;
use super::{sections, Bench};
use crate::build::{command, Flavour};
use crate::vm::report::Section;
use crate::vm::Job;
use program::{Program, PROGRAMS, UNPOLLED};
use transcript::Transcript;

const TIMEOUT: Duration = Duration::from_secs(900);

/// What the guest's script runs beside installed programs: files of `guest/programs.d`.
const SCRIPTS: &[&str] = &[
    "aiofile_files.py",
    "caio_files.py",
    "libaio_files.py",
    "sysbench",
];

/// Runs them in the guest, and `hipri-run --check` on a few files.
pub fn run(bench: &Bench) -> Result<Vec<Case>> {
    let job = Job::of_script(bench.ws, "programs")?;
    bench.preload_programs()?.add_to(&job)?;
    for script in SCRIPTS {
        let path = format!("programs.d/{script}");
        job.add(&bench.ws.root.join("guest").join(&path), &path)?;
    }
    for (name, option) in [("mixed_io", "-m64"), ("mixed_io32", "-m32")] {
        let program = compile_mixed_io(bench, name, option)?;
        job.add(&program, &format!("bin/{name}"))?;
    }
    let mut cases = python::add_module(bench, &job)?;
    let cases_of: fn(&Section) -> Vec<Case> = match bench.flavour {
        Flavour::Rust => |section| vec![case_of(section, true)],
        Flavour::C => |section| vec![case_of(section, false)],
    };
    cases.extend(sections::run(bench, "programs", &job, TIMEOUT, cases_of)?);
    cases.extend(missing(&cases));
    Ok(cases)
}

/// Compiles the C program of hipri-run's own tests; returns its path.
fn compile_mixed_io(bench: &Bench, name: &str, option: &str) -> Result<PathBuf> {
    let source = bench.ws.root.join("tools/aio/hipri-run/tests");
    let folder = bench.ws.build.join("programs");
    std::fs::create_dir_all(&folder)?;
    let binds: [(&Path, &str); 2] = [(&source, "/src"), (&folder, "/out")];
    let mut gcc = bench.host.root.command(&binds, "/out");
    gcc.args(["gcc", "-O2", "-pthread", option, "-o", name]);
    command::run(gcc.arg("/src/mixed_io.c"))?;
    Ok(folder.join(name))
}

/// Failures of the programs and checks that never ran.
fn missing(cases: &[Case]) -> Vec<Case> {
    let programs = PROGRAMS.iter().map(|program| program.name.to_owned());
    programs
        .chain(check::names())
        .filter(|name| cases.iter().all(|case| case.name != *name))
        .map(|name| Case::failed(&name, &["it did not run".to_owned()]))
        .collect()
}

/// The case of a section, on a kernel that polls or does not.
fn case_of(section: &Section, polls: bool) -> Case {
    let name = &section.name;
    let faults = match PROGRAMS.iter().find(|program| program.name == name) {
        Some(program) => faults_of_program(program, section, polls),
        None => check::faults_of(section, polls),
    };
    let said = if faults.is_empty() {
        &[]
    } else {
        section.lines.as_slice()
    };
    Case::without_faults(name, &[faults.as_slice(), said].concat())
}

/// What is wrong with a program; prints how much of it is polled.
fn faults_of_program(program: &Program, section: &Section, polls: bool) -> Vec<String> {
    let transcript = Transcript::of(&section.lines);
    println!("  {}: {}", program.name, transcript.counts());
    let share = if polls { program.share } else { UNPOLLED };
    transcript.faults(program.result_of, share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_or_check_that_never_ran_is_a_failure() {
        let names = PROGRAMS.iter().map(|program| program.name.to_owned());
        let all: Vec<Case> = names
            .chain(check::names())
            .map(|name| Case::passed(&name))
            .collect();
        assert_eq!(missing(&all), []);
        assert_eq!(missing(&all[1..])[0].name, all[0].name);
        let last = all.len() - 1;
        assert_eq!(missing(&all[..last])[0].name, all[last].name);
    }

    #[test]
    fn what_was_said_comes_with_a_fault() {
        let section = Section {
            name: "ioping".to_owned(),
            lines: vec!["said".to_owned()],
            status: Some(0),
        };
        let case = case_of(&section, true);
        assert!(case.has_failed());
        assert_eq!(case.detail.last().unwrap(), "said");
    }
}
