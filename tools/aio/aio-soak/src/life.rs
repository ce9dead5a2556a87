// SPDX-License-Identifier: GPL-2.0-only

//! What one process does from its first context to its end.

use std::fs;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::counts::Tally;
use crate::lane::{Kind, Lane, Step};
use crate::random::Random;
use crate::target::Target;

/// How a life ends.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// All I/O is waited for; this is where a lost event shows.
    Drained,
    /// One thread destroys the contexts under the others.
    Destroyed,
    /// The process exits with I/O in flight.
    Exit,
    /// The process executes another program with I/O in flight.
    Exec,
    /// The parent kills it.
    Killed,
}

const ENDS: [End; 7] = [
    End::Drained,
    End::Drained,
    End::Drained,
    End::Destroyed,
    End::Exit,
    End::Exec,
    End::Killed,
];

/// What a life is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    seed: u64,
    /// How it ends.
    pub end: End,
    /// How long it lives.
    pub time: Duration,
    threads: usize,
    contexts: usize,
    depth: usize,
    signals: bool,
}

/// What all lives have in common.
pub struct World {
    /// What I/O is done to.
    pub targets: Vec<Target>,
    /// Whether faults are being injected into tasks that ask for them, and so may show.
    pub faults: bool,
    /// How long an event may take that nothing keeps from coming.
    pub patience: Duration,
}

impl Plan {
    /// The plan that `seed` names.
    pub fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        Self {
            seed,
            end: *random.pick(&ENDS),
            time: Duration::from_millis(random.between(200, 6000)),
            threads: random.between(1, 4) as usize,
            contexts: random.between(1, 3) as usize,
            depth: *random.pick(&[1, 4, 16, 64, 256]),
            signals: random.chance(25),
        }
    }

    /// Lives it, in a process of its own; what it says is why it failed.
    pub fn live(&self, world: &World, tally: &Tally) -> Result<(), String> {
        let mut random = Random::new(self.seed ^ 1);
        // A signal may be delivered with a fault, which kills; no signals, then.
        if self.signals && !world.faults {
            interrupt_often().map_err(|error| format!("setitimer: {error}"))?;
        }
        let lane = |_| self.lane(&mut random, world, tally);
        let lanes = (0..self.contexts)
            .map(lane)
            .collect::<Result<Vec<_>, _>>()?;
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            let threads = (0..self.threads)
                .map(|thread| {
                    let random = Random::new(self.seed ^ ((thread as u64 + 2) << 32));
                    let lanes = &lanes;
                    let over = &over;
                    scope.spawn(move || work(random, world, lanes, over))
                })
                .collect::<Vec<_>>();
            let result = self.wait_and_end(&lanes, &over, &threads);
            let results = threads
                .into_iter()
                .map(|thread| thread.join().map_err(|_| "a thread panicked".to_owned())?)
                .collect::<Vec<_>>();
            results
                .into_iter()
                .chain([result])
                .collect::<Result<(), String>>()
        })?;
        match self.end {
            End::Drained => lanes.iter().try_for_each(|lane| lane.drain(world.patience)),
            _ => Ok(()),
        }
    }

    fn lane<'a>(
        &self,
        random: &mut Random,
        world: &World,
        tally: &'a Tally,
    ) -> Result<Lane<'a>, String> {
        let pollable = world.targets.iter().any(|target| target.pollable);
        let kind = if pollable && random.chance(60) {
            Kind::Polled
        } else {
            Kind::Plain
        };
        Lane::new(kind, self.depth, tally, world.faults).map_err(|error| format!("setup: {error}"))
    }

    /// Lets the threads work for a while; then ends their work in the way of the plan.
    fn wait_and_end<T>(
        &self,
        lanes: &[Lane],
        over: &AtomicBool,
        threads: &[thread::ScopedJoinHandle<T>],
    ) -> Result<(), String> {
        let start = Instant::now();
        // One that is to be killed waits for that, but not forever.
        let time = match self.end {
            End::Killed => self.time + Duration::from_secs(600),
            _ => self.time,
        };
        while start.elapsed() < time && threads.iter().any(|thread| !thread.is_finished()) {
            thread::sleep(Duration::from_millis(20));
            lanes.iter().for_each(Lane::ring_the_bell);
        }
        match self.end {
            End::Destroyed => {
                for lane in lanes {
                    lane.destroy()
                        .map_err(|error| format!("io_destroy: {error}"))?;
                }
            }
            // SAFETY: Nothing has to be done at the exit.
            End::Exit => unsafe { libc::_exit(0) },
            End::Exec => return Err(become_nothing()),
            End::Drained | End::Killed => {}
        }
        over.store(true, Ordering::Relaxed);
        Ok(())
    }
}

