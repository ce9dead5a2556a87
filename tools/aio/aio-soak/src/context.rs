// SPDX-License-Identifier: GPL-2.0-only

//! The system calls of AIO.

use std::io;
use std::ptr;
use std::time::Duration;

use aio_abi::{ContextId, Event, Iocb, RingHeader};

/// A context, destroyed at the end of its life.
pub struct Context {
    id: ContextId,
}

impl Context {
    /// Makes a context for `count` I/Os.
    pub fn new(count: usize) -> io::Result<Self> {
        let mut id: ContextId = 0;
        // SAFETY: The kernel writes the id, which outlives the call.
        checked(unsafe { libc::syscall(libc::SYS_io_setup, count, &raw mut id) })?;
        Ok(Self { id })
    }

    /// Whether the kernel polls; one that does not know of it ignores the flag silently.
    pub fn offers_polling(&self) -> bool {
        // SAFETY: The id of a context is the address of its ring.
        let header = unsafe { ptr::with_exposed_provenance::<RingHeader>(self.id as usize).read() };
        header.offers_polling()
    }

    /// Submits I/Os; returns how many of them, from the first on, were taken.
    ///
    /// # Safety
    ///
    /// The iocbs can be read; their buffers are the kernel's until their events are reaped or the
    /// context is destroyed.
    pub unsafe fn submit(&self, iocbs: &[*const Iocb]) -> io::Result<usize> {
        // SAFETY: As the caller promises.
        checked(unsafe { libc::syscall(libc::SYS_io_submit, self.id, iocbs.len(), iocbs.as_ptr()) })
    }

    /// Waits for at least `min` events, for no longer than `timeout`.
    ///
    /// Returns how many came.
    pub fn reap(
        &self,
        min: usize,
        events: &mut [Event],
        timeout: Option<Duration>,
    ) -> io::Result<usize> {
        let timeout = timeout.map(|timeout| libc::timespec {
            tv_sec: timeout.as_secs() as libc::time_t,
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let timeout = timeout.as_ref().map_or(ptr::null(), ptr::from_ref);
        // SAFETY: There is room for as many events as are asked for.
        checked(unsafe {
            libc::syscall(
                libc::SYS_io_getevents,
                self.id,
                min.min(events.len()),
                events.len(),
                events.as_mut_ptr(),
                timeout,
            )
        })
    }

    /// Ends the context, with what is in flight; of many threads that ask one succeeds.
    ///
    /// No I/O of it touches memory after this has succeeded.
    pub fn destroy(&self) -> io::Result<()> {
        // SAFETY: An id that is no context's is refused.
        checked(unsafe { libc::syscall(libc::SYS_io_destroy, self.id) })?;
        Ok(())
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // It may have been destroyed already.
        let _ = self.destroy();
    }
}

fn checked(result: libc::c_long) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}
