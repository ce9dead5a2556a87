// SPDX-License-Identifier: GPL-2.0-only

//! Fails each thing in turn that can fail in a system call of AIO: the first allocation or copy,
//! the second, and so on, until the call gets by without coming to one that fails.
//!
//! The kernel counts down what is in `/proc/thread-self/fail-nth`; see its fault injection
//! documentation. After each call all is as it would be without it, or the call succeeded.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::RawFd;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use aio_abi::{Event, Iocb};
use anyhow::{bail, ensure, Context as _, Result};

use crate::context::Context;
use crate::memory::Mapping;
use crate::target::{Target, BLOCK};

/// I/Os of a batch.
const BATCH: usize = 4;

/// A call that has not got by after so many faults never will.
const MOST_FAULTS: u32 = 2000;

/// How long an event may take.
const PATIENCE: Duration = Duration::from_secs(120);

/// A system call that is put through it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Call {
    Setup,
    Submit,
    Reap,
    Destroy,
}

/// Which I/O it has to do with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Polled,
    Plain,
    Vectors,
    PolledVectors,
    Fsync,
    Poll,
    Announced,
}

/// What came of all runs of one call.
#[derive(Debug, Default)]
struct Outcome {
    injections: u32,
    submitted: usize,
    delivered: usize,
    failed: usize,
}

/// Puts each call through it, on each of `targets`; prints a line for each.
pub fn run(targets: &[Target]) -> Result<()> {
    let fault = Fault::open()?;
    for target in targets {
        for (call, kinds) in CALLS {
            for &kind in kinds
                .iter()
                .filter(|kind| target.pollable || !kind.is_polled())
            {
                let trial = Trial { target, call, kind };
                let outcome = trial.until_it_gets_by(&fault)?;
                println!(
                    "nth: {} {call:?} {kind:?}: {} injections, {} submitted, {} delivered, \
                     {} failed, {} lost",
                    target.path().display(),
                    outcome.injections,
                    outcome.submitted,
                    outcome.delivered,
                    outcome.failed,
                    outcome.submitted - outcome.delivered
                );
            }
        }
    }
    Ok(())
}

const CALLS: [(Call, &[Kind]); 4] = [
    (Call::Setup, &[Kind::Plain]),
    (
        Call::Submit,
        &[
            Kind::Polled,
            Kind::Plain,
            Kind::Vectors,
            Kind::PolledVectors,
            Kind::Fsync,
            Kind::Poll,
            Kind::Announced,
        ],
    ),
    (Call::Reap, &[Kind::Polled, Kind::Plain, Kind::Poll]),
    (Call::Destroy, &[Kind::Polled, Kind::Plain, Kind::Poll]),
];

impl Kind {
    fn is_polled(self) -> bool {
        matches!(self, Self::Polled | Self::PolledVectors)
    }
}

/// This thread's countdown to a fault.
struct Fault {
    countdown: File,
}

impl Fault {
    fn open() -> Result<Self> {
        let path = "/proc/thread-self/fail-nth";
        let countdown = OpenOptions::new()
            .read(true)
            .write(true)
            .open(path)
            .with_context(|| format!("{path} is not there: the kernel injects no faults"))?;
        Ok(Self { countdown })
    }

    /// Runs `call` with its `nth` chance to fail taken; returns whether it had as many.
    fn inject<T>(&self, nth: u32, call: impl FnOnce() -> T) -> Result<(T, bool)> {
        self.countdown.write_all_at(nth.to_string().as_bytes(), 0)?;
        let result = call();
        let mut left = [0; 16];
        // To ask is a system call, which can be the one that fails.
        let reached = self.countdown.read_at(&mut left, 0);
        // So can this be; then there is no other.
        self.countdown
            .write_all_at(b"0", 0)
            .or_else(|_| self.countdown.write_all_at(b"0", 0))?;
        Ok((result, matches!(reached, Ok(1..)) && left[0] == b'0'))
    }
}

/// One call on one file.
struct Trial<'a> {
    target: &'a Target,
    call: Call,
    kind: Kind,
}

impl Trial<'_> {
    fn until_it_gets_by(&self, fault: &Fault) -> Result<Outcome> {
        let mut outcome = Outcome::default();
        for nth in 1..=MOST_FAULTS {
            let injected = self
                .once(fault, nth, &mut outcome)
                .with_context(|| format!("{:?} {:?}, fault {nth}", self.call, self.kind))?;
            if !injected {
                ensure!(
                    outcome.injections > 0 || self.cannot_fail(),
                    "{:?} {:?} had no chance to fail",
                    self.call,
                    self.kind
                );
                return Ok(outcome);
            }
            outcome.injections += 1;
        }
        bail!("{:?} {:?} always fails", self.call, self.kind)
    }

    /// To destroy a context takes no memory and copies nothing.
    fn cannot_fail(&self) -> bool {
        self.call == Call::Destroy
    }

    /// Does the call once, and all that belongs before and after; whether a fault was injected.
    fn once(&self, fault: &Fault, nth: u32, outcome: &mut Outcome) -> Result<bool> {
        if self.call == Call::Setup {
            let (context, injected) = fault.inject(nth, || Context::new(BATCH))?;
            outcome.failed += usize::from(context.is_err());
            expect_success(injected, &context)?;
            return Ok(injected);
        }
        let batch = Batch::new(self.kind, self.target)?;
        let context = Context::new(BATCH)?;
        let mut injected = false;
        let taken = if self.call == Call::Submit {
            let taken;
            let iocbs = batch.iocbs();
            // SAFETY: The batch outlives the context, as it does below.
            (taken, injected) = fault.inject(nth, || unsafe { context.submit(&iocbs) })?;
            expect_success(injected, &taken)?;
            outcome.failed += usize::from(taken.is_err());
            taken.unwrap_or(0)
        } else {
            // SAFETY: As above.
            unsafe { context.submit(&batch.iocbs()) }.context("io_submit")?
        };
        outcome.submitted += taken;
        if self.call == Call::Destroy {
            let (result, injected) = fault.inject(nth, || context.destroy())?;
            result.context("io_destroy")?;
            // Nobody is told of them: none of them can get lost.
            outcome.submitted -= taken;
            return Ok(injected);
        }
        batch.ring_the_bell()?;
        let mut events = [Event::default(); BATCH];
        let mut came = 0;
        if self.call == Call::Reap {
            let result;
            (result, injected) =
                fault.inject(nth, || context.reap(1, &mut events, Some(PATIENCE)))?;
            expect_success(injected, &result)?;
            outcome.failed += usize::from(result.is_err());
            came = result.unwrap_or(0);
        }
        while came < taken {
            match context.reap(1, &mut events[came..], Some(PATIENCE))? {
                0 => bail!("{} of {taken} events did not come", taken - came),
                count => came += count,
            }
        }
        let extra = context.reap(0, &mut [Event::default()], Some(Duration::ZERO))?;
        ensure!(extra == 0, "there was an event more than there were I/Os");
        ensure!(
            each_once(&events[..came]),
            "an event came twice: {:?}",
            &events[..came]
        );
        outcome.delivered += came;
        drop(context);
        Ok(injected)
    }
}

