// SPDX-License-Identifier: GPL-2.0-only

//! What happens to a submission: the flag is set where the context polls, and a kernel that
//! refuses to poll gets the same I/O again without it.
//!
//! While a context is undecided the whole batch is looked at, its files too, and one I/O in it that
//! cannot be polled makes the context a plain one: its program mixes, and a polled context would
//! refuse half of what it does. Once polled, only the iocbs are looked at: the kernel checks the
//! files anyway, and no system call is added to an I/O.

use crate::abi::{Iocb, KernelResult};
use crate::batch::{self, Batch};
use crate::context::{Context, Mode, Observed};
use crate::eligibility::{self, Reason};
use crate::file::FileState;

/// What the library has to tell of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing new.
    Usual,
    /// The context was decided plain.
    DecidedPlain(Reason),
    /// A polled context got an I/O that cannot be polled, and the kernel refused it.
    Mixed(Reason),
}

/// Submits `batch` to `context` through `send`, which passes it to the kernel as it then is.
///
/// `look_up` tells about a file. Returns what the kernel returned last.
pub fn submit(
    context: &Context,
    batch: &Batch,
    look_up: impl Fn(u32) -> FileState,
    send: impl Fn() -> KernelResult,
) -> (KernelResult, Outcome) {
    let observed = context.observe();
    let (result, outcome) = match observed.mode() {
        Mode::Undecided => decide(context, observed, batch, look_up, send),
        Mode::Polled => send_polled(batch, look_up, send),
        // Such a kernel has no polled contexts, and nothing has ever been flagged.
        Mode::Plain(Reason::KernelLacksPolling) => (send(), Outcome::Usual),
        Mode::Plain(_) => (send_plain(batch, send), Outcome::Usual),
    };
    context.count(accepted(result) as u64);
    (result, outcome)
}

fn decide(
    context: &Context,
    observed: Observed,
    batch: &Batch,
    look_up: impl Fn(u32) -> FileState,
    send: impl Fn() -> KernelResult,
) -> (KernelResult, Outcome) {
    if let Some(reason) = first_ineligible(batch, look_up) {
        return send_and_decide_plain(context, observed, reason, batch, send);
    }
    batch.iter().flatten().for_each(batch::flag);
    let result = send();
    batch.unflag_after(accepted(result));
    match reason_to_retry(result) {
        Some(reason) => send_and_decide_plain(context, observed, reason, batch, send),
        None => {
            if result > 0 {
                context.decide(observed, Mode::Polled);
            }
            (result, Outcome::Usual)
        }
    }
}

/// Why a context whose polled I/O was refused with `result` may still take it plain.
fn reason_to_retry(result: KernelResult) -> Option<Reason> {
    match i32::try_from(-result) {
        Ok(libc::EOPNOTSUPP) => Some(Reason::Unsupported),
        // Another thread's I/O made the context plain between the look and the call; or the I/O is
        // not valid, and will not be without the flag.
        Ok(libc::EINVAL) => Some(Reason::Refused),
        _ => None,
    }
}

fn send_and_decide_plain(
    context: &Context,
    observed: Observed,
    reason: Reason,
    batch: &Batch,
    send: impl Fn() -> KernelResult,
) -> (KernelResult, Outcome) {
    let result = send_plain(batch, send);
    if result <= 0 {
        return (result, Outcome::Usual);
    }
    context.decide(observed, Mode::Plain(reason));
    (result, Outcome::DecidedPlain(reason))
}

fn send_plain(batch: &Batch, send: impl Fn() -> KernelResult) -> KernelResult {
    // An iocb that a polled context accepted still has the flag when the program uses it again.
    batch.unflag_after(0);
    send()
}

