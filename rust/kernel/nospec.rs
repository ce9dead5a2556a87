// SPDX-License-Identifier: GPL-2.0-only

//! Protection of array accesses from speculative execution.
//!
//! C header: [`include/linux/nospec.h`](srctree/include/linux/nospec.h)

use crate::bindings;

/// Returns `index` if it is below `size`, and 0 otherwise, even in speculation.
///
/// A CPU may run ahead with an index that user space chose before it knows that a bounds check
/// fails. With the index passed through here after the check, it runs ahead inside of the array.
///
/// # Examples
///
/// ```
/// use kernel::nospec;
///
/// fn lookup(array: &[u8], index: usize) -> Option<u8> {
///     if index >= array.len() {
///         return None;
///     }
///
///     array.get(nospec::array_index(index, array.len())).copied()
/// }
///
/// assert_eq!(lookup(&[7, 8, 9], 2), Some(9));
/// assert_eq!(lookup(&[7, 8, 9], 3), None);
/// assert_eq!(nospec::array_index(3, 3), 0);
/// ```
#[inline]
pub fn array_index(index: usize, size: usize) -> usize {
    // SAFETY: Any numbers are fine.
    unsafe { bindings::array_index_nospec(index, size) }
}
