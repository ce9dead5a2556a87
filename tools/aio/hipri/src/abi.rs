// SPDX-License-Identifier: GPL-2.0-only

//! The kernel's AIO ABI, as far as this library reads or writes it (`linux/aio_abi.h`).

use std::cell::Cell;

use libc::{c_long, c_ulong};

/// What `io_setup` hands out: the address of the context's ring in user memory.
pub type ContextId = c_ulong;

/// `IOCB_CMD_PREAD`.
pub const PREAD: u16 = 0;
/// `IOCB_CMD_PWRITE`.
pub const PWRITE: u16 = 1;
/// `IOCB_CMD_PREADV`.
pub const PREADV: u16 = 7;
/// `IOCB_CMD_PWRITEV`.
pub const PWRITEV: u16 = 8;

/// `IOCB_FLAG_RESFD`: the completion is announced through an eventfd.
pub const FLAG_RESFD: u32 = 1 << 0;
/// `IOCB_FLAG_HIPRI`: the completion is polled for.
pub const FLAG_HIPRI: u32 = 1 << 2;

/// `AIO_RING_MAGIC`: the ring is one whose header can be read.
pub const RING_MAGIC: u32 = 0xa10a_10a1;
/// `AIO_RING_COMPAT_HIPRI`: this kernel polls.
pub const RING_COMPAT_HIPRI: u32 = 1 << 1;

/// `struct iocb`: one I/O, described by the program.
#[repr(C)]
pub struct Iocb {
    /// Returned in the event.
    pub data: u64,
    /// Written by the kernel at submission.
    pub key: u32,
    /// `RWF_*` flags.
    pub rw_flags: u32,
    /// `IOCB_CMD_*`.
    pub opcode: u16,
    /// Priority of the request.
    pub reqprio: i16,
    /// Descriptor of the file.
    pub fildes: u32,
    /// Address of the buffer, or of the array of buffers.
    pub buf: u64,
    /// Bytes in the buffer, or buffers in the array.
    pub nbytes: u64,
    /// Position in the file, in bytes.
    pub offset: i64,
    /// Must be zero.
    pub reserved2: u64,
    /// `IOCB_FLAG_*`; the one field this library writes.
    pub flags: Cell<u32>,
    /// The eventfd, where `FLAG_RESFD` is set.
    pub resfd: u32,
}

const _: () = assert!(size_of::<Iocb>() == 64);
const _: () = assert!(std::mem::offset_of!(Iocb, opcode) == 16);
const _: () = assert!(std::mem::offset_of!(Iocb, fildes) == 20);
const _: () = assert!(std::mem::offset_of!(Iocb, flags) == 56);

/// The header of `struct aio_ring`, at the address that names the context.
#[repr(C)]
pub struct RingHeader {
    /// The kernel's index of the context.
    pub id: u32,
    /// Slots in the ring: the largest batch the context takes.
    pub nr: u32,
    /// Where the next event is read.
    pub head: u32,
    /// Where the next event is written.
    pub tail: u32,
    /// [`RING_MAGIC`].
    pub magic: u32,
    /// `AIO_RING_COMPAT_*`.
    pub compat_features: u32,
    /// Features that forbid reading the ring to those who do not know them.
    pub incompat_features: u32,
    /// Bytes in this header.
    pub header_length: u32,
}

const _: () = assert!(size_of::<RingHeader>() == 32);

impl RingHeader {
    /// Whether the kernel that made this ring polls.
    pub fn offers_polling(&self) -> bool {
        self.magic == RING_MAGIC && self.compat_features & RING_COMPAT_HIPRI != 0
    }
}

/// What the AIO calls return, in the kernel's form: a count, or a negated errno.
pub type KernelResult = c_long;

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(magic: u32, compat_features: u32) -> RingHeader {
        RingHeader {
            id: 0,
            nr: 128,
            head: 0,
            tail: 0,
            magic,
            compat_features,
            incompat_features: 0,
            header_length: 32,
        }
    }

    #[test]
    fn polling_is_offered_by_magic_and_feature_together() {
        assert!(ring(RING_MAGIC, 1 | RING_COMPAT_HIPRI).offers_polling());
        assert!(!ring(RING_MAGIC, 1).offers_polling());
        assert!(!ring(0, 1 | RING_COMPAT_HIPRI).offers_polling());
    }
}
