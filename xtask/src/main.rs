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

use anyhow::{ensure, Result};
use build::{Architecture, Flavour, Workspace};
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
  ARCH=arm64      For `kernel`, `test` and `shell`: 64-bit Arm, cross-built and emulated
  STAGE=A,B       For `test`: these stages only; of the self-tests, those in TESTS=C,D
  SEED=N          For `test` and `soak`: other random programs, PROGRAMS=N of them in a test
  SECONDS=N       For `test`: how long each fault lasts; MINUTES=N for `soak`
  PART=NAME       For `bench`: this part only, in ROUNDS=N; with STRICT=1 a missed target fails
  CHECK=1         For `series` and `deb`: build, boot and try each patch, or the packages
  STEPS=N,M       For `series`: with CHECK=1, these patches only
  SIGNED_OFF_BY=  For `series`: who signs, as \"Name <address>\", instead of git's user
  DEB_CONFIG=...  For `deb`: cloud or amd64, which are Debian's, or the path of your own";

#[derive(Subcommand)]
enum Verb {
    /// Boot the kernel with an emulated NVMe device, run fio on it, print a table.
    Run,
    /// Run every test; the last line is `N passed, N failed`.
    Test,
    /// Measure both kernels: instructions per I/O, an emulated NVMe device, delayed disks.
    Bench,
    /// Do AIO of all kinds at once, for an hour or MINUTES=N.
    Soak,
    /// Build the kernel and print the path of its image.
    Kernel,
    /// Boot the kernel into an interactive shell with fio, hipri-run and aio-bench.
    Shell,
    /// Format, lints, checkpatch, sparse and documentation, without booting.
    Check,
    /// Write the patch series to build/series and verify it; with CHECK=1, patch by patch.
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
    require_architecture(&arguments.verb, workspace.architecture)?;
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

/// Fails on what is done for x86-64 only.
fn require_architecture(verb: &Verb, architecture: Architecture) -> Result<()> {
    let goes_everywhere = matches!(verb, Verb::Kernel | Verb::Test | Verb::Shell | Verb::Help);
    ensure!(
        goes_everywhere || architecture == Architecture::X86,
        "only `make kernel`, `make test` and `make shell` know ARCH=arm64: leave it out"
    );
    Ok(())
}

/// Builds the kernel that `KERNEL`, `MODE` and `ARCH` name; the path is the last line.
fn kernel(workspace: &Workspace, flavour: Flavour) -> Result<ExitCode> {
    let kernel = build::kernel(workspace, flavour, &workspace.fragments())?;
    println!("{}", kernel.image.display());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_for_one_architecture_says_so() {
        let (x86, arm64) = (Architecture::X86, Architecture::Arm64);
        assert!(require_architecture(&Verb::Bench, x86).is_ok());
        assert!(require_architecture(&Verb::Test, arm64).is_ok());
        assert!(require_architecture(&Verb::Bench, arm64).is_err());
    }
}
