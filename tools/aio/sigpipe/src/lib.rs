// SPDX-License-Identifier: GPL-2.0-only

//! Hands what a program inherited for `SIGPIPE` down to the program that it executes.
//!
//! Who starts a program may have it ignore the signal: then a write to a closed connection fails with
//! `EPIPE` instead of ending the program. Rust's runtime ignores it in any case, and resets it to its
//! default action in what [`Command`] executes. So what was inherited is looked at before the runtime
//! starts.

use std::io;
use std::mem::MaybeUninit;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

#[used]
#[link_section = ".init_array"]
static ON_START: extern "C" fn() = note_inherited;

static IS_IGNORED: AtomicBool = AtomicBool::new(false);

/// Called by the C library before `main`, from which on the runtime ignores the signal.
extern "C" fn note_inherited() {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: there is room for the action, of which all zeroes is one: the default.
    let action = unsafe {
        libc::sigaction(libc::SIGPIPE, std::ptr::null(), action.as_mut_ptr());
        action.assume_init()
    };
    IS_IGNORED.store(action.sa_sigaction == libc::SIG_IGN, Relaxed);
}

/// Makes what `command` executes ignore `SIGPIPE` if this program was started to do so.
pub fn hand_down(command: &mut Command) -> &mut Command {
    // SAFETY: `restore` makes one system call and nothing else, which may be done after a fork.
    unsafe { command.pre_exec(restore) }
}

/// Runs when `Command` has reset the signal.
fn restore() -> io::Result<()> {
    if IS_IGNORED.load(Relaxed) {
        // SAFETY: an ignored signal runs no code.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    }
    Ok(())
}
