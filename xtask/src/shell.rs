// SPDX-License-Identifier: GPL-2.0-only

//! `make shell`: the guest on the user's terminal.

use std::env;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::Result;

use crate::build::{self, Architecture, Flavour, Workspace};
use crate::vm::{add_static_programs, preload_programs, Boot, Host, Job};

/// Boots the kernel with fio and, on x86-64, the programs of `tools/aio`, and waits for the user to
/// leave the shell.
pub fn shell(ws: &Workspace, flavour: Flavour) -> Result<ExitCode> {
    let kernel = build::kernel(ws, flavour, &ws.fragments())?;
    let host = Host::prepare(ws, &kernel.image)?;
    let job = Job::of_script(ws, "interactive")?;
    if ws.architecture == Architecture::X86 {
        preload_programs(ws, &host.root)?.add_to(&job)?;
        add_static_programs(ws, &host.root, &job)?;
    }
    let boot = Boot {
        name: "shell",
        kernel: &kernel.image,
        job: &job,
        parameters: &format!("quiet {}", terminal()),
        timeout: Duration::MAX,
    };
    println!("to leave the shell: exit or Ctrl-D; to kill the machine: Ctrl-A, then X");
    let status = host.boot_on_terminal(&boot)?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The user's terminal, as variables that a kernel hands to process 1.
fn terminal() -> String {
    let name = env::var("TERM").unwrap_or_else(|_| "linux".to_owned());
    let stty = Command::new("stty")
        .arg("size")
        .stdin(Stdio::inherit())
        .output();
    let size = stty.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    variables(&name, &size.unwrap_or_default())
}

/// `size` is rows and columns, as stty prints them, or nothing usable.
fn variables(name: &str, size: &str) -> String {
    let size = size
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect::<Vec<u16>>();
    match size[..] {
        [rows, columns] if rows > 0 && columns > 0 => {
            format!("TERM={name} ROWS={rows} COLUMNS={columns}")
        }
        _ => format!("TERM={name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_passed_on_when_there_is_one() {
        assert_eq!(
            variables("xterm", "50 120\n"),
            "TERM=xterm ROWS=50 COLUMNS=120"
        );
        assert_eq!(variables("xterm", "0 0\n"), "TERM=xterm");
        assert_eq!(variables("xterm", ""), "TERM=xterm");
    }
}
