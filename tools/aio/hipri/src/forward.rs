// SPDX-License-Identifier: GPL-2.0-only

//! Calls that come back.
//!
//! libaio makes its system calls through the C library's `syscall`, which this library exports as
//! well. What `io_submit` was asked for once must not be treated a second time on its way to the
//! kernel, while a signal handler may submit for itself in between: so a call is recognised by what
//! it asks for, not by the mere fact that another is under way.

use std::cell::Cell;

use libc::c_long;

/// A system call, by its number and the one pointer or context that tells it from others.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Call {
    /// `SYS_io_setup`, `SYS_io_destroy` or `SYS_io_submit`.
    pub number: c_long,
    /// The place for the new context, the context, or the array of iocbs.
    pub subject: usize,
}

thread_local! {
    static UNDER_WAY: Cell<Option<Call>> = const { Cell::new(None) };
}

/// Runs `function`, in which `call` is expected to come back.
pub fn forward<R>(call: Call, function: impl FnOnce() -> R) -> R {
    let outer = UNDER_WAY.replace(Some(call));
    let result = function();
    UNDER_WAY.set(outer);
    result
}

/// Whether `call` is the one this thread is forwarding.
pub fn comes_back(call: Call) -> bool {
    UNDER_WAY.get() == Some(call)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_forwarded_call_is_recognised_and_only_meanwhile() {
        let outer = Call {
            number: 209,
            subject: 0x1000,
        };
        let inner = Call {
            number: 209,
            subject: 0x2000,
        };
        assert!(!comes_back(outer));
        forward(outer, || {
            assert!(comes_back(outer));
            assert!(!comes_back(inner));
            forward(inner, || assert!(comes_back(inner)));
            assert!(comes_back(outer));
        });
        assert!(!comes_back(outer));
    }
}
