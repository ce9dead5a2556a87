// SPDX-License-Identifier: GPL-2.0-only

//! What happens when the library finds itself broken: it says where, and ends the program.

use core::panic::PanicInfo;

use crate::notice;

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    notice::say(format_args!("this is a bug in hipri: {info}"));
    // SAFETY: abort may be called anywhere.
    unsafe { libc::abort() }
}
