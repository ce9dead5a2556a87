// SPDX-License-Identifier: GPL-2.0-only

//! The threads of a program: each makes one system call after another, as it is told.

use std::cell::Cell;
use std::fs;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::sys::SystemCall;
use crate::program::THREADS;

/// The signal that programs send.
pub const SIGNAL: i32 = libc::SIGUSR1;
/// The signal that ends what would last for ever.
pub const RESCUE: i32 = libc::SIGUSR2;

static SIGNALS_HANDLED: [AtomicU32; THREADS as usize] =
    [const { AtomicU32::new(0) }; THREADS as usize];

thread_local! {
    static NUMBER: Cell<usize> = const { Cell::new(0) };
}

extern "C" fn count_signal(signal: i32) {
    if signal == SIGNAL {
        SIGNALS_HANDLED[NUMBER.get()].fetch_add(1, Ordering::Relaxed);
    }
}

/// Makes both signals interrupt system calls, and none of the others that I/O sends do harm.
pub fn handle_signals() {
    for (signal, handler) in [
        (SIGNAL, count_signal as *const () as usize),
        (RESCUE, count_signal as *const () as usize),
        (libc::SIGPIPE, libc::SIG_IGN),
        (libc::SIGXFSZ, libc::SIG_IGN),
    ] {
        // SAFETY: All zeroes is a valid `sigaction`; the handler only touches atomics.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler;
            libc::sigaction(signal, &action, std::ptr::null_mut());
        }
    }
}

/// How many of the program's signals each of its threads has handled.
pub fn signals_handled() -> Vec<u32> {
    let count = |counter: &AtomicU32| counter.load(Ordering::Relaxed);
    SIGNALS_HANDLED.iter().map(count).collect()
}

const IDLE: u8 = 0;
const POSTED: u8 = 1;
const RUNNING: u8 = 2;
const DONE: u8 = 3;

/// What a worker and who gives it work share.
struct Mailbox {
    call: Mutex<Option<SystemCall>>,
    posted: Condvar,
    phase: AtomicU8,
    result: AtomicI64,
    id: AtomicI64,
}

/// A thread that waits for calls to make.
pub struct Worker {
    mailbox: Arc<Mailbox>,
}

/// What a worker is at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// It has nothing to do.
    Idle,
    /// Its call has returned; [`Worker::result`] has what.
    Returned,
    /// It sleeps in its call, and a signal would wake it.
    Sleeps,
    /// It runs, is about to, or sleeps for a short time that nothing can end.
    Runs,
}

/// How long a thread may take to come to rest, or to return from a call that does not wait long.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between the two looks that tell a thread that sleeps from one that is on its way.
const LOOK: Duration = Duration::from_micros(300);

impl Worker {
    /// Starts the thread with this number.
    pub fn start(number: u8) -> Result<Self> {
        let mailbox = Arc::new(Mailbox {
            call: Mutex::new(None),
            posted: Condvar::new(),
            phase: AtomicU8::new(IDLE),
            result: AtomicI64::new(0),
            id: AtomicI64::new(0),
        });
        let worker = Self {
            mailbox: mailbox.clone(),
        };
        thread::Builder::new()
            .stack_size(64 << 10)
            .spawn(move || serve(number, &mailbox))
            .context("cannot start a thread")?;
        while worker.mailbox.id.load(Ordering::Acquire) == 0 {
            thread::yield_now();
        }
        Ok(worker)
    }

    /// Has the thread, which is idle, make a call.
    pub fn post(&self, call: SystemCall) {
        let mut slot = self.mailbox.call.lock().expect("no holder panics");
        *slot = Some(call);
        self.mailbox.phase.store(POSTED, Ordering::Release);
        self.mailbox.posted.notify_one();
    }

    /// What the thread is at.
    pub fn state(&self) -> State {
        match self.mailbox.phase.load(Ordering::Acquire) {
            IDLE => State::Idle,
            DONE => State::Returned,
            RUNNING if self.sleeps() => State::Sleeps,
            _ => State::Runs,
        }
    }