fn send_polled(
    batch: &Batch,
    look_up: impl Fn(u32) -> FileState,
    send: impl Fn() -> KernelResult,
) -> (KernelResult, Outcome) {
    for iocb in batch.iter() {
        match eligibility::check_form(iocb) {
            Ok(iocb) => batch::flag(iocb),
            Err(_) => iocb.into_iter().for_each(batch::unflag),
        }
    }
    let result = send();
    batch.unflag_after(accepted(result));
    if reason_to_retry(result).is_none() {
        return (result, Outcome::Usual);
    }
    let outcome = match why_refused(batch, look_up, result) {
        Some(reason) => Outcome::Mixed(reason),
        None => Outcome::Usual,
    };
    (result, outcome)
}

/// Why a polled context refused the first iocb of `batch`, if it is for want of the flag or for
/// what the flag demands.
fn why_refused(
    batch: &Batch,
    look_up: impl Fn(u32) -> FileState,
    result: KernelResult,
) -> Option<Reason> {
    let first = batch.iter().next()?;
    match eligibility::check(first, look_up) {
        Err(reason) => Some(reason),
        Ok(_) => reason_to_retry(result).filter(|reason| *reason == Reason::Unsupported),
    }
}

/// The first reason in the batch against polling, each file being looked up once in a row.
fn first_ineligible(batch: &Batch, look_up: impl Fn(u32) -> FileState) -> Option<Reason> {
    let mut last_file = None;
    batch.iter().find_map(|iocb: Option<&Iocb>| {
        let look_up_once = |fd| match last_file {
            Some((last, found)) if last == fd => found,
            _ => {
                let found = look_up(fd);
                last_file = Some((fd, found));
                found
            }
        };
        eligibility::check(iocb, look_up_once).err()
    })
}

