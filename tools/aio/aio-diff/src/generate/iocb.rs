// SPDX-License-Identifier: GPL-2.0-only

//! iocbs that make sense; [`super::nonsense`] takes some of it away again.

use super::Generator;
use crate::abi::{self, Direction};
use crate::claim;
use crate::program::{ArrayPlace, Fd, Iocb, Memory, Object, Offset, Place, Segment, Spot};

/// A page, and the block size that suits every device and file system.
const BLOCK: u32 = 4096;

/// Offsets of ordinary I/O are less than this many blocks.
const BLOCKS: u64 = 32;

/// Bytes of the data area that a program may use.
const DATA_BYTES: u32 = 3 << 19;

/// The largest piece of memory that one I/O gets of the data area.
pub const LARGEST: u64 = 131_072;

impl Generator {
    /// An iocb for one of the program's files.
    pub fn iocb(&mut self) -> Iocb {
        let index = self.any_file();
        let opcode = self.opcode_for(index);
        let mut iocb = self.iocb_of(opcode, index);
        self.keep_stable(&mut iocb);
        iocb
    }

    /// An iocb that makes no sense.
    pub fn nonsense_iocb(&mut self) -> Iocb {
        let mut iocb = self.iocb();
        self.make_nonsense(&mut iocb);
        self.keep_stable(&mut iocb);
        iocb
    }

    fn opcode_for(&mut self, index: u8) -> u16 {
        if self.program.pollable {
            return self
                .random
                .pick(&[abi::PREAD, abi::PWRITE, abi::PREADV, abi::PWRITEV]);
        }
        let transfers = &[
            (6, abi::PREAD),
            (6, abi::PWRITE),
            (2, abi::PREADV),
            (2, abi::PWRITEV),
        ];
        match self.program.object(usize::from(index)) {
            Some(Object::Regular { .. } | Object::Raw(_) | Object::Directory(_)) => {
                let mut choices = transfers.to_vec();
                choices.extend([(1, abi::FSYNC), (1, abi::FDSYNC), (1, abi::POLL)]);
                self.random.weighted(&choices)
            }
            Some(Object::Zero | Object::Null | Object::Full) => self.random.weighted(transfers),
            Some(Object::EventFd { .. }) => self.random.weighted(&[
                (10, abi::POLL),
                (6, abi::PREAD),
                (1, abi::PREADV),
                (1, abi::PWRITE),
            ]),
            _ => {
                let mut choices = transfers.to_vec();
                choices.extend([(16, abi::POLL), (1, abi::FSYNC)]);
                self.random.weighted(&choices)
            }
        }
    }

    /// An iocb with this opcode for the file with this number.
    pub fn iocb_of(&mut self, opcode: u16, index: u8) -> Iocb {
        let mut iocb = Iocb {
            data: self.random.word(),
            key: 0,
            rw_flags: 0,
            opcode,
            reqprio: 0,
            fd: self.end_for(opcode, index),
            memory: Memory::Numbers { buf: 0, nbytes: 0 },
            offset: Offset::At(0),
            reserved: 0,
            flags: 0,
            resfd: Fd::Number(0),
        };
        if opcode == abi::POLL {
            let buf = self.poll_events();
            iocb.memory = Memory::Numbers { buf, nbytes: 0 };
        }
        if abi::direction(opcode).is_some() {
            self.aim(&mut iocb, index);
        }
        self.decorate(&mut iocb);
        iocb
    }

    /// The end of a pipe or of a pair of sockets that fits, mostly.
    fn end_for(&mut self, opcode: u16, index: u8) -> Fd {
        let fits = match self.program.object(usize::from(index)) {
            Some(Object::Pipe) => match abi::direction(opcode) {
                Some(Direction::Read) => Fd::File(index),
                Some(Direction::Write) => Fd::Other(index),
                None => self.random.pick(&[Fd::File(index), Fd::Other(index)]),
            },
            Some(Object::Sockets(_)) => self.random.pick(&[Fd::File(index), Fd::Other(index)]),
            _ => return Fd::File(index),
        };
        if self.random.chance(5) {
            self.random.pick(&[Fd::File(index), Fd::Other(index)])
        } else {
            fits
        }
    }

    fn poll_events(&mut self) -> u64 {
        self.random.weighted(&[
            (8, 0x001),
            (5, 0x004),
            (3, 0x005),
            (1, 0x002),
            (1, 0x2000),
            (1, 0x010),
            (1, 0),
            (1, 0x3c3),
            (1, 0xffff),
        ])
    }

    /// Gives a read or write its memory and its place in the file.
    fn aim(&mut self, iocb: &mut Iocb, index: u8) {
        let bytes = self.bytes_for(index);
        iocb.offset = self.offset_for(index, bytes);
        let reads = abi::direction(iocb.opcode) == Some(Direction::Read);
        iocb.memory = if matches!(iocb.opcode, abi::PREADV | abi::PWRITEV) {
            self.vectors(bytes, reads)
        } else {
            Memory::Buffer(self.segment(bytes, reads))
        };
    }

