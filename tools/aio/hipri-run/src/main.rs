// SPDX-License-Identifier: GPL-2.0-only

//! `hipri-run PROGRAM ARGS...` runs a program with its AIO polled, by preloading `libhipri.so`;
//! `hipri-run --check FILE` says whether that can work.
//!
//! Exit status: that of the program, which takes this process's place; 127 when it is not found,
//! 126 when it cannot be run this way, 125 when hipri-run itself cannot go on.

mod check;
mod elf;
mod failure;
mod library;
mod options;
mod preload;
mod program;

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use failure::Failure;
use options::{Options, Request};

fn main() -> ExitCode {
    let failure = match options::parse(std::env::args_os()) {
        Ok(Request::Help) => return say(options::HELP),
        Ok(Request::Version) => return say(concat!("hipri-run ", env!("CARGO_PKG_VERSION"), "\n")),
        Ok(Request::Check(file)) => return ExitCode::from(u8::from(!check::check(&file))),
        Ok(Request::Run(options)) => match run(&options) {
            Ok(never) => match never {},
            Err(failure) => failure,
        },
        Err(failure) => failure,
    };
    eprintln!("hipri-run: {}", failure.sentence);
    ExitCode::from(failure.status)
}

fn say(text: &str) -> ExitCode {
    print!("{text}");
    ExitCode::SUCCESS
}

fn run(options: &Options) -> Result<std::convert::Infallible, Failure> {
    let program = program::find(&options.program)?;
    let library = library::find(preload::target(&program)?)?;

    let mut command = Command::new(&program);
    command
        .arg0(&options.program)
        .args(&options.arguments)
        .env("LD_PRELOAD", library::prepend_to_preloads(&library)?);
    if options.stats {
        command.env("HIPRI_STATS", "1");
    }
    let error = sigpipe::hand_down(&mut command).exec();
    Err(Failure::cannot_run(format!(
        "cannot run {}: {}",
        program.display(),
        failure::reason(&error)
    )))
}
