// SPDX-License-Identifier: GPL-2.0-only

//! The iocbs of one submission, where the program put them.
//!
//! The kernel names a completed I/O by the address of its iocb, so the flag has to be set in the
//! program's own iocb: a copy would be reported as an I/O that the program does not know.

use libc::c_long;

use crate::abi::{self, Iocb};

/// Above this no address belongs to a process, with five-level page tables too.
const ADDRESS_LIMIT: usize = 1 << 56;

/// The array of iocb pointers given to `io_submit`.
pub struct Batch {
    iocbs: *const *mut Iocb,
    len: usize,
}

impl Batch {
    /// Wraps the `nr` pointers at `iocbs`, of which the kernel looks at `capacity` at most.
    ///
    /// # Safety
    ///
    /// What `io_submit` demands, for the life of the batch: the array and the iocbs in it, where
    /// their addresses are plausible, are valid, and nobody else uses them.
    pub unsafe fn new(iocbs: *const *mut Iocb, nr: c_long, capacity: usize) -> Self {
        let len = match usize::try_from(nr) {
            Ok(nr) if plausible(iocbs) => nr.min(capacity),
            _ => 0,
        };
        Batch { iocbs, len }
    }

    /// The iocbs in order; `None` for one whose address cannot be valid.
    pub fn iter(&self) -> impl Iterator<Item = Option<&Iocb>> {
        self.iter_from(0)
    }

    fn iter_from(&self, start: usize) -> impl Iterator<Item = Option<&Iocb>> {
        (start..self.len).map(|index| {
            // SAFETY: `new` demands `len` readable pointers.
            let iocb = unsafe { *self.iocbs.add(index) };
            // SAFETY: `new` demands that plausible addresses are those of valid iocbs which only
            // this thread uses; shared references do for writing, as `flags` is a `Cell`.
            plausible(iocb).then(|| unsafe { &*iocb })
        })
    }

    /// Takes the flag from the iocbs after the first `accepted`.
    ///
    /// The accepted ones are not touched again: whoever reaped them, maybe another thread before
    /// `io_submit` returned, may have reused or freed them.
    pub fn unflag_after(&self, accepted: usize) {
        for iocb in self.iter_from(accepted).flatten() {
            unflag(iocb);
        }
    }
}

/// Sets the flag.
pub fn flag(iocb: &Iocb) {
    iocb.flags.set(iocb.flags.get() | abi::FLAG_HIPRI);
}

/// Takes the flag away; writes only where it was set.
pub fn unflag(iocb: &Iocb) {
    let flags = iocb.flags.get();
    if flags & abi::FLAG_HIPRI != 0 {
        iocb.flags.set(flags & !abi::FLAG_HIPRI);
    }
}

/// Whether the kernel could find a `T` at `address`: programs pass null and -1, and have a right to
/// the kernel's error for it.
fn plausible<T>(address: *const T) -> bool {
    !address.is_null() && address.is_aligned() && (address as usize) < ADDRESS_LIMIT
}

/// An iocb for the unit tests of this crate.
#[cfg(test)]
pub(crate) fn test_iocb(opcode: u16, flags: u32) -> Iocb {
    Iocb {
        data: 0,
        key: 0,
        rw_flags: 0,
        opcode,
        reqprio: 0,
        fildes: 3,
        buf: 0,
        nbytes: 4096,
        offset: 0,
        reserved2: 0,
        flags: std::cell::Cell::new(flags),
        resfd: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(pointers: &[*mut Iocb], nr: c_long, capacity: usize) -> Batch {
        // SAFETY: the tests pass pointers to live iocbs, or implausible ones.
        unsafe { Batch::new(pointers.as_ptr(), nr, capacity) }
    }

    #[test]
    fn implausible_addresses_are_not_followed() {
        let mut iocb = test_iocb(abi::PREAD, 0);
        let pointers = [&raw mut iocb, std::ptr::null_mut(), usize::MAX as *mut Iocb];
        let batch = batch(&pointers, 3, 8);
        let valid: Vec<bool> = batch.iter().map(|iocb| iocb.is_some()).collect();
        assert_eq!(valid, [true, false, false]);
    }

    #[test]
    fn an_implausible_array_is_empty() {
        // SAFETY: the array is implausible, so nothing is read from it.
        let batch = unsafe { Batch::new(usize::MAX as *const _, 1, 8) };
        assert_eq!(batch.iter().count(), 0);
    }

    #[test]
    fn no_more_is_read_than_the_kernel_reads() {
        let mut iocb = test_iocb(abi::PREAD, 0);
        let pointers = [&raw mut iocb; 4];
        assert_eq!(batch(&pointers, c_long::MAX, 4).iter().count(), 4);
        assert_eq!(batch(&pointers, 2, 4).iter().count(), 2);
        assert_eq!(batch(&pointers, -1, 4).iter().count(), 0);
    }

    #[test]
    fn only_the_flag_changes_and_only_where_not_accepted() {
        let mut accepted = test_iocb(abi::PREAD, 1 << 1);
        let mut rest = test_iocb(abi::PREAD, 1 << 1);
        let pointers = [&raw mut accepted, &raw mut rest];
        let batch = batch(&pointers, 2, 8);
        batch.iter().flatten().for_each(flag);
        batch.unflag_after(1);
        let flags: Vec<u32> = batch.iter().flatten().map(|i| i.flags.get()).collect();
        assert_eq!(flags, [1 << 1 | abi::FLAG_HIPRI, 1 << 1]);
    }
}