    /// Waits until the thread does not run any more, and returns what it is at then.
    ///
    /// A thread on its way through the kernel may sleep a little, so it is looked at twice.
    pub fn rest(&self) -> State {
        let mut pauses = Pauses::new();
        let mut slept = false;
        loop {
            match self.state() {
                State::Sleeps if slept => return State::Sleeps,
                State::Sleeps => {
                    slept = true;
                    thread::sleep(LOOK);
                }
                State::Runs if pauses.pause() => slept = false,
                state => return state,
            }
        }
    }

    /// Waits until the thread's call has returned, and makes the thread idle. [`None`] where it
    /// takes too long.
    pub fn result(&self) -> Option<i64> {
        let mut pauses = Pauses::new();
        while self.mailbox.phase.load(Ordering::Acquire) != DONE {
            if !pauses.pause() {
                return None;
            }
        }
        self.mailbox.phase.store(IDLE, Ordering::Release);
        Some(self.mailbox.result.load(Ordering::Acquire))
    }

    /// Sends the thread a signal.
    pub fn signal(&self, signal: i32) -> i64 {
        let id = self.mailbox.id.load(Ordering::Acquire) as libc::pid_t;
        send(id, signal)
    }

    fn sleeps(&self) -> bool {
        let id = self.mailbox.id.load(Ordering::Acquire);
        let stat = fs::read_to_string(format!("/proc/self/task/{id}/stat")).unwrap_or_default();
        let state = stat
            .rsplit_once(") ")
            .and_then(|(_, rest)| rest.chars().next());
        // It may have returned and sleep in our hands since.
        let still = self.mailbox.phase.load(Ordering::Acquire) == RUNNING;
        still && state == Some('S')
    }
}

/// The pauses of who waits for a thread: short ones first, for most calls return at once.
struct Pauses {
    start: Instant,
    count: u32,
}

impl Pauses {
    const SHORT: u32 = 20;

    fn new() -> Self {
        Self {
            start: Instant::now(),
            count: 0,
        }
    }

    /// Makes a pause. Returns whether there is patience for another one.
    fn pause(&mut self) -> bool {
        self.count += 1;
        if self.count <= Self::SHORT {
            thread::yield_now();
        } else {
            thread::sleep(LOOK);
        }
        self.start.elapsed() < PATIENCE
    }
}

/// Sends a thread of this process a signal.
pub fn send(thread: libc::pid_t, signal: i32) -> i64 {
    // SAFETY: The handlers of the signals that are sent do no harm.
    let sent = unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, signal) };
    super::sys::with_error(sent)
}

fn serve(number: u8, mailbox: &Mailbox) {
    NUMBER.set(usize::from(number));
    // SAFETY: It has no arguments.
    let id = unsafe { libc::syscall(libc::SYS_gettid) };
    mailbox.id.store(id, Ordering::Release);
    loop {
        let call = wait_for_call(mailbox);
        mailbox.phase.store(RUNNING, Ordering::Release);
        // SAFETY: Only calls on the program's own memory are posted.
        let result = unsafe { call.make() };
        mailbox.result.store(result, Ordering::Release);
        mailbox.phase.store(DONE, Ordering::Release);
    }
}

fn wait_for_call(mailbox: &Mailbox) -> SystemCall {
    let mut slot = mailbox.call.lock().expect("no holder panics");
    loop {
        if let Some(call) = slot.take() {
            return call;
        }
        slot = mailbox.posted.wait(slot).expect("no holder panics");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_returns_what_its_call_does() {
        let worker = Worker::start(1).unwrap();
        assert_eq!(worker.state(), State::Idle);
        worker.post(SystemCall::new(libc::SYS_close, &[u64::MAX]));
        assert_eq!(worker.rest(), State::Returned);
        assert_eq!(worker.result(), Some(-i64::from(libc::EBADF)));
        assert_eq!(worker.state(), State::Idle);
    }

    #[test]
    fn a_sleeping_worker_is_seen_and_can_be_rescued() {
        handle_signals();
        let worker = Worker::start(2).unwrap();
        worker.post(SystemCall::new(libc::SYS_pause, &[]));
        assert_eq!(worker.rest(), State::Sleeps);
        worker.signal(RESCUE);
        assert_eq!(worker.result(), Some(-i64::from(libc::EINTR)));
    }
}
