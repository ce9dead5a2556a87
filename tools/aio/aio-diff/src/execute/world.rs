// SPDX-License-Identifier: GPL-2.0-only

//! A program that runs: its process's state, and how steps are taken.
//!
//! Steps are kept from running into each other where that would make an outcome a matter of time:
//! before a step whose outcome depends on what is in flight, that is waited for; and after a step,
//! threads that were left waiting come to rest.

use std::collections::HashMap;

use anyhow::{Context as _, Result};

use super::arena::Arena;
use super::calls::{Prepared, Then};
use super::contexts::{self, Contexts, Probe};
use super::files::{self, OpenFile};
use super::flights::Flights;
use super::layout::{iocb_address, Writer};
use super::places::Places;
use super::sys::{result_text, SystemCall};
use super::thread::{self, State, Worker, RESCUE};
use super::transcript::Transcript;
use crate::claim::Claim;
use crate::program::{Call, ContextRef, End, Entry, Iocb, Manner, Program, Step, Timeout, THREADS};

/// A call that a thread was left in.
struct Left {
    label: String,
    prepared: Prepared,
    /// Whether its end can be noticed as soon as it comes.
    settles: bool,
}

/// The state of a program's process.
pub struct World<'a> {
    pub(super) program: &'a Program,
    pub(super) arena: &'a Arena,
    transcript: &'a Transcript,
    pub(super) files: Vec<OpenFile>,
    pub(super) contexts: Contexts,
    pub(super) flights: Flights,
    pub(super) probe: Probe,
    pub(super) iocbs: HashMap<u64, Iocb>,
    workers: Vec<Worker>,
    left: [Option<Left>; THREADS as usize],
    pub(super) hipri: bool,
    pub(super) is_child: bool,
    /// What lines of the present step start with.
    pub(super) label: String,
    /// How many rings were moved.
    pub(super) moves: u64,
    /// Whether a thread is in a call that does not return.
    is_stuck: bool,
}

impl<'a> World<'a> {
    /// Opens the program's files and starts its threads.
    pub fn new(
        program: &'a Program,
        arena: &'a Arena,
        transcript: &'a Transcript,
        places: &Places,
        hipri: bool,
    ) -> Result<Self> {
        let files = files::open_all(program, places)?;
        if program.unprivileged {
            drop_privileges()?;
        }
        thread::handle_signals();
        let workers = (0..THREADS).map(Worker::start).collect::<Result<_>>()?;
        Ok(Self {
            program,
            arena,
            transcript,
            files,
            contexts: Contexts::default(),
            flights: Flights::default(),
            probe: Probe::new()?,
            iocbs: HashMap::new(),
            workers,
            left: [const { None }; THREADS as usize],
            hipri,
            is_child: false,
            label: String::new(),
            moves: 0,
            is_stuck: false,
        })
    }

    /// Takes all steps.
    pub fn run(&mut self) {
        let program = self.program;
        for (index, step) in program.steps.iter().enumerate() {
            self.label = index.to_string();
            self.step(step);
            self.rest();
            if self.is_stuck {
                return;
            }
        }
        self.label = "end".to_owned();
        self.finish();
    }

    /// Writes a line about the present step.
    pub(super) fn say(&self, text: &str) {
        self.transcript.line(&format!("{} {text}", self.label));
    }

