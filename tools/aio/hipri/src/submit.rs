// SPDX-License-Identifier: GPL-2.0-only

//! What happens to a submission: each I/O goes to the side that takes its kind.
//!
//! A batch is cut into runs of I/O that goes the same way, which are submitted one after another:
//! as with the kernel, the first I/O that is refused ends it. Mostly a batch is one run, and there
//! is one system call as before. I/O that the kernel refuses to poll is sent again without the
//! flag.

use libc::{EAGAIN, EINVAL, EOPNOTSUPP};

use crate::batch::Batch;
use crate::context::{Context, Role, Side};
use crate::eligibility::{self, Reason, Way};
use crate::shadow::{shadow, NoShadow};
use crate::system::{error, KernelResult, SignalsBlocked, System};
use crate::verdicts::Verdicts;
use crate::wake;

/// Something to tell the user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum News {
    /// I/O is not polled.
    NotPolled(Reason),
    /// I/O that cannot be polled was refused, since the context's one side polls and there is no
    /// room for another.
    Refused,
}

/// One call of `io_submit`.
pub struct Submission<'a, S: System> {
    /// The context it is for.
    pub context: &'a Context,
    /// What was found out about files for that.
    pub verdicts: &'a Verdicts,
    /// The system.
    pub system: &'a S,
    /// Called with what there is to tell.
    pub tell: &'a dyn Fn(News),
}

impl<S: System> Submission<'_, S> {
    /// Submits `batch`. Returns how many iocbs were accepted, or the error of the first.
    pub fn submit(&self, batch: Batch) -> KernelResult {
        let mut done = 0;
        while done < batch.len() {
            let rest = batch.from(done);
            let (way, len) = self.next_run(&rest);
            let result = self.send(way, rest.first(len));
            match usize::try_from(result) {
                Ok(accepted) if accepted > 0 => done += accepted,
                _ if done > 0 => break,
                _ => return result,
            }
        }
        done as KernelResult
    }

    /// How many iocbs at the start of `batch` go the same way, and which.
    fn next_run(&self, batch: &Batch) -> (Way, usize) {
        let way = |iocb: Option<_>| eligibility::way(iocb.as_ref(), self.verdicts, self.system);
        let mut ways = batch.iter().map(way);
        let first = ways.next().unwrap_or(Way::Nowhere);
        (first, 1 + ways.take_while(|way| *way == first).count())
    }

    fn send(&self, way: Way, run: Batch) -> KernelResult {
        match way {
            Way::Polled => self.send_polled(run),
            Way::Plain(reason) => self.send_plain(run, reason),
            Way::Nowhere => self.send_unflagged(Side::Visible, run),
        }
    }

    fn send_polled(&self, run: Batch) -> KernelResult {
        loop {
            let role = self.context.role();
            let result = match role {
                Role::Undecided => match self.send_first_flagged(run) {
                    Some(result) => result,
                    None => continue,
                },
                Role::Polled => self.send_flagged(Side::Visible, run),
                Role::Plain | Role::LeftAlone => match shadow(self.context, role, self.system) {
                    Ok(_) => self.send_flagged(Side::Shadow, run),
                    Err(NoShadow::RoleChanged) => continue,
                    Err(NoShadow::Dead) => return error(EINVAL),
                    Err(NoShadow::NoRoom) => return self.send_plain(run, Reason::NoRoom),
                },
            };
            return match result {
                UNSUPPORTED => self.send_refused(run),
                // The shadow may be a small one that is full, while there is room beside it.
                FULL if role == Role::Plain && self.context.room() > 0 => {
                    self.send_plain(run, Reason::NoRoom)
                }
                result => result,
            };
        }
    }

    /// The attempt that decides for polling, if the kernel accepts it; `None` where something else
    /// was decided.
    #[cold]
    fn send_first_flagged(&self, run: Batch) -> Option<KernelResult> {
        // A handler that submits here would wait for the attempt that it interrupted.
        let _blocked = SignalsBlocked::new(self.system);
        let attempt = || self.send_flagged(Side::Visible, run);
        let result = self.context.try_to_poll(attempt, |result| *result > 0)?;
        // The kernel has other I/O in this context already.
        let outrun = result == error(EINVAL) && self.context.role() != Role::Undecided;
        (!outrun).then_some(result)
    }

    #[inline(always)]
    fn send_flagged(&self, side: Side, run: Batch) -> KernelResult {
        let run = run.first(self.context.room());
        let in_flight = self.context.in_flight(side);
        in_flight.add(run.len());
        // Once it is counted: see `wake`.
        if wake::has_sleepers(self.context) && !wake::wake(self.context, self.system) {
            in_flight.take_back(run.len());
            return self.send_plain(run, Reason::NoRoom);
        }
        run.flag();
        let result = self.send_counted(side, run);
        let accepted = accepted(result);
        run.from(accepted).unflag();
        self.context.counts.polled(accepted);
        result
    }

    /// Sends the first of a run that the kernel refused to poll, unpolled.
    #[cold]
    fn send_refused(&self, run: Batch) -> KernelResult {
        if let Some(Some(iocb)) = run.iter().next() {
            let verdict = Err(Reason::Unsupported);
            self.verdicts.remember(iocb.fildes, verdict);
        }
        self.send_plain(run.first(1), Reason::Unsupported)
    }

    fn send_plain(&self, run: Batch, reason: Reason) -> KernelResult {
        let result = loop {
            match self.context.decide_plain() {
                role @ Role::Polled => match shadow(self.context, role, self.system) {
                    Ok(_) => break self.send_unflagged(Side::Shadow, run),
                    Err(NoShadow::RoleChanged) => {}
                    Err(NoShadow::Dead) => return error(EINVAL),
                    Err(NoShadow::NoRoom) => {
                        (self.tell)(News::Refused);
                        return error(EAGAIN);
                    }
                },
                role => {
                    let result = self.send_unflagged(Side::Visible, run);
                    // The kernel may have polled I/O in this context already.
                    let outrun =
                        result == error(EINVAL) && self.context.settled_role(self.system) != role;
                    if !outrun {
                        break result;
                    }
                }
            }
        };
        let accepted = accepted(result);
        self.context.counts.plain(reason, accepted);
        if accepted > 0 && reason.is_news() {
            (self.tell)(News::NotPolled(reason));
        }
        result
    }

    fn send_unflagged(&self, side: Side, run: Batch) -> KernelResult {
        let run = run.first(self.context.room());
        // An iocb that was polled still has the flag when the program uses it again.
        run.unflag();
        self.context.submitting_plain(|| {
            self.context.in_flight(side).add(run.len());
            self.send_counted(side, run)
        })
    }

    /// Sends a run as it is, of which all is counted as in flight.
    #[inline]
    fn send_counted(&self, side: Side, run: Batch) -> KernelResult {
        let result = match self.context.on(side) {
            None => error(EINVAL),
            Some(_) if run.is_empty() => error(EAGAIN),
            // SAFETY: it is what the program asked for.
            Some(id) => unsafe { self.system.submit(id, run.len(), run.pointers()) },
        };
        let in_flight = self.context.in_flight(side);
        in_flight.take_back(run.len() - accepted(result));
        result
    }
}

