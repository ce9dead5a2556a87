// SPDX-License-Identifier: GPL-2.0-only

//! The system's limits, which sysctl shows and sets.
//!
//! C counterpart: `aio_nr`, `aio_max_nr` and `aio_nr_sub()` of `fs/aio.c`; the table of names is in
//! [`fs/aio/sysctl.c`](srctree/fs/aio/sysctl.c).

use kernel::{
    error::code::*,
    prelude::*,
    sync::atomic::{
        ordering,
        Atomic, //
    }, //
};

/// Events that all contexts together were set up for: `fs.aio-nr`.
#[no_mangle]
pub(crate) static aio_nr: Atomic<usize> = Atomic::new(0);

/// The limit of [`aio_nr`]: `fs.aio-max-nr`.
#[no_mangle]
pub(crate) static aio_max_nr: Atomic<usize> = Atomic::new(0x10000);

/// Whether I/O may be polled: 0 no, 1 yes, 2 yes, and readers sleep before they poll. This is
/// `fs.aio-poll`.
#[no_mangle]
pub(crate) static aio_poll_allowed: Atomic<i32> = Atomic::new(1);

/// Whether the administrator allows polled I/O.
#[inline]
pub(crate) fn polling_allowed() -> bool {
    aio_poll_allowed.load(ordering::Relaxed) != 0
}

/// Whether the administrator wants readers to sleep before they poll.
#[inline]
pub(crate) fn polling_sleeps() -> bool {
    aio_poll_allowed.load(ordering::Relaxed) == 2
}

/// Fails with [`EAGAIN`] where a context of `events` alone would be over the limit.
pub(crate) fn check_limit(events: u32) -> Result {
    if events as usize > aio_max_nr.load(ordering::Relaxed) {
        return Err(EAGAIN);
    }
    Ok(())
}

/// Accounts a context of `events`. Fails with [`EAGAIN`] over the limit.
pub(crate) fn charge(events: u32) -> Result {
    let mut used = aio_nr.load(ordering::Relaxed);
    loop {
        let next = used
            .checked_add(events as usize)
            .filter(|next| *next <= aio_max_nr.load(ordering::Relaxed))
            .ok_or(EAGAIN)?;
        match aio_nr.cmpxchg(used, next, ordering::Relaxed) {
            Ok(_) => return Ok(()),
            Err(changed) => used = changed,
        }
    }
}

/// Takes a context of `events` that was charged off the account.
pub(crate) fn uncharge(events: u32) {
    aio_nr.fetch_sub(events as usize, ordering::Relaxed);
}
