// SPDX-License-Identifier: GPL-2.0-only

//! What one call of io_submit(2) takes for all its iocbs at once.
//!
//! Slots, references and memory come from places that other CPUs and tasks share, so going there
//! once for several iocbs saves most of the way. What the iocbs did not need goes back when the
//! call ends.
//!
//! C counterpart: none; `struct io_submit_state` of io_uring is for the same end.

use super::{
    context::{
        Context,
        User,
        REQS, //
    },
    request::{
        Admission,
        Request, //
    }, //
};
use kernel::{
    alloc::kmem_cache::Spares,
    block::plug::Plug,
    error::code::*,
    fs::{
        async_kiocb::{
            AsyncKiocb,
            KiocbMemory, //
        },
        AsyncFile, //
    },
    ioprio,
    prelude::*,
    sync::percpu_ref::HeldRefs, //
};

/// So many requests the block layer is asked to allocate at once. It finds their tags in one word
/// of a bitmap or not at all, and the words of a small bitmap have no more bits.
pub(crate) const REQUESTS_AT_ONCE: usize = 16;

/// One call of io_submit(2).
pub(crate) struct Submission<'a> {
    pub(crate) user: &'a User,
    /// What `user` is a reference to.
    pub(crate) context: &'a Context,
    /// Slots taken, and not passed on to a request.
    slots: u32,
    refs: HeldRefs<Context, REQS>,
    /// What the task does I/O at.
    pub(crate) prio: u16,
    last_file: Option<PollFile>,
    plug: Option<&'a Plug>,
    spares: Spares<AsyncKiocb<Request>>,
}

/// The file of a polled I/O.
struct PollFile {
    fd: u32,
    file: AsyncFile,
    can_poll: bool,
}

impl<'a> Submission<'a> {
    /// For `nr` iocbs. Fails with [`EINVAL`] where the context has ended, which one with a user has
    /// not.
    #[inline]
    pub(crate) fn new(user: &'a User, nr: usize, plug: Option<&'a Plug>) -> Result<Self> {
        // CAST: No more than the ring has elements.
        let nr = nr as u32;
        Ok(Self {
            user,
            context: user,
            refs: Context::request_refs(user, nr).ok_or(EINVAL)?,
            slots: user.slots.take_up_to(nr),
            prio: ioprio::current(),
            last_file: None,
            plug,
            spares: Spares::new(),
        })
    }

    /// Has the block layer allocate several requests with the next one. There are `nr` I/Os to
    /// come.
    #[inline]
    pub(crate) fn expect_requests(&self, nr: usize) {
        if let Some(plug) = self.plug {
            // CAST: A small constant at most.
            plug.expect(nr.min(REQUESTS_AT_ONCE) as u16);
        }
    }

    /// How many iocbs are left to be admitted.
    #[inline]
    pub(crate) fn nr_left(&self) -> usize {
        self.refs.len()
    }

    /// A reference for a request, and with it a slot. Fails with [`EAGAIN`] where there is no slot.
    #[inline(always)]
    pub(crate) fn admit(&mut self) -> Result<Admission> {
        let context = self.refs.take().ok_or(EINVAL)?;
        match self.slots.checked_sub(1) {
            Some(left) => self.slots = left,
            None => self.take_slot()?,
        }
        Ok(Admission::new(context))
    }

    /// Takes one of the slots that have come back since this call of io_submit(2) began.
    #[cold]
    fn take_slot(&self) -> Result {
        if self.context.take_slot() {
            Ok(())
        } else {
            Err(EAGAIN)
        }
    }

    /// The file of a polled I/O, and whether its completions can be found by polling. Fails with
    /// [`EBADF`] where there is none.
    ///
    /// A descriptor that several I/Os of this call have one after another is looked up once. In C
    /// each looks it up anew, and so may find another file that another thread has put there.
    #[inline]
    pub(crate) fn file_for_polling(&mut self, fd: u32) -> Result<(AsyncFile, bool)> {
        let (file, can_poll) = match self.last_file.take() {
            Some(last) if last.fd == fd => (last.file, last.can_poll),
            _ => {
                let file = AsyncFile::from_fd(fd)?;
                let can_poll = file.can_poll();
                (file, can_poll)
            }
        };
        let more_to_come = !self.refs.is_empty();
        if more_to_come {
            self.last_file = Some(PollFile {
                fd,
                file: file.clone(),
                can_poll,
            });
        }
        Ok((file, can_poll))
    }

    /// Memory for the kiocb of a polled I/O. Fails with [`EAGAIN`] where memory is short.
    #[inline]
    pub(crate) fn memory_for_polling(&mut self) -> Result<KiocbMemory<Request>> {
        if let Some(memory) = self.spares.pop() {
            return Ok(memory);
        }
        self.spares = self.context.queue.spares().take();
        match self.spares.pop() {
            Some(memory) => Ok(memory),
            None => memory(),
        }
    }
}

/// Memory for a kiocb. Fails with [`EAGAIN`] where memory is short.
#[inline]
pub(crate) fn memory() -> Result<KiocbMemory<Request>> {
    AsyncKiocb::memory(GFP_KERNEL).map_err(|_| EAGAIN)
}

impl Drop for Submission<'_> {
    #[inline(always)]
    fn drop(&mut self) {
        if self.slots > 0 {
            self.context.slots.put(self.slots);
        }
        if !self.spares.is_empty() {
            self.context
                .queue
                .spares()
                .leave(core::mem::take(&mut self.spares));
        }
    }
}