/// A call that nothing was done to must succeed.
fn expect_success<T>(injected: bool, result: &io::Result<T>) -> Result<()> {
    match result {
        Err(error) if !injected => bail!("it failed without a fault: {error}"),
        _ => Ok(()),
    }
}

fn each_once(events: &[Event]) -> bool {
    let mut data = events.iter().map(|event| event.data).collect::<Vec<_>>();
    data.sort_unstable();
    data.dedup();
    data.len() == events.len()
}

/// Iocbs with what they need.
struct Batch {
    iocbs: Vec<Iocb>,
    bell: RawFd,
    _buffers: Mapping,
    _vectors: Vec<libc::iovec>,
}

impl Batch {
    fn new(kind: Kind, target: &Target) -> Result<Self> {
        // SAFETY: A new descriptor, which nobody else has.
        let bell = unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) };
        if bell < 0 {
            return Err(io::Error::last_os_error()).context("cannot make an eventfd");
        }
        let buffers = Mapping::private(BATCH * 2 * BLOCK)?;
        let buffer = |number: usize| buffers.at::<u8>(number * BLOCK);
        let vectors = (0..2 * BATCH)
            .map(|number| libc::iovec {
                iov_base: buffer(number).cast(),
                iov_len: BLOCK,
            })
            .collect::<Vec<_>>();
        let iocb = |number: usize| {
            let read = Iocb {
                data: number as u64,
                opcode: aio_abi::PREAD,
                fildes: target.descriptor() as u32,
                buf: buffer(2 * number) as u64,
                nbytes: BLOCK as u64,
                offset: (number * BLOCK) as i64,
                ..Iocb::default()
            };
            let vectors = Iocb {
                opcode: aio_abi::PREADV,
                buf: vectors[2 * number..].as_ptr() as u64,
                nbytes: 2,
                ..read
            };
            let nowhere = Iocb {
                buf: 0,
                nbytes: 0,
                offset: 0,
                ..read
            };
            match kind {
                Kind::Plain => read,
                Kind::Polled => Iocb {
                    flags: aio_abi::FLAG_HIPRI,
                    ..read
                },
                Kind::Vectors => vectors,
                Kind::PolledVectors => Iocb {
                    flags: aio_abi::FLAG_HIPRI,
                    ..vectors
                },
                Kind::Fsync => Iocb {
                    opcode: aio_abi::FDSYNC,
                    ..nowhere
                },
                Kind::Poll => Iocb {
                    opcode: aio_abi::POLL,
                    buf: libc::POLLIN as u64,
                    fildes: bell as u32,
                    ..nowhere
                },
                Kind::Announced => Iocb {
                    flags: aio_abi::FLAG_RESFD,
                    resfd: bell as u32,
                    ..read
                },
            }
        };
        Ok(Self {
            iocbs: (0..BATCH).map(iocb).collect(),
            bell,
            _buffers: buffers,
            _vectors: vectors,
        })
    }

    fn iocbs(&self) -> Vec<*const Iocb> {
        self.iocbs.iter().map(std::ptr::from_ref).collect()
    }

    /// Lets the polls complete.
    fn ring_the_bell(&self) -> Result<()> {
        let one = 1u64;
        // SAFETY: Eight bytes are there to be read.
        match unsafe { libc::write(self.bell, (&raw const one).cast(), 8) } {
            8 => Ok(()),
            _ => Err(io::Error::last_os_error()).context("cannot write to an eventfd"),
        }
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        // SAFETY: The descriptor is this object's.
        unsafe { libc::close(self.bell) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_comes_twice_is_seen() {
        let event = |data| Event {
            data,
            ..Event::default()
        };
        assert!(each_once(&[event(1), event(0)]));
        assert!(!each_once(&[event(1), event(0), event(1)]));
    }

    #[test]
    fn a_call_may_fail_only_with_a_fault() {
        let failure = || -> io::Result<()> { Err(io::ErrorKind::OutOfMemory.into()) };
        assert!(expect_success(true, &failure()).is_ok());
        assert!(expect_success(false, &failure()).is_err());
        assert!(expect_success(false, &Ok(())).is_ok());
    }
}
