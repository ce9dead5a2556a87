// SPDX-License-Identifier: GPL-2.0-only

//! What user space passes in and gets back, and nothing else.
//!
//! Source: [`include/uapi/linux/aio_abi.h`](srctree/include/uapi/linux/aio_abi.h), io_submit(2),
//! io_getevents(2).

use kernel::{
    error::code::*,
    iov::user::{
        Direction,
        Layout, //
    },
    prelude::*,
    uaccess::{
        get_user_u64s,
        UserPtr, //
    }, //
};

/// `sizeof(struct iocb)`, in words.
const IOCB_WORDS: usize = 8;
/// `sizeof(struct io_event)`.
pub(crate) const EVENT_BYTES: usize = 32;
/// What the kernel writes to each `aio_key`, and io_cancel(2) wants to find there.
pub(crate) const KIOCB_KEY: u32 = 0;

const IOCB_FLAG_RESFD: u32 = 1 << 0;
const IOCB_FLAG_IOPRIO: u32 = 1 << 1;
const IOCB_FLAG_HIPRI: u32 = 1 << 2;

/// A `struct io_event` as its four words: `data`, `obj`, `res`, `res2`.
pub(crate) type EventWords = [u64; 4];

/// What identifies an event to user space.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct EventKey {
    /// `aio_data` of the iocb.
    pub(crate) data: u64,
    /// Address of the iocb.
    pub(crate) obj: u64,
}

impl EventKey {
    /// That of the events of `iocb`, which is at `addr`.
    #[inline]
    pub(crate) fn of(iocb: &Iocb, addr: UserPtr) -> Self {
        Self {
            data: iocb.data(),
            obj: addr.as_const_ptr() as u64,
        }
    }

    /// The event with this result: bytes, or a negative error number.
    #[inline]
    pub(crate) fn with_result(self, result: i64) -> EventWords {
        // CAST: `res` is the same bits, signed.
        [self.data, self.obj, result as u64, 0]
    }
}

/// An operation, and how its arguments are laid out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Opcode {
    /// PREAD, PWRITE, PREADV, PWRITEV.
    Transfer(Direction, Layout),
    /// Another one.
    Other(Other),
}

/// An operation that transfers nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Other {
    /// FSYNC, or FDSYNC where `datasync`.
    Sync { datasync: bool },
    /// POLL.
    Poll,
}

/// A `struct iocb`, copied in once and free of what no operation accepts.
///
/// # Invariants
///
/// The reserved field is zero, the address fits the kernel's, and the length is not negative.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Iocb([u64; IOCB_WORDS]);

impl Iocb {
    /// Copies an iocb in. Fails with [`EFAULT`], and as [`Iocb::check`] does.
    #[inline]
    pub(crate) fn read(from: UserPtr) -> Result<Self> {
        Self::check(get_user_u64s(from)?)
    }

    /// Where `aio_key` of the iocb at `iocb` is: the lower half of the second word in both byte
    /// orders.
    #[inline]
    pub(crate) fn key_ptr(iocb: UserPtr) -> UserPtr {
        iocb.wrapping_byte_add(if cfg!(target_endian = "little") {
            8
        } else {
            12
        })
    }

    /// Fails with [`EINVAL`] where the reserved field is used, or an address or a length does not
    /// fit the kernel's.
    #[inline]
    fn check(words: [u64; IOCB_WORDS]) -> Result<Self> {
        let [_, _, _, buf, nbytes, _, reserved, _] = words;
        if reserved != 0 || usize::try_from(buf).is_err() || isize::try_from(nbytes).is_err() {
            return Err(EINVAL);
        }
        // INVARIANT: Just checked.
        Ok(Self(words))
    }

    /// `aio_data`: what the event gives back.
    #[inline]
    pub(crate) fn data(&self) -> u64 {
        self.0[0]
    }

