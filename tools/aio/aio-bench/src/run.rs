// SPDX-License-Identifier: GPL-2.0-only

//! One run: contexts are made, threads started, the steady state measured.

use std::process;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use anyhow::{bail, Context as _, Result};

use crate::aio::{AioQueue, Context, Polling};
use crate::clock::{Moment, Spent};
use crate::files::Files;
use crate::histogram::Histogram;
use crate::interrupts::Controllers;
use crate::options::{Engine, Options};
use crate::outcome::Outcome;
use crate::place::{Content, Order, Places};
use crate::preadv2::Preadv2Queue;
use crate::queue::{Direction, IoFailure, Queue};
use crate::slots::{Slot, Slots};
use crate::uring::{Mode, UringQueue};
use crate::worker::{Lane, Limit, Task, Worker};

/// What the kernel has not; the process ends with a status of its own.
#[derive(Debug)]
pub struct Unsupported(pub &'static str);

impl std::fmt::Display for Unsupported {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Unsupported {}

/// Does what the command line asks for.
pub fn run(options: &Options) -> Result<Outcome> {
    let files = Files::open(&options.files, options.write, options.block_size)?;
    match options.engine {
        Engine::Aio => run_aio(options, &files, Polling::Off),
        Engine::AioHipri => run_aio(options, &files, Polling::On),
        Engine::Uring => run_uring(options, &files, Mode::Interrupts),
        Engine::UringPoll => run_uring(options, &files, Mode::Polled),
        Engine::UringPollHybrid => run_uring(options, &files, Mode::PolledHybrid),
        Engine::UringPollFixed => run_uring(options, &files, Mode::PolledFixed),
        Engine::Preadv2 => run_preadv2(options, &files),
    }
}

fn run_aio(options: &Options, files: &Files, polling: Polling) -> Result<Outcome> {
    let depth = options.depth;
    let sharers = if options.shared { options.threads } else { 1 };
    let sets = if options.shared { 1 } else { options.threads };
    let contexts = (0..sets * options.contexts)
        .map(|_| context(options, depth * sharers, polling))
        .collect::<Result<Vec<_>>>()?;
    let lanes = |thread: u32| {
        let (set, share) = if options.shared {
            (0, thread)
        } else {
            (thread, 0)
        };
        let first = (set * options.contexts) as usize;
        let own = &contexts[first..first + options.contexts as usize];
        let lane = |context: &Arc<Context>| {
            let batch = options.batch as usize;
            let queue = AioQueue::new(context.clone(), files.descriptors(), batch);
            Lane::new(
                queue,
                context.slots().clone(),
                share * depth..(share + 1) * depth,
            )
        };
        Ok(own.iter().map(lane).collect())
    };
    let visit = || contexts[0].reap_nothing();
    Run::new(options, files, &lanes, &visit).measure()
}

/// A context with `count` slots, in a kernel that knows what is asked for.
fn context(options: &Options, count: u32, polling: Polling) -> Result<Arc<Context>> {
    let slots = slots(options, count)?;
    let context = Context::new(slots, polling).context("cannot make an AIO context")?;
    if polling == Polling::On && !context.offers_polling() {
        bail!(Unsupported("this kernel has no polled AIO"));
    }
    Ok(Arc::new(context))
}

fn run_uring(options: &Options, files: &Files, mode: Mode) -> Result<Outcome> {
    let lane = || {
        let slots = slots(options, options.depth)?;
        let queue = UringQueue::new(slots.clone(), files.descriptors(), mode)
            .context("cannot make a ring")?;
        Ok(Lane::new(queue, slots, 0..options.depth))
    };
    let lanes = |_| (0..options.contexts).map(|_| lane()).collect();
    Run::new(options, files, &lanes, &|| Ok(())).measure()
}

fn run_preadv2(options: &Options, files: &Files) -> Result<Outcome> {
    let lane = || {
        let slots = slots(options, 1)?;
        let queue = Preadv2Queue::new(slots.clone(), files.descriptors());
        Ok(Lane::new(queue, slots, 0..1))
    };
    let lanes = |_| (0..options.contexts).map(|_| lane()).collect();
    Run::new(options, files, &lanes, &|| Ok(())).measure()
}

fn slots(options: &Options, count: Slot) -> Result<Arc<Slots>> {
    let slots = Slots::new(count as usize, options.block_size as usize);
    Ok(Arc::new(
        slots.context("cannot get memory for the buffers")?,
    ))
}

/// What all threads have in common.
struct Run<'a, Q> {
    options: &'a Options,
    files: &'a Files,
    controllers: Option<Controllers>,
    /// Makes the lanes of a thread, in that thread.
    lanes: &'a (dyn Fn(u32) -> Result<Vec<Lane<Q>>> + Sync),
    /// What an idle thread did before it fell asleep.
    visit: &'a (dyn Fn() -> Result<(), IoFailure> + Sync),
    everyone: Barrier,
}

/// What a thread brings home.
struct Share {
    ios: u64,
    latencies: Histogram,
    /// Known to the first thread only.
    spent: Option<Spent>,
}

impl<'a, Q: Queue> Run<'a, Q> {
    fn new(
        options: &'a Options,
        files: &'a Files,
        lanes: &'a (dyn Fn(u32) -> Result<Vec<Lane<Q>>> + Sync),
        visit: &'a (dyn Fn() -> Result<(), IoFailure> + Sync),
    ) -> Self {
        Self {
            options,
            files,
            controllers: Controllers::of_devices(&files.device_names()),
            lanes,
            visit,
            everyone: Barrier::new((options.threads + options.idle_threads) as usize),
        }
    }

    /// Runs all threads; the first is this one, for a process of one thread is cheaper to the
    /// kernel than one of two.
    fn measure(&self) -> Result<Outcome> {
        thread::scope(|scope| {
            for _ in 0..self.options.idle_threads {
                scope.spawn(|| or_exit(self.idle()));
            }
            let others: Vec<_> = (1..self.options.threads)
                .map(|thread| scope.spawn(move || or_exit(self.thread(thread))))
                .collect();
            let mut share = or_exit(self.thread(0));
            for other in others {
                let Ok(other) = other.join() else {
                    bail!("a thread panicked")
                };
                share.ios += other.ios;
                share.latencies.add(&other.latencies);
            }
            let spent = share.spent.context("the first thread measures")?;
            Ok(Outcome::new(
                self.options,
                share.ios,
                &spent,
                &share.latencies,
            ))
        })
    }

    /// The life of a thread that does I/O.
    fn thread(&self, thread: u32) -> Result<Share> {
        let mut worker = Worker::new(self.task(), (self.lanes)(thread)?, self.places(thread));
        worker.fill()?;
        worker.work(Limit::Ios(self.options.warmup))?;
        worker.forget_latencies();

        self.everyone.wait();
        self.everyone.wait();
        let before = self.first(thread, Moment::before)?;
        self.everyone.wait();
        let ios = worker.work(self.limit())?;
        self.everyone.wait();
        let after = self.first(thread, Moment::after)?;

        worker.drain(self.options.depth as usize)?;
        self.everyone.wait();
        if self.options.write && self.options.verify {
            worker.read_back()?;
        }
        Ok(Share {
            ios,
            latencies: worker.into_latencies(),
            spent: after
                .zip(before)
                .map(|(after, before)| after.since(&before)),
        })
    }

    /// The life of an idle thread, in step with [`Run::thread`].
    fn idle(&self) -> Result<()> {
        self.everyone.wait();
        (self.visit)()?;
        for _ in 0..4 {
            self.everyone.wait();
        }
        Ok(())
    }

    fn first(
        &self,
        thread: u32,
        moment: fn(Option<&Controllers>) -> std::io::Result<Moment>,
    ) -> Result<Option<Moment>> {
        if thread != 0 {
            return Ok(None);
        }
        let moment = moment(self.controllers.as_ref());
        Ok(Some(moment.context("cannot tell the resource usage")?))
    }

    fn task(&self) -> Task {
        Task {
            batch: self.options.batch as usize,
            direction: if self.options.write {
                Direction::Write
            } else {
                Direction::Read
            },
            latency: self.options.latency,
            verify: self.options.verify,
            content: Content::new(self.options.seed),
        }
    }

    /// Each thread has random numbers of its own, or a part of each file.
    fn places(&self, thread: u32) -> Places {
        let blocks = self.files.blocks();
        let order = if self.options.sequential {
            let part = u64::from(blocks) * u64::from(thread) / u64::from(self.options.threads);
            Order::Sequential(part as u32)
        } else {
            Order::Random((u64::from(thread) << 32) ^ self.options.seed)
        };
        Places::new(self.options.files.len() as u32, blocks, order)
    }

    fn limit(&self) -> Limit {
        match self.options.seconds {
            Some(seconds) => Limit::Time(Duration::from_secs_f64(seconds)),
            None => Limit::Ios(self.options.ios),
        }
    }
}

/// Ends the process if a thread fails: the others wait for it at a barrier.
fn or_exit<T>(result: Result<T>) -> T {
    result.unwrap_or_else(|error| process::exit(crate::complain(&error)))
}
