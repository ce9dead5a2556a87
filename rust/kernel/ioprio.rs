// SPDX-License-Identifier: GPL-2.0-only

//! I/O priorities.
//!
//! A priority is a number as in [`ioprio_set(2)`]: a class, a level within the class, and a hint.
//!
//! C headers: [`include/linux/ioprio.h`](srctree/include/linux/ioprio.h),
//! [`include/uapi/linux/ioprio.h`](srctree/include/uapi/linux/ioprio.h)
//!
//! [`ioprio_set(2)`]: https://man7.org/linux/man-pages/man2/ioprio_set.2.html

use crate::{
    bindings,
    error::to_result,
    prelude::*, //
};

/// Checks that this thread may do I/O at a priority.
///
/// It fails with [`EINVAL`] if there is no such priority, with [`EPERM`] if it takes more
/// privileges, and with [`ENOTBLK`] if the kernel has no block devices.
///
/// # Examples
///
/// ```
/// use kernel::ioprio;
///
/// const IOPRIO_CLASS_SHIFT: u32 = 13;
///
/// // There are no classes above the fourth.
/// # if cfg!(CONFIG_BLOCK) {
/// assert_eq!(ioprio::check_cap(7 << IOPRIO_CLASS_SHIFT), Err(EINVAL));
/// assert_eq!(ioprio::check_cap(ioprio::current()), Ok(()));
/// # }
/// ```
#[inline]
pub fn check_cap(prio: u16) -> Result {
    // SAFETY: Any number may be checked.
    to_result(unsafe { bindings::ioprio_check_cap(prio.into()) })
}

/// Returns the priority that this thread does I/O at.
#[inline]
pub fn current() -> u16 {
    // SAFETY: May be called by any thread.
    // CAST: Priorities have 16 bits.
    unsafe { bindings::get_current_ioprio() as u16 }
}
