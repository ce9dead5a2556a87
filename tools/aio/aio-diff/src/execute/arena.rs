// SPDX-License-Identifier: GPL-2.0-only

//! The memory of a program: at the same addresses in every run, with holes.
//!
//! Everything that system calls of a program are told to read or write lies here. Between the
//! pieces nothing can be accessed.

use std::io;
use std::ptr;

use anyhow::{Context, Result};

use crate::program::{BadAddress, Spot, THREADS};

const PAGE: u64 = 4096;
const BASE: u64 = 0x10_0000_0000;
const PAGES: u64 = 1024;

/// A piece of the arena, in bytes from its base.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Piece {
    start: u64,
    pages: u64,
}

const fn piece(page: u64, pages: u64) -> Piece {
    Piece {
        start: page * PAGE,
        pages,
    }
}

/// Iocbs in ordinary memory.
pub const IOCBS: Piece = piece(0, 1);
/// Iocbs in memory that is made unwritable.
pub const READ_ONLY_IOCBS: Piece = piece(1, 1);
/// Iocbs at odd addresses; the last one crosses the end.
pub const SKEWED_IOCBS: Piece = piece(2, 1);
/// A page that looks like a ring.
pub const FAKE_RING: Piece = piece(8, 1);
/// Where nothing is mapped.
const HOLE: Piece = piece(12, 1);
/// Unwritable memory with a pattern in it.
const READ_ONLY: Piece = piece(256, 4);
/// Unwritable zeroes.
pub const READ_ONLY_ZERO: Piece = piece(262, 1);
/// Memory that is only read into.
const SINK: Piece = piece(300, 64);
/// Memory that never changes.
const SOURCE: Piece = piece(370, 64);
/// Memory of which each I/O has its own.
const DATA: Piece = piece(512, 384);

/// The pieces that a thread has to itself.
#[derive(Clone, Copy, Debug)]
pub struct ThreadPieces {
    /// Pointers to iocbs.
    pub pointers: Piece,
    /// Events.
    pub events: Piece,
    /// Timeouts, masks, ids.
    pub words: Piece,
    /// Vectors.
    pub vectors: Piece,
    /// Unwritable memory for events.
    pub read_only: Piece,
}

/// The pieces of this thread.
pub fn of_thread(thread: u8) -> ThreadPieces {
    let page = 16 + 64 * u64::from(thread);
    ThreadPieces {
        pointers: piece(page, 1),
        events: piece(page + 2, 12),
        words: piece(page + 15, 1),
        vectors: piece(page + 17, 20),
        read_only: piece(page + 38, 1),
    }
}

impl Piece {
    /// Its address.
    pub const fn addr(self) -> u64 {
        BASE + self.start
    }

    /// Where it ends, and nothing is mapped.
    pub const fn end(self) -> u64 {
        self.addr() + self.bytes()
    }

    /// Its length.
    pub const fn bytes(self) -> u64 {
        self.pages * PAGE
    }

    fn contains(self, addr: u64, bytes: u64) -> bool {
        addr >= self.addr() && bytes <= self.bytes() && addr - self.addr() <= self.bytes() - bytes
    }
}

/// An address that is good for nothing.
pub fn bad_address(bad: BadAddress) -> u64 {
    match bad {
        BadAddress::Null => 0,
        BadAddress::Unmapped => HOLE.addr() + 64,
        BadAddress::Kernel => 0xffff_8880_0000_0000,
        BadAddress::NonCanonical => 0x9000_0000_0000,
    }
}

/// The address of a spot.
pub fn spot_address(spot: Spot) -> u64 {
    match spot {
        Spot::Data(offset) => DATA.addr() + u64::from(offset),
        Spot::SinkEnd(back) => SINK.end() - u64::from(back),
        Spot::SourceEnd(back) => SOURCE.end() - u64::from(back),
        Spot::ReadOnly(offset) => READ_ONLY.addr() + u64::from(offset),
        Spot::Bad(bad) => bad_address(bad),
    }
}

/// Of `bytes` at a spot, how many are there to be read.
pub fn mapped_bytes(spot: Spot, bytes: u64) -> u64 {
    let piece = match spot {
        Spot::Data(_) => DATA,
        Spot::SinkEnd(_) => SINK,
        Spot::SourceEnd(_) => SOURCE,
        Spot::ReadOnly(_) => READ_ONLY,
        Spot::Bad(_) => return 0,
    };
    bytes.min(piece.end() - spot_address(spot))
}

/// The mapped arena.
pub struct Arena(());

