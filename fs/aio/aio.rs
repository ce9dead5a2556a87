// SPDX-License-Identifier: GPL-2.0-only

//! Asynchronous I/O of Linux: io_setup(2), io_submit(2), io_getevents(2), io_cancel(2) and
//! io_destroy(2), with polled I/O.
//!
//! The way of an I/O:
//!
//! ```text
//!   syscalls.c     one shape out of many
//!      |
//!   submit         an iocb, decoded (abi) and checked, takes a slot (slots)
//!      |
//!   op             read or write | fsync | poll: starts, owning its request
//!      |
//!   request        completes; from here by the mode of the context:
//!      |                                      \
//!   ring           the ring user space sees    kernel::fs::iopoll: a queue; no ring
//!      |                                      /
//!   reap           io_getevents copies out;  polled: drives the device
//! ```
//!
//! A [`context`] owns all of these; [`teardown`] ends it, [`quota`] limits how many there are, and
//! [`liveness`] polls where nobody else does. What is unsafe is in `kernel`: this crate is policy.
//!
//! C counterpart: [`fs/aio.c`](srctree/fs/aio.c), which this replaces where `CONFIG_AIO_RUST` is
//! set. Each module says where it differs.

mod abi;
mod context;
mod hybrid;
mod liveness;
mod mode;
mod op;
mod polled;
mod quota;
mod reap;
mod request;
mod ring;
mod slots;
mod submission;
mod submit;
mod teardown;
mod trace;

use core::ops::ControlFlow;

use kernel::{
    error::code::*,
    fs::async_kiocb,
    mm::{
        ioctx_table::IoctxTable,
        Mm, //
    },
    prelude::*,
    sync::wait::Patience,
    uaccess::{
        get_user_u32,
        get_user_u64,
        put_user_u32,
        put_user_u64,
        UserPtr, //
    }, //
};

use context::{
    Context,
    User,
    USERS, //
};
use submit::Width;

const __LOG_PREFIX: &[u8] = b"aio\0";

/// io_cancel(2) has begun to cancel; the event comes as any other.
const EINPROGRESS: i32 = 115;

/// Prepares the core. Once, at boot; returns a negative error number.
///
/// # Safety
///
/// None: called from C with whatever user space passes.
#[export]
pub unsafe extern "C" fn aio_core_init() -> c_int {
    request::init().map_or_else(|error| error.to_errno(), |()| 0)
}

/// io_setup(2): makes a context and writes its id, a `long` of the caller's width that has to be 0
/// before, to `ctxp`.
///
/// # Safety
///
/// None: called from C with whatever user space passes.
#[export]
pub unsafe extern "C" fn aio_setup_context(
    nr_events: c_uint,
    ctxp: c_ulong,
    compat: bool,
) -> c_long {
    syscall(|mm| {
        let ctxp = UserPtr::from_addr(ctxp);
        let narrow = compat || cfg!(not(CONFIG_64BIT));
        let before = if narrow {
            get_user_u32(ctxp)?.into()
        } else {
            get_user_u64(ctxp)?
        };
        if before != 0 || nr_events == 0 {
            return Err(EINVAL);
        }
        let user = Context::create(mm, nr_events)?;
        let id = user.user_id();
        let written = if narrow {
            // CAST: An address that the caller's width can hold.
            put_user_u32(id as u32, ctxp)
        } else {
            put_user_u64(id as u64, ctxp)
        };
        written.inspect_err(|_| {
            let _ = user.kill(mm);
        })?;
        Ok(0)
    })
}

/// io_destroy(2): ends a context, and returns when its last request has completed.
///
/// # Safety
///
/// None: called from C with whatever user space passes.
#[export]
pub unsafe extern "C" fn aio_destroy_context(ctx_id: c_ulong) -> c_long {
    syscall(|mm| teardown::destroy(mm, ctx_id).map(|()| 0))
}

/// io_submit(2): submits the `nr` iocbs that the array at `iocbpp` points to.
///
/// # Safety
///
/// None: called from C with whatever user space passes.
#[export]
pub unsafe extern "C" fn aio_submit(
    ctx_id: c_ulong,
    nr: c_long,
    iocbpp: c_ulong,
    compat: bool,
) -> c_long {
    syscall(|mm| {
        let nr = usize::try_from(nr).map_err(|_| EINVAL)?;
        let user = lookup(mm, ctx_id)?;
        let width = if compat { Width::Compat } else { Width::Native };
        submit::submit(&user, nr, UserPtr::from_addr(iocbpp), width)
    })
}

