// SPDX-License-Identifier: GPL-2.0-only

//! The functions the program calls in place of libaio's and of the C library's `syscall`.
//!
//! Each reports exactly as the one it stands in front of: libaio's return a negated errno and leave
//! errno alone, `syscall` returns -1 and sets it. Contexts that were made before this library could
//! see it are passed on untouched.

use libc::{c_int, c_long};

use crate::abi::{ContextId, Iocb, KernelResult, RingHeader};
use crate::batch::Batch;
use crate::context::{Context, Mode, Table};
use crate::eligibility::Reason;
use crate::forward::{self, Call};
use crate::submit::Outcome;
use crate::{errno, file, next, notice, statistics, submit};

/// The contexts of this process; more than this at once are not polled.
pub static CONTEXTS: Table<1024> = Table::new();

/// libaio's `io_setup`.
///
/// # Safety
///
/// As for libaio's.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn io_setup(maxevents: c_int, ctxp: *mut ContextId) -> c_int {
    let _errno = errno::preserve();
    // SAFETY: the caller's.
    let result = unsafe {
        set_up(ctxp, || match next::io_setup() {
            Some(io_setup) => forward::forward(setup_call(ctxp), || {
                KernelResult::from(io_setup(maxevents, ctxp))
            }),
            None => system_call(libc::SYS_io_setup, maxevents.into(), ctxp as c_long, 0),
        })
    };
    result as c_int
}

/// libaio's `io_destroy`.
///
/// # Safety
///
/// As for libaio's.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn io_destroy(ctx: ContextId) -> c_int {
    let _errno = errno::preserve();
    let result = destroy(ctx, || match next::io_destroy() {
        // SAFETY: the caller's.
        Some(io_destroy) => forward::forward(destroy_call(ctx), || unsafe {
            KernelResult::from(io_destroy(ctx))
        }),
        // SAFETY: the caller's.
        None => unsafe { system_call(libc::SYS_io_destroy, ctx as c_long, 0, 0) },
    });
    result as c_int
}

/// libaio's `io_submit`.
///
/// # Safety
///
/// As for libaio's; and unless an address is obviously none, iocbs must be writable memory where
/// the kernel would report `EFAULT`.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn io_submit(ctx: ContextId, nr: c_long, ios: *mut *mut Iocb) -> c_int {
    let _errno = errno::preserve();
    // SAFETY: the caller's.
    let result = unsafe {
        submit_batch(ctx, nr, ios, || match next::io_submit() {
            Some(io_submit) => forward::forward(submit_call(ios), || {
                KernelResult::from(io_submit(ctx, nr, ios))
            }),
            None => system_call(libc::SYS_io_submit, ctx as c_long, nr, ios as c_long),
        })
    };
    result as c_int
}

/// The C library's `syscall`.
///
/// It is variadic there, which a Rust function cannot be. On x86-64 the difference does not show to
/// a caller that passes integers and pointers: arguments it did not pass are garbage that the
/// kernel does not look at either.
///
/// # Safety
///
/// As for the system call; for `io_submit`, see [`io_submit`].
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn syscall(
    number: c_long,
    a1: c_long,
    a2: c_long,
    a3: c_long,
    a4: c_long,
    a5: c_long,
    a6: c_long,
) -> c_long {
    // SAFETY: the caller's.
    unsafe {
        match number {
            libc::SYS_io_setup | libc::SYS_io_destroy | libc::SYS_io_submit => {
                aio_syscall(number, a1, a2, a3)
            }
            _ => next::syscall()(number, a1, a2, a3, a4, a5, a6),
        }
    }
}

