// SPDX-License-Identifier: GPL-2.0-only

//! What became of each context, told when it goes: `hipri-run --stats`.
//!
//! A context is told of when it is destroyed, or else when the process exits. A process that is
//! killed, or calls `_exit` or `exec` with contexts left, tells nothing of them.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::context::{Context, Mode};
use crate::interpose::CONTEXTS;
use crate::notice::say;

static WANTED: AtomicBool = AtomicBool::new(false);

/// Reads the wish from the environment: once, as the library is loaded.
pub fn read_environment() {
    // SAFETY: the name is a valid string, and no other thread changes the environment yet.
    let wanted = unsafe { !libc::getenv(c"HIPRI_STATS".as_ptr()).is_null() };
    WANTED.store(wanted, Ordering::Relaxed);
}

/// Tells of a context that goes, where that is wanted.
pub fn report(context: &Context) {
    if !WANTED.load(Ordering::Relaxed) {
        return;
    }
    // SAFETY: getpid cannot fail.
    let process = unsafe { libc::getpid() };
    let (id, submitted) = (context.id(), context.submitted());
    match context.observe().mode() {
        Mode::Undecided => say(format_args!(
            "process {process}, context {id:#x}: nothing submitted"
        )),
        Mode::Polled => say(format_args!(
            "process {process}, context {id:#x}: polled, {submitted} submitted"
        )),
        Mode::Plain(reason) => say(format_args!(
            "process {process}, context {id:#x}: not polled, {submitted} submitted: {reason}"
        )),
    }
}

/// Tells of the contexts that are left when the process exits.
pub fn report_all() {
    CONTEXTS.iter().for_each(report);
}
