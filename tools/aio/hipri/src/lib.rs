// SPDX-License-Identifier: GPL-2.0-only

//! Makes an unmodified program use polled AIO.
//!
//! Preloaded into a process (see `hipri-run`), this library stands between the program and the AIO
//! system calls and sets `IOCB_FLAG_HIPRI` on the I/O that can be polled for. The kernel's contexts
//! take either polled I/O or other I/O, never both; so a program's context that carries both is
//! served by two of the kernel's: the one that the program made and sees, and a shadow.
//!
//! - [`interpose`] is what the dynamic linker binds the program to: which calls are seen.
//! - [`calls`] is what becomes of each call.
//! - [`submit`] sends I/O the way it can go; [`eligibility`] says which way that is, [`verdicts`]
//!   remembers what was found out about files, and [`file`] finds it out.
//! - [`reap`] waits on one or two contexts at once; [`wake`] gets a thread out of a wait.
//! - [`context`] is what is known of a context, [`shadow`] makes its second half, and [`table`]
//!   is where the contexts of a process are kept.
//! - [`batch`] reads and flags the program's iocbs in place.
//! - [`system`] is all that the above ask of the system, [`linux`] does it, and [`next`] finds the
//!   function that it does it by.
//! - [`notice`] and [`statistics`] are all that is ever printed.
//!
//! Nothing here allocates or waits for a lock: these paths run in signal handlers, in forked
//! children and inside memory allocators.

#![cfg_attr(not(test), no_std)]

#[cfg(not(all(
    target_os = "linux",
    any(target_arch = "x86_64", target_arch = "x86"),
    target_env = "gnu"
)))]
compile_error!("hipri supports x86 Linux, 64-bit and 32-bit, with the GNU C library only");

pub mod batch;
pub mod calls;
pub mod context;
pub mod eligibility;
pub mod errno;
pub mod file;
pub mod interpose;
pub mod line;
#[cfg(not(test))]
mod linkage;
pub mod linux;
pub mod next;
pub mod notice;
#[cfg(not(test))]
mod panic;
pub mod reap;
pub mod shadow;
pub mod startup;
pub mod statistics;
pub mod submit;
pub mod system;
pub mod table;
pub mod verdicts;
pub mod wake;

#[cfg(test)]
mod played;