/// What the kernel returns for a file that it does not poll.
const UNSUPPORTED: KernelResult = error(EOPNOTSUPP);
/// What it returns where a context is full.
const FULL: KernelResult = error(EAGAIN);

fn accepted(result: KernelResult) -> usize {
    usize::try_from(result).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::ptr;

    use aio_abi::{Iocb, FLAG_HIPRI, FLAG_RESFD, FSYNC, POLL, PREAD, PWRITE};
    use libc::{EBADF, EFAULT};

    use super::*;
    use crate::batch::test_iocb as iocb;
    use crate::file::FileState;
    use crate::played::{Played, CAPACITY, SHADOW, VISIBLE};
    use crate::wake::Sleeper;

    fn reads(count: usize) -> Vec<Iocb> {
        vec![iocb(PREAD, 0); count]
    }

    fn flags(iocbs: &[Iocb]) -> Vec<u32> {
        iocbs.iter().map(|iocb| iocb.flags).collect()
    }

    fn of_file(fildes: u32) -> Iocb {
        let read = iocb(PREAD, 0);
        Iocb { fildes, ..read }
    }

    const H: u32 = FLAG_HIPRI;

    #[test]
    fn direct_io_is_polled_by_one_call() {
        let (context, played) = Played::with_context();
        assert_eq!(played.submit_to(context, &reads(3)), 3);
        assert_eq!(played.submit_to(context, &reads(2)), 2);
        let expected = [(VISIBLE, vec![H; 3]), (VISIBLE, vec![H; 2])];
        assert_eq!(*played.submissions.borrow(), expected);
        assert_eq!(context.counts.to_string(), "5 polled, 0 not polled");
        assert_eq!(context.in_flight(Side::Visible).count(), 5);
        assert!(played.told.borrow().is_empty());
    }

    #[test]
    fn what_cannot_be_polled_goes_to_the_shadow() {
        let (context, played) = Played::with_context();
        played.submit_to(context, &reads(1));
        let others = [iocb(FSYNC, 0), iocb(PWRITE, FLAG_RESFD), iocb(POLL, 0)];
        for other in others {
            assert_eq!(played.submit_to(context, &[other]), 1);
        }
        assert_eq!(played.is_polled(VISIBLE), Some(true));
        assert_eq!(played.is_polled(SHADOW), Some(false));
        assert_eq!(context.in_flight(Side::Shadow).count(), 3);
        let counts = context.counts.to_string();
        assert_eq!(
            counts,
            "1 polled, 3 not polled: 2 not a read or write, 1 eventfd"
        );
    }

    #[test]
    fn a_plain_context_polls_in_the_shadow_once_something_can() {
        let (context, played) = Played::with_context();
        assert_eq!(played.submit_to(context, &[iocb(FSYNC, 0)]), 1);
        assert_eq!(played.contexts(), [VISIBLE]);
        assert!(played.hidden.borrow().is_empty());
        assert_eq!(played.submit_to(context, &reads(2)), 2);
        assert_eq!(played.is_polled(VISIBLE), Some(false));
        assert_eq!(played.is_polled(SHADOW), Some(true));
        assert_eq!(*played.hidden.borrow(), [VISIBLE]);
    }

    #[test]
    fn a_mixed_batch_goes_in_order() {
        let (context, played) = Played::with_context();
        let mut batch = reads(2);
        batch.push(iocb(FSYNC, 0));
        batch.extend(reads(1));
        assert_eq!(played.submit_to(context, &batch), 4);
        let expected = [(VISIBLE, vec![H, H]), (SHADOW, vec![0]), (VISIBLE, vec![H])];
        assert_eq!(*played.submissions.borrow(), expected);
    }

    #[test]
    fn buffered_io_is_plain_and_never_tried() {
        let (context, played) = Played::with_context();
        played.file(3, FileState::Buffered);
        assert_eq!(played.submit_to(context, &reads(2)), 2);
        assert_eq!(*played.submissions.borrow(), [(VISIBLE, vec![0, 0])]);
        let news = News::NotPolled(Reason::Buffered);
        assert_eq!(*played.told.borrow(), [news]);
    }

    #[test]
    fn what_the_kernel_refuses_to_poll_is_plain_from_then_on() {
        let (context, played) = Played::with_context();
        played.device_polls.set(false);
        let mut iocbs = reads(3);
        assert_eq!(played.submit_again(context, &mut iocbs), 3);
        assert_eq!(flags(&iocbs), [0, 0, 0]);
        let expected = [
            (VISIBLE, vec![H; 3]),
            (VISIBLE, vec![0]),
            (VISIBLE, vec![0; 2]),
        ];
        assert_eq!(*played.submissions.borrow(), expected);
        let unsupported = News::NotPolled(Reason::Unsupported);
        assert_eq!(played.told.borrow()[0], unsupported);
        assert_eq!(played.contexts(), [VISIBLE]);
    }

    #[test]
    fn a_file_that_cannot_be_polled_does_not_spoil_the_others() {
        let (context, played) = Played::with_context();
        played.file(4, FileState::WithoutPollQueues);
        let batch = [of_file(3), of_file(4), of_file(3)];
        assert_eq!(played.submit_to(context, &batch), 3);
        let counts = context.counts.to_string();
        assert_eq!(counts, "2 polled, 1 not polled: 1 no poll queues");
    }

    #[test]
    fn a_refusal_in_the_middle_is_sent_the_other_way_too() {
        let (context, played) = Played::with_context();
        // It was direct when it was looked at.
        played.verdicts.remember(4, Ok(()));
        played.file(4, FileState::Buffered);
        let batch = [of_file(3), of_file(4), of_file(3)];
        assert_eq!(played.submit_to(context, &batch), 3);
        let counts = context.counts.to_string();
        assert_eq!(counts, "2 polled, 1 not polled: 1 refused by the kernel");
    }

    #[test]
    fn the_first_that_is_wrong_ends_the_batch() {
        let (context, played) = Played::with_context();
        let batch = [iocb(PREAD, 0), iocb(99, 0), iocb(PREAD, 0)];
        assert_eq!(played.submit_to(context, &batch), 1);
        assert_eq!(played.submit_to(context, &batch[1..]), error(EINVAL));
        assert_eq!(context.in_flight(Side::Visible).count(), 1);
        assert_eq!(played.contexts(), [VISIBLE]);
    }

    #[test]
    fn an_address_that_is_none_is_refused_by_the_kernel() {
        let (context, played) = Played::with_context();
        let pointers: [*mut Iocb; 1] = [ptr::null_mut()];
        // SAFETY: the address is implausible, so nothing is read from it.
        let batch = unsafe { Batch::new(pointers.as_ptr(), 1, CAPACITY) }.unwrap();
        let submission = Submission {
            context,
            verdicts: &played.verdicts,
            system: &played,
            tell: &|_| unreachable!(),
        };
        assert_eq!(submission.submit(batch), error(EFAULT));
        assert_eq!(context.role(), Role::Undecided);
    }

    #[test]
    fn what_the_kernel_did_not_accept_loses_the_flag() {
        let (context, played) = Played::with_context();
        played.room.set(2);
        let mut iocbs = reads(3);
        assert_eq!(played.submit_again(context, &mut iocbs), 2);
        assert_eq!(flags(&iocbs), [H, H, 0]);
        let result = played.submit_again(context, &mut iocbs[2..]);
        assert_eq!(result, error(EAGAIN));
        assert_eq!(flags(&iocbs[2..]), [0]);
        assert_eq!(context.in_flight(Side::Visible).count(), 2);
    }

    #[test]
    fn a_refused_read_decides_nothing() {
        let (context, played) = Played::with_context();
        played.room.set(0);
        assert_eq!(played.submit_to(context, &reads(1)), error(EAGAIN));
        assert_eq!(context.role(), Role::Undecided);
        played.room.set(1);
        assert_eq!(played.submit_to(context, &reads(1)), 1);
        assert_eq!(context.role(), Role::Polled);
    }

    #[test]
    fn an_iocb_that_was_polled_is_plain_elsewhere() {
        let (context, played) = Played::with_context();
        played.file(3, FileState::Buffered);
        assert_eq!(played.submit_to(context, &[iocb(PREAD, H)]), 1);
        assert_eq!(*played.submissions.borrow(), [(VISIBLE, vec![0])]);
    }

    #[test]
    fn two_sides_take_no_more_than_one() {
        let (context, played) = Played::with_context();
        played.submit_to(context, &[iocb(POLL, 0)]);
        played.submit_to(context, &reads(1));
        let mut taken = 1;
        while let Ok(accepted @ 1..) = usize::try_from(played.submit_to(context, &reads(10))) {
            taken += accepted;
        }
        assert_eq!(taken, CAPACITY);
        let refused = played.submit_to(context, &[iocb(FSYNC, 0)]);
        assert_eq!(refused, error(EAGAIN));
    }

    #[test]
    fn without_room_for_a_shadow_a_plain_context_stays_plain() {
        let (context, played) = Played::with_context();
        played.submit_to(context, &[iocb(FSYNC, 0)]);
        played.room_for_contexts.set(0);
        assert_eq!(played.submit_to(context, &reads(2)), 2);
        let expected = [(VISIBLE, vec![0]), (VISIBLE, vec![0, 0])];
        assert_eq!(*played.submissions.borrow(), expected);
        let news = News::NotPolled(Reason::NoRoom);
        assert_eq!(*played.told.borrow(), [news]);
    }

    #[test]
    fn without_room_for_a_shadow_a_polled_context_refuses_for_now() {
        let (context, played) = Played::with_context();
        played.submit_to(context, &reads(1));
        played.room_for_contexts.set(0);
        let fsync = [iocb(FSYNC, 0)];
        assert_eq!(played.submit_to(context, &fsync), error(EAGAIN));
        assert_eq!(*played.told.borrow(), [News::Refused]);
        played.room_for_contexts.set(1);
        assert_eq!(played.submit_to(context, &fsync), 1);
    }

    #[test]
    fn what_a_small_shadow_has_no_room_for_is_not_polled() {
        let (context, played) = Played::with_context();
        played.submit_to(context, &[iocb(POLL, 0)]);
        played.room_for_contexts.set(1);
        played.room_in_small.set(2);
        assert_eq!(played.submit_to(context, &reads(5)), 5);
        let expected = [
            (VISIBLE, vec![0]),
            (SHADOW, vec![H; 5]),
            (SHADOW, vec![H; 3]),
            (VISIBLE, vec![0; 3]),
        ];
        assert_eq!(*played.submissions.borrow(), expected);
        assert_eq!(context.in_flight(Side::Shadow).count(), 2);
        assert_eq!(context.in_flight(Side::Visible).count(), 3);
        let counts = context.counts.to_string();
        let reasons = "1 not a read or write, 3 no room for a second context";
        assert_eq!(counts, format!("2 polled, 4 not polled: {reasons}"));
        // Where the visible side has none either, there is no more to be done.
        played.room.set(4);
        assert_eq!(played.submit_to(context, &reads(1)), error(EAGAIN));
    }

    #[test]
    fn another_thread_s_decision_for_plain_io_is_found_out() {
        let (context, played) = Played::with_context();
        let other = |played: &Played| {
            assert_eq!(played.submit_to(context, &[iocb(FSYNC, 0)]), 1);
        };
        *played.before_submission.borrow_mut() = Some(Box::new(other));
        assert_eq!(played.submit_to(context, &reads(1)), 1);
        assert_eq!(played.is_polled(VISIBLE), Some(false));
        assert_eq!(played.is_polled(SHADOW), Some(true));
    }

    #[test]
    fn another_thread_s_polling_is_found_out() {
        let (context, played) = Played::with_context();
        // It has looked at the role before this thread decided.
        let other = |played: &Played| {
            context.role_for_test(Role::Undecided);
            assert_eq!(played.submit_to(context, &reads(1)), 1);
        };
        *played.before_submission.borrow_mut() = Some(Box::new(other));
        assert_eq!(played.submit_to(context, &[iocb(FSYNC, 0)]), 1);
        assert_eq!(played.is_polled(VISIBLE), Some(true));
        assert_eq!(played.is_polled(SHADOW), Some(false));
    }

    #[test]
    fn polled_io_wakes_a_sleeper() {
        let (context, played) = Played::with_context();
        played.submit_to(context, &[iocb(FSYNC, 0)]);
        let _sleeper = Sleeper::new(context);
        played.submit_to(context, &reads(1));
        // That of the FSYNC, and that which wakes.
        assert_eq!(played.events_of(VISIBLE), 2);
        assert_eq!(context.in_flight(Side::Visible).count(), 0);
    }

    #[test]
    fn who_only_tries_to_poll_wakes_nobody() {
        let (context, played) = Played::with_context();
        // This thread has seen that nothing is decided. Now another one decides, and sleeps.
        let attempt = || {
            let other = Iocb {
                data: 7,
                ..iocb(POLL, 0)
            };
            assert_eq!(played.submit_to(context, &[other]), 1);
            played.then(|played| {
                let send =
                    |submission: &Submission<_>, run| submission.send_flagged(Side::Visible, run);
                let refused = played.with_submission(context, &mut reads(1), send);
                assert_eq!(refused, error(EINVAL));
            });
            played.then(|played| played.complete(VISIBLE));
            played.read_one(context)
        };
        assert_eq!(context.try_to_poll(attempt, |_| false), Some(Ok(7)));
        // The next one is woken.
        let _sleeper = Sleeper::new(context);
        played.submit_to(context, &reads(1));
        assert_eq!(played.events_of(VISIBLE), 1);
    }

    #[test]
    fn io_is_not_polled_where_nobody_can_be_woken_to_poll() {
        let (context, played) = Played::with_context();
        played.submit_to(context, &[iocb(FSYNC, 0)]);
        let _sleeper = Sleeper::new(context);
        played.wake_fails.set(2);
        assert_eq!(played.submit_to(context, &reads(2)), 2);
        assert_eq!(played.events_of(VISIBLE), 3);
        assert_eq!(played.is_polled(SHADOW), None);
        assert_eq!(context.in_flight(Side::Shadow).count(), 0);
    }

    #[test]
    fn a_context_that_is_being_destroyed_takes_nothing() {
        let (context, played) = Played::with_context();
        played.submit_to(context, &reads(1));
        context.end(&played);
        let refused = played.submit_to(context, &[iocb(FSYNC, 0)]);
        assert_eq!(refused, error(EINVAL));
    }

    #[test]
    fn a_closed_descriptor_is_the_kernel_s_to_refuse() {
        let (context, played) = Played::with_context();
        played.file(3, FileState::Closed);
        assert_eq!(played.submit_to(context, &reads(1)), error(EBADF));
        assert_eq!(context.role(), Role::Undecided);
    }
}
