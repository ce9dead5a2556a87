// SPDX-License-Identifier: GPL-2.0-only

//! Makes an unmodified program use polled AIO.
//!
//! Preloaded into a process (see `hipri-run`), this library stands between the program and the AIO
//! system calls and sets `IOCB_FLAG_HIPRI` on the I/O that can be polled for. A polled context
//! accepts polled I/O only, so the decision is one per context, taken by its first I/O.
//!
//! - [`interpose`] is what the dynamic linker binds the program to: which calls are seen.
//! - [`submit`] is what happens to a submission: decide, flag, fall back.
//! - [`eligibility`] says which I/O can carry the flag, and [`file`] which files.
//! - [`context`] remembers what was decided for each context.
//! - [`batch`] reads and flags the program's iocbs in place.
//! - [`next`] finds the functions this library stands in front of.
//! - [`forward`] recognises the calls that come back from them.
//! - [`notice`] and [`statistics`] are all it ever prints.
//!
//! The paths below `io_submit` neither allocate nor take a lock: they run in signal handlers, in
//! forked children and inside memory allocators.

#[cfg(not(all(target_os = "linux", target_arch = "x86_64", target_env = "gnu")))]
compile_error!("hipri supports x86-64 Linux with the GNU C library only");

pub mod abi;
pub mod batch;
pub mod context;
pub mod eligibility;
pub mod errno;
pub mod file;
pub mod forward;
pub mod interpose;
pub mod line;
pub mod next;
pub mod notice;
pub mod startup;
pub mod statistics;
pub mod submit;
