// SPDX-License-Identifier: GPL-2.0-only

//! Makes the kernel look like one that polls, so that the library's whole way can be tested on any.
//!
//! Preloaded behind `libhipri.so`, it announces polling in the rings, applies the rules for
//! `IOCB_FLAG_HIPRI` to what is submitted, submits it without the flag, and tells on standard error
//! which iocbs had it, by the number of the context. Every device has poll queues in sysfs, unless
//! `POLLING_KERNEL=no-queues`; with `POLLING_KERNEL=refuse`, polling is refused all the same; with
//! `POLLING_KERNEL=quiet` nothing is told.

use std::collections::HashMap;
use std::ffi::{c_char, c_long, c_ulong, CStr};
use std::sync::Mutex;

use aio_abi::{
    ContextId, Iocb, RingHeader, FLAG_HIPRI, FLAG_RESFD, PREAD, PREADV, PWRITE, PWRITEV,
    RING_COMPAT_HIPRI, RING_INCOMPAT_POLLED,
};
use libc::{c_int, c_void};

/// What the kernel would know of a context.
struct Context {
    /// Counted from 1, in the order in which the process set them up.
    number: usize,
    /// Whether the first I/O that was accepted is polled.
    polled: Option<bool>,
}

static CONTEXTS: Mutex<Option<HashMap<ContextId, Context>>> = Mutex::new(None);
static SET_UP: Mutex<usize> = Mutex::new(0);

type Syscall =
    unsafe extern "C" fn(c_long, c_long, c_long, c_long, c_long, c_long, c_long) -> c_long;

/// The function that this one stands in front of, null if there is none.
fn next(name: &CStr) -> *mut c_void {
    // SAFETY: the name is a valid string.
    unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) }
}

/// The C library's `syscall`, as `libhipri.so` sees it.
///
/// # Safety
///
/// As for the system call.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn syscall(
    number: c_long,
    a1: c_long,
    a2: c_long,
    a3: c_long,
    a4: c_long,
    a5: c_long,
    a6: c_long,
) -> c_long {
    // SAFETY: the C library has a function of this name, called with integers only.
    let real = unsafe { std::mem::transmute::<*mut c_void, Syscall>(next(c"syscall")) };
    // SAFETY: the caller's.
    let send = |a2| unsafe { real(number, a1, a2, a3, a4, a5, a6) };
    // SAFETY: the caller's, and what the kernel accepted is valid.
    unsafe {
        match number {
            libc::SYS_io_setup => set_up(send(a2), a2 as *const ContextId),
            libc::SYS_io_destroy => {
                with_contexts(|contexts| contexts.remove(&(a1 as ContextId)));
                send(a2)
            }
            libc::SYS_openat if is_made_up(a2 as *const c_char) => attribute(),
            libc::SYS_io_submit if (1..=4096).contains(&a2) => {
                submit(a1 as ContextId, a2, a3 as *const *mut Iocb, send)
            }
            _ => send(a2),
        }
    }
}

fn with_contexts<R>(f: impl FnOnce(&mut HashMap<ContextId, Context>) -> R) -> R {
    f(CONTEXTS.lock().unwrap().get_or_insert_default())
}

/// Whether a file is one of sysfs that this library makes up.
///
/// # Safety
///
/// The path is a valid string.
unsafe fn is_made_up(path: *const c_char) -> bool {
    // SAFETY: the caller's.
    let path = unsafe { CStr::from_ptr(path) };
    path.to_bytes().starts_with(b"/sys/dev/block/")
}

/// A file that tells whether a device has poll queues.
fn attribute() -> c_long {
    let content = if is_played("no-queues") {
        b"0\n"
    } else {
        b"1\n"
    };
    // SAFETY: name and content are valid.
    unsafe {
        let file = libc::memfd_create(c"io_poll".as_ptr(), libc::MFD_CLOEXEC);
        libc::pwrite(file, content.as_ptr().cast(), content.len(), 0);
        file.into()
    }
}

/// Whether this is the kernel's part.
fn is_played(part: &str) -> bool {
    std::env::var_os("POLLING_KERNEL").is_some_and(|played| played == part)
}

/// # Safety
///
/// Where `result` is 0, `place` holds the address of a ring.
unsafe fn set_up(result: c_long, place: *const ContextId) -> c_long {
    if result == 0 {
        // SAFETY: the caller's; a ring is writable.
        let id = unsafe {
            let id = *place;
            (*(id as *mut RingHeader)).compat_features |= RING_COMPAT_HIPRI;
            id
        };
        let mut set_up = SET_UP.lock().unwrap();
        *set_up += 1;
        let context = Context {
            number: *set_up,
            polled: None,
        };
        with_contexts(|contexts| contexts.insert(id, context));
    }
    result
}

