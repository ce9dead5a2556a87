// SPDX-License-Identifier: GPL-2.0-only

//! Writes the arguments of a call into a thread's pieces of the arena.

use std::collections::HashMap;

use super::arena::{
    self, bad_address, of_thread, spot_address, Arena, Piece, FAKE_RING, IOCBS, READ_ONLY_IOCBS,
    READ_ONLY_ZERO, SKEWED_IOCBS,
};
use super::files::{number, OpenFile};
use super::thread::SIGNAL;
use crate::abi::{self, Direction, EVENT_BYTES, IOCB_BYTES};
use crate::program::{
    ArrayPlace, Entry, EventsPlace, IdPlace, Iocb, IocbPlace, MaskArgument, Memory, Offset,
    Segment, Spot, Timeout,
};

/// What memory holds before something is read into it.
const BEFORE: u8 = 0xa5;
/// What memory for events holds before there are any.
pub const NO_EVENT: u8 = 0xee;
/// Vectors of which a table has at least as many, where the kernel is told another number.
const LONG_TABLE: u64 = 1100;
/// `sizeof(struct iovec)`
const VECTOR_BYTES: u64 = 16;
/// How far iocbs at odd addresses are off.
const SKEW: u64 = 20;

/// Where in the words of a thread what is.
const TIMEOUT_AT: u64 = 64;
const MASK_AT: u64 = 128;
const MASK_ARGUMENT_AT: u64 = 192;

/// An iocb whose address is in io_submit(2)'s array.
#[derive(Clone, Debug)]
pub struct Placed {
    /// Its address.
    pub addr: u64,
    /// What it is, where something is there.
    pub iocb: Option<Iocb>,
}

/// Writes arguments to memory.
pub struct Writer<'a> {
    /// The memory.
    pub arena: &'a Arena,
    /// The files that programs name.
    pub files: &'a [OpenFile],
    /// The iocbs there are, by address.
    pub iocbs: &'a mut HashMap<u64, Iocb>,
    /// Whether reads and writes are to be polled.
    pub hipri: bool,
}

/// The address of an iocb.
pub fn iocb_address(place: IocbPlace) -> u64 {
    let slot = |piece: Piece, index: u8| piece.addr() + u64::from(index) * IOCB_BYTES;
    match place {
        IocbPlace::Plain(index) => slot(IOCBS, index),
        IocbPlace::ReadOnly(index) => slot(READ_ONLY_IOCBS, index),
        IocbPlace::Skewed(index) => slot(SKEWED_IOCBS, index) + SKEW,
        IocbPlace::Crossing => SKEWED_IOCBS.end() - IOCB_BYTES / 2,
        IocbPlace::Bad(bad) => bad_address(bad),
    }
}

/// The name of an iocb in transcripts; its address where it has none.
pub fn iocb_name(addr: u64) -> String {
    for (piece, skew, letter) in [
        (IOCBS, 0, "i"),
        (READ_ONLY_IOCBS, 0, "r"),
        (SKEWED_IOCBS, SKEW, "s"),
    ] {
        let start = piece.addr() + skew;
        if addr >= start && addr < piece.end() && (addr - start) % IOCB_BYTES == 0 {
            return format!("{letter}{}", (addr - start) / IOCB_BYTES);
        }
    }
    format!("{addr:#x}")
}

/// The address of an array of elements of this size, of which `count` are to be there.
fn array_address(piece: Piece, place: ArrayPlace, element: u64) -> u64 {
    match place {
        ArrayPlace::Plain => piece.addr(),
        ArrayPlace::Cut(count) => piece.end() - u64::from(count) * element,
        ArrayPlace::Bad(bad) => bad_address(bad),
    }
}

/// The address of a thread's events.
pub fn events_address(thread: u8, place: EventsPlace) -> u64 {
    let own = of_thread(thread);
    match place {
        EventsPlace::Plain => own.events.addr(),
        EventsPlace::Cut(count) => own.events.end() - u64::from(count) * EVENT_BYTES,
        EventsPlace::Crossing(count) => {
            own.events.end() - u64::from(count) * EVENT_BYTES - EVENT_BYTES / 2
        }
        EventsPlace::ReadOnly => own.read_only.addr(),
        EventsPlace::Bad(bad) => bad_address(bad),
    }
}

