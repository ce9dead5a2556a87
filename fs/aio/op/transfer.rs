// SPDX-License-Identifier: GPL-2.0-only

//! PREAD, PWRITE, PREADV and PWRITEV, polled or not.
//!
//! C counterpart: `aio_prep_rw()`, `aio_read()` and `aio_write()` of `fs/aio.c`; for the polled
//! ones, `io_rw_init_file()` of io_uring.

use crate::{
    abi::{
        EventKey,
        Iocb, //
    },
    context::Context,
    liveness,
    mode::Delivery,
    quota,
    request::Request,
    submission::{
        memory,
        Submission, //
    },
    submit::acknowledge,
    trace, //
};
use core::ops::ControlFlow;
use kernel::{
    block::plug,
    error::code::*,
    fs::{
        async_kiocb::{
            publish,
            CompletedKiocb,
            Issued,
            KiocbData,
            PreparedKiocb, //
        },
        iopoll::{
            Pass,
            Reaper, //
        },
        AsyncFile, //
    },
    ioprio,
    iov::user::{
        Direction,
        ImportSpace,
        Layout,
        UserIter, //
    },
    prelude::*,
    task::cond_resched,
    uaccess::UserPtr, //
};

/// Starts a read or write that completes into the ring.
// Out of line, as its registers are too many beside those of the loop over the iocbs.
#[inline(never)]
pub(crate) fn submit(
    submission: &mut Submission<'_>,
    addr: UserPtr,
    iocb: &Iocb,
    direction: Direction,
    layout: Layout,
) -> Result {
    let admission = submission.admit()?;
    let file = AsyncFile::from_fd(iocb.fd())?;
    let memory = memory()?;
    let request = Request::new(admission, EventKey::of(iocb, addr));
    let mut kiocb = PreparedKiocb::new(memory, file, iocb.offset(), submission.prio, request);
    acknowledge(submission.context, &mut kiocb, addr, iocb)?;
    if iocb.resfd().is_some() {
        kiocb.set_eventfd();
    }
    prepare(&mut kiocb, iocb, direction)?;
    let mut space = ImportSpace::new();
    let mut iter = space.import(direction, layout, iocb.buf_ptr(), iocb.len())?;
    kiocb.verify_area(direction, iter.count())?;
    submission.context.fix_mode(Delivery::Ring)?;
    if let Issued::Done(kiocb) = kiocb.issue(direction, &mut iter) {
        Request::complete(kiocb);
    }
    Ok(())
}

/// Starts a read or write whose completion io_getevents(2) finds by polling.
// Out of line for the same reason.
#[inline(never)]
pub(crate) fn submit_polled(
    submission: &mut Submission<'_>,
    addr: UserPtr,
    iocb: &Iocb,
    direction: Direction,
    layout: Layout,
) -> Result {
    let admission = submission.admit()?;
    let (file, can_poll) = submission.file_for_polling(iocb.fd())?;
    let memory = submission.memory_for_polling()?;
    let request = Request::new(admission, EventKey::of(iocb, addr));
    let mut kiocb = PreparedKiocb::new(memory, file, iocb.offset(), submission.prio, request);
    let context = submission.context;
    acknowledge(context, &mut kiocb, addr, iocb)?;
    // An eventfd would never be signalled: nobody polls on its behalf.
    if iocb.resfd().is_some() {
        return Err(EINVAL);
    }
    prepare(&mut kiocb, iocb, direction)?;
    if !can_poll || !kiocb.is_direct() || !quota::polling_allowed() {
        return Err(EOPNOTSUPP);
    }
    let mut space = ImportSpace::new();
    let mut iter = space.import(direction, layout, iocb.buf_ptr(), iocb.len())?;
    kiocb.verify_area(direction, iter.count())?;
    context.fix_mode(Delivery::Polled)?;
    start_polled(submission, kiocb, iocb.offset(), direction, &mut iter);
    liveness::watch(submission);
    // Who sleeps for want of something to poll has it now.
    context.wait.wake(1);
    Ok(())
}