/// # Safety
///
/// The addresses in `iocbs`, and its own, are valid unless they are null or odd.
unsafe fn submit(
    id: ContextId,
    nr: c_long,
    iocbs: *const *mut Iocb,
    send: impl Fn(c_long) -> c_long,
) -> c_long {
    if iocbs as usize % 2 != 0 {
        return send(nr);
    }
    // SAFETY: the caller's.
    let iocbs = unsafe { std::slice::from_raw_parts(iocbs, nr as usize) };
    let valid = |iocb: &&*mut Iocb| !iocb.is_null() && **iocb as c_ulong % 2 == 0;
    let iocbs: Vec<*mut Iocb> = iocbs.iter().take_while(valid).copied().collect();
    // SAFETY: they are valid.
    let is_flagged = |iocb: &*mut Iocb| unsafe { (**iocb).flags & FLAG_HIPRI != 0 };
    let flagged: Vec<bool> = iocbs.iter().map(is_flagged).collect();

    // With nothing valid in it, or a mode that fits, the kernel itself judges the batch.
    // SAFETY: they are valid.
    let result = match unsafe { admissible(id, &iocbs) } {
        Err(errno) => fail(errno),
        Ok(0) => send(nr),
        Ok(admissible) => {
            set_flags(&iocbs, |_| false);
            let whole = admissible == iocbs.len();
            let result = send(if whole { nr } else { admissible as c_long });
            set_flags(&iocbs, |index| flagged[index]);
            result
        }
    };
    if result > 0 {
        turn(id, flagged[0]);
    }
    tell(id, &flagged, result);
    result
}

/// Decides how a context goes on, if that is not decided.
fn turn(id: ContextId, polled: bool) {
    let turned = with_contexts(|contexts| {
        let context = contexts.get_mut(&id)?;
        let turned = context.polled.is_none() && polled;
        context.polled.get_or_insert(polled);
        turned.then_some(())
    });
    if turned.is_some() {
        let ring = id as *mut RingHeader;
        // SAFETY: the context takes I/O, so it lives, and its ring is writable.
        unsafe {
            (*ring).magic = 0;
            (*ring).incompat_features = RING_INCOMPAT_POLLED;
        }
    }
}

fn tell(id: ContextId, flagged: &[bool], result: c_long) {
    if is_played("quiet") {
        return;
    }
    let number = with_contexts(|contexts| contexts.get(&id).map_or(0, |context| context.number));
    let flags = flagged.iter().map(|flag| if *flag { 'H' } else { '-' });
    let flags: String = flags.collect();
    eprintln!("kernel: submit to {number} {flags}: {result}");
}

fn set_flags(iocbs: &[*mut Iocb], flag: impl Fn(usize) -> bool) {
    for (index, iocb) in iocbs.iter().enumerate() {
        let hipri = if flag(index) { FLAG_HIPRI } else { 0 };
        // SAFETY: `submit` leaves only valid iocbs in, which only this thread uses; another one may
        // have read the event of an accepted one, but the test programs keep them.
        unsafe { (**iocb).flags = (**iocb).flags & !FLAG_HIPRI | hipri };
    }
}

/// How many of the iocbs fit the context's mode and the device, from the first on.
///
/// # Safety
///
/// The iocbs are valid.
unsafe fn admissible(id: ContextId, iocbs: &[*mut Iocb]) -> Result<usize, c_int> {
    let mut mode = with_contexts(|contexts| contexts.get(&id).and_then(|context| context.polled));
    for (index, iocb) in iocbs.iter().enumerate() {
        // SAFETY: the caller's.
        match admit(unsafe { &**iocb }, &mut mode) {
            Ok(()) => {}
            Err(errno) if index == 0 => return Err(errno),
            Err(_) => return Ok(index),
        }
    }
    Ok(iocbs.len())
}

fn admit(iocb: &Iocb, mode: &mut Option<bool>) -> Result<(), c_int> {
    let polled = iocb.flags & FLAG_HIPRI != 0;
    let transfer = matches!(iocb.opcode, PREAD | PWRITE | PREADV | PWRITEV);
    if polled && (!transfer || iocb.flags & FLAG_RESFD != 0) {
        return Err(libc::EINVAL);
    }
    if polled && (is_played("refuse") || !is_direct(iocb.fildes)) {
        return Err(libc::EOPNOTSUPP);
    }
    if *mode.get_or_insert(polled) != polled {
        return Err(libc::EINVAL);
    }
    Ok(())
}

/// Whether a file is open for direct I/O, or not at all.
fn is_direct(fd: u32) -> bool {
    // SAFETY: this touches no memory.
    let flags = unsafe { libc::fcntl(fd as c_int, libc::F_GETFL) };
    flags & libc::O_DIRECT != 0
}

fn fail(errno: c_int) -> c_long {
    // SAFETY: the C library returns a valid pointer to this thread's errno.
    unsafe { *libc::__errno_location() = errno };
    -1
}
