// SPDX-License-Identifier: GPL-2.0-only

//! Makes the kernel look like one that polls, so that the library's whole way can be tested on any.
//!
//! Preloaded behind `libhipri.so`, it announces polling in the rings, applies the rules for
//! `IOCB_FLAG_HIPRI` to what is submitted, submits it without the flag, and tells on standard error
//! which iocbs had it. Every device has poll queues in sysfs, unless `POLLING_KERNEL=no-queues`; with
//! `POLLING_KERNEL=refuse`, polling is refused all the same.

use std::collections::HashMap;
use std::ffi::{c_char, c_long, CStr};
use std::mem::transmute;
use std::sync::Mutex;

use libc::c_int;

const HIPRI: u32 = 1 << 2;
const COMPAT_HIPRI: u32 = 1 << 1;

/// Offsets in the ring's header and in an iocb, in units of 4 bytes.
const RING_COMPAT_FEATURES: usize = 5;
const IOCB_FLAGS: usize = 14;

/// The contexts whose first I/O was accepted, and whether that was polled.
static POLLED: Mutex<Option<HashMap<c_long, bool>>> = Mutex::new(None);

type Syscall =
    unsafe extern "C" fn(c_long, c_long, c_long, c_long, c_long, c_long, c_long) -> c_long;

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
    let real: Syscall = unsafe { transmute(libc::dlsym(libc::RTLD_NEXT, c"syscall".as_ptr())) };
    // SAFETY: the caller's.
    let send = |a2| unsafe { real(number, a1, a2, a3, a4, a5, a6) };
    // SAFETY: the caller's, and what the kernel accepted is valid.
    unsafe {
        match number {
            libc::SYS_io_setup => announce(send(a2), a2 as *const *mut u32),
            libc::SYS_io_destroy => {
                forget(a1);
                send(a2)
            }
            libc::SYS_io_submit if (1..=8).contains(&a2) => {
                submit(a1, a2, a3 as *const *mut u32, send)
            }
            _ => send(a2),
        }
    }
}

/// The next context may get the same id.
fn forget(context: c_long) {
    if let Some(polled) = POLLED.lock().unwrap().as_mut() {
        polled.remove(&context);
    }
}

/// The C library's `open`, as `libhipri.so` sees it: sysfs is made up.
///
/// # Safety
///
/// As for the C library's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn open(path: *const c_char, flags: c_int, mode: libc::mode_t) -> c_int {
    // SAFETY: the caller's.
    let is_attribute = unsafe { CStr::from_ptr(path) }
        .to_bytes()
        .starts_with(b"/sys/dev/block/");
    if is_attribute {
        return attribute(if is_played("no-queues") {
            b"0\n"
        } else {
            b"1\n"
        });
    }
    type Open = unsafe extern "C" fn(*const c_char, c_int, libc::mode_t) -> c_int;
    // SAFETY: the C library has a function of this name, which looks at a mode where it has one.
    unsafe {
        let real: Open = transmute(libc::dlsym(libc::RTLD_NEXT, c"open".as_ptr()));
        real(path, flags, mode)
    }
}

/// A file with `content`.
fn attribute(content: &[u8; 2]) -> c_int {
    // SAFETY: name and content are valid.
    unsafe {
        let file = libc::memfd_create(c"io_poll".as_ptr(), libc::MFD_CLOEXEC);
        libc::pwrite(file, content.as_ptr().cast(), content.len(), 0);
        file
    }
}

/// Whether this is the kernel's part.
fn is_played(part: &str) -> bool {
    std::env::var_os("POLLING_KERNEL").is_some_and(|played| played == part)
}

/// # Safety
///
/// Where `result` is 0, `context` points to the address of a ring.
unsafe fn announce(result: c_long, context: *const *mut u32) -> c_long {
    if result == 0 {
        // SAFETY: the caller's; a ring is writable.
        unsafe { *(*context).add(RING_COMPAT_FEATURES) |= COMPAT_HIPRI };
    }
    result
}

/// # Safety
///
/// The addresses in `iocbs`, and its own, are valid unless they are null or odd.
unsafe fn submit(
    context: c_long,
    nr: c_long,
    iocbs: *const *mut u32,
    send: impl Fn(c_long) -> c_long,
) -> c_long {
    if iocbs as usize % 2 != 0 {
        return send(nr);
    }
    // SAFETY: the caller's.
    let iocbs = unsafe { std::slice::from_raw_parts(iocbs, nr as usize) };
    let valid = |iocb: &&*mut u32| !iocb.is_null() && **iocb as usize % 2 == 0;
    let flags: Vec<*mut u32> = iocbs
        .iter()
        .take_while(valid)
        // SAFETY: it is valid.
        .map(|iocb| unsafe { iocb.add(IOCB_FLAGS) })
        .collect();
    // SAFETY: as above.
    let flagged: Vec<bool> = flags
        .iter()
        .map(|flags| unsafe { **flags & HIPRI != 0 })
        .collect();

    // With nothing valid in it, or a mode that fits, the kernel itself judges the batch.
    let result = match admissible(context, &flagged) {
        Err(errno) => fail(errno),
        Ok(0) => send(nr),
        Ok(admissible) => {
            set_flags(&flags, &vec![false; flags.len()]);
            let nr = if admissible == flags.len() {
                nr
            } else {
                admissible as c_long
            };
            let result = send(nr);
            set_flags(&flags, &flagged);
            result
        }
    };
    if result > 0 {
        let mut polled = POLLED.lock().unwrap();
        polled
            .get_or_insert_default()
            .entry(context)
            .or_insert(flagged[0]);
    }
    let shown: String = flagged
        .iter()
        .map(|polled| if *polled { 'H' } else { '-' })
        .collect();
    eprintln!("kernel: submit {shown}: {result}");
    result
}

fn set_flags(places: &[*mut u32], flagged: &[bool]) {
    for (place, flagged) in places.iter().zip(flagged) {
        // SAFETY: `submit` made the places of valid iocbs, which only this thread uses.
        unsafe { **place = **place & !HIPRI | if *flagged { HIPRI } else { 0 } };
    }
}

/// How many of the batch's iocbs fit the context's mode and the device, from the first on.
fn admissible(context: c_long, flagged: &[bool]) -> Result<usize, c_int> {
    let Some(first) = flagged.first() else {
        return Ok(0);
    };
    let mode = POLLED
        .lock()
        .unwrap()
        .as_ref()
        .and_then(|polled| polled.get(&context).copied());
    if *first && is_played("refuse") {
        return Err(libc::EOPNOTSUPP);
    }
    if mode.is_some_and(|polled| polled != *first) {
        return Err(libc::EINVAL);
    }
    Ok(flagged.iter().take_while(|polled| *polled == first).count())
}

fn fail(errno: c_int) -> c_long {
    // SAFETY: the C library returns a valid pointer to this thread's errno.
    unsafe { *libc::__errno_location() = errno };
    -1
}
