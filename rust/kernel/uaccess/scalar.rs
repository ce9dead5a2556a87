// SPDX-License-Identifier: GPL-2.0-only

//! Integers in user space memory, one or a few.
//!
//! These are `get_user()` and `put_user()`, which access one naturally aligned integer with one
//! instruction, and `unsafe_get_user()` and `unsafe_put_user()` for small arrays, which cost less
//! than a copy of as many bytes. They may sleep, to have the page of user space brought in.
//!
//! C header: [`include/linux/uaccess.h`](srctree/include/linux/uaccess.h)

use super::UserPtr;
use crate::{
    bindings,
    prelude::*, //
};

/// Reads a `u32` from user space.
///
/// It fails with [`EFAULT`] if `ptr` is not a readable address of this process.
///
/// # Examples
///
/// ```
/// use kernel::uaccess::{
///     get_user_u32,
///     UserPtr, //
/// };
///
/// assert_eq!(get_user_u32(UserPtr::from_addr(usize::MAX)), Err(EFAULT));
/// ```
#[inline]
pub fn get_user_u32(ptr: UserPtr) -> Result<u32> {
    let mut value = 0;
    // SAFETY: `value` is ours; any user space address may be read from.
    match unsafe { bindings::get_user_u32(&mut value, ptr.as_const_ptr().cast()) } {
        0 => Ok(value),
        _ => Err(EFAULT),
    }
}

/// Reads a `u64` from user space.
///
/// It fails with [`EFAULT`] if `ptr` is not a readable address of this process.
#[inline]
pub fn get_user_u64(ptr: UserPtr) -> Result<u64> {
    let mut value = 0;
    // SAFETY: `value` is ours; any user space address may be read from.
    match unsafe { bindings::get_user_u64(&mut value, ptr.as_const_ptr().cast()) } {
        0 => Ok(value),
        _ => Err(EFAULT),
    }
}

/// Writes a `u32` to user space.
///
/// It fails with [`EFAULT`] if `ptr` is not a writable address of this process.
///
/// # Examples
///
/// ```
/// use kernel::uaccess::{
///     put_user_u32,
///     UserPtr, //
/// };
///
/// assert_eq!(put_user_u32(1, UserPtr::from_addr(usize::MAX)), Err(EFAULT));
/// ```
#[inline]
pub fn put_user_u32(value: u32, ptr: UserPtr) -> Result {
    // SAFETY: Any user space address may be written to.
    match unsafe { bindings::put_user_u32(value, ptr.as_mut_ptr().cast()) } {
        0 => Ok(()),
        _ => Err(EFAULT),
    }
}

/// Writes a `u64` to user space.
///
/// It fails with [`EFAULT`] if `ptr` is not a writable address of this process.
#[inline]
pub fn put_user_u64(value: u64, ptr: UserPtr) -> Result {
    // SAFETY: Any user space address may be written to.
    match unsafe { bindings::put_user_u64(value, ptr.as_mut_ptr().cast()) } {
        0 => Ok(()),
        _ => Err(EFAULT),
    }
}

/// Reads an array of `u64` from user space.
///
/// It fails with [`EFAULT`] if not all of it is readable by this process.
///
/// # Examples
///
/// ```
/// use kernel::uaccess::{
///     get_user_u64s,
///     UserPtr, //
/// };
///
/// assert_eq!(get_user_u64s::<8>(UserPtr::from_addr(usize::MAX)), Err(EFAULT));
/// ```
#[inline]
pub fn get_user_u64s<const N: usize>(ptr: UserPtr) -> Result<[u64; N]> {
    let mut values = [0; N];
    // SAFETY: `values` is ours and has room for `N`; any user space address may be read from.
    let read =
        unsafe { bindings::get_user_u64s(values.as_mut_ptr(), ptr.as_const_ptr().cast(), N) };
    if read {
        Ok(values)
    } else {
        Err(EFAULT)
    }
}

/// Writes an array of `u64` to user space.
///
/// It fails with [`EFAULT`] if not all of it is writable by this process; some of it may have been
/// written then.
#[inline]
pub fn put_user_u64s<const N: usize>(values: &[u64; N], ptr: UserPtr) -> Result {
    // SAFETY: There are `N` values; any user space address may be written to.
    if unsafe { bindings::put_user_u64s(values.as_ptr(), ptr.as_mut_ptr().cast(), N) } {
        Ok(())
    } else {
        Err(EFAULT)
    }
}