/// io_cancel(2): begins to cancel the request of the iocb at `iocb`.
///
/// # Safety
///
/// None: called from C with whatever user space passes.
#[export]
pub unsafe extern "C" fn aio_cancel(ctx_id: c_ulong, iocb: c_ulong) -> c_long {
    syscall(|mm| {
        if get_user_u32(abi::Iocb::key_ptr(UserPtr::from_addr(iocb)))? != abi::KIOCB_KEY {
            return Err(EINVAL);
        }
        let user = lookup(mm, ctx_id)?;
        // CAST: Both are 64 bits, or the smaller one fits.
        let obj = iocb as u64;
        let driver = user
            .cancellable
            .cancel_one(|request| request.key().obj == obj);
        match driver {
            Some(0) => Err(Error::from_errno(-EINPROGRESS)),
            Some(errno) => Err(Error::from_errno(errno)),
            None if op::poll::cancel(&user, obj) => Err(Error::from_errno(-EINPROGRESS)),
            None => Err(EINVAL),
        }
    })
}

/// io_getevents(2) without the handling of signals: waits for `min_nr` events for at most `timeout`
/// nanoseconds, `KTIME_MAX` being for ever, and copies up to `nr` to `events`.
///
/// # Safety
///
/// None: called from C with whatever user space passes.
#[export]
pub unsafe extern "C" fn aio_getevents(
    ctx_id: c_ulong,
    min_nr: c_long,
    nr: c_long,
    events: c_ulong,
    timeout: kernel::ffi::c_longlong,
) -> c_long {
    syscall(|mm| {
        let user = lookup(mm, ctx_id)?;
        let min = usize::try_from(min_nr).map_err(|_| EINVAL)?;
        let max = usize::try_from(nr).map_err(|_| EINVAL)?;
        if min > max {
            return Err(EINVAL);
        }
        let patience = Patience::from_ktime(timeout);
        let read = reap::getevents(&user, min, max, UserPtr::from_addr(events), patience);
        trace::reap(&user, min, max, to_ret(&read));
        read
    })
}

/// Runs a system call in the current address space; a task without one has no contexts.
#[inline]
fn syscall(call: impl FnOnce(&Mm) -> Result<usize>) -> c_long {
    let result = match current!().mm() {
        Some(mm) => call(mm),
        None => Err(EINVAL),
    };
    // CAST: A number of iocbs or events that came as a `long`, or an error number.
    to_ret(&result) as c_long
}

/// What a system call returns: a count, or a negative error number.
#[inline]
fn to_ret(result: &Result<usize>) -> i64 {
    match result {
        // CAST: A number of iocbs or events, far from the sign.
        Ok(count) => *count as i64,
        Err(error) => error.to_errno().into(),
    }
}

#[inline]
fn lookup(mm: &Mm, ctx_id: c_ulong) -> Result<User> {
    Context::lookup(mm, ctx_id).ok_or(EINVAL)
}

/// The ring's mapping was moved to `start`, by mremap(2). Returns 0, or `-EINVAL` where that cannot
/// be.
///
/// # Safety
///
/// `mm` must be valid for the call; `file` is compared only.
#[export]
pub unsafe extern "C" fn aio_ring_moved(
    mm: *mut kernel::bindings::mm_struct,
    file: *const kernel::bindings::file,
    start: c_ulong,
    len: c_ulong,
) -> c_int {
    // SAFETY: By the caller's contract.
    let mm = unsafe { Mm::from_raw(mm) };
    let moved = IoctxTable::<Context, USERS>::of(mm).find(|context| {
        if context.ring.file().is_backed_by(file) {
            ControlFlow::Break(context.moved(start, len))
        } else {
            ControlFlow::Continue(())
        }
    });
    if moved == Some(true) {
        0
    } else {
        EINVAL.to_errno()
    }
}

/// The last user of an address space is gone.
///
/// # Safety
///
/// `mm` must be valid for the call, and nobody else use it.
#[export]
pub unsafe extern "C" fn exit_aio(mm: *mut kernel::bindings::mm_struct) {
    // SAFETY: By the caller's contract.
    teardown::destroy_all(unsafe { Mm::from_raw(mm) });
}

/// Lets io_cancel(2) cancel a kiocb by its driver's function. Kiocbs of others than AIO are left
/// alone.
///
/// # Safety
///
/// `kiocb` must be in flight and not complete before this returns.
#[export]
pub unsafe extern "C" fn kiocb_set_cancel_fn(
    kiocb: *mut kernel::bindings::kiocb,
    cancel: Option<kernel::fs::cancel_list::CancelFn>,
) {
    if let Some(cancel) = cancel {
        // SAFETY: By the caller's contract; those that are marked as AIO's have our data.
        unsafe { async_kiocb::set_cancel_fn::<request::Request>(kiocb, cancel) };
    }
}
