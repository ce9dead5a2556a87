// SPDX-License-Identifier: GPL-2.0-only

//! What runs as the library is loaded, in a forked child, and as the process exits.

use crate::calls::CONTEXTS;
use crate::{next, notice, statistics};

#[cfg(not(test))]
#[used]
#[link_section = ".init_array"]
static ON_LOAD: extern "C" fn() = on_load;

#[cfg(not(test))]
#[used]
#[link_section = ".fini_array"]
static ON_EXIT: extern "C" fn() = on_exit;

/// Called by the dynamic linker before the program starts.
pub extern "C" fn on_load() {
    next::resolve();
    notice::find_standard_error();
    notice::share();
    statistics::read_environment();
    // SAFETY: `on_fork` may run in a forked child: it only stores to atomics. Should no memory be
    // left for the registration, a child has its parent's contexts in the table, whose ids it
    // cannot use.
    unsafe { libc::pthread_atfork(None, None, Some(on_fork)) };
}

/// A child has none of its parent's contexts.
unsafe extern "C" fn on_fork() {
    CONTEXTS.clear();
}

/// Called by the C library in `exit`.
pub extern "C" fn on_exit() {
    for (id, context) in CONTEXTS.iter() {
        statistics::report(id, context);
    }
}