#[cfg(CONFIG_RUST_UACCESS_KUNIT_TEST)]
#[kunit_tests(rust_uaccess_scalar)]
mod tests {
    use super::*;
    use crate::page::PAGE_SIZE;

    /// Maps one page, readable and writable or not, into the test's own address space.
    fn map_page(prot: u32) -> Result<UserPtr> {
        // SAFETY: These tests run in a KUnit test, which gets an address space and a mapping that
        // live until it ends.
        let addr = unsafe {
            bindings::kunit_vm_mmap(
                bindings::kunit_get_current_test(),
                core::ptr::null_mut(),
                0,
                PAGE_SIZE,
                prot as usize,
                (bindings::MAP_ANONYMOUS | bindings::MAP_PRIVATE) as usize,
                0,
            )
        };

        if addr == 0 || addr > (-(bindings::MAX_ERRNO as isize)) as usize {
            return Err(ENOMEM);
        }
        Ok(UserPtr::from_addr(addr))
    }

    #[test]
    fn reads_what_was_written() -> Result {
        let page = map_page(bindings::PROT_READ | bindings::PROT_WRITE)?;

        put_user_u64(0x0123_4567_89ab_cdef, page)?;
        assert_eq!(get_user_u64(page)?, 0x0123_4567_89ab_cdef);

        put_user_u32(0xffff_fffe, page.wrapping_byte_add(8))?;
        assert_eq!(get_user_u32(page.wrapping_byte_add(8))?, 0xffff_fffe);
        assert_eq!(get_user_u32(page.wrapping_byte_add(12))?, 0);
        assert_eq!(get_user_u64(page)?, 0x0123_4567_89ab_cdef);
        Ok(())
    }

    #[test]
    fn arrays_are_read_as_they_were_written() -> Result {
        let page = map_page(bindings::PROT_READ | bindings::PROT_WRITE)?;

        put_user_u64s(&[1, 2, u64::MAX], page)?;
        assert_eq!(get_user_u64s(page)?, [1, 2, u64::MAX, 0]);
        assert_eq!(get_user_u64(page.wrapping_byte_add(8))?, 2);
        Ok(())
    }

    #[test]
    fn an_array_that_ends_outside_faults() -> Result {
        let page = map_page(bindings::PROT_READ | bindings::PROT_WRITE)?;
        assert_eq!(
            get_user_u64s(page.wrapping_byte_add(PAGE_SIZE - 8)),
            Ok([0])
        );
        let last = UserPtr::from_addr(usize::MAX - 7);
        assert_eq!(get_user_u64s::<2>(last), Err(EFAULT));
        assert_eq!(put_user_u64s(&[1, 2], last), Err(EFAULT));
        Ok(())
    }

    #[test]
    fn what_is_not_mapped_faults() -> Result {
        let page = map_page(bindings::PROT_READ | bindings::PROT_WRITE)?;
        let null = UserPtr::from_addr(0);

        assert_eq!(get_user_u32(null), Err(EFAULT));
        assert_eq!(get_user_u64(null), Err(EFAULT));
        assert_eq!(put_user_u32(1, null), Err(EFAULT));
        assert_eq!(put_user_u64(1, null), Err(EFAULT));
        assert_eq!(get_user_u32(page), Ok(0));
        Ok(())
    }

    #[test]
    fn what_is_read_only_is_not_written() -> Result {
        let page = map_page(bindings::PROT_READ)?;

        assert_eq!(put_user_u32(1, page), Err(EFAULT));
        assert_eq!(put_user_u64(1, page), Err(EFAULT));
        assert_eq!(get_user_u64(page), Ok(0));
        Ok(())
    }

    #[test]
    fn kernel_memory_is_out_of_reach() {
        let mut secret = 1u32;
        let addr = UserPtr::from_ptr((&raw mut secret).cast());

        assert_eq!(get_user_u32(addr), Err(EFAULT));
        assert_eq!(put_user_u32(2, addr), Err(EFAULT));
        assert_eq!(secret, 1);
    }
}