/// Gives a kiocb the flags of its iocb, and the priority, if that has one. Fails where the file
/// does not allow this direction.
#[inline]
fn prepare(kiocb: &mut PreparedKiocb<Request>, iocb: &Iocb, direction: Direction) -> Result {
    if let Some(prio) = iocb.ioprio() {
        ioprio::check_cap(prio)?;
        kiocb.set_ioprio(prio);
    }
    kiocb.set_rw_flags(iocb.rw_flags(), direction)?;
    kiocb.check_access(direction)
}

/// Times that polling may make room for an I/O which the device has none for.
const ROOM_ATTEMPTS: u32 = 2;

/// Issues a polled I/O.
///
/// The device may have no tag left because completed I/O of this very context still holds them,
/// and only we could reap it. To wait for a tag would then be for long. So polled I/O fails
/// instead, and then polling makes room. Where that does not help, since others have the tags or
/// since this I/O can never be issued without waiting (it has to be split, say), it is issued to
/// complete by interrupt, and may wait.
#[inline]
fn start_polled(
    submission: &Submission<'_>,
    kiocb: PreparedKiocb<Request>,
    pos: i64,
    direction: Direction,
    iter: &mut UserIter<'_>,
) {
    match try_polled(submission.context, kiocb, direction, iter) {
        ControlFlow::Break(()) => (),
        ControlFlow::Continue(refused) => try_again(submission, refused, pos, direction, iter),
    }
}

/// Issues a polled I/O. Returns it where the device has no room for it.
#[inline(always)]
fn try_polled(
    context: &Context,
    kiocb: PreparedKiocb<Request>,
    direction: Direction,
    iter: &mut UserIter<'_>,
) -> ControlFlow<(), CompletedKiocb<Request>> {
    let obj = kiocb.key().obj;
    match kiocb.issue_polled(&context.queue, direction, iter) {
        Issued::InFlight => trace::queue(context, obj, true),
        Issued::Done(done) if is_again(&done) && !done.is_nowait() => {
            return ControlFlow::Continue(done)
        }
        Issued::Done(done) => publish(done),
    }
    ControlFlow::Break(())
}

/// Issues a polled I/O that the device had no room for, after making some, or as one that is not
/// polled.
#[inline(never)]
fn try_again(
    submission: &Submission<'_>,
    mut refused: CompletedKiocb<Request>,
    pos: i64,
    direction: Direction,
    iter: &mut UserIter<'_>,
) {
    let context = submission.context;
    for _ in 0..ROOM_ATTEMPTS {
        if !make_room(context) {
            break;
        }
        submission.expect_requests(submission.nr_left().saturating_add(1));
        iter.rewind();
        match try_polled(context, refused.prepare_again(pos), direction, iter) {
            ControlFlow::Break(()) => return,
            ControlFlow::Continue(again) => refused = again,
        }
    }
    iter.rewind();
    let obj = refused.key().obj;
    let kiocb = refused.prepare_again(pos);
    match kiocb.issue_unpolled(&context.queue, direction, iter) {
        Issued::InFlight => trace::queue(context, obj, false),
        Issued::Done(done) => publish(done),
    }
}

#[inline]
fn is_again(kiocb: &CompletedKiocb<Request>) -> bool {
    kiocb.result() == EAGAIN.to_errno() as isize
}

/// Polls until something has completed. Returns false where nothing will by that, or somebody else
/// is polling.
#[cold]
fn make_room(context: &Context) -> bool {
    let Some(reaper) = context.queue.try_reap() else {
        return false;
    };
    let has_room = poll_for_room(reaper);
    // It is somebody else's turn, and what has completed is theirs.
    context.wait.wake(1);
    has_room
}

fn poll_for_room(mut reaper: Reaper<'_, Request>) -> bool {
    // What nobody has given to the device cannot be found there.
    plug::flush();
    let ready = reaper.ready();
    loop {
        reaper.collect();
        if reaper.ready() > ready {
            return true;
        }
        if reaper.poll() != Pass::Polled || current!().fatal_signal_pending() {
            return false;
        }
        cond_resched();
    }
}
