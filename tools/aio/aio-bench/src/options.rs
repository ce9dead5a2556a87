// SPDX-License-Identifier: GPL-2.0-only

//! The command line.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use serde::Serialize;

/// Measures what an I/O costs: time, CPU time, context switches and interrupts.
///
/// Every thread keeps DEPTH I/Os in flight in each of its contexts. It submits BATCH of them and
/// waits for BATCH, and goes on to the next context. What is printed is of the steady state: filling
/// the contexts, a warm-up and draining them are not counted.
#[derive(Clone, Debug, Parser)]
#[command(name = "aio-bench", version, after_help = STATUS)]
pub struct Options {
    /// How I/O is submitted and reaped.
    #[arg(long, value_enum, default_value_t = Engine::Aio)]
    pub engine: Engine,

    /// I/Os in flight in each context of each thread.
    #[arg(long, default_value_t = 1, value_parser = positive())]
    pub depth: u32,

    /// I/Os submitted and reaped at once; at most DEPTH.
    #[arg(long, default_value_t = 1, value_parser = positive())]
    pub batch: u32,

    /// Bytes of one I/O.
    #[arg(long, default_value_t = 4096, value_parser = positive())]
    pub block_size: u32,

    /// Threads that do I/O.
    #[arg(long, default_value_t = 1, value_parser = positive())]
    pub threads: u32,

    /// Contexts (or rings) of each thread, used in turns.
    #[arg(long, default_value_t = 1, value_parser = positive())]
    pub contexts: u32,

    /// All threads use the same contexts; AIO only.
    #[arg(long)]
    pub shared: bool,

    /// Threads that reaped from the first context once and now sleep; AIO only.
    #[arg(long, default_value_t = 0)]
    pub idle_threads: u32,

    /// I/Os that each thread is measured for.
    #[arg(long, default_value_t = 65536, value_parser = clap::value_parser!(u64).range(1..))]
    pub ios: u64,

    /// Measures for this many seconds instead of a number of I/Os.
    #[arg(long, conflicts_with = "ios")]
    pub seconds: Option<f64>,

    /// I/Os of each thread before the measurement.
    #[arg(long, default_value_t = 4096)]
    pub warmup: u64,

    /// Also measures the latency of each I/O, which costs a little itself.
    #[arg(long)]
    pub latency: bool,

    /// Writes. The content of a block is made of SEED and where the block lies.
    #[arg(long)]
    pub write: bool,

    /// Checks the content of what was read; with --write, reads everything back at the end.
    #[arg(long)]
    pub verify: bool,

    /// From the first block to the last and over again, instead of at random.
    #[arg(long)]
    pub sequential: bool,

    /// What random numbers and contents are made of.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,

    /// Prints the result as one line of JSON.
    #[arg(long)]
    pub json: bool,

    /// Block devices or files, opened with O_DIRECT and used in turns.
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
}

const STATUS: &str = "Exit status: 0; 1 if an I/O or a check failed; 2 for a wrong command line; \
3 if the kernel or the device cannot do what was asked.";

/// The longest measurement, eleven days: far longer ones are more than a `Duration` holds.
const MOST_SECONDS: f64 = 1e6;

fn positive() -> clap::builder::RangedI64ValueParser<u32> {
    clap::value_parser!(u32).range(1..)
}

/// How I/O is submitted and reaped.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// io_submit and io_getevents.
    Aio,
    /// The same with IOCB_FLAG_HIPRI.
    AioHipri,
    /// io_uring.
    #[value(name = "io_uring")]
    #[serde(rename = "io_uring")]
    Uring,
    /// io_uring with IORING_SETUP_IOPOLL.
    #[value(name = "io_uring-poll")]
    #[serde(rename = "io_uring-poll")]
    UringPoll,
    /// The same with IORING_SETUP_HYBRID_IOPOLL: sleeps before it polls.
    #[value(name = "io_uring-poll-hybrid")]
    #[serde(rename = "io_uring-poll-hybrid")]
    UringPollHybrid,
    /// io_uring-poll with registered buffers and files.
    #[value(name = "io_uring-poll-fixed")]
    #[serde(rename = "io_uring-poll-fixed")]
    UringPollFixed,
    /// preadv2 and pwritev2 with RWF_HIPRI, one I/O at a time.
    Preadv2,
}

impl Engine {
    /// Whether it is Linux AIO, polled or not.
    pub fn is_aio(self) -> bool {
        matches!(self, Self::Aio | Self::AioHipri)
    }
}

impl Options {
    /// Parses the command line of this process; a wrong one ends it with status 2.
    pub fn from_command_line() -> Self {
        let options = Self::parse();
        if let Err(sentence) = options.check() {
            eprintln!("aio-bench: {sentence}");
            std::process::exit(2);
        }
        options
    }

    /// What clap cannot know: which options go together.
    fn check(&self) -> Result<(), &'static str> {
        let rules = [
            (self.batch <= self.depth, "--batch is more than --depth"),
            (
                self.block_size % 512 == 0,
                "--block-size is not a multiple of 512",
            ),
            (
                self.engine != Engine::Preadv2 || self.depth == 1,
                "preadv2 has one I/O in flight: --depth is 1",
            ),
            (
                self.engine.is_aio() || !self.shared,
                "only contexts of AIO can be --shared",
            ),
            (
                self.engine.is_aio() || self.idle_threads == 0,
                "--idle-threads reap contexts of AIO only",
            ),
            (
                self.seconds
                    .is_none_or(|seconds| seconds > 0.0 && seconds <= MOST_SECONDS),
                "--seconds is not more than 0 and at most 1000000",
            ),
        ];
        match rules.into_iter().find(|(holds, _)| !holds) {
            Some((_, sentence)) => Err(sentence),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str) -> Result<(), &'static str> {
        let words = ["aio-bench"].into_iter().chain(line.split_whitespace());
        Options::try_parse_from(words).unwrap().check()
    }

    #[test]
    fn the_command_is_well_formed() {
        use clap::CommandFactory;
        Options::command().debug_assert();
    }

    #[test]
    fn engines_have_their_usual_names() {
        for engine in Engine::value_variants() {
            let name = engine.to_possible_value().unwrap().get_name().to_owned();
            assert_eq!(serde_json::to_value(engine).unwrap(), name);
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert_eq!(check("--depth 128 --batch 32 file"), Ok(()));
        assert_eq!(check("--seconds 0.5 file"), Ok(()));
        assert_eq!(
            check("--engine aio-hipri --shared --threads 2 file"),
            Ok(())
        );
        for line in [
            "--depth 1 --batch 2 file",
            "--block-size 1000 file",
            "--engine preadv2 --depth 2 file",
            "--engine io_uring --shared file",
            "--engine io_uring --idle-threads 1 file",
            "--seconds 0 file",
            "--seconds inf file",
            "--seconds NaN file",
            "--seconds 1e7 file",
        ] {
            assert!(check(line).is_err(), "{line}");
        }
    }

    #[test]
    fn a_file_is_needed_and_ios_exclude_seconds() {
        let parse = |words: &[&str]| Options::try_parse_from(words).is_ok();
        assert!(!parse(&["aio-bench"]));
        assert!(!parse(&["aio-bench", "--ios", "1", "--seconds", "1", "f"]));
        assert!(!parse(&["aio-bench", "--depth", "0", "f"]));
        assert!(parse(&["aio-bench", "--seconds", "1", "f"]));
    }
}
