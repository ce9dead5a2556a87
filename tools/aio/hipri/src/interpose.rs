// SPDX-License-Identifier: GPL-2.0-only

//! The functions the program calls in place of libaio's and of the C library's `syscall`.
//!
//! Each reports exactly as the one it stands in front of: libaio's return a negated errno and leave
//! errno alone, `syscall` returns -1 and sets it. libaio itself is not called: its newer versions
//! come back here by `syscall`, its older ones make the system call by themselves.

use aio_abi::{ContextId, Event, Iocb};
use libc::{c_int, c_long, c_void};

use crate::calls::{self, Timeout, Wait};
use crate::linux::system_call;
use crate::system::{error, KernelResult, SignalArgument, SignalSet};
use crate::{errno, next};

#[cfg(target_arch = "x86_64")]
mod numbers {
    pub const IO_GETEVENTS: i64 = 208;
    pub const IO_PGETEVENTS: i64 = 333;
}

#[cfg(target_arch = "x86")]
mod numbers {
    pub const IO_GETEVENTS: i32 = 247;
    pub const IO_PGETEVENTS: i32 = 385;
    pub const IO_PGETEVENTS_TIME64: i32 = 416;
}

/// libaio's `io_setup`.
///
/// # Safety
///
/// As for libaio's.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn io_setup(maxevents: c_int, ctxp: *mut ContextId) -> c_int {
    let arguments = [maxevents.into(), ctxp as c_long, 0, 0, 0, 0];
    // SAFETY: the caller's.
    unsafe { libaio(libc::SYS_io_setup, arguments) }
}

/// libaio's `io_destroy`.
///
/// # Safety
///
/// As for libaio's.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn io_destroy(ctx: ContextId) -> c_int {
    // SAFETY: the caller's.
    unsafe { libaio(libc::SYS_io_destroy, [ctx as c_long, 0, 0, 0, 0, 0]) }
}

/// libaio's `io_submit`.
///
/// # Safety
///
/// As for libaio's; and unless an address is obviously none, iocbs must be writable memory where
/// the kernel would report `EFAULT`.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn io_submit(ctx: ContextId, nr: c_long, ios: *mut *mut Iocb) -> c_int {
    let arguments = [ctx as c_long, nr, ios as c_long, 0, 0, 0];
    // SAFETY: the caller's.
    unsafe { libaio(libc::SYS_io_submit, arguments) }
}

/// libaio's `io_cancel`.
///
/// # Safety
///
/// As for libaio's.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn io_cancel(ctx: ContextId, iocb: *mut Iocb, event: *mut Event) -> c_int {
    let arguments = [ctx as c_long, iocb as c_long, event as c_long, 0, 0, 0];
    // SAFETY: the caller's.
    unsafe { libaio(libc::SYS_io_cancel, arguments) }
}

/// libaio's `io_getevents`.
///
/// # Safety
///
/// As for libaio's.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn io_getevents(
    ctx: ContextId,
    min_nr: c_long,
    nr: c_long,
    events: *mut Event,
    timeout: *mut c_void,
) -> c_int {
    let events = events as c_long;
    let arguments = [ctx as c_long, min_nr, nr, events, timeout as c_long, 0];
    // SAFETY: the caller's.
    unsafe { libaio(numbers::IO_GETEVENTS, arguments) }
}

/// The arguments that all system calls which wait for events begin with.
fn wait_arguments(
    ctx: ContextId,
    min_nr: c_long,
    nr: c_long,
    events: *mut Event,
    timeout: *mut c_void,
) -> [c_long; 5] {
    [
        ctx as c_long,
        min_nr,
        nr,
        events as c_long,
        timeout as c_long,
    ]
}

/// libaio's `io_pgetevents`.
///
/// # Safety
///
/// As for libaio's.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn io_pgetevents(
    ctx: ContextId,
    min_nr: c_long,
    nr: c_long,
    events: *mut Event,
    timeout: *mut c_void,
    sigmask: *const SignalSet,
) -> c_int {
    let wait = wait_arguments(ctx, min_nr, nr, events, timeout);
    // SAFETY: the caller's.
    unsafe { pgetevents(numbers::IO_PGETEVENTS, wait, sigmask) }
}

/// libaio's `io_getevents` for programs with a 64-bit `time_t`.
///
/// # Safety
///
/// As for libaio's.
#[cfg(target_arch = "x86")]
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn io_getevents_time64(
    ctx: ContextId,
    min_nr: c_long,
    nr: c_long,
    events: *mut Event,
    timeout: *mut c_void,
) -> c_int {
    let wait = wait_arguments(ctx, min_nr, nr, events, timeout);
    // SAFETY: the caller's.
    unsafe { pgetevents(numbers::IO_PGETEVENTS_TIME64, wait, core::ptr::null()) }
}

/// libaio's `io_pgetevents` for programs with a 64-bit `time_t`.
///
/// # Safety
///
/// As for libaio's.
#[cfg(target_arch = "x86")]
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn io_pgetevents_time64(
    ctx: ContextId,
    min_nr: c_long,
    nr: c_long,
    events: *mut Event,
    timeout: *mut c_void,
    sigmask: *const SignalSet,
) -> c_int {
    let wait = wait_arguments(ctx, min_nr, nr, events, timeout);
    // SAFETY: the caller's.
    unsafe { pgetevents(numbers::IO_PGETEVENTS_TIME64, wait, sigmask) }
}

/// libaio's `io_queue_init`.
///
/// # Safety
///
/// As for libaio's.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn io_queue_init(maxevents: c_int, ctxp: *mut ContextId) -> c_int {
    if maxevents <= 0 {
        return -libc::EINVAL;
    }
    // SAFETY: the caller's.
    unsafe {
        *ctxp = 0;
        io_setup(maxevents, ctxp)
    }
}

