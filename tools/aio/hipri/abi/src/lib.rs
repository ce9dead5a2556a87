// SPDX-License-Identifier: GPL-2.0-only

//! The kernel's AIO ABI (`linux/aio_abi.h`), with what polled I/O adds to it.
//!
//! The structures are laid out alike for 64-bit and 32-bit programs.

#![no_std]

use core::ffi::c_ulong;

pub mod placement;

/// What `io_setup` hands out: the address of the context's ring in user memory.
pub type ContextId = c_ulong;

/// `IOCB_CMD_PREAD`.
pub const PREAD: u16 = 0;
/// `IOCB_CMD_PWRITE`.
pub const PWRITE: u16 = 1;
/// `IOCB_CMD_FSYNC`.
pub const FSYNC: u16 = 2;
/// `IOCB_CMD_FDSYNC`.
pub const FDSYNC: u16 = 3;
/// `IOCB_CMD_POLL`.
pub const POLL: u16 = 5;
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
/// `AIO_RING_INCOMPAT_POLLED`: the ring carries no events, or not all.
pub const RING_INCOMPAT_POLLED: u32 = 1 << 0;

/// `struct iocb`: one I/O, described by the program.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
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
    /// Address of the buffer, or of the array of buffers; the events to wait for, of a `POLL`.
    pub buf: u64,
    /// Bytes in the buffer, or buffers in the array.
    pub nbytes: u64,
    /// Position in the file, in bytes.
    pub offset: i64,
    /// Must be zero.
    pub reserved2: u64,
    /// `IOCB_FLAG_*`.
    pub flags: u32,
    /// The eventfd, where [`FLAG_RESFD`] is set.
    pub resfd: u32,
}

const _: () = assert!(size_of::<Iocb>() == 64);
const _: () = assert!(core::mem::offset_of!(Iocb, opcode) == 16);
const _: () = assert!(core::mem::offset_of!(Iocb, fildes) == 20);
const _: () = assert!(core::mem::offset_of!(Iocb, flags) == 56);

/// `struct io_event`: how an I/O ended.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// [`Iocb::data`].
    pub data: u64,
    /// Address of the iocb.
    pub obj: u64,
    /// Bytes, or a negated errno.
    pub res: i64,
    /// Zero.
    pub res2: i64,
}

const _: () = assert!(size_of::<Event>() == 32);

/// The header of `struct aio_ring`, at the address that names the context.
#[repr(C)]
#[derive(Clone, Debug)]
pub struct RingHeader {
    /// The kernel's index of the context.
    pub id: u32,
    /// Elements of the ring, one more than the I/Os that the context takes.
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
