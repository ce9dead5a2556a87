// SPDX-License-Identifier: GPL-2.0-only

//! `aio-bench` measures what an I/O costs by Linux AIO, polled AIO, io_uring and preadv2.
//!
//! It makes the system calls itself, so that what is compared are the kernel's interfaces and not
//! libraries, and allocates nothing while it measures.

mod aio;
#[cfg(test)]
mod allocations;
mod clock;
mod files;
mod histogram;
mod interrupts;
mod memory;
mod options;
mod outcome;
mod place;
mod preadv2;
mod queue;
mod run;
mod slots;
mod uring;
mod worker;

use std::{io, process};

use anyhow::Result;

use options::Options;
use queue::IoFailure;
use run::Unsupported;

fn main() {
    let options = Options::from_command_line();
    if let Err(error) = measure(&options) {
        process::exit(complain(&error));
    }
}

fn measure(options: &Options) -> Result<()> {
    let outcome = run::run(options)?;
    if options.json {
        println!("{}", serde_json::to_string(&outcome)?);
    } else {
        println!("{outcome}");
    }
    Ok(())
}

/// Says what went wrong; returns the exit status for it.
fn complain(error: &anyhow::Error) -> i32 {
    eprintln!("aio-bench: {error:#}");
    if is_unsupported(error) {
        3
    } else {
        1
    }
}

/// Whether an error says that the kernel or the device cannot do what was asked.
fn is_unsupported(error: &anyhow::Error) -> bool {
    let no_such_call = |error: &io::Error| error.raw_os_error() == Some(libc::ENOSYS);
    error.is::<Unsupported>()
        || error
            .downcast_ref::<IoFailure>()
            .is_some_and(|failure| failure.is_unsupported())
        || error.downcast_ref::<io::Error>().is_some_and(no_such_call)
}
