// SPDX-License-Identifier: GPL-2.0-only

//! Finds what two kernels' AIO does differently, by random programs of system calls.
//!
//! A seed makes programs ([`generate`]); each kernel runs them ([`execute`]) and writes down what
//! came of them ([`record`]); the records are compared ([`compare`]), and programs that came out
//! differently are made smaller ([`shrink`]) in further rounds ([`session`]).

mod abi;
mod claim;
mod compare;
mod describe;
mod difference;
mod execute;
mod generate;
mod program;
mod random;
mod record;
mod round;
mod session;
mod shrink;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand, ValueEnum};

use execute::{Executor, Places};
use generate::Purpose;
use session::Plan;

/// Finds what two kernels' AIO does differently, by random programs of system calls.
#[derive(Parser)]
#[command(disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Start a comparison in a folder: write the programs to run.
    Plan {
        /// The folder.
        folder: PathBuf,
        /// What names the run.
        #[arg(long, value_parser = parse_seed)]
        seed: u64,
        /// How many programs there are.
        #[arg(long)]
        programs: u64,
        /// The number of the first one.
        #[arg(long, default_value_t = 0)]
        first: u64,
        /// What programs are compared with.
        #[arg(long, value_enum, default_value_t = Against::Kernel)]
        against: Against,
    },
    /// Run programs on this kernel, as root, and print what came of them. Overwrites the devices.
    Execute {
        /// The programs, one a line.
        programs: PathBuf,
        #[command(flatten)]
        places: PlaceArguments,
        /// How often each is run.
        #[arg(long, default_value_t = 1)]
        times: u32,
        /// Poll for all reads and writes.
        #[arg(long)]
        hipri: bool,
    },
    /// Compare the records in a folder, `reference` and `candidate`; write the report.
    Judge {
        /// The folder.
        folder: PathBuf,
    },
    /// Print the program that a seed makes.
    Show {
        /// The program's own seed.
        #[arg(value_parser = parse_seed)]
        seed: u64,
        /// What programs are compared with.
        #[arg(long, value_enum, default_value_t = Against::Kernel)]
        against: Against,
    },
}

/// What programs are compared with.
#[derive(Clone, Copy, ValueEnum)]
enum Against {
    /// Themselves on another kernel.
    Kernel,
    /// Themselves with polled I/O, on the same kernel.
    Polling,
}

#[derive(Args)]
struct PlaceArguments {
    /// A folder on tmpfs.
    #[arg(long, default_value = "")]
    tmpfs: PathBuf,
    /// A folder on ext4.
    #[arg(long, default_value = "")]
    ext4: PathBuf,
    /// A folder on xfs.
    #[arg(long, default_value = "")]
    xfs: PathBuf,
    /// An NVMe namespace.
    #[arg(long, default_value = "")]
    nvme: PathBuf,
    /// A null_blk disk that keeps data.
    #[arg(long, default_value = "")]
    null_block: PathBuf,
}

impl From<Against> for Purpose {
    fn from(against: Against) -> Self {
        match against {
            Against::Kernel => Self::Kernels,
            Against::Polling => Self::Polling,
        }
    }
}

impl From<PlaceArguments> for Places {
    fn from(arguments: PlaceArguments) -> Self {
        Self {
            tmpfs: arguments.tmpfs,
            ext4: arguments.ext4,
            xfs: arguments.xfs,
            nvme: arguments.nvme,
            null_block: arguments.null_block,
        }
    }
}

/// A seed in decimal, or in hexadecimal behind `0x`.
fn parse_seed(text: &str) -> Result<u64, String> {
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    number.map_err(|error| format!("a seed is a number of 64 bits: {error}"))
}

fn main() -> ExitCode {
    match dispatch(Arguments::parse().verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("aio-diff: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(verb: Verb) -> Result<()> {
    match verb {
        Verb::Plan {
            folder,
            seed,
            programs,
            first,
            against,
        } => session::start(
            &folder,
            &Plan {
                seed,
                first,
                programs,
                purpose: against.into(),
            },
        ),
        Verb::Execute {
            programs,
            places,
            times,
            hipri,
        } => {
            let programs = round::read_programs(&programs)?;
            let executor = Executor {
                places: places.into(),
                times,
                hipri,
            };
            executor.run(&programs, &mut io::stdout())
        }
        Verb::Judge { folder } => {
            let report = session::judge(&folder)?;
            serde_json::to_writer_pretty(io::stdout(), &report)?;
            Ok(writeln!(io::stdout())?)
        }
        Verb::Show { seed, against } => {
            let program = generate::program(seed, against.into());
            for line in describe::program_text(&program) {
                println!("{line}");
            }
            Ok(())
        }
    }
}