    /// `aio_rw_flags`: `RWF_*`.
    #[inline]
    pub(crate) fn rw_flags(&self) -> u32 {
        // CAST: In both byte orders the lower half is the key, which user space does not set.
        (self.0[1] >> 32) as u32
    }

    /// `aio_fildes`: the descriptor.
    #[inline]
    pub(crate) fn fd(&self) -> u32 {
        let [.., d0, d1, d2, d3] = self.0[2].to_ne_bytes();
        u32::from_ne_bytes([d0, d1, d2, d3])
    }

    /// `aio_buf`: an address, or an argument of another kind.
    #[inline]
    pub(crate) fn buf(&self) -> u64 {
        self.0[3]
    }

    /// `aio_nbytes`.
    #[inline]
    pub(crate) fn nbytes(&self) -> u64 {
        self.0[4]
    }

    /// `aio_offset`.
    #[inline]
    pub(crate) fn offset(&self) -> i64 {
        // CAST: The same bits, signed.
        self.0[5] as i64
    }

    /// The operation. Fails with [`EINVAL`] for one that does not exist.
    #[inline]
    pub(crate) fn opcode(&self, compat: bool) -> Result<Opcode> {
        let vector = if compat {
            Layout::CompatVector
        } else {
            Layout::Vector
        };
        Ok(match self.raw_opcode() {
            0 => Opcode::Transfer(Direction::Read, Layout::Buffer),
            1 => Opcode::Transfer(Direction::Write, Layout::Buffer),
            2 => Opcode::Other(Other::Sync { datasync: false }),
            3 => Opcode::Other(Other::Sync { datasync: true }),
            5 => Opcode::Other(Other::Poll),
            7 => Opcode::Transfer(Direction::Read, vector),
            8 => Opcode::Transfer(Direction::Write, vector),
            _ => return Err(EINVAL),
        })
    }

    /// `IOCB_CMD_*`, as user space gave it.
    #[inline]
    pub(crate) fn raw_opcode(&self) -> u16 {
        let [o0, o1, ..] = self.0[2].to_ne_bytes();
        u16::from_ne_bytes([o0, o1])
    }

    /// `IOCB_FLAG_*`, as user space gave them.
    #[inline]
    pub(crate) fn flags(&self) -> u32 {
        let [f0, f1, f2, f3, ..] = self.0[7].to_ne_bytes();
        u32::from_ne_bytes([f0, f1, f2, f3])
    }

    /// Whether completions are to be found by polling.
    #[inline]
    pub(crate) fn is_hipri(&self) -> bool {
        self.flags() & IOCB_FLAG_HIPRI != 0
    }

    /// The descriptor of the eventfd to signal, if any.
    #[inline]
    pub(crate) fn resfd(&self) -> Option<u32> {
        let [.., e0, e1, e2, e3] = self.0[7].to_ne_bytes();
        (self.flags() & IOCB_FLAG_RESFD != 0).then_some(u32::from_ne_bytes([e0, e1, e2, e3]))
    }

    /// The I/O priority, if one is given: class and level as in `linux/ioprio.h`.
    #[inline]
    pub(crate) fn ioprio(&self) -> Option<u16> {
        let [_, _, p0, p1, ..] = self.0[2].to_ne_bytes();
        (self.flags() & IOCB_FLAG_IOPRIO != 0).then_some(u16::from_ne_bytes([p0, p1]))
    }

    /// The buffer, or the array of vectors.
    #[inline]
    pub(crate) fn buf_ptr(&self) -> UserPtr {
        // CAST: By the type invariants it fits.
        UserPtr::from_addr(self.buf() as usize)
    }

    /// Length of the buffer in bytes, or of the array in elements.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        // CAST: By the type invariants it fits.
        self.nbytes() as usize
    }
}

#[cfg(CONFIG_AIO_RUST_KUNIT_TEST)]
#[kunit_tests(aio_abi)]
mod tests {
    use super::*;

    /// `sizeof(struct iocb)`.
    const IOCB_BYTES: usize = IOCB_WORDS * 8;

