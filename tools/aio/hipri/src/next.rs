// SPDX-License-Identifier: GPL-2.0-only

//! The functions behind the ones this library exports: libaio's, or another preload library's.
//!
//! Where there is no next `io_setup`, `io_submit` or `io_destroy`, the program was not linked with
//! libaio (it may have loaded it later) and the system call takes their place.

use std::arch::asm;
use std::ffi::CStr;
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use libc::{c_int, c_long, c_void};

use crate::abi::{ContextId, Iocb};

/// `int io_setup(int maxevents, io_context_t *ctxp)`.
pub type IoSetup = unsafe extern "C" fn(c_int, *mut ContextId) -> c_int;
/// `int io_destroy(io_context_t ctx)`.
pub type IoDestroy = unsafe extern "C" fn(ContextId) -> c_int;
/// `int io_submit(io_context_t ctx, long nr, struct iocb *ios[])`.
pub type IoSubmit = unsafe extern "C" fn(ContextId, c_long, *mut *mut Iocb) -> c_int;
/// `long syscall(long number, ...)`, with all six arguments a system call can have.
pub type Syscall =
    unsafe extern "C" fn(c_long, c_long, c_long, c_long, c_long, c_long, c_long) -> c_long;

static IO_SETUP: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
static IO_DESTROY: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
static IO_SUBMIT: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
static SYSCALL: AtomicPtr<c_void> =
    AtomicPtr::new(direct_syscall as *const () as *mut () as *mut c_void);

/// Looks the functions up: once, as the library is loaded.
pub fn resolve() {
    IO_SETUP.store(find_version(c"io_setup", c"LIBAIO_0.4"), Ordering::Relaxed);
    IO_DESTROY.store(
        find_version(c"io_destroy", c"LIBAIO_0.4"),
        Ordering::Relaxed,
    );
    IO_SUBMIT.store(find_version(c"io_submit", c"LIBAIO_0.1"), Ordering::Relaxed);
    // SAFETY: the name is a valid string.
    let syscall = unsafe { libc::dlsym(libc::RTLD_NEXT, c"syscall".as_ptr()) };
    if !syscall.is_null() {
        SYSCALL.store(syscall, Ordering::Relaxed);
    }
}

fn find_version(name: &CStr, version: &CStr) -> *mut c_void {
    // SAFETY: both names are valid strings.
    unsafe { libc::dlvsym(libc::RTLD_NEXT, name.as_ptr(), version.as_ptr()) }
}

/// The next `io_setup`.
pub fn io_setup() -> Option<IoSetup> {
    // SAFETY: what `resolve` stored under this name has this type; null is `None`.
    unsafe { std::mem::transmute(IO_SETUP.load(Ordering::Relaxed)) }
}

/// The next `io_destroy`.
pub fn io_destroy() -> Option<IoDestroy> {
    // SAFETY: as in `io_setup`.
    unsafe { std::mem::transmute(IO_DESTROY.load(Ordering::Relaxed)) }
}

/// The next `io_submit`.
pub fn io_submit() -> Option<IoSubmit> {
    // SAFETY: as in `io_setup`.
    unsafe { std::mem::transmute(IO_SUBMIT.load(Ordering::Relaxed)) }
}

/// The next `syscall`: the C library's.
pub fn syscall() -> Syscall {
    // SAFETY: it holds `direct_syscall` or what `resolve` found under that name, never null. The C
    // library's is variadic; on x86-64 a call with integer arguments is the same for both.
    unsafe { std::mem::transmute(SYSCALL.load(Ordering::Relaxed)) }
}

/// Stands in for the C library's `syscall` until this library is initialised: memory allocators
/// call it that early, and looking a symbol up may allocate.
unsafe extern "C" fn direct_syscall(
    number: c_long,
    a1: c_long,
    a2: c_long,
    a3: c_long,
    a4: c_long,
    a5: c_long,
    a6: c_long,
) -> c_long {
    let result: c_long;
    // SAFETY: the caller vouches for the system call; this clobbers what the instruction does.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") number => result,
            in("rdi") a1,
            in("rsi") a2,
            in("rdx") a3,
            in("r10") a4,
            in("r8") a5,
            in("r9") a6,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    crate::errno::from_kernel(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_calls_work_before_and_after_the_look_up() {
        let arguments = |function: Syscall| {
            // SAFETY: getpid takes no argument, and closing no descriptor does nothing.
            unsafe {
                (
                    function(libc::SYS_getpid, 0, 0, 0, 0, 0, 0),
                    function(libc::SYS_close, -1, 0, 0, 0, 0, 0),
                )
            }
        };
        let process = c_long::from(std::process::id() as c_int);
        assert_eq!(arguments(direct_syscall), (process, -1));
        assert_eq!(
            std::io::Error::last_os_error().raw_os_error(),
            Some(libc::EBADF)
        );
        resolve();
        assert_eq!(arguments(syscall()), (process, -1));
    }
}
