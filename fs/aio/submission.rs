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
        ContextRef,
        Request, //
    }, //
};
use kernel::{
    alloc::kmem_cache::Spares,
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

/// One call of io_submit(2).
pub(crate) struct Submission<'a> {
    pub(crate) user: &'a User,
    /// Slots taken, and not passed on to a request.
    slots: u32,
    refs: HeldRefs<Context, REQS>,
    /// What the task does I/O at.
    pub(crate) prio: u16,
    /// The file of the last polled I/O, by its descriptor.
    file: Option<(u32, AsyncFile)>,
    spares: Spares<AsyncKiocb<Request>>,
}

impl<'a> Submission<'a> {
    /// For `nr` iocbs. Fails with [`EINVAL`] where the context ends.
    #[inline]
    pub(crate) fn new(user: &'a User, nr: usize) -> Result<Self> {
        Ok(Self {
            user,
            // CAST: No more than the ring has elements.
            slots: user.slots.take_up_to(nr as u32),
            refs: Context::request_refs(user, nr).ok_or(EINVAL)?,
            prio: ioprio::current(),
            file: None,
            spares: Spares::new(),
        })
    }

    /// A reference for a request, and with it a slot. Fails with [`EAGAIN`] where there is no slot.
    #[inline]
    pub(crate) fn admit(&mut self) -> Result<ContextRef> {
        let context = self.refs.take().ok_or(EINVAL)?;
        match self.slots.checked_sub(1) {
            Some(left) => self.slots = left,
            None if self.user.take_slot() => (),
            None => return Err(EAGAIN),
        }
        Ok(context)
    }

    /// The file of a polled I/O. Fails with [`EBADF`] where there is none.
    ///
    /// A descriptor that several I/Os of this call have one after another is looked up once.
    #[inline]
    pub(crate) fn file_for_polling(&mut self, fd: u32) -> Result<AsyncFile> {
        let file = match self.file.take() {
            Some((last, file)) if last == fd => file,
            _ => AsyncFile::from_fd(fd)?,
        };
        let more_to_come = !self.refs.is_empty();
        if more_to_come {
            self.file = Some((fd, file.clone()));
        }
        Ok(file)
    }

    /// Memory for the kiocb of a polled I/O. Fails with [`EAGAIN`] where memory is short.
    #[inline]
    pub(crate) fn memory_for_polling(&mut self) -> Result<KiocbMemory<Request>> {
        if let Some(memory) = self.spares.pop() {
            return Ok(memory);
        }
        self.spares = self.user.queue.spares().take();
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
    #[inline]
    fn drop(&mut self) {
        if self.slots > 0 {
            self.user.slots.put(self.slots);
        }
        self.user
            .queue
            .spares()
            .leave(core::mem::take(&mut self.spares));
    }
}
