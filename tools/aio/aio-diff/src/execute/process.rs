// SPDX-License-Identifier: GPL-2.0-only

//! The process of a program: born, watched, and its end put in words.

use std::fs;
use std::io;
use std::time::Duration;

use anyhow::{Context, Result};

use super::arena::Arena;
use super::places::Places;
use super::sys::last_error;
use super::transcript::Transcript;
use super::world::World;
use crate::program::{End, Program};

/// A program that takes longer hangs.
const LIFE: Duration = Duration::from_secs(20);
/// A process that was killed and is not gone after this time never will be.
const DEATH: Duration = Duration::from_secs(10);
/// The largest file that a program can make, in bytes.
const LARGEST_FILE: u64 = 1 << 30;

/// What a process needs.
pub struct Process<'a> {
    /// The program.
    pub program: &'a Program,
    /// Its memory.
    pub arena: &'a Arena,
    /// What it says.
    pub transcript: &'a Transcript,
    /// Where its files are.
    pub places: &'a Places,
    /// Whether reads and writes are polled.
    pub hipri: bool,
}

/// A child process.
struct Child {
    id: libc::pid_t,
    /// Becomes readable when it ends.
    handle: i32,
}

impl Process<'_> {
    /// Runs the program. Returns a line about how its process ended.
    pub fn run(&self) -> Result<String> {
        // SAFETY: This process has one thread.
        let id = unsafe { libc::fork() };
        match id {
            -1 => Err(io::Error::last_os_error()).context("cannot fork"),
            0 => self.be(),
            id => Child::new(id)?.end(),
        }
    }

    /// The child: does what the program says and ends as it says.
    fn be(&self) -> ! {
        confine(self.program);
        let world = World::new(
            self.program,
            self.arena,
            self.transcript,
            self.places,
            self.hipri,
        );
        let status = match world {
            Ok(mut world) => {
                world.run();
                0
            }
            Err(error) => {
                self.transcript.line(&format!("cannot run: {error:#}"));
                2
            }
        };
        // SAFETY: Other threads may be in system calls, which is what is to be tried; nothing of
        // this process is needed any more.
        unsafe {
            if self.program.end == End::Kill && status == 0 {
                libc::kill(libc::getpid(), libc::SIGKILL);
            }
            libc::_exit(status)
        }
    }
}

/// Sets the limits of a program's process, and takes its standard input away.
fn confine(program: &Program) {
    // SAFETY: The path ends in a zero.
    unsafe {
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDONLY);
        libc::dup2(null, 0);
        libc::close(null);
    }
    // SAFETY: All pointers are to valid locals; a processor set of zeroes is an empty one.
    unsafe {
        if program.one_cpu {
            let mut set: libc::cpu_set_t = std::mem::zeroed();
            libc::CPU_SET(0, &mut set);
            libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
        }
        let limit = libc::rlimit {
            rlim_cur: LARGEST_FILE,
            rlim_max: LARGEST_FILE,
        };
        libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit);
    }
}

impl Child {
    fn new(id: libc::pid_t) -> Result<Self> {
        // SAFETY: No memory is involved.
        let handle = unsafe { libc::syscall(libc::SYS_pidfd_open, id, 0) } as i32;
        if handle < 0 {
            return Err(io::Error::last_os_error()).context("cannot watch a child");
        }
        Ok(Self { id, handle })
    }

    /// Waits for the end of the process, or brings it about. Returns a line about it.
    fn end(self) -> Result<String> {
        if self.ends_within(LIFE) {
            return self.status();
        }
        for line in self.whereabouts() {
            eprintln!("{line}");
        }
        // SAFETY: No memory is involved.
        unsafe { libc::kill(self.id, libc::SIGKILL) };
        if self.ends_within(DEATH) {
            self.status()?;
            Ok("hangs".to_owned())
        } else {
            Ok("hangs and cannot be killed".to_owned())
        }
    }

    fn ends_within(&self, time: Duration) -> bool {
        let mut entry = libc::pollfd {
            fd: self.handle,
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: There is one entry.
        unsafe { libc::poll(&raw mut entry, 1, time.as_millis() as i32) == 1 }
    }

    fn status(&self) -> Result<String> {
        let mut status = 0;
        // SAFETY: `status` is valid for writes.
        let id = unsafe { libc::waitpid(self.id, &raw mut status, 0) };
        if id != self.id {
            anyhow::bail!("cannot wait for a child: error {}", last_error());
        }
        Ok(if libc::WIFSIGNALED(status) {
            format!("killed by {}", libc::WTERMSIG(status))
        } else {
            format!("exits with {}", libc::WEXITSTATUS(status))
        })
    }

    /// Where the threads of the process are in the kernel, as far as it tells.
    fn whereabouts(&self) -> Vec<String> {
        let folder = format!("/proc/{}/task", self.id);
        let threads = fs::read_dir(&folder).into_iter().flatten().flatten();
        threads
            .flat_map(|thread| {
                let stack = fs::read_to_string(thread.path().join("stack")).unwrap_or_default();
                let name = thread.file_name().to_string_lossy().into_owned();
                let lines = stack.lines().map(|line| format!("{name}: {line}"));
                lines.collect::<Vec<_>>()
            })
            .collect()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        super::files::close(self.handle);
    }
}
