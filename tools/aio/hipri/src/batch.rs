// SPDX-License-Identifier: GPL-2.0-only

//! The iocbs of one submission, where the program put them.
//!
//! The kernel names a completed I/O by the address of its iocb, so the flag has to be set in the
//! program's own iocb: a copy would be reported as an I/O that the program does not know. As for
//! the kernel, nothing needs to be aligned.

use aio_abi::{Iocb, FLAG_HIPRI};
use libc::c_long;

/// From here on no address belongs to a process, with five-level page tables too.
#[cfg(target_pointer_width = "64")]
const ADDRESS_LIMIT: usize = 1 << 56;
#[cfg(target_pointer_width = "32")]
const ADDRESS_LIMIT: usize = 0xffff_e000;

/// The array of iocb pointers given to `io_submit`, or a part of it.
#[derive(Clone, Copy)]
pub struct Batch {
    iocbs: *const *mut Iocb,
    len: usize,
}

impl Batch {
    /// Wraps the `nr` pointers at `iocbs`, of which the kernel looks at `capacity` at most; `None`
    /// where there are none, or no array.
    ///
    /// # Safety
    ///
    /// What `io_submit` demands, for the life of the batch: the array and the iocbs in it, where
    /// their addresses are plausible, are valid, and nobody else uses them.
    pub unsafe fn new(iocbs: *const *mut Iocb, nr: c_long, capacity: usize) -> Option<Self> {
        let len = usize::try_from(nr).ok()?.min(capacity);
        (len > 0 && plausible(iocbs)).then_some(Batch { iocbs, len })
    }

    /// How many iocbs there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Where the pointers are, for the kernel.
    pub fn pointers(&self) -> *const *mut Iocb {
        self.iocbs
    }

    /// The part from `start` on.
    pub fn from(&self, start: usize) -> Batch {
        let start = start.min(self.len);
        Batch {
            // SAFETY: the array has that many elements.
            iocbs: unsafe { self.iocbs.add(start) },
            len: self.len - start,
        }
    }

    /// The first `len`, or all.
    pub fn first(&self, len: usize) -> Batch {
        Batch {
            len: len.min(self.len),
            ..*self
        }
    }

    /// The iocbs in order; `None` for one whose address cannot be valid.
    pub fn iter(&self) -> impl Iterator<Item = Option<Iocb>> + '_ {
        // SAFETY: `new` demands that plausible addresses are those of valid iocbs.
        let read = |iocb: *mut Iocb| unsafe { iocb.read_unaligned() };
        self.addresses()
            .map(move |iocb| plausible(iocb).then(|| read(iocb)))
    }

    /// Sets the flag in all iocbs.
    pub fn flag(&self) {
        self.change_flags(|flags| flags | FLAG_HIPRI);
    }

    /// Takes the flag from all iocbs; writes only where it was set.
    ///
    /// Not to be called for iocbs that were accepted: whoever reaped them, maybe another thread
    /// before `io_submit` returned, may have reused or freed them.
    pub fn unflag(&self) {
        self.change_flags(|flags| flags & !FLAG_HIPRI);
    }

    fn change_flags(&self, change: impl Fn(u32) -> u32) {
        for iocb in self.addresses().filter(|iocb| plausible(*iocb)) {
            // SAFETY: `new` demands that plausible addresses are those of valid iocbs which only
            // this thread uses.
            unsafe {
                let place = &raw mut (*iocb).flags;
                let flags = place.read_unaligned();
                let changed = change(flags);
                if changed != flags {
                    place.write_unaligned(changed);
                }
            }
        }
    }

    fn addresses(&self) -> impl Iterator<Item = *mut Iocb> + '_ {
        // SAFETY: the array has `len` elements.
        (0..self.len).map(|index| unsafe { self.iocbs.add(index).read_unaligned() })
    }
}

/// Whether the kernel could find anything at `address`: programs pass null and -1, and have a right
/// to the kernel's error for it.
pub fn plausible<T>(address: *const T) -> bool {
    !address.is_null() && (address as usize) < ADDRESS_LIMIT
}

/// An iocb for the unit tests of this crate.
#[cfg(test)]
pub(crate) fn test_iocb(opcode: u16, flags: u32) -> Iocb {
    Iocb {
        opcode,
        flags,
        fildes: 3,
        nbytes: 4096,
        ..Iocb::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aio_abi::PREAD;

    fn batch(pointers: &[*mut Iocb], nr: c_long, capacity: usize) -> Option<Batch> {
        // SAFETY: the tests pass pointers to live iocbs, or implausible ones.
        unsafe { Batch::new(pointers.as_ptr(), nr, capacity) }
    }

    #[test]
    fn implausible_addresses_are_not_followed() {
        let mut iocb = test_iocb(PREAD, 0);
        let pointers = [
            &raw mut iocb,
            core::ptr::null_mut(),
            usize::MAX as *mut Iocb,
        ];
        let batch = batch(&pointers, 3, 8).unwrap();
        let valid: Vec<bool> = batch.iter().map(|iocb| iocb.is_some()).collect();
        assert_eq!(valid, [true, false, false]);
        batch.flag();
        assert_eq!(iocb.flags, FLAG_HIPRI);
    }

    #[test]
    fn an_implausible_array_is_none() {
        // SAFETY: the array is implausible, so nothing is read from it.
        let batch = unsafe { Batch::new(usize::MAX as *const _, 1, 8) };
        assert!(batch.is_none());
    }

    #[test]
    fn no_more_is_read_than_the_kernel_reads() {
        let mut iocb = test_iocb(PREAD, 0);
        let pointers = [&raw mut iocb; 4];
        let len = |nr, capacity| batch(&pointers, nr, capacity).map(|batch| batch.len());
        assert_eq!(len(c_long::MAX, 4), Some(4));
        assert_eq!(len(2, 4), Some(2));
        assert_eq!(len(-1, 4), None);
        assert_eq!(len(0, 4), None);
    }

    #[test]
    fn only_the_flag_changes_and_only_in_the_part() {
        let mut first = test_iocb(PREAD, 1 << 1);
        let mut rest = test_iocb(PREAD, 1 << 1);
        let pointers = [&raw mut first, &raw mut rest];
        let batch = batch(&pointers, 2, 8).unwrap();
        batch.flag();
        batch.from(1).unflag();
        assert_eq!(first.flags, (1 << 1) | FLAG_HIPRI);
        assert_eq!(rest.flags, 1 << 1);
        batch.first(1).unflag();
        assert_eq!(first.flags, 1 << 1);
    }

    #[test]
    fn an_iocb_and_the_array_may_be_anywhere() {
        let mut memory = [0u8; 128];
        let iocb = memory[1..].as_mut_ptr().cast::<Iocb>();
        // SAFETY: there is room for it.
        unsafe { iocb.write_unaligned(test_iocb(PREAD, 0)) };
        let mut array = [0u8; 32];
        let pointers = array[3..].as_mut_ptr().cast::<*mut Iocb>();
        // SAFETY: as above.
        let batch = unsafe {
            pointers.write_unaligned(iocb);
            Batch::new(pointers, 1, 8).unwrap()
        };
        batch.flag();
        let flagged = batch.iter().next().unwrap().unwrap();
        assert_eq!((flagged.opcode, flagged.flags), (PREAD, FLAG_HIPRI));
    }
}