/// Treats one of the three system calls, unless it is one of ours on its way back.
///
/// Kept out of `syscall`, so that every other call passes through that with next to no stack.
///
/// # Safety
///
/// As for the system call.
#[inline(never)]
unsafe fn aio_syscall(number: c_long, a1: c_long, a2: c_long, a3: c_long) -> c_long {
    let call = match number {
        libc::SYS_io_setup => setup_call(a2 as *mut ContextId),
        libc::SYS_io_destroy => destroy_call(a1 as ContextId),
        _ => submit_call(a3 as *mut *mut Iocb),
    };
    if forward::comes_back(call) {
        // SAFETY: the caller's.
        return unsafe { next::syscall()(number, a1, a2, a3, 0, 0, 0) };
    }
    let result = {
        let _errno = errno::preserve();
        // SAFETY: the caller's.
        let send = || unsafe { system_call(number, a1, a2, a3) };
        // SAFETY: the caller's.
        unsafe {
            match number {
                libc::SYS_io_setup => set_up(a2 as *mut ContextId, send),
                libc::SYS_io_destroy => destroy(a1 as ContextId, send),
                _ => submit_batch(a1 as ContextId, a2, a3 as *mut *mut Iocb, send),
            }
        }
    };
    errno::from_kernel(result)
}

/// # Safety
///
/// As for the system call.
unsafe fn system_call(number: c_long, a1: c_long, a2: c_long, a3: c_long) -> KernelResult {
    // SAFETY: the caller's.
    errno::to_kernel(unsafe { next::syscall()(number, a1, a2, a3, 0, 0, 0) })
}

fn setup_call(ctxp: *mut ContextId) -> Call {
    Call {
        number: libc::SYS_io_setup,
        subject: ctxp as usize,
    }
}

fn destroy_call(ctx: ContextId) -> Call {
    Call {
        number: libc::SYS_io_destroy,
        subject: ctx as usize,
    }
}

fn submit_call(ios: *mut *mut Iocb) -> Call {
    Call {
        number: libc::SYS_io_submit,
        subject: ios as usize,
    }
}

/// # Safety
///
/// If `send` succeeds, `ctxp` holds the id of a context.
unsafe fn set_up(ctxp: *mut ContextId, send: impl FnOnce() -> KernelResult) -> KernelResult {
    let result = send();
    if result == 0 {
        // SAFETY: the caller's; as for the kernel, it need not be aligned.
        let id = unsafe { ctxp.read_unaligned() };
        // SAFETY: an id is the address of the ring, which is mapped as long as the context lives.
        let ring = unsafe { std::ptr::read_volatile(id as *const RingHeader) };
        remember(id, &ring);
    }
    result
}

fn remember(id: ContextId, ring: &RingHeader) {
    // One with the same id was destroyed in a way that this library does not see.
    CONTEXTS.find(id).into_iter().for_each(forget);
    let mode = if ring.offers_polling() {
        Mode::Undecided
    } else {
        notice::not_polled(Reason::KernelLacksPolling);
        Mode::Plain(Reason::KernelLacksPolling)
    };
    if CONTEXTS.insert(id, mode, ring.nr as usize).is_none() {
        notice::too_many_contexts();
    }
}

fn forget(context: &Context) {
    statistics::report(context);
    CONTEXTS.remove(context);
}

fn destroy(id: ContextId, send: impl FnOnce() -> KernelResult) -> KernelResult {
    // First, as the kernel may give the id to another thread's new context as soon as it is free.
    CONTEXTS.find(id).into_iter().for_each(forget);
    send()
}

/// # Safety
///
/// As for [`io_submit`].
unsafe fn submit_batch(
    id: ContextId,
    nr: c_long,
    ios: *mut *mut Iocb,
    send: impl Fn() -> KernelResult,
) -> KernelResult {
    let Some(context) = CONTEXTS.find(id) else {
        return send();
    };
    // SAFETY: the caller's.
    let batch = unsafe { Batch::new(ios, nr, context.capacity()) };
    let (result, outcome) = submit::submit(context, &batch, file::look_up, send);
    match outcome {
        Outcome::Usual => {}
        Outcome::DecidedPlain(reason) => notice::not_polled(reason),
        Outcome::Mixed(reason) => notice::mixed(reason),
    }
    result
}