impl Writer<'_> {
    /// A word for io_setup(2) to write an id to. Returns its address.
    pub fn id_word(&self, thread: u8, place: IdPlace) -> u64 {
        let words = of_thread(thread).words;
        match place {
            IdPlace::Zero => {
                self.arena.write_words(words.addr(), &[0]);
                words.addr()
            }
            IdPlace::Set(value) => {
                self.arena.write_words(words.addr(), &[value]);
                words.addr()
            }
            IdPlace::ReadOnly => READ_ONLY_ZERO.addr(),
            IdPlace::Crossing => words.end() - 4,
            IdPlace::Bad(bad) => bad_address(bad),
        }
    }

    /// A page that looks like a ring with this id. Returns its address.
    pub fn fake_ring(&self, id: u32) -> u64 {
        self.arena.write(FAKE_RING.addr(), &id.to_ne_bytes());
        FAKE_RING.addr()
    }

    /// Clears the memory for events of a thread. Returns the address of the events.
    pub fn events(&self, thread: u8, place: EventsPlace) -> u64 {
        let piece = of_thread(thread).events;
        self.arena
            .write(piece.addr(), &vec![NO_EVENT; piece.bytes() as usize]);
        events_address(thread, place)
    }

    /// A timeout. Returns its address.
    pub fn timeout(&self, thread: u8, timeout: Timeout) -> u64 {
        let (seconds, nanos) = match timeout {
            Timeout::Forever => return 0,
            Timeout::Bad(bad) => return bad_address(bad),
            Timeout::Micros(micros) => (
                i64::from(micros / 1_000_000),
                i64::from(micros % 1_000_000) * 1000,
            ),
            Timeout::Raw { seconds, nanos } => (seconds, nanos),
        };
        let addr = of_thread(thread).words.addr() + TIMEOUT_AT;
        self.arena
            .write_words(addr, &[seconds as u64, nanos as u64]);
        addr
    }

    /// The last argument of io_pgetevents(2). Returns its address.
    pub fn mask(&self, thread: u8, mask: MaskArgument) -> u64 {
        let words = of_thread(thread).words.addr();
        let signal = 1 << (SIGNAL - 1);
        let (set, at, bytes) = match mask {
            MaskArgument::Null => return 0,
            MaskArgument::Bad(bad) => return bad_address(bad),
            MaskArgument::NoMask => (0, 0, 8),
            MaskArgument::Empty => (0, words + MASK_AT, 8),
            MaskArgument::Blocking => (signal, words + MASK_AT, 8),
            MaskArgument::Size(bytes) => (0, words + MASK_AT, bytes),
            MaskArgument::BadMask(bad) => (0, bad_address(bad), 8),
        };
        self.arena.write_words(words + MASK_AT, &[set]);
        let argument = words + MASK_ARGUMENT_AT;
        self.arena.write_words(argument, &[at, bytes]);
        argument
    }

    /// A signal set with the program's signal in it. Returns its address.
    pub fn signal_set(&self, thread: u8) -> u64 {
        let addr = of_thread(thread).words.addr() + MASK_AT;
        self.arena.write_words(addr, &[1 << (SIGNAL - 1)]);
        addr
    }

    /// The array of io_submit(2), and the iocbs that it points to. Returns its address.
    pub fn batch(
        &mut self,
        thread: u8,
        entries: &[Entry],
        array: ArrayPlace,
    ) -> (u64, Vec<Placed>) {
        let _ = self
            .arena
            .protect(READ_ONLY_IOCBS, libc::PROT_READ | libc::PROT_WRITE);
        let mut vectors = of_thread(thread).vectors.addr();
        let mut placed = Vec::new();
        for entry in entries {
            let addr = iocb_address(entry.at);
            if let Some(iocb) = &entry.iocb {
                let bytes = self.encode(iocb, thread, &mut vectors);
                self.arena.write(addr, &bytes);
                self.iocbs.insert(addr, iocb.clone());
            }
            let iocb = self.iocb_at(entry.at);
            for _ in 0..entry.times {
                placed.push(Placed {
                    addr,
                    iocb: iocb.clone(),
                });
            }
        }
        let _ = self.arena.protect(READ_ONLY_IOCBS, libc::PROT_READ);
        let addr = self.pointers(thread, &placed, array);
        (addr, placed)
    }

    /// What lies at a place where an iocb may be.
    fn iocb_at(&self, place: IocbPlace) -> Option<Iocb> {
        match place {
            IocbPlace::Crossing | IocbPlace::Bad(_) => None,
            _ => {
                let known = self.iocbs.get(&iocb_address(place));
                Some(known.cloned().unwrap_or_else(Iocb::zeroes))
            }
        }
    }

    fn pointers(&self, thread: u8, placed: &[Placed], array: ArrayPlace) -> u64 {
        let piece = of_thread(thread).pointers;
        let addr = array_address(piece, array, 8);
        self.arena
            .write(piece.addr(), &vec![0; piece.bytes() as usize]);
        if matches!(array, ArrayPlace::Bad(_)) {
            return addr;
        }
        let room = (piece.end() - addr) / 8;
        let words = placed.iter().map(|placed| placed.addr);
        let words = words.take(room as usize).collect::<Vec<_>>();
        self.arena.write_words(addr, &words);
        addr
    }

    /// The bytes of an iocb, whose buffers are made ready.
    fn encode(&mut self, iocb: &Iocb, thread: u8, vectors: &mut u64) -> Vec<u8> {
        let (buf, nbytes) = match &iocb.memory {
            Memory::Buffer(segment) => (spot_address(segment.at), segment.bytes),
            Memory::Vectors {
                segments,
                count,
                table,
            } => {
                let addr = self.vectors(thread, segments, *count, *table, vectors);
                (addr, count.unwrap_or(segments.len() as u64))
            }
            Memory::Numbers { buf, nbytes } => (*buf, *nbytes),
        };
        self.make_ready(iocb);
        let offset = match iocb.offset {
            Offset::At(offset) => offset,
            Offset::FromEnd(offset) => self.device_size(iocb) + offset,
        };
        let mut flags = iocb.flags;
        if self.hipri && abi::direction(iocb.opcode).is_some() {
            flags |= abi::FLAG_HIPRI;
        }
        let mut bytes = Vec::new();
        bytes.extend(iocb.data.to_le_bytes());
        bytes.extend(iocb.key.to_le_bytes());
        bytes.extend(iocb.rw_flags.to_le_bytes());
        bytes.extend(iocb.opcode.to_le_bytes());
        bytes.extend(iocb.reqprio.to_le_bytes());
        bytes.extend(number(self.files, iocb.fd).to_le_bytes());
        bytes.extend(buf.to_le_bytes());
        bytes.extend(nbytes.to_le_bytes());
        bytes.extend(offset.to_le_bytes());
        bytes.extend(iocb.reserved.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes.extend(number(self.files, iocb.resfd).to_le_bytes());
        bytes
    }

    fn device_size(&self, iocb: &Iocb) -> i64 {
        let fd = number(self.files, iocb.fd);
        let file = self.files.iter().find(|file| file.fd == fd);
        file.map_or(0, |file| file.size as i64)
    }

    /// A table of vectors. Returns its address.
    fn vectors(
        &self,
        thread: u8,
        segments: &[Segment],
        count: Option<u64>,
        table: ArrayPlace,
        next: &mut u64,
    ) -> u64 {
        let piece = of_thread(thread).vectors;
        let room = if count.is_some() { LONG_TABLE } else { 1 };
        let bytes = room.max(segments.len() as u64) * VECTOR_BYTES;
        let addr = match table {
            ArrayPlace::Plain if *next + bytes <= piece.end() => *next,
            ArrayPlace::Plain => piece.end() - segments.len() as u64 * VECTOR_BYTES,
            other => return self.cut_vectors(piece, segments, other),
        };
        *next = (addr + bytes).min(piece.end());
        self.arena.write(addr, &vec![0; (*next - addr) as usize]);
        self.arena.write_words(addr, &vector_words(segments));
        addr
    }

    fn cut_vectors(&self, piece: Piece, segments: &[Segment], table: ArrayPlace) -> u64 {
        let addr = array_address(piece, table, VECTOR_BYTES);
        if let ArrayPlace::Cut(count) = table {
            let kept = segments.len().min(usize::from(count));
            self.arena
                .write_words(addr, &vector_words(&segments[..kept]));
        }
        addr
    }

    /// Gives the memory of a write a pattern, and that of a read something to be overwritten.
    fn make_ready(&self, iocb: &Iocb) {
        let Some(direction) = abi::direction(iocb.opcode) else {
            return;
        };
        for segment in own_segments(iocb) {
            let addr = spot_address(segment.at);
            let bytes = arena::mapped_bytes(segment.at, segment.bytes);
            match direction {
                Direction::Read => self.arena.write(addr, &vec![BEFORE; bytes as usize]),
                Direction::Write => self.arena.fill(addr, bytes, iocb.data),
            }
        }
    }
}

