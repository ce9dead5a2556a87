// SPDX-License-Identifier: GPL-2.0-only

//! Many processes that each live a life, one after the other in a few seats.

use std::fs;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, Context as _, Result};

use crate::counts::{Shared, Sums, Tally};
use crate::life::{End, Plan, World};

/// How often the processes are looked at.
const TICK: Duration = Duration::from_millis(20);

/// How often the counts are printed.
const REPORT: Duration = Duration::from_secs(60);

/// Where the kernel says how many I/Os all contexts have room for.
const AIO_NR: &str = "/proc/sys/fs/aio-nr";

/// How long contexts may take to be gone after their processes, at the usual pace.
const AFTERMATH: Duration = Duration::from_secs(20);

/// A process, and what it was to do.
struct Seat {
    tally: Shared<Tally>,
    process: libc::pid_t,
    plan: Plan,
    seed: u64,
    since: Instant,
    killed: bool,
}

/// The sums of all who left, and what was wrong with them.
#[derive(Default)]
struct Record {
    sums: Sums,
    faults: Vec<String>,
}

/// Has `seats` processes at a time live for `time`, one plan after the other from `seed` on.
///
/// Prints the counts every minute and at the end; fails if an I/O was lost, came twice or brought
/// something else, if a process failed or hung, or if contexts are left.
pub fn run(world: &World, seats: usize, time: Duration, seed: u64) -> Result<()> {
    let before = contexts_left()?;
    let start = Instant::now();
    let mut next_report = REPORT;
    let mut next_seed = seed;
    let mut record = Record::default();
    let mut crowd = Vec::new();
    while start.elapsed() < time && record.faults.is_empty() {
        while crowd.len() < seats {
            crowd.push(Seat::take(world, next_seed)?);
            next_seed += 1;
        }
        look_after(&mut crowd, world, &mut record)?;
        if start.elapsed() >= next_report {
            let minute = next_report.as_secs() / 60;
            println!("minute {minute}: {}", so_far(&record, &crowd));
            next_report += REPORT;
        }
        thread::sleep(TICK);
    }
    while !crowd.is_empty() {
        look_after(&mut crowd, world, &mut record)?;
        thread::sleep(TICK);
    }
    println!("total: {}", record.sums);
    record.faults.extend(record.sums.fault());
    record.faults.extend(left_behind(before, world.patience)?);
    for fault in &record.faults {
        println!("fault: {fault}");
    }
    match record.faults.len() {
        0 => Ok(()),
        count => bail!("{count} faults; the seeds were {seed} to {}", next_seed - 1),
    }
}

fn so_far(record: &Record, crowd: &[Seat]) -> Sums {
    let mut sums = record.sums;
    for seat in crowd {
        sums.add(&seat.tally);
    }
    sums
}

/// Kills who is to be killed, and records who has gone.
fn look_after(crowd: &mut Vec<Seat>, world: &World, record: &mut Record) -> Result<()> {
    let mut index = 0;
    while index < crowd.len() {
        let seat = &mut crowd[index];
        seat.keep_time(world, record)?;
        match seat.status()? {
            None => index += 1,
            Some(status) => {
                let seat = crowd.swap_remove(index);
                seat.leave(status, record);
            }
        }
    }
    Ok(())
}

impl Seat {
    /// Starts a process that lives the plan of `seed`.
    fn take(world: &World, seed: u64) -> Result<Self> {
        let tally = Shared::<Tally>::new().context("cannot share memory with a process")?;
        let plan = Plan::new(seed);
        // SAFETY: This process has one thread, so the child may do what it likes.
        let process = unsafe { libc::fork() };
        match process {
            ..0 => Err(io::Error::last_os_error()).context("cannot make a process"),
            0 => {
                let status = match plan.live(world, &tally) {
                    Ok(()) => 0,
                    Err(fault) => {
                        println!("seed {seed}: {fault}; {plan:?}");
                        1
                    }
                };
                // SAFETY: Nothing has to be done at the exit.
                unsafe { libc::_exit(status) }
            }
            1.. => Ok(Self {
                tally,
                process,
                plan,
                seed,
                since: Instant::now(),
                killed: false,
            }),
        }
    }

    /// Kills the process if its plan says so now, or if it should long be gone.
    fn keep_time(&mut self, world: &World, record: &mut Record) -> Result<()> {
        let hung = self.since.elapsed() > self.plan.time + 2 * world.patience;
        let due = self.plan.end == End::Killed && self.since.elapsed() > self.plan.time;
        if hung && !self.killed {
            let stack = fs::read_to_string(format!("/proc/{}/stack", self.process));
            record.faults.push(format!(
                "seed {} hangs: {:?}, {}",
                self.seed,
                self.plan,
                stack.unwrap_or_default().replace('\n', " ")
            ));
        }
        if (due || hung) && !self.killed {
            self.killed = true;
            // SAFETY: The process is a child that was not waited for.
            unsafe { libc::kill(self.process, libc::SIGKILL) };
            self.since = Instant::now();
        } else if self.killed && self.since.elapsed() > 2 * world.patience {
            bail!("seed {} cannot be killed: {:?}", self.seed, self.plan);
        }
        Ok(())
    }

    /// How the process ended, if it did.
    fn status(&self) -> Result<Option<i32>> {
        let mut status = 0;
        // SAFETY: The process is a child that was not waited for.
        match unsafe { libc::waitpid(self.process, &raw mut status, libc::WNOHANG) } {
            0 => Ok(None),
            process if process == self.process => Ok(Some(status)),
            _ => Err(io::Error::last_os_error()).context("cannot wait for a process"),
        }
    }

    /// Adds what it has counted.
    fn leave(self, status: i32, record: &mut Record) {
        let killed = self.killed && libc::WIFSIGNALED(status);
        record.sums.add(&self.tally);
        record.sums.processes += 1;
        record.sums.killed += u64::from(killed);
        if status != 0 && !killed {
            record.faults.push(format!(
                "seed {} ended with status {status:#x}: {:?}",
                self.seed, self.plan
            ));
        }
    }
}

/// What the kernel's count of contexts' room says, once it has had time to get back.
fn left_behind(before: u64, patience: Duration) -> Result<Option<String>> {
    let start = Instant::now();
    loop {
        let left = contexts_left()?;
        if left <= before {
            return Ok(None);
        }
        if start.elapsed() > patience.max(AFTERMATH) {
            return Ok(Some(format!("{AIO_NR} is {left}, and was {before} before")));
        }
        thread::sleep(TICK);
    }
}

fn contexts_left() -> Result<u64> {
    let text = fs::read_to_string(AIO_NR).with_context(|| format!("cannot read {AIO_NR}"))?;
    text.trim()
        .parse()
        .with_context(|| format!("{AIO_NR} is {text:?}"))
}