/// What can be written.
fn writable() -> Vec<Piece> {
    let mut pieces = vec![
        IOCBS,
        READ_ONLY_IOCBS,
        SKEWED_IOCBS,
        FAKE_RING,
        SINK,
        SOURCE,
        DATA,
        READ_ONLY,
        READ_ONLY_ZERO,
    ];
    for thread in 0..THREADS {
        let own = of_thread(thread);
        pieces.extend([
            own.pointers,
            own.events,
            own.words,
            own.vectors,
            own.read_only,
        ]);
    }
    pieces
}

impl Arena {
    /// Maps the arena; there is one in a process.
    pub fn map() -> Result<Self> {
        // SAFETY: With MAP_FIXED_NOREPLACE nothing that is mapped changes.
        let mapped = unsafe {
            libc::mmap(
                BASE as *mut _,
                (PAGES * PAGE) as usize,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE,
                -1,
                0,
            )
        };
        if mapped as u64 != BASE {
            return Err(io::Error::last_os_error()).context("cannot map the arena");
        }
        let arena = Self(());
        for piece in writable() {
            arena.protect(piece, libc::PROT_READ | libc::PROT_WRITE)?;
        }
        arena.fill(SOURCE.addr(), SOURCE.bytes(), 0x5eed);
        arena.fill(READ_ONLY.addr(), READ_ONLY.bytes(), 0x0dd);
        arena.protect(READ_ONLY, libc::PROT_READ)?;
        arena.protect(READ_ONLY_ZERO, libc::PROT_READ)?;
        for thread in 0..THREADS {
            arena.protect(of_thread(thread).read_only, libc::PROT_READ)?;
        }
        Ok(arena)
    }

    /// Makes a piece of the arena accessible in this way.
    pub fn protect(&self, piece: Piece, protection: i32) -> Result<()> {
        // SAFETY: The piece is part of the arena, to which there are no references.
        let done =
            unsafe { libc::mprotect(piece.addr() as *mut _, piece.bytes() as usize, protection) };
        if done != 0 {
            return Err(io::Error::last_os_error()).context("cannot protect the arena");
        }
        Ok(())
    }

    /// Writes bytes, which must lie in a piece that can be written.
    pub fn write(&self, addr: u64, bytes: &[u8]) {
        assert!(Self::is_mapped(addr, bytes.len() as u64), "{addr:#x}");
        // SAFETY: The range is part of the arena and can be written; nothing refers to it.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), addr as *mut u8, bytes.len()) };
    }

    /// Writes words.
    pub fn write_words(&self, addr: u64, words: &[u64]) {
        let bytes = words
            .iter()
            .flat_map(|word| word.to_ne_bytes())
            .collect::<Vec<_>>();
        self.write(addr, &bytes);
    }

    /// Reads bytes, which must lie in a piece.
    pub fn read(&self, addr: u64, bytes: u64) -> Vec<u8> {
        assert!(Self::is_mapped(addr, bytes), "{addr:#x}");
        let mut copy = vec![0; bytes as usize];
        // SAFETY: The range is part of the arena and can be read.
        unsafe { ptr::copy_nonoverlapping(addr as *const u8, copy.as_mut_ptr(), bytes as usize) };
        copy
    }

    /// Fills memory with the pattern that `seed` names.
    pub fn fill(&self, addr: u64, bytes: u64, seed: u64) {
        self.write(addr, &pattern(seed, bytes));
    }

    fn is_mapped(addr: u64, bytes: u64) -> bool {
        writable().iter().any(|piece| piece.contains(addr, bytes))
    }
}

/// The first bytes of the pattern that `seed` names. No two blocks of it are the same.
pub fn pattern(seed: u64, bytes: u64) -> Vec<u8> {
    (0..bytes.div_ceil(8))
        .flat_map(|index| {
            seed.wrapping_mul(0x9e37_79b9)
                .wrapping_add(index)
                .to_ne_bytes()
        })
        .take(bytes as usize)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_do_not_touch() {
        let mut pieces = writable();
        pieces.push(HOLE);
        pieces.sort_by_key(|piece| piece.start);
        for pair in pieces.windows(2) {
            let iocbs = pair[1].start <= SKEWED_IOCBS.start;
            assert!(pair[0].end() < pair[1].addr() || iocbs, "{pair:?}");
        }
        assert!(pieces.iter().all(|piece| piece.end() < BASE + PAGES * PAGE));
    }

    #[test]
    fn only_what_is_there_counts_as_mapped() {
        assert_eq!(mapped_bytes(Spot::SinkEnd(100), 4096), 100);
        assert_eq!(mapped_bytes(Spot::Data(0), 4096), 4096);
        assert_eq!(mapped_bytes(Spot::Bad(BadAddress::Null), 4096), 0);
    }
}
