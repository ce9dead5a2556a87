// SPDX-License-Identifier: GPL-2.0-only

//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;

use lexopt::Arg;

use crate::failure::Failure;

/// What `--help` prints.
pub const HELP: &str = "\
Usage: hipri-run [--stats] PROGRAM [ARGUMENT]...
       hipri-run --check FILE

Runs PROGRAM with its AIO (io_submit) polled instead of interrupt-driven, where the kernel, the
device and the way in which the program does its I/O allow it. What is not polled runs as ever, and
one line on standard error says why.

  --stats       print for every AIO context how much of its I/O was polled, and why the rest was not
  --check FILE  print whether I/O on FILE can be polled here, and if not, what to do
  --help        print this
  --version     print the version

Environment:
  HIPRI_LIBRARY  path of libhipri.so, otherwise looked for beside hipri-run and in ../lib*

Exit status: that of PROGRAM; 127 if it is not found, 126 if it cannot be run with a preloaded
library, 125 if hipri-run itself fails. Of --check: 0 if I/O on FILE can be polled, 1 if not.
";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    /// Print the help.
    Help,
    /// Print the version.
    Version,
    /// Say whether I/O on a file can be polled.
    Check(PathBuf),
    /// Run a program.
    Run(Options),
}

/// How to run which program.
#[derive(Debug, PartialEq, Eq)]
pub struct Options {
    /// Print statistics of each context.
    pub stats: bool,
    /// The program as the user named it.
    pub program: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// Parses the command line, its first item being the name of this program.
///
/// All that follows the first item that is no option belongs to the program.
pub fn parse(line: impl IntoIterator<Item = OsString>) -> Result<Request, Failure> {
    let mut parser = lexopt::Parser::from_iter(line);
    let mut stats = false;
    loop {
        match parser.next().map_err(misused)? {
            Some(Arg::Long("stats")) => stats = true,
            Some(Arg::Long("check")) => return check(&mut parser, stats),
            Some(Arg::Long("help") | Arg::Short('h')) => return Ok(Request::Help),
            Some(Arg::Long("version") | Arg::Short('V')) => return Ok(Request::Version),
            Some(Arg::Value(program)) => {
                let arguments = parser.raw_args().map_err(misused)?.collect();
                return Ok(Request::Run(Options {
                    stats,
                    program,
                    arguments,
                }));
            }
            Some(option) => return Err(misused(option.unexpected())),
            None => return Err(misused("no program is named")),
        }
    }
}

fn check(parser: &mut lexopt::Parser, stats: bool) -> Result<Request, Failure> {
    let file = parser.value().map_err(misused)?;
    match parser.next().map_err(misused)? {
        Some(more) => Err(misused(more.unexpected())),
        None if stats => Err(misused("--check runs no program, so it has no --stats")),
        None => Ok(Request::Check(file.into())),
    }
}

fn misused(error: impl std::fmt::Display) -> Failure {
    Failure::own(format!("{error}; see hipri-run --help"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(line: &str) -> Result<Request, Failure> {
        parse(line.split(' ').map(OsString::from))
    }

    fn run(stats: bool, program: &str, arguments: &[&str]) -> Request {
        Request::Run(Options {
            stats,
            program: program.into(),
            arguments: arguments.iter().map(OsString::from).collect(),
        })
    }

    #[test]
    fn options_end_at_the_program() {
        let request = parse_line("hipri-run --stats fio --stats -x --help");
        assert_eq!(request, Ok(run(true, "fio", &["--stats", "-x", "--help"])));
        let request = parse_line("hipri-run fio -- --stats");
        assert_eq!(request, Ok(run(false, "fio", &["--", "--stats"])));
    }

    #[test]
    fn two_dashes_end_options_too() {
        let request = parse_line("hipri-run --stats -- --odd -a");
        assert_eq!(request, Ok(run(true, "--odd", &["-a"])));
    }

    #[test]
    fn help_and_version_are_answered() {
        assert_eq!(parse_line("hipri-run --help"), Ok(Request::Help));
        assert_eq!(parse_line("hipri-run -V"), Ok(Request::Version));
    }

    #[test]
    fn a_file_is_checked_alone() {
        let check = Ok(Request::Check("f".into()));
        assert_eq!(parse_line("hipri-run --check f"), check);
        assert_eq!(parse_line("hipri-run --check=f"), check);
    }

    #[test]
    fn misuse_is_a_failure_of_our_own() {
        for line in [
            "hipri-run",
            "hipri-run --stats",
            "hipri-run --odd fio",
            "hipri-run --stats=1 fio",
            "hipri-run --check",
            "hipri-run --check f g",
            "hipri-run --stats --check f",
        ] {
            let failure = parse_line(line).unwrap_err();
            assert_eq!(failure.status, 125, "{line}");
            assert!(
                failure.sentence.ends_with("; see hipri-run --help"),
                "{line}"
            );
        }
    }
}
