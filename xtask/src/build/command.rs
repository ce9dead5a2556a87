// SPDX-License-Identifier: GPL-2.0-only

//! External commands: each is printed, so that a user can repeat it, before it runs.

use std::env;
use std::fs::File;
use std::io::{BufRead, BufReader, LineWriter, Write};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use anyhow::{bail, Context, Result};
use rustix::pipe::PipeFlags;

/// Prints the command line as a shell would take it, with variables that this process has not.
pub fn announce(command: &Command) {
    eprintln!("$ {}", line(command));
}

/// Runs a command whose output the user shall see; fails if it does.
pub fn run(command: &mut Command) -> Result<()> {
    announce(command);
    let status = command.status().with_context(|| cannot_start(command))?;
    require(command, status)
}

/// Runs a command and returns what it wrote to standard output; standard error passes through.
pub fn read(command: &mut Command) -> Result<String> {
    announce(command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| cannot_start(command))?;
    require(command, output.status)?;
    Ok(String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned())
}

/// Runs a command quietly; both its output streams, merged, go to `log` and line by line to `seen`.
///
/// Returns the exit status: what a failure means is the caller's to say.
pub fn stream(command: &mut Command, log: &Path, mut seen: impl FnMut(&str)) -> Result<ExitStatus> {
    announce(command);
    // Nobody looks at colours in a log.
    command.env("TERM", "dumb");
    let (reader, writer) =
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC).context("cannot make a pipe")?;
    let mut log = File::create(log)
        .map(LineWriter::new)
        .with_context(|| format!("cannot write {}", log.display()))?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .spawn()
        .with_context(|| cannot_start(command))?;
    // The command keeps its copies of the pipe's writing end, and the pipe would never close.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    for line in BufReader::new(File::from(reader)).split(b'\n') {
        let line = line?;
        log.write_all(&line)?;
        log.write_all(b"\n")?;
        seen(&String::from_utf8_lossy(&line));
    }
    log.flush()?;
    Ok(child.wait()?)
}

fn require(command: &Command, status: ExitStatus) -> Result<()> {
    if !status.success() {
        bail!("`{}` failed: {status}", line(command));
    }
    Ok(())
}

fn cannot_start(command: &Command) -> String {
    format!("cannot start {}", command.get_program().to_string_lossy())
}

fn line(command: &Command) -> String {
    let variables = command
        .get_envs()
        .filter_map(|(name, value)| Some((name, value?)))
        .filter(|(name, value)| env::var_os(name).as_deref() != Some(*value))
        .map(|(name, value)| {
            format!(
                "{}={}",
                name.to_string_lossy(),
                quoted(&value.to_string_lossy())
            )
        });
    let words = std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(|word| quoted(&word.to_string_lossy()));
    variables.chain(words).collect::<Vec<_>>().join(" ")
}

/// Quotes a word for a shell where it needs to be.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=/.,:+@%~".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_printed_line_can_be_pasted() {
        let mut command = Command::new("make");
        command.env("A", "b c").args(["CC=ccache clang", "-j2", ""]);
        assert_eq!(line(&command), "A='b c' make 'CC=ccache clang' -j2 ''");
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }

    #[test]
    fn a_stream_is_logged_and_seen() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut lines = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two >&2; exit 3"]);
        let status = stream(&mut command, &log, |line| lines.push(line.to_owned())).unwrap();
        assert_eq!(status.code(), Some(3));
        assert_eq!(lines, ["one", "two"]);
        assert_eq!(std::fs::read_to_string(log).unwrap(), "one\ntwo\n");
    }
}
