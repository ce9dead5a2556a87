// SPDX-License-Identifier: GPL-2.0-only

//! The kernel's AIO interface (`linux/aio_abi.h`), as far as programs name its parts.

/// `IOCB_CMD_PREAD`
pub const PREAD: u16 = 0;
/// `IOCB_CMD_PWRITE`
pub const PWRITE: u16 = 1;
/// `IOCB_CMD_FSYNC`
pub const FSYNC: u16 = 2;
/// `IOCB_CMD_FDSYNC`
pub const FDSYNC: u16 = 3;
/// `IOCB_CMD_POLL`
pub const POLL: u16 = 5;
/// `IOCB_CMD_NOOP`, which no kernel knows.
pub const NOOP: u16 = 6;
/// `IOCB_CMD_PREADV`
pub const PREADV: u16 = 7;
/// `IOCB_CMD_PWRITEV`
pub const PWRITEV: u16 = 8;

/// `IOCB_FLAG_RESFD`: an eventfd is signalled, too.
pub const FLAG_RESFD: u32 = 1 << 0;
/// `IOCB_FLAG_IOPRIO`: the priority counts.
pub const FLAG_IOPRIO: u32 = 1 << 1;
/// `IOCB_FLAG_HIPRI`: the completion is polled for. Stock kernels ignore it.
pub const FLAG_HIPRI: u32 = 1 << 2;

/// `AIO_RING_COMPAT_HIPRI`: the kernel polls. Stock kernels do not set it.
pub const RING_COMPAT_HIPRI: u32 = 1 << 1;

/// `RWF_HIPRI`
pub const RWF_HIPRI: u32 = 0x01;
/// `RWF_DSYNC`
pub const RWF_DSYNC: u32 = 0x02;
/// `RWF_SYNC`
pub const RWF_SYNC: u32 = 0x04;
/// `RWF_NOWAIT`
pub const RWF_NOWAIT: u32 = 0x08;
/// `RWF_APPEND`
pub const RWF_APPEND: u32 = 0x10;

/// The number of io_pgetevents(2) on x86-64, which the libc crate has no name for.
pub const SYS_IO_PGETEVENTS: i64 = 333;

/// `sizeof(struct iocb)`
pub const IOCB_BYTES: u64 = 64;
/// `sizeof(struct io_event)`
pub const EVENT_BYTES: u64 = 32;
/// `sizeof(struct aio_ring)`, which events follow.
pub const RING_HEADER_BYTES: u64 = 32;

/// The way that a read or write moves data, for the opcodes that do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// From the file to memory.
    Read,
    /// From memory to the file.
    Write,
}

/// What `opcode` does with data, if it moves any.
pub fn direction(opcode: u16) -> Option<Direction> {
    match opcode {
        PREAD | PREADV => Some(Direction::Read),
        PWRITE | PWRITEV => Some(Direction::Write),
        _ => None,
    }
}