/// libaio's `io_queue_release`.
///
/// # Safety
///
/// As for libaio's.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn io_queue_release(ctx: ContextId) -> c_int {
    // SAFETY: the caller's.
    unsafe { io_destroy(ctx) }
}

/// `io_callback_t`: called with the context, the iocb and the event's two results.
type Callback = unsafe extern "C" fn(ContextId, *mut Iocb, c_long, c_long);

/// libaio's `io_queue_run`.
///
/// # Safety
///
/// As for libaio's: what completes has the address of a callback in its event.
#[cfg_attr(not(test), unsafe(no_mangle))]
pub unsafe extern "C" fn io_queue_run(ctx: ContextId) -> c_int {
    let mut at_once = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let timeout = (&raw mut at_once).cast();
    loop {
        let mut event = Event::default();
        // SAFETY: there is room for one event.
        let read = unsafe { io_getevents(ctx, 0, 1, &mut event, timeout) };
        if read != 1 {
            return read;
        }
        // SAFETY: the caller's.
        unsafe {
            let callback = event.data as usize as *const c_void;
            let callback = core::mem::transmute::<*const c_void, Callback>(callback);
            let iocb = event.obj as usize as *mut Iocb;
            callback(ctx, iocb, event.res as c_long, event.res2 as c_long);
        }
    }
}

/// # Safety
///
/// As for libaio's functions.
#[inline(always)]
unsafe fn pgetevents(number: c_long, wait: [c_long; 5], set: *const SignalSet) -> c_int {
    let size = size_of::<SignalSet>();
    let signals = SignalArgument { set, size };
    let [ctx, min_nr, nr, events, timeout] = wait;
    let signals = (&raw const signals) as c_long;
    // SAFETY: the caller's.
    unsafe { libaio(number, [ctx, min_nr, nr, events, timeout, signals]) }
}

/// An AIO call reported as libaio does.
///
/// # Safety
///
/// As for the system call.
#[inline(always)]
unsafe fn libaio(number: c_long, arguments: [c_long; 6]) -> c_int {
    let _errno = errno::preserve();
    // SAFETY: the caller's.
    let result = unsafe { call(number, arguments) };
    result.unwrap_or(error(libc::ENOSYS)) as c_int
}

/// The C library's `syscall`.
///
/// It is variadic there, which a Rust function cannot be. On x86 the difference does not show to a
/// caller that passes integers and pointers: arguments it did not pass are garbage that the kernel
/// does not look at either.
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
        if is_aio(number) {
            aio_syscall(number, [a1, a2, a3, a4, a5, a6])
        } else {
            next::syscall()(number, a1, a2, a3, a4, a5, a6)
        }
    }
}

fn is_aio(number: c_long) -> bool {
    #[cfg(target_arch = "x86")]
    if number == numbers::IO_PGETEVENTS_TIME64 {
        return true;
    }
    matches!(
        number,
        libc::SYS_io_setup
            | libc::SYS_io_destroy
            | libc::SYS_io_submit
            | libc::SYS_io_cancel
            | numbers::IO_GETEVENTS
            | numbers::IO_PGETEVENTS
    )
}

/// Kept out of `syscall`, so that every other call passes through that with next to no stack.
///
/// # Safety
///
/// As for the system call.
#[inline(never)]
unsafe fn aio_syscall(number: c_long, arguments: [c_long; 6]) -> c_long {
    let result = {
        let _errno = errno::preserve();
        // SAFETY: the caller's.
        unsafe { call(number, arguments) }
    };
    errno::from_kernel(result.unwrap_or(error(libc::ENOSYS)))
}

/// An AIO call; `None` for any other.
///
/// Inlined, as most callers know the number: no choice is left there.
///
/// # Safety
///
/// As for the system call.
#[inline(always)]
unsafe fn call(number: c_long, arguments: [c_long; 6]) -> Option<KernelResult> {
    let [a1, a2, a3, a4, a5, a6] = arguments;
    let id = a1 as ContextId;
    // SAFETY: the caller's.
    let pass = || unsafe { system_call(number, arguments) };
    let wait = |timeout, signals: c_long| Wait {
        id,
        min: a2,
        nr: a3,
        events: a4 as *mut Event,
        timeout,
        signals: signals as *const SignalArgument,
    };
    // SAFETY: the caller's.
    let result = unsafe {
        match number {
            libc::SYS_io_setup => calls::set_up(a1 as u32, a2 as *const ContextId, pass),
            libc::SYS_io_destroy => calls::destroy(id, pass),
            libc::SYS_io_submit => calls::submit(id, a2, a3 as *const *mut Iocb, pass),
            libc::SYS_io_cancel => calls::cancel(id, |id| {
                system_call(number, [id as c_long, a2, a3, a4, a5, a6])
            }),
            numbers::IO_GETEVENTS => calls::getevents(&wait(native(a5), 0), pass),
            numbers::IO_PGETEVENTS => calls::getevents(&wait(native(a5), a6), pass),
            #[cfg(target_arch = "x86")]
            numbers::IO_PGETEVENTS_TIME64 => {
                calls::getevents(&wait(Timeout::Wide(a5 as *const _), a6), pass)
            }
            _ => return None,
        }
    };
    Some(result)
}

/// A timeout of the width that the older calls have here.
fn native(address: c_long) -> Timeout {
    #[cfg(target_pointer_width = "64")]
    return Timeout::Wide(address as *const _);
    #[cfg(target_pointer_width = "32")]
    return Timeout::Narrow(address as *const _);
}
