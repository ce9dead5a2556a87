// SPDX-License-Identifier: GPL-2.0-only

//! The command, on the kernel at hand.

use std::process::{Command, Output};

/// The command with these arguments.
fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_container-seccomp"));
    command.args(arguments).output().unwrap()
}

#[test]
fn the_program_s_exit_status_is_the_command_s() {
    assert_eq!(run(&["true"]).status.code(), Some(0));
    assert_eq!(run(&["sh", "-c", "exit 7"]).status.code(), Some(7));
}

#[test]
fn what_is_no_program_is_told_apart() {
    assert_eq!(run(&[]).status.code(), Some(125));
    assert_eq!(run(&["/no/such/program"]).status.code(), Some(127));
    assert_eq!(run(&["/"]).status.code(), Some(126));
}

#[test]
fn the_program_is_under_a_filter() {
    let output = run(&["grep", "^Seccomp:[[:space:]]*2$", "/proc/self/status"]);
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn what_is_inherited_for_sigpipe_is_handed_down() {
    for (action, pattern) in [("", "[02468ace]...$"), ("trap '' PIPE; ", "[13579bdf]...$")] {
        // The mask of ignored signals, of which SIGPIPE is the lowest bit of the fourth digit.
        let script = format!("{action}exec \"$0\" grep '^SigIgn:.*{pattern}' /proc/self/status");
        let mut shell = Command::new("sh");
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_container-seccomp")]);
        let output = shell.output().unwrap();
        assert!(output.status.success(), "{action}{output:?}");
    }
}