    /// A writer of arguments.
    pub(super) fn writer(&mut self) -> Writer<'_> {
        Writer {
            arena: self.arena,
            files: &self.files,
            iocbs: &mut self.iocbs,
            hipri: self.hipri,
        }
    }

    /// What the kernel would call the context that a program means.
    pub(super) fn id_of(&mut self, context: ContextRef) -> u64 {
        let named = |name| self.contexts.named(name).map(|at| self.contexts.get(at));
        match context {
            ContextRef::Name(name) => named(name).map_or(0, |context| context.id),
            ContextRef::Before(name) => named(name).map_or(0, |context| context.before),
            ContextRef::Off(name, bytes) => {
                named(name).map_or(0, |context| context.id.wrapping_add_signed(bytes.into()))
            }
            ContextRef::Fake(name) => {
                let header = named(name).and_then(|context| self.probe.header(context.id));
                self.writer()
                    .fake_ring(header.map_or(0, |header| header[0]))
            }
            ContextRef::Number(number) => number,
        }
    }

    /// Takes a step.
    pub(super) fn step(&mut self, step: &Step) {
        if step.manner == Manner::Race {
            self.start_race();
        } else {
            self.end_race();
            self.keep_apart(&step.call);
        }
        match &step.call {
            Call::Setup { .. }
            | Call::Destroy(_)
            | Call::Submit { .. }
            | Call::GetEvents { .. }
            | Call::Cancel { .. } => self.system_call(step.thread, step.manner, &step.call),
            Call::Ring { name, act } => self.ring(*name, *act),
            Call::Drain(name) => self.drain(step.thread, *name),
            Call::Write { fd, bytes } => self.write(*fd, *bytes),
            Call::Read { fd, bytes } => self.read(*fd, *bytes),
            Call::Close(fd) => self.close(*fd),
            Call::Truncate { fd, size } => self.truncate(*fd, *size),
            Call::Signal(thread) => self.signal(*thread),
            Call::Block(blocked) => self.block(step.thread, *blocked),
            Call::Join(thread) => self.join(*thread),
            Call::Fork(calls) => self.fork(calls),
        }
    }

    fn is_racing(left: &Option<Left>) -> bool {
        left.as_ref().is_some_and(|left| !left.settles)
    }

    /// Threads that race meet nothing in flight but what they put there.
    fn start_race(&mut self) {
        if !self.left.iter().any(Self::is_racing) {
            for at in self.flights.unsettled() {
                self.settle(at);
            }
        }
    }

    /// All else starts when the last thread that races is there.
    fn end_race(&mut self) {
        for thread in 0..THREADS {
            if Self::is_racing(&self.left[usize::from(thread)]) {
                self.join(thread);
            }
        }
    }

    /// Waits for what is in flight where the outcome of `call` depends on it.
    fn keep_apart(&mut self, call: &Call) {
        match call {
            Call::Submit { entries, .. } => self.settle_conflicts(entries),
            Call::Cancel { context, .. } => {
                let id = self.id_of(*context);
                self.settle_id(id);
            }
            Call::GetEvents { context, .. } => {
                let id = self.id_of(*context);
                if !self.is_live(call) {
                    self.settle_id(id);
                }
            }
            Call::Ring { name, .. } | Call::Drain(name) => {
                if let Some(at) = self.contexts.named(*name) {
                    self.settle(at);
                }
            }
            Call::Read { .. } | Call::Fork(_) => {
                for at in self.flights.unsettled() {
                    self.settle(at);
                }
            }
            Call::Truncate { fd, .. } => {
                if let Some(claim) = Claim::whole(self.program, *fd) {
                    self.settle_claims(&[claim]);
                }
            }
            _ => {}
        }
    }

    /// Whether io_getevents(2) returns the same whenever its events come.
    fn is_live(&self, call: &Call) -> bool {
        let Call::GetEvents {
            context: ContextRef::Name(name),
            min,
            nr,
            timeout: Timeout::Forever,
            ..
        } = call
        else {
            return false;
        };
        let Some(at) = self.contexts.named(*name) else {
            return false;
        };
        let shared = self
            .left
            .iter()
            .flatten()
            .any(|left| left.prepared.context == Some(at));
        min == nr && *nr <= self.flights.expected(at) as i64 && !shared
    }

    fn settle_conflicts(&mut self, entries: &[Entry]) {
        for entry in entries {
            // One that is submitted as it is was submitted before.
            let known = self.iocbs.get(&iocb_address(entry.at));
            if let Some(iocb) = entry.iocb.as_ref().or(known) {
                let claims = Claim::of(self.program, iocb);
                self.settle_claims(&claims);
            }
        }
    }

    fn settle_claims(&mut self, claims: &[Claim]) {
        for at in self.flights.conflicting(claims) {
            self.settle(at);
        }
    }

    fn settle_id(&mut self, id: u64) {
        if let Some(at) = self.contexts.with_id(id) {
            self.settle(at);
        }
    }

    /// Waits until all of a context has completed that does so by itself.
    ///
    /// What is polled for completes when it is asked for only: then it is read.
    pub(super) fn settle(&mut self, at: usize) {
        if self.program.pollable {
            self.reap_all(at);
        } else {
            contexts::settle(self.contexts.get(at), at, &self.flights, &self.probe);
        }
        self.flights.land(at);
    }

    fn system_call(&mut self, thread: u8, manner: Manner, call: &Call) {
        let Some(prepared) = self.prepare(thread, call) else {
            return;
        };
        if self.is_child {
            // SAFETY: The arguments are the program's memory, or none.
            let result = unsafe { prepared.call.make() };
            self.conclude(prepared, result);
            return;
        }
        self.free(thread);
        match manner {
            Manner::Wait => {
                let limited = matches!(call, Call::Setup { limited: true, .. });
                if let Some(result) = self.make_within(limited, thread, &prepared) {
                    self.conclude(prepared, result);
                }
            }
            Manner::Leave | Manner::Race => {
                if let (Some(at), Manner::Race) = (prepared.context, manner) {
                    self.contexts.get_mut(at).race();
                }
                self.workers[usize::from(thread)].post(prepared.call);
                self.left[usize::from(thread)] = Some(Left {
                    label: self.label.clone(),
                    prepared,
                    settles: manner == Manner::Leave,
                });
            }
        }
    }

    /// As [`World::make`], with no more memory to be mapped where `limited`.
    fn make_within(&mut self, limited: bool, thread: u8, prepared: &Prepared) -> Option<i64> {
        if !limited {
            return self.make(thread, prepared);
        }
        limit_memory(true);
        let result = self.make(thread, prepared);
        limit_memory(false);
        result
    }

    /// Has a thread, which is idle, make a call. Ends a wait that nothing else would end.
    fn make(&mut self, thread: u8, prepared: &Prepared) -> Option<i64> {
        let worker = usize::from(thread);
        self.workers[worker].post(prepared.call);
        if prepared.is_endless {
            self.end_wait(thread, prepared.context);
        }
        self.result_of(thread)
    }

    /// What a thread's call has returned. [`None`] where it does not; that is the program's end.
    fn result_of(&mut self, thread: u8) -> Option<i64> {
        let result = self.workers[usize::from(thread)].result();
        if result.is_none() {
            self.say("does not return");
            self.is_stuck = true;
        }
        result
    }

    /// Sees to it that a thread's wait ends.
    fn end_wait(&mut self, thread: u8, context: Option<usize>) {
        let worker = usize::from(thread);
        if self.workers[worker].rest() != State::Sleeps {
            return;
        }
        if let (Some(at), false) = (context, self.program.pollable) {
            contexts::settle(self.contexts.get(at), at, &self.flights, &self.probe);
            if self.workers[worker].rest() != State::Sleeps {
                return;
            }
        }
        self.workers[worker].signal(RESCUE);
    }

    /// Makes a thread idle, whatever it was left in.
    pub(super) fn free(&mut self, thread: u8) {
        if self.left[usize::from(thread)].is_some() {
            self.join(thread);
        }
    }

    /// Collects what a thread was left in, and ends it where nothing else will.
    pub(super) fn join(&mut self, thread: u8) {
        let worker = usize::from(thread);
        let Some(left) = self.left[worker].take() else {
            return;
        };
        let label = std::mem::replace(&mut self.label, left.label);
        if self.workers[worker].rest() == State::Sleeps {
            self.say("still waits");
            self.workers[worker].signal(RESCUE);
        }
        if let Some(result) = self.result_of(thread) {
            self.conclude(left.prepared, result);
        }
        self.label = label;
    }

    /// Waits until threads that were left are at rest, and takes in what has returned.
    fn rest(&mut self) {
        self.flights.land_ready();
        for worker in 0..usize::from(THREADS) {
            let Some(left) = &self.left[worker] else {
                continue;
            };
            if !left.settles {
                continue;
            }
            if let Some(at) = left.prepared.context {
                contexts::settle(self.contexts.get(at), at, &self.flights, &self.probe);
            }
            if self.workers[worker].rest() == State::Returned {
                self.join(worker as u8);
            }
        }
    }

    fn signal(&mut self, thread: u8) {
        let sent = self.workers[usize::from(thread)].signal(thread::SIGNAL);
        self.say(&format!("signal = {}", result_text(sent)));
        self.handle_signal(thread);
    }

    fn block(&mut self, thread: u8, blocked: bool) {
        self.free(thread);
        let how = if blocked {
            libc::SIG_BLOCK
        } else {
            libc::SIG_UNBLOCK
        };
        let set = self.writer().signal_set(thread);
        let prepared = Prepared {
            call: SystemCall::new(libc::SYS_rt_sigprocmask, &[how as u64, set, 0, 8]),
            context: None,
            is_endless: false,
            then: Then::Report("sigprocmask"),
        };
        if let Some(result) = self.make(thread, &prepared) {
            self.conclude(prepared, result);
        }
    }

    /// What is to be done and seen before the process ends, be it with threads that wait.
    fn finish(&mut self) {
        self.end_race();
        if self.program.end == End::Destroy {
            for thread in 0..THREADS {
                self.free(thread);
            }
            for at in self.contexts.alive() {
                let destroy = Call::Destroy(ContextRef::Number(self.contexts.get(at).id));
                self.system_call(0, Manner::Wait, &destroy);
            }
        }
        self.say(&format!("signals {:?}", thread::signals_handled()));
    }

    /// Has a thread that is idle handle a signal at once, by making any call: two that wait to be
    /// handled are one.
    fn handle_signal(&mut self, thread: u8) {
        if self.left[usize::from(thread)].is_none() {
            let call = SystemCall::new(libc::SYS_gettid, &[]);
            self.workers[usize::from(thread)].post(call);
            self.result_of(thread);
        }
    }
}

/// A limit of the address space, in bytes, that every process is past.
const NO_MORE_MEMORY: u64 = 4096;

/// Lets the process map no more memory, or as much as it may.
fn limit_memory(limited: bool) {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is valid for reads and writes.
    unsafe {
        libc::getrlimit(libc::RLIMIT_AS, &raw mut limit);
        limit.rlim_cur = if limited {
            NO_MORE_MEMORY
        } else {
            limit.rlim_max
        };
        libc::setrlimit(libc::RLIMIT_AS, &raw const limit);
    }
}

/// Becomes a user without privileges.
fn drop_privileges() -> Result<()> {
    const NOBODY: u32 = 65534;
    // SAFETY: No memory is involved; there are no other threads yet.
    let done = unsafe { libc::setgid(NOBODY) == 0 && libc::setuid(NOBODY) == 0 };
    if !done {
        return Err(std::io::Error::last_os_error()).context("cannot drop privileges");
    }
    Ok(())
}