    fn bytes_for(&mut self, index: u8) -> u64 {
        match self.program.object(usize::from(index)) {
            Some(Object::EventFd { .. }) => self.random.weighted(&[(8, 8), (1, 4), (1, 16)]),
            Some(Object::Regular { .. } | Object::Raw(_)) => self.random.weighted(&[
                (10, 4096),
                (4, 8192),
                (2, 512),
                (2, 16384),
                (1, 65536),
                (1, LARGEST),
                (1, 1000),
                (1, 1),
                (1, 0),
            ]),
            _ => self.random.weighted(&[
                (6, 16),
                (4, 1),
                (3, 300),
                (2, 4096),
                (1, 5000),
                (1, 65536),
                (1, 0),
            ]),
        }
    }

    fn offset_for(&mut self, index: u8, bytes: u64) -> Offset {
        let block = self.random.below(BLOCKS) * u64::from(BLOCK);
        let odd = self.random.below(BLOCKS * u64::from(BLOCK));
        match self.program.object(usize::from(index)) {
            Some(Object::Raw(_)) if self.random.chance(8) => {
                let back = self.random.pick(&[0, 512, 4096, bytes as i64, 16384]);
                Offset::FromEnd(-back)
            }
            Some(Object::Regular { .. } | Object::Raw(_)) => {
                let choices = [(12, block), (2, block + 512), (1, odd)];
                Offset::At(self.random.weighted(&choices) as i64)
            }
            _ => Offset::At(self.random.weighted(&[(8, 0), (1, odd as i64)])),
        }
    }

    /// Memory that no other I/O of the program has, as long as there is some.
    pub fn segment(&mut self, bytes: u64, reads: bool) -> Segment {
        let bytes = bytes.min(LARGEST);
        let shift = self.random.weighted(&[(20, 0), (2, 512), (1, 1), (1, 7)]);
        let pages = (bytes + shift).div_ceil(u64::from(BLOCK)) as u32 * BLOCK;
        let at = if self.used + pages <= DATA_BYTES {
            let at = Spot::Data(self.used + shift as u32);
            self.used += pages;
            at
        } else if reads {
            Spot::SinkEnd(LARGEST as u32)
        } else {
            Spot::SourceEnd(LARGEST as u32)
        };
        Segment { at, bytes }
    }

    fn vectors(&mut self, bytes: u64, reads: bool) -> Memory {
        let many = self.random.chance(4);
        let pieces = if many {
            self.random.pick(&[9, 40, 200])
        } else {
            self.random.between(0, 4)
        };
        let each = if many { 512 } else { bytes };
        let segments = (0..pieces)
            .map(|_| {
                let bytes = if self.random.chance(5) { 0 } else { each };
                self.segment(bytes.min(16384), reads)
            })
            .collect();
        Memory::Vectors {
            segments,
            count: None,
            table: ArrayPlace::Plain,
        }
    }

    /// Adds flags, most of which are none.
    fn decorate(&mut self, iocb: &mut Iocb) {
        if abi::direction(iocb.opcode).is_some() && self.random.chance(20) {
            iocb.rw_flags = self.random.weighted(&[
                (3, abi::RWF_NOWAIT),
                (2, abi::RWF_DSYNC),
                (1, abi::RWF_SYNC),
                (2, abi::RWF_APPEND),
                (2, abi::RWF_HIPRI),
                (1, 0x80),
                (1, abi::RWF_HIPRI | abi::RWF_DSYNC),
            ]);
        }
        if self.random.chance(8) {
            iocb.flags |= abi::FLAG_IOPRIO;
            // Best effort, idle, none; real time needs a privilege.
            iocb.reqprio = self.random.pick(&[0x4004, 0x6000, 0, 0x2003, 0x4007]);
        }
        let eventfds = self.files(|object| matches!(object, Object::EventFd { .. }));
        if !eventfds.is_empty() && self.random.chance(15) {
            iocb.flags |= abi::FLAG_RESFD;
            iocb.resfd = Fd::File(self.random.pick(&eventfds));
        }
    }

    /// Takes away what would make the outcome a matter of time.
    ///
    /// A write that may not wait fails where it would have to update the time of the last change,
    /// which it has to when a tick has passed. [`abi::FLAG_HIPRI`] is what kernels may differ in,
    /// and a polled context takes nothing but reads and writes.
    fn keep_stable(&self, iocb: &mut Iocb) {
        iocb.flags &= !abi::FLAG_HIPRI;
        if self.program.pollable && matches!(iocb.opcode, abi::FSYNC | abi::FDSYNC | abi::POLL) {
            iocb.opcode = abi::NOOP;
        }
        let object = self
            .program
            .file(iocb.fd)
            .and_then(|(index, _)| self.program.object(index));
        let on_disk = matches!(
            object,
            Some(Object::Regular {
                place: Place::Ext4 | Place::Xfs,
                ..
            })
        );
        if on_disk && abi::direction(iocb.opcode) == Some(Direction::Write) {
            iocb.rw_flags &= !abi::RWF_NOWAIT;
        }
    }

    /// Whether nothing but a submission completes this iocb's operation, so that many of them can
    /// share their memory.
    pub fn is_repeatable(&self, iocb: &Iocb) -> bool {
        matches!(
            claim::pace(&self.program, iocb),
            claim::Pace::Inline | claim::Pace::Poll
        )
    }
}