    fn decode(bytes: &[u8; IOCB_BYTES]) -> Result<Iocb> {
        let mut words = [0; IOCB_WORDS];
        for (word, bytes) in words.iter_mut().zip(bytes.chunks_exact(8)) {
            *word = u64::from_ne_bytes(bytes.try_into().unwrap());
        }
        Iocb::check(words)
    }

    fn iocb(set: &[(usize, u8)]) -> [u8; IOCB_BYTES] {
        let mut bytes = [0; IOCB_BYTES];
        for (at, value) in set {
            bytes[*at] = *value;
        }
        bytes
    }

    #[test]
    fn fields_are_where_the_header_has_them() {
        let mut bytes = [0; IOCB_BYTES];
        bytes[0..8].copy_from_slice(&0x1122_3344_5566_7788_u64.to_ne_bytes());
        bytes[16..18].copy_from_slice(&8_u16.to_ne_bytes());
        bytes[18..20].copy_from_slice(&0x6001_u16.to_ne_bytes());
        bytes[20..24].copy_from_slice(&7_u32.to_ne_bytes());
        bytes[24..32].copy_from_slice(&0x7f00_0000_1000_u64.to_ne_bytes());
        bytes[32..40].copy_from_slice(&4096_u64.to_ne_bytes());
        bytes[40..48].copy_from_slice(&(-1_i64).to_ne_bytes());
        bytes[56..60].copy_from_slice(&7_u32.to_ne_bytes());
        bytes[60..64].copy_from_slice(&9_u32.to_ne_bytes());

        let iocb = decode(&bytes).unwrap();
        assert_eq!(iocb.data(), 0x1122_3344_5566_7788);
        assert_eq!(iocb.fd(), 7);
        assert_eq!(iocb.buf(), 0x7f00_0000_1000);
        assert_eq!(iocb.len(), 4096);
        assert_eq!(iocb.offset(), -1);
        assert_eq!(iocb.resfd(), Some(9));
        assert_eq!(iocb.ioprio(), Some(0x6001));
        assert!(iocb.is_hipri());
        assert_eq!(
            iocb.opcode(false),
            Ok(Opcode::Transfer(Direction::Write, Layout::Vector))
        );
        assert_eq!(
            iocb.opcode(true),
            Ok(Opcode::Transfer(Direction::Write, Layout::CompatVector))
        );
    }

    #[test]
    fn flags_off_mean_fields_unused() {
        let iocb = decode(&iocb(&[(18, 1), (60, 9)])).unwrap();
        assert_eq!(iocb.resfd(), None);
        assert_eq!(iocb.ioprio(), None);
        assert!(!iocb.is_hipri());
    }

    #[test]
    fn reserved_field_must_be_zero() {
        for at in 48..56 {
            assert_eq!(decode(&iocb(&[(at, 1)])).err(), Some(EINVAL));
        }
    }

    #[test]
    fn length_must_not_be_negative() {
        let mut bytes = [0; IOCB_BYTES];
        bytes[32..40].copy_from_slice(&(isize::MAX as u64).to_ne_bytes());
        assert!(decode(&bytes).is_ok());
        bytes[32..40].copy_from_slice(&(isize::MAX as u64 + 1).to_ne_bytes());
        assert_eq!(decode(&bytes).err(), Some(EINVAL));
    }

    #[test]
    fn gaps_between_opcodes_are_invalid() {
        for opcode in [4_u16, 6, 9, 10, 255, 65535] {
            let mut bytes = [0; IOCB_BYTES];
            bytes[16..18].copy_from_slice(&opcode.to_ne_bytes());
            let iocb = decode(&bytes).unwrap();
            assert_eq!(iocb.opcode(false).err(), Some(EINVAL));
        }
    }

    #[test]
    fn event_words_are_in_order() {
        let key = EventKey { data: 1, obj: 2 };
        assert_eq!(key.with_result(-5), [1, 2, (-5_i64) as u64, 0]);
    }
}
