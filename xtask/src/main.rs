// SPDX-License-Identifier: GPL-2.0-only

//! Builds, boots, tests and checks polled AIO for Linux.
//!
//! Each verb of the Makefile is one subcommand here; this file only dispatches.

mod bench;
mod build;
mod check;
mod checkpatch;
mod deb;
mod run;
mod series;
mod shell;
mod soak;
mod test;
mod variable;
mod vm;

use std::process::ExitCode;

use anyhow::Result;
use build::{Flavour, Workspace};
use clap::{CommandFactory, Parser, Subcommand};

/// Polled AIO for Linux, in Rust.
#[derive(Parser)]
#[command(name = "make", bin_name = "make", disable_help_subcommand = true, after_help = VARIABLES)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

const VARIABLES: &str = "\
Variables:
  KERNEL=c        The untouched C fs/aio.c instead of the Rust one
  KERNEL_SRC=DIR  Your own Linux 7.3 tree instead of Debian's linux-source-7.3
  MODE=NAME       Adds configs/NAME.config to the kernel's configuration
  MODE=matrix     For `test`: kernels configured and compiled otherwise, in turns
  DEB_CONFIG=...  For `deb`: cloud or amd64, which are Debian's, or the path of your own";

#[derive(Subcommand)]
enum Verb {
    /// Boot the kernel with an emulated NVMe device, run fio on it, print a table.
    Run,
    /// Run every test; the last line is `N passed, N failed`.
    Test,
    /// Measure both kernels: instructions per I/O, and an emulated NVMe device.
    Bench,
    /// Do AIO of all kinds at once, for an hour or MINUTES=N.
    Soak,
    /// Build the kernel and print the path of its bzImage.
    Kernel,
    /// Boot the kernel into an interactive shell with fio in it.
    Shell,
    /// Format, lints, checkpatch, sparse and documentation, without booting.
    Check,
    /// Write the patch series to build/series and verify it.
    Series,
    /// Make Debian packages of the kernel and of hipri-run; with CHECK=1, install and try them.
    Deb,
    /// Print this help.
    Help,
}

fn main() -> ExitCode {
    match dispatch(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            exit_code(&error)
        }
    }
}

fn dispatch(arguments: &Arguments) -> Result<ExitCode> {
    let workspace = Workspace::discover()?;
    let flavour = Flavour::wanted()?;
    match arguments.verb {
        Verb::Run => run::run(&workspace, flavour),
        Verb::Test => test::test(&workspace, flavour),
        Verb::Bench => bench::bench(&workspace),
        Verb::Soak => soak::soak(&workspace, flavour),
        Verb::Shell => shell::shell(&workspace, flavour),
        Verb::Kernel => kernel(&workspace, flavour),
        Verb::Check => check::check(&workspace),
        Verb::Series => series::series(&workspace),
        Verb::Deb => deb::deb(&workspace, flavour),
        Verb::Help => help(),
    }
}

/// Builds the kernel that `KERNEL` and `MODE` name; the path is the last line.
fn kernel(workspace: &Workspace, flavour: Flavour) -> Result<ExitCode> {
    let kernel = build::kernel(workspace, flavour, &workspace.fragments())?;
    println!("{}", kernel.bzimage.display());
    Ok(ExitCode::SUCCESS)
}

fn help() -> Result<ExitCode> {
    Arguments::command().print_long_help()?;
    Ok(ExitCode::SUCCESS)
}

/// A lost VM is told apart from a failure of what ran in it.
fn exit_code(error: &anyhow::Error) -> ExitCode {
    match error.downcast_ref::<vm::Lost>() {
        Some(_) => ExitCode::from(vm::Lost::EXIT_STATUS),
        None => ExitCode::FAILURE,
    }
}
