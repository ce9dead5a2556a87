// SPDX-License-Identifier: GPL-2.0-only

//! System calls that no preloaded library has a part in.
//!
//! What hipri-run runs hands the library down to its children, and a check may be one of them. The
//! library would do unpolled what cannot be polled, and the check find that it works.

use std::mem;
use std::sync::OnceLock;

use libc::{c_long, c_void};

type Syscall = unsafe extern "C" fn(c_long, ...) -> c_long;

/// The C library's own `syscall`, whatever stands in front of it.
pub fn system_call() -> Syscall {
    static FOUND: OnceLock<Syscall> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let own = find();
        if own.is_null() {
            // This is not the GNU C library, without which ours is not preloaded.
            return libc::syscall;
        }
        // SAFETY: the C library has a function of this type under that name.
        unsafe { mem::transmute::<*mut c_void, Syscall>(own) }
    })
}

/// Its address, null if it is not found.
fn find() -> *mut c_void {
    let flags = libc::RTLD_LAZY | libc::RTLD_NOLOAD;
    // SAFETY: the names are valid strings, and nothing is loaded. What is looked for in a library is
    // not looked for in those that were preloaded.
    unsafe {
        let library = libc::dlopen(c"libc.so.6".as_ptr(), flags);
        if library.is_null() {
            return std::ptr::null_mut();
        }
        libc::dlsym(library, c"syscall".as_ptr())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_found_and_makes_system_calls() {
        assert!(!find().is_null());
        // SAFETY: these touch no memory.
        let process = unsafe { system_call()(libc::SYS_getpid) };
        assert_eq!(process, std::process::id() as c_long);
        // SAFETY: as above.
        assert_eq!(unsafe { system_call()(libc::SYS_close, -1) }, -1);
        let error = std::io::Error::last_os_error();
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    }
}