fn vector_words(segments: &[Segment]) -> Vec<u64> {
    segments
        .iter()
        .flat_map(|segment| [spot_address(segment.at), segment.bytes])
        .collect()
}

/// The pieces of memory that nothing but this I/O uses.
pub fn own_segments(iocb: &Iocb) -> Vec<Segment> {
    let segments = match &iocb.memory {
        Memory::Buffer(segment) => std::slice::from_ref(segment),
        Memory::Vectors { segments, .. } => segments,
        Memory::Numbers { .. } => &[],
    };
    let own = |segment: &&Segment| matches!(segment.at, Spot::Data(_));
    segments.iter().filter(own).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::BadAddress;

    #[test]
    fn iocbs_have_names() {
        let name = |place| iocb_name(iocb_address(place));
        assert_eq!(name(IocbPlace::Plain(0)), "i0");
        assert_eq!(name(IocbPlace::Plain(47)), "i47");
        assert_eq!(name(IocbPlace::ReadOnly(3)), "r3");
        assert_eq!(name(IocbPlace::Skewed(3)), "s3");
        assert_eq!(name(IocbPlace::Bad(BadAddress::Null)), "0x0");
        assert_eq!(
            iocb_name(IOCBS.addr() + 1),
            format!("{:#x}", IOCBS.addr() + 1)
        );
    }

    #[test]
    fn events_end_where_they_should() {
        let events = of_thread(1).events;
        assert_eq!(events_address(1, EventsPlace::Cut(0)), events.end());
        assert_eq!(
            events_address(1, EventsPlace::Crossing(1)),
            events.end() - 48
        );
    }
}
