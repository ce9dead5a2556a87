// SPDX-License-Identifier: GPL-2.0-only

//! Submission of I/O in batches.
//!
//! C header: [`include/linux/blk_plug.h`](srctree/include/linux/blk_plug.h)

use crate::{
    bindings,
    types::Opaque, //
};
use core::marker::PhantomData;

/// What a plug holds at most: `BLK_MAX_REQUEST_COUNT` of `block/blk.h`.
const MAX_REQUESTS: u16 = 32;

/// A plug that is in effect, of the thread that has this.
pub struct Plug(PhantomData<*mut ()>);

impl Plug {
    /// Says that at least `nr_ios` requests more are about to be submitted, so that they get
    /// allocated at once.
    ///
    /// Does nothing while there are requests left from before.
    #[inline]
    pub fn expect(&self, nr_ios: u16) {
        let nr_ios = nr_ios.min(MAX_REQUESTS);
        // SAFETY: The plug of the current thread is null or valid, and only this thread changes it.
        if let Some(plug) = unsafe { (*bindings::get_current()).plug.as_mut() } {
            plug.nr_ios = nr_ios;
        }
    }
}

/// Calls `f`, and passes on the I/O that it submits in batches.
///
/// What `f` submits to block devices may be held back until it returns, or until this thread
/// sleeps, so that requests get merged, and reach the driver together.
///
/// `nr_ios` is the number of requests that `f` is about to submit, as far as that is known. When it
/// is two or more, requests are allocated in batches too. A plug inside of another does nothing.
///
/// The C functions below this are not exported, so it is for code that is built in.
///
/// # Examples
///
/// ```
/// use kernel::block::plug::plugged;
///
/// let submitted = plugged(2, |plug| {
///     // Submit two requests here, and after them more.
///     plug.expect(4);
///     6
/// });
/// assert_eq!(submitted, 6);
/// ```
#[inline]
pub fn plugged<R>(nr_ios: u16, f: impl FnOnce(&Plug) -> R) -> R {
    let plug = Opaque::<bindings::blk_plug>::uninit();

    // SAFETY: `plug` is memory for a `struct blk_plug` that stays where it is until it is finished
    // below. `f` can neither move it nor end this function before.
    unsafe { bindings::blk_start_plug_nr_ios(plug.get(), nr_ios) };

    let result = f(&Plug(PhantomData));

    // SAFETY: `plug` was passed to `blk_start_plug_nr_ios()` by this thread.
    unsafe { bindings::blk_finish_plug(plug.get()) };

    result
}

/// Passes on what the plug of the current thread holds back, if it has one, and gives back the
/// requests that were allocated in advance.
///
/// For who is about to wait, without sleeping, for I/O that may be behind the plug.
#[inline]
pub fn flush() {
    // SAFETY: The plug of the current thread is null or valid, and only this thread changes it.
    unsafe { bindings::blk_flush_plug((*bindings::get_current()).plug, false) };
}

#[cfg(CONFIG_RUST_BLOCK_PLUG_KUNIT_TEST)]
#[macros::kunit_tests(rust_block_plug)]
mod tests {
    use super::*;

    /// Returns the plug of this thread.
    fn current_plug() -> *mut bindings::blk_plug {
        // SAFETY: Only this thread changes its plug.
        unsafe { (*bindings::get_current()).plug }
    }

    #[test]
    fn plug_ends_with_the_closure() {
        assert!(current_plug().is_null());

        // SAFETY: The plug of this thread is valid while it is set.
        let expected = || unsafe { current_plug().as_ref() }.map(|plug| plug.nr_ios);
        plugged(8, |plug| {
            assert_eq!(expected(), Some(8));
            plug.expect(3);
            assert_eq!(expected(), Some(3));
        });
        assert!(current_plug().is_null());
    }

    #[test]
    fn outer_plug_wins() {
        plugged(2, |_| {
            let outer = current_plug();

            assert!(core::ptr::eq(plugged(4, |_| current_plug()), outer));
            assert!(core::ptr::eq(current_plug(), outer));
        });
    }
}