/// Submits and reaps, now in this context, now in that, until all is over.
fn work(
    mut random: Random,
    world: &World,
    lanes: &[Lane],
    over: &AtomicBool,
) -> Result<(), String> {
    if world.faults {
        let _ = fs::write("/proc/thread-self/make-it-fail", "1");
    }
    let result = work_until_over(&mut random, world, lanes, over);
    if world.faults {
        let _ = fs::write("/proc/thread-self/make-it-fail", "0");
    }
    result
}

fn work_until_over(
    random: &mut Random,
    world: &World,
    lanes: &[Lane],
    over: &AtomicBool,
) -> Result<(), String> {
    let all = world.targets.iter().collect::<Vec<_>>();
    let pollable = world.targets.iter().filter(|target| target.pollable);
    let pollable = pollable.collect::<Vec<_>>();
    while !over.load(Ordering::Relaxed) {
        let lane = random.pick(lanes);
        let targets = match lane.kind() {
            Kind::Polled => &pollable,
            Kind::Plain => &all,
        };
        let step = if random.chance(50) {
            lane.submit(random, targets)?
        } else {
            lane.reap(random.between(0, 8) as usize, some_timeout(random))?
        };
        if step == Step::Destroyed {
            return Ok(());
        }
    }
    Ok(())
}

/// A timeout short enough that nobody waits long for what nobody has submitted.
fn some_timeout(random: &mut Random) -> Option<Duration> {
    Some(Duration::from_micros(
        *random.pick(&[0, 1, 100, 2000, 20_000]),
    ))
}

/// Has SIGALRM interrupt what the threads wait for, a hundred times a second.
fn interrupt_often() -> io::Result<()> {
    extern "C" fn nothing(_: i32) {}
    // SAFETY: The handler does nothing, and zero is a value of the type.
    let status = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(i32) as usize;
        libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut())
    };
    if status < 0 {
        return Err(io::Error::last_os_error());
    }
    let interval = libc::timeval {
        tv_sec: 0,
        tv_usec: 10_000,
    };
    let timer = libc::itimerval {
        it_interval: interval,
        it_value: interval,
    };
    // SAFETY: The timer is read and nothing written.
    match unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Executes a program that does nothing; returns only to say why it could not.
fn become_nothing() -> String {
    use std::os::unix::process::CommandExt;
    // The timer goes on in the program, which has no handler: what is ignored stays so.
    // SAFETY: Nobody relies on being interrupted.
    unsafe { libc::signal(libc::SIGALRM, libc::SIG_IGN) };
    let error = std::process::Command::new("/proc/self/exe")
        .arg("nothing")
        .exec();
    format!("exec: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_is_planned_for() {
        let ends = (0..100).map(|seed| Plan::new(seed).end).collect::<Vec<_>>();
        assert!(ENDS.iter().all(|end| ends.contains(end)));
    }

    #[test]
    fn a_seed_names_a_plan() {
        let shown = |seed| format!("{:?}", Plan::new(seed));
        assert_eq!(shown(3), shown(3));
        assert_ne!(shown(3), shown(4));
    }
}
