// SPDX-License-Identifier: GPL-2.0-only

//! `container-seccomp PROGRAM [ARGUMENT]...` runs a program under a seccomp filter like the one that
//! container engines set up by default: io_uring is refused, Linux AIO is not.
//!
//! It shows what a program may do in a container without there being one: no namespaces, no
//! control groups, and all capabilities stay, only the system calls are those.
//!
//! Exit status: that of the program, which takes this process's place; 127 when it is not found,
//! 126 when it cannot be run, 125 when the filter cannot be set up.

mod profile;

use std::ffi::OsString;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use seccompiler::BpfProgram;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let Some(program) = words.next() else {
        return fail(125, "usage: container-seccomp PROGRAM [ARGUMENT]...");
    };
    match confine() {
        Ok(()) => run(program, words),
        Err(error) => fail(125, &format!("{error:#}")),
    }
}

/// Puts this process under the filter, for good, and all that it runs.
fn confine() -> Result<()> {
    let filter = BpfProgram::try_from(profile::filter()?).context("cannot compile the filter")?;
    seccompiler::apply_filter(&filter).context("cannot set up the filter")
}

/// Becomes the program, or says why that cannot be.
fn run(program: OsString, arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let mut command = Command::new(&program);
    let error = sigpipe::hand_down(command.args(arguments)).exec();
    let status = match error.kind() {
        ErrorKind::NotFound => 127,
        _ => 126,
    };
    fail(
        status,
        &format!("cannot run {}: {error}", Path::new(&program).display()),
    )
}

fn fail(status: u8, sentence: &str) -> ExitCode {
    eprintln!("container-seccomp: {sentence}");
    ExitCode::from(status)
}
