// SPDX-License-Identifier: GPL-2.0-only

//! PREAD, PWRITE, PREADV and PWRITEV, polled or not.
//!
//! C counterpart: `aio_prep_rw()`, `aio_read()` and `aio_write()` of `fs/aio.c`; for the polled
//! ones, `io_rw_init_file()` of io_uring.

use crate::{
    abi::Iocb,
    context::Context,
    liveness,
    mode::Delivery,
    quota,
    request::Request,
    submission::{
        memory,
        Submission, //
    },
    trace, //
};
use kernel::{
    block::plug,
    error::code::*,
    fs::{
        async_kiocb::{
            publish,
            CompletedKiocb,
            Issued,
            KiocbData,
            KiocbMemory,
            PreparedKiocb, //
        },
        iopoll::Pass,
        AsyncFile, //
    },
    ioprio,
    iov::user::{
        import,
        Direction,
        Layout,
        UserIter, //
    },
    prelude::*,
    task::cond_resched, //
};

/// Starts a read or write that completes into the ring.
#[inline]
pub(crate) fn submit(
    submission: &Submission<'_>,
    request: Request,
    file: AsyncFile,
    iocb: &Iocb,
    direction: Direction,
    layout: Layout,
) -> Result {
    let mut kiocb = prepare(memory()?, request, file, iocb, direction, submission.prio)?;
    import(direction, layout, iocb.buf_ptr(), iocb.len(), |iter| {
        kiocb.verify_area(direction, iter.count())?;
        submission.user.fix_mode(Delivery::Ring)?;
        if let Issued::Done(kiocb) = kiocb.issue(direction, iter) {
            Request::complete(kiocb);
        }
        Ok(())
    })?
}

/// Starts a read or write whose completion io_getevents(2) finds by polling.
#[inline]
pub(crate) fn submit_polled(
    submission: &mut Submission<'_>,
    request: Request,
    file: AsyncFile,
    iocb: &Iocb,
    direction: Direction,
    layout: Layout,
) -> Result {
    let memory = submission.memory_for_polling()?;
    let mut kiocb = prepare(memory, request, file, iocb, direction, submission.prio)?;
    if !quota::polling_allowed() {
        return Err(EOPNOTSUPP);
    }
    kiocb.check_pollable()?;
    let user = submission.user;
    import(direction, layout, iocb.buf_ptr(), iocb.len(), |iter| {
        kiocb.verify_area(direction, iter.count())?;
        user.fix_mode(Delivery::Polled)?;
        start_polled(user, kiocb, iocb.offset, direction, iter);
        liveness::watch(user);
        // Who sleeps for want of something to poll has it now.
        user.wait.wake(1);
        Ok(())
    })?
}

/// A kiocb with all flags of the iocb, for a file that allows this direction.
#[inline]
fn prepare(
    memory: KiocbMemory<Request>,
    request: Request,
    file: AsyncFile,
    iocb: &Iocb,
    direction: Direction,
    default_prio: u16,
) -> Result<PreparedKiocb<Request>> {
    let has_eventfd = request.has_eventfd();
    let mut kiocb = PreparedKiocb::new(memory, file, iocb.offset, request);
    if has_eventfd {
        kiocb.set_eventfd();
    }
    let prio = match iocb.ioprio() {
        Some(prio) => {
            ioprio::check_cap(prio)?;
            prio
        }
        None => default_prio,
    };
    kiocb.set_ioprio(prio);
    kiocb.set_rw_flags(iocb.rw_flags, direction)?;
    kiocb.check_access(direction)?;
    Ok(kiocb)
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
    context: &Context,
    mut kiocb: PreparedKiocb<Request>,
    pos: i64,
    direction: Direction,
    iter: &mut UserIter<'_>,
) {
    let obj = kiocb.key().obj;
    let may_wait = kiocb.may_wait();
    let start = iter.mark();
    for _ in 0..=ROOM_ATTEMPTS {
        match kiocb.issue_polled(&context.queue, direction, iter) {
            Issued::InFlight => return trace::queue(context.user_id(), obj, true),
            Issued::Done(done) if !may_wait || !is_again(&done) => return publish(done),
            Issued::Done(done) => kiocb = done.prepare_again(pos),
        }
        iter.rewind(&start);
        if !make_room(context) {
            break;
        }
    }
    match kiocb.issue_unpolled(&context.queue, direction, iter) {
        Issued::InFlight => trace::queue(context.user_id(), obj, false),
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
    let Some(mut reaper) = context.queue.try_reap() else {
        return false;
    };
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