fn accepted(result: KernelResult) -> usize {
    usize::try_from(result).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;
    use crate::abi::{self, FLAG_HIPRI, FLAG_RESFD, PREAD};
    use crate::batch::test_iocb as iocb;
    use crate::context::Table;

    const FSYNC: u16 = 2;

    /// The part of the kernel that decides over the flag: one context, of one capacity.
    struct Kernel {
        polled: Cell<Option<bool>>,
        device_polls: bool,
        room: Cell<usize>,
        /// For each call, the flags it saw.
        calls: RefCell<Vec<Vec<u32>>>,
    }

    impl Kernel {
        fn new() -> Self {
            Kernel {
                polled: Cell::new(None),
                device_polls: true,
                room: Cell::new(usize::MAX),
                calls: RefCell::default(),
            }
        }

        fn submit(&self, batch: &Batch) -> KernelResult {
            let flags = batch.iter().flatten().map(|i| i.flags.get()).collect();
            self.calls.borrow_mut().push(flags);
            let mut accepted = 0;
            for iocb in batch.iter().flatten() {
                match self.admit(iocb) {
                    Ok(()) => accepted += 1,
                    Err(errno) if accepted == 0 => return -KernelResult::from(errno),
                    Err(_) => break,
                }
            }
            accepted
        }

        fn admit(&self, iocb: &Iocb) -> Result<(), i32> {
            let wants_polling = iocb.flags.get() & FLAG_HIPRI != 0;
            if self.room.get() == 0 {
                return Err(libc::EAGAIN);
            }
            if wants_polling && (iocb.opcode == FSYNC || iocb.flags.get() & FLAG_RESFD != 0) {
                return Err(libc::EINVAL);
            }
            if wants_polling && !self.device_polls {
                return Err(libc::EOPNOTSUPP);
            }
            if self.polled.get().is_some_and(|mode| mode != wants_polling) {
                return Err(libc::EINVAL);
            }
            self.polled.set(Some(wants_polling));
            self.room.set(self.room.get() - 1);
            Ok(())
        }
    }

    struct Process {
        table: Table<1>,
        kernel: Kernel,
    }

    impl Process {
        fn new(kernel: Kernel) -> Self {
            let table = Table::new();
            table.insert(0x7000_0000, Mode::Undecided, 64).unwrap();
            Process { table, kernel }
        }

        fn context(&self) -> &Context {
            self.table.find(0x7000_0000).unwrap()
        }

        fn mode(&self) -> Mode {
            self.context().observe().mode()
        }

        fn submit(&self, iocbs: &mut [Iocb]) -> (KernelResult, Outcome) {
            self.submit_to(iocbs, FileState::Pollable)
        }

        fn submit_to(&self, iocbs: &mut [Iocb], file: FileState) -> (KernelResult, Outcome) {
            let pointers: Vec<*mut Iocb> = iocbs.iter_mut().map(std::ptr::from_mut).collect();
            // SAFETY: the pointers are those of live iocbs.
            let batch = unsafe { Batch::new(pointers.as_ptr(), pointers.len() as _, 64) };
            submit(
                self.context(),
                &batch,
                |_| file,
                || self.kernel.submit(&batch),
            )
        }
    }

    fn reads(count: usize) -> Vec<Iocb> {
        (0..count).map(|_| iocb(PREAD, 0)).collect()
    }

    fn flags(iocbs: &[Iocb]) -> Vec<u32> {
        iocbs.iter().map(|iocb| iocb.flags.get()).collect()
    }

    #[test]
    fn direct_io_is_polled() {
        let process = Process::new(Kernel::new());
        assert_eq!(process.submit(&mut reads(3)), (3, Outcome::Usual));
        assert_eq!(process.submit(&mut reads(2)), (2, Outcome::Usual));
        assert_eq!(process.mode(), Mode::Polled);
        assert_eq!(
            *process.kernel.calls.borrow(),
            [vec![FLAG_HIPRI; 3], vec![FLAG_HIPRI; 2]]
        );
        assert_eq!(process.context().submitted(), 5);
    }

    #[test]
    fn a_device_that_cannot_poll_gets_plain_io_from_then_on() {
        let process = Process::new(Kernel {
            device_polls: false,
            ..Kernel::new()
        });
        let mut iocbs = reads(2);
        let unsupported = Reason::Unsupported;
        assert_eq!(
            process.submit(&mut iocbs),
            (2, Outcome::DecidedPlain(unsupported))
        );
        assert_eq!(flags(&iocbs), [0, 0]);
        assert_eq!(process.mode(), Mode::Plain(unsupported));
        assert_eq!(process.submit(&mut reads(1)), (1, Outcome::Usual));
        assert_eq!(
            *process.kernel.calls.borrow(),
            [vec![FLAG_HIPRI; 2], vec![0; 2], vec![0]]
        );
    }

    #[test]
    fn buffered_io_is_plain_and_never_tried() {
        let process = Process::new(Kernel::new());
        assert_eq!(
            process.submit_to(&mut reads(1), FileState::Buffered),
            (1, Outcome::DecidedPlain(Reason::Buffered))
        );
        assert_eq!(*process.kernel.calls.borrow(), [[0]]);
    }

    #[test]
    fn a_batch_that_mixes_makes_an_undecided_context_plain() {
        let process = Process::new(Kernel::new());
        let mut iocbs = reads(1);
        iocbs.push(iocb(FSYNC, 0));
        assert_eq!(
            process.submit(&mut iocbs),
            (2, Outcome::DecidedPlain(Reason::Operation))
        );
        assert_eq!(process.submit(&mut reads(1)), (1, Outcome::Usual));
    }

    #[test]
    fn an_eventfd_makes_an_undecided_context_plain() {
        let process = Process::new(Kernel::new());
        assert_eq!(
            process.submit(&mut [iocb(PREAD, FLAG_RESFD)]),
            (1, Outcome::DecidedPlain(Reason::Eventfd))
        );
    }

    #[test]
    fn mixing_in_a_polled_context_is_told_and_refused() {
        let process = Process::new(Kernel::new());
        process.submit(&mut reads(1));
        assert_eq!(
            process.submit(&mut [iocb(FSYNC, 0)]),
            (-22, Outcome::Mixed(Reason::Operation))
        );
        assert_eq!(
            process.submit(&mut [iocb(PREAD, FLAG_RESFD)]),
            (-22, Outcome::Mixed(Reason::Eventfd))
        );
        assert_eq!(process.mode(), Mode::Polled);
    }

    #[test]
    fn a_polled_context_names_the_file_it_cannot_poll() {
        let mut process = Process::new(Kernel::new());
        process.submit(&mut reads(1));
        process.kernel.device_polls = false;
        let mut iocbs = reads(1);
        assert_eq!(
            process.submit_to(&mut iocbs, FileState::Buffered),
            (-95, Outcome::Mixed(Reason::Buffered))
        );
        assert_eq!(
            process.submit(&mut iocbs),
            (-95, Outcome::Mixed(Reason::Unsupported))
        );
        assert_eq!(flags(&iocbs), [0]);
    }

    #[test]
    fn what_the_kernel_did_not_accept_loses_the_flag() {
        let process = Process::new(Kernel::new());
        process.kernel.room.set(2);
        let mut iocbs = reads(3);
        assert_eq!(process.submit(&mut iocbs), (2, Outcome::Usual));
        assert_eq!(flags(&iocbs), [FLAG_HIPRI, FLAG_HIPRI, 0]);
        assert_eq!(process.submit(&mut iocbs[2..]), (-11, Outcome::Usual));
        assert_eq!(flags(&iocbs[2..]), [0]);
    }

    #[test]
    fn a_refusal_decides_nothing() {
        let process = Process::new(Kernel::new());
        process.kernel.room.set(0);
        assert_eq!(process.submit(&mut reads(1)), (-11, Outcome::Usual));
        assert_eq!(process.submit(&mut [iocb(FSYNC, 0)]), (-11, Outcome::Usual));
        assert_eq!(process.mode(), Mode::Undecided);
        process.kernel.room.set(1);
        assert_eq!(process.submit(&mut reads(1)), (1, Outcome::Usual));
        assert_eq!(process.mode(), Mode::Polled);
    }

    #[test]
    fn a_context_that_another_thread_made_plain_is_plain() {
        let process = Process::new(Kernel::new());
        process.kernel.polled.set(Some(false));
        assert_eq!(
            process.submit(&mut reads(2)),
            (2, Outcome::DecidedPlain(Reason::Refused))
        );
        assert_eq!(process.mode(), Mode::Plain(Reason::Refused));
    }

    #[test]
    fn an_iocb_from_a_polled_context_is_plain_elsewhere() {
        let process = Process::new(Kernel::new());
        process.submit(&mut [iocb(FSYNC, 0)]);
        assert_eq!(
            process.submit(&mut [iocb(PREAD, FLAG_HIPRI)]),
            (1, Outcome::Usual)
        );
        assert_eq!(*process.kernel.calls.borrow(), [[0], [0]]);
    }

    #[test]
    fn an_empty_batch_decides_nothing() {
        let process = Process::new(Kernel::new());
        assert_eq!(process.submit(&mut []), (0, Outcome::Usual));
        assert_eq!(process.mode(), Mode::Undecided);
    }

    #[test]
    fn a_file_is_looked_up_once_in_a_row() {
        let mut iocbs = [
            iocb(PREAD, 0),
            iocb(PREAD, 0),
            Iocb {
                fildes: 4,
                ..iocb(PREAD, 0)
            },
            iocb(abi::PWRITE, 0),
        ];
        let pointers: Vec<*mut Iocb> = iocbs.iter_mut().map(std::ptr::from_mut).collect();
        // SAFETY: the pointers are those of live iocbs.
        let batch = unsafe { Batch::new(pointers.as_ptr(), 4, 64) };
        let looked_up = RefCell::new(Vec::new());
        let reason = first_ineligible(&batch, |fd| {
            looked_up.borrow_mut().push(fd);
            FileState::Pollable
        });
        assert_eq!(reason, None);
        assert_eq!(looked_up.into_inner(), [3, 4, 3]);
    }
}
