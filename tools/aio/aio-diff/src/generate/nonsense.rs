// SPDX-License-Identifier: GPL-2.0-only

//! Arguments that make no sense.

use super::Generator;
use crate::abi::{self, Direction};
use crate::program::{ArrayPlace, BadAddress, Fd, Iocb, Memory, Offset, Segment, Spot};

impl Generator {
    /// An address that is good for nothing.
    pub fn bad_address(&mut self) -> BadAddress {
        self.random.weighted(&[
            (2, BadAddress::Null),
            (3, BadAddress::Unmapped),
            (1, BadAddress::Kernel),
            (1, BadAddress::NonCanonical),
        ])
    }

    /// An array's place that is mostly not good.
    pub fn bad_array(&mut self, elements: usize) -> ArrayPlace {
        if self.random.chance(60) {
            let cut = self.random.below(elements as u64 + 2);
            ArrayPlace::Cut(cut as u16)
        } else {
            ArrayPlace::Bad(self.bad_address())
        }
    }

    /// Spoils one thing about an iocb, or two.
    pub fn make_nonsense(&mut self, iocb: &mut Iocb) {
        self.spoil(iocb);
        if self.random.chance(40) {
            self.spoil(iocb);
        }
    }

    fn spoil(&mut self, iocb: &mut Iocb) {
        match self.random.below(10) {
            0 => iocb.reserved = self.random.pick(&[1, 1 << 63, u64::MAX]),
            1 => {
                let any = self.random.word() as u16;
                iocb.opcode = self.random.pick(&[4, abi::NOOP, 9, 255, u16::MAX, any]);
            }
            2 => iocb.fd = self.bad_fd(),
            3 => self.spoil_flags(iocb),
            4 => {
                let bit = 1 << self.random.below(32);
                let known = self.random.below(0x200) as u32;
                iocb.rw_flags = self.random.pick(&[bit, known, known, u32::MAX]);
            }
            5 => iocb.offset = self.bad_offset(),
            6 => iocb.key = self.random.word() as u32,
            _ => self.spoil_memory(iocb),
        }
    }

    fn bad_fd(&mut self) -> Fd {
        let other = self.any_file();
        self.random.pick(&[
            Fd::Number(-1),
            Fd::Number(9999),
            Fd::Number(i32::MIN),
            Fd::Number(i32::MAX),
            Fd::File(other),
            Fd::Other(other),
        ])
    }

    fn spoil_flags(&mut self, iocb: &mut Iocb) {
        match self.random.below(3) {
            0 => {
                iocb.flags |= abi::FLAG_RESFD;
                iocb.resfd = self.bad_fd();
            }
            1 => {
                iocb.flags |= abi::FLAG_IOPRIO;
                iocb.reqprio = self.random.word() as u16;
            }
            _ => iocb.flags |= self.random.word() as u32 & !0x7,
        }
    }

    fn bad_offset(&mut self) -> Offset {
        let any = self.random.word() as i64;
        let offset = self.random.pick(&[
            -1,
            -4096,
            i64::MIN,
            i64::MAX,
            i64::MAX - 4095,
            1 << 40,
            1 << 62,
            any | i64::MIN,
        ]);
        Offset::At(offset)
    }

    fn spoil_memory(&mut self, iocb: &mut Iocb) {
        let reads = abi::direction(iocb.opcode) != Some(Direction::Write);
        match &mut iocb.memory {
            Memory::Buffer(segment) => *segment = self.bad_segment(reads),
            Memory::Vectors { .. } => iocb.memory = self.bad_vectors(reads),
            Memory::Numbers { .. } => {
                let word = self.random.word();
                let buf = self.random.pick(&[0x1_0000, (1 << 32) | 1, word, 1]);
                let nbytes = self.random.pick(&[0, 0, 1, 1 << 63]);
                iocb.memory = Memory::Numbers { buf, nbytes };
            }
        }
    }

    /// Memory that is not there, or only in part, or too much of it.
    fn bad_segment(&mut self, reads: bool) -> Segment {
        let back = self.random.pick(&[0, 1, 511, 512, 4096, 6000, 8192]);
        let end = if reads {
            Spot::SinkEnd(back)
        } else {
            Spot::SourceEnd(back)
        };
        let bad = Spot::Bad(self.bad_address());
        let read_only = Spot::ReadOnly(self.random.pick(&[0, 100, 4096]));
        let at = self.random.weighted(&[(5, end), (3, bad), (2, read_only)]);
        let bytes = self.random.weighted(&[
            (4, 4096),
            (4, 8192),
            (2, 65536),
            (1, 0),
            (1, 1 << 63),
            (1, u64::MAX),
            (1, i64::MAX as u64),
            (1, 1 << 40),
            (1, 0x7fff_f000),
            (1, 0x8000_0000),
        ]);
        Segment {
            at,
            bytes: match at {
                // As long as there is memory there.
                Spot::ReadOnly(_) => bytes.min(8192),
                _ => bytes,
            },
        }
    }

    fn bad_vectors(&mut self, reads: bool) -> Memory {
        let mut segments = (0..self.random.between(1, 3))
            .map(|_| self.segment(4096, reads))
            .collect::<Vec<_>>();
        let mut count = None;
        let mut table = ArrayPlace::Plain;
        match self.random.below(3) {
            0 => segments.push(self.bad_segment(reads)),
            1 => {
                let word = self.random.word();
                let choices = [0, 1024, 1025, (1 << 32) | 1, 1 << 32, i64::MAX as u64, word];
                count = Some(self.random.pick(&choices));
            }
            _ => table = self.bad_array(segments.len()),
        }
        Memory::Vectors {
            segments,
            count,
            table,
        }
    }
}
