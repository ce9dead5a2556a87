// SPDX-License-Identifier: GPL-2.0-only

//! When I/O completes, and which I/O must not be in flight at the same time.
//!
//! What two overlapping I/Os leave behind depends on which of them the device does first, which
//! would be no difference between kernels. So whoever generates or runs a program keeps them apart.

use crate::abi::{self, Direction};
use crate::program::{Device, Fd, Iocb, Memory, Object, Offset, Place, Program};

/// What completes an operation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pace {
    /// Its submission.
    Inline,
    /// A device, or a worker behind one.
    Device,
    /// A worker.
    Worker,
    /// A wake-up, some day.
    Poll,
}

/// What completes the operation of `iocb`, if it is accepted.
pub fn pace(program: &Program, iocb: &Iocb) -> Pace {
    match iocb.opcode {
        abi::FSYNC | abi::FDSYNC => Pace::Worker,
        abi::POLL => Pace::Poll,
        _ if is_direct(program, iocb.fd) => Pace::Device,
        _ => Pace::Inline,
    }
}

/// Whether I/O on `fd` goes to a device and may still be there when its submission returns.
fn is_direct(program: &Program, fd: Fd) -> bool {
    let Some((index, file)) = program.file(fd) else {
        return false;
    };
    let on_device = match program.object(index) {
        Some(Object::Regular { place, .. }) => place != Place::Tmpfs,
        Some(Object::Raw(_)) => true,
        _ => false,
    };
    file.flags.direct && on_device
}

/// What bytes belong to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Store {
    /// The file with this number.
    File(usize),
    /// A block device.
    Device(Device),
}

/// What is done to a store. The count of an eventfd is one, too.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Deed {
    Read,
    Write,
    /// Adds to a count.
    Signal,
    /// Reads a count, or waits for it.
    Look,
}

impl Deed {
    /// Whether the outcome depends on which of the two comes first.
    fn conflicts(self, other: Self) -> bool {
        matches!(
            (self, other),
            (Self::Write, Self::Read | Self::Write)
                | (Self::Read, Self::Write)
                | (Self::Signal, Self::Look)
                | (Self::Look, Self::Signal)
        )
    }
}

/// Bytes of a file that an operation reads or writes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Claim {
    store: Store,
    start: i64,
    end: i64,
    deed: Deed,
}

/// Caches and devices work on units of at most this many bytes.
const UNIT: i64 = 4096;

impl Claim {
    /// Whether the two must not be in flight at once.
    pub fn conflicts(&self, other: &Self) -> bool {
        self.store == other.store
            && self.deed.conflicts(other.deed)
            && self.start < other.end
            && other.start < self.end
    }

    /// All of a regular file or a device, to be written; [`None`] for anything else.
    pub fn whole(program: &Program, fd: Fd) -> Option<Self> {
        Some(Self {
            store: store(program, fd)?,
            start: i64::MIN,
            end: i64::MAX,
            deed: Deed::Write,
        })
    }

    /// What the operation of `iocb` claims: bytes of a regular file or a device, and the counts of
    /// eventfds.
    pub fn of(program: &Program, iocb: &Iocb) -> Vec<Self> {
        let mut claims = Vec::new();
        claims.extend(Self::of_data(program, iocb));
        claims.extend(Self::of_count(program, iocb.fd, Deed::Look));
        if iocb.flags & abi::FLAG_RESFD != 0 {
            claims.extend(Self::of_count(program, iocb.resfd, Deed::Signal));
        }
        claims
    }

    fn of_data(program: &Program, iocb: &Iocb) -> Option<Self> {
        let deed = match abi::direction(iocb.opcode)? {
            Direction::Read => Deed::Read,
            Direction::Write => Deed::Write,
        };
        let whole = Self::whole(program, iocb.fd)?;
        let Offset::At(start) = iocb.offset else {
            return Some(Self { deed, ..whole });
        };
        let bytes = i64::try_from(length(&iocb.memory)).unwrap_or(i64::MAX);
        let end = start.saturating_add(bytes);
        if deed == Deed::Write && changes_size(program, iocb, end) {
            return Some(whole);
        }
        Some(Self {
            start: start - start.rem_euclid(UNIT),
            end: end.saturating_add(UNIT - 1) & !(UNIT - 1),
            deed,
            ..whole
        })
    }

    /// The count of an eventfd.
    fn of_count(program: &Program, fd: Fd, deed: Deed) -> Option<Self> {
        let (index, _) = program.file(fd)?;
        match program.object(index)? {
            Object::EventFd { .. } => Some(Self {
                store: Store::File(index),
                start: 0,
                end: 1,
                deed,
            }),
            _ => None,
        }
    }
}

/// Whether two operations must not be in flight at once, by what they claim.
pub fn conflict(one: &[Claim], other: &[Claim]) -> bool {
    one.iter()
        .any(|claim| other.iter().any(|other| claim.conflicts(other)))
}

fn store(program: &Program, fd: Fd) -> Option<Store> {
    let (index, _) = program.file(fd)?;
    match program.object(index)? {
        Object::Regular { .. } => Some(Store::File(index)),
        Object::Raw(device) => Some(Store::Device(device)),
        _ => None,
    }
}

/// Whether a write that ends at `end` can move the end of its file: then it matters to all others.
fn changes_size(program: &Program, iocb: &Iocb, end: i64) -> bool {
    let Some((index, file)) = program.file(iocb.fd) else {
        return false;
    };
    let Some(Object::Regular { size, .. }) = program.object(index) else {
        return false;
    };
    file.flags.append || iocb.rw_flags & abi::RWF_APPEND != 0 || end > i64::from(size)
}

/// Bytes that an I/O on `memory` moves, if all goes well.
fn length(memory: &Memory) -> u64 {
    match memory {
        Memory::Buffer(segment) => segment.bytes,
        Memory::Vectors { segments, .. } => segments
            .iter()
            .fold(0, |sum: u64, segment| sum.saturating_add(segment.bytes)),
        Memory::Numbers { nbytes, .. } => *nbytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::program::{Access, End, FileSpec, Layout, OpenFlags, Segment, Spot};

    fn program() -> Program {
        let object = Object::Regular {
            place: Place::Ext4,
            size: 65536,
            layout: Layout::Written,
        };
        let eventfd = Object::EventFd {
            count: 0,
            semaphore: false,
        };
        let file = |object, direct| FileSpec {
            object,
            access: Access::Both,
            flags: OpenFlags {
                direct,
                ..OpenFlags::default()
            },
        };
        Program {
            seed: 0,
            one_cpu: true,
            unprivileged: false,
            pollable: false,
            files: vec![
                file(object, true),
                file(Object::Again(0), false),
                file(Object::Pipe, false),
                file(eventfd, false),
            ],
            steps: Vec::new(),
            end: End::Exit,
        }
    }

    fn iocb(opcode: u16, file: u8, offset: i64, bytes: u64) -> Iocb {
        Iocb {
            data: 0,
            key: 0,
            rw_flags: 0,
            opcode,
            reqprio: 0,
            fd: Fd::File(file),
            memory: Memory::Buffer(Segment {
                at: Spot::Data(0),
                bytes,
            }),
            offset: Offset::At(offset),
            reserved: 0,
            flags: 0,
            resfd: Fd::Number(0),
        }
    }

    fn conflict(one: &Iocb, other: &Iocb) -> bool {
        let program = program();
        super::conflict(&Claim::of(&program, one), &Claim::of(&program, other))
    }

    #[test]
    fn only_direct_io_is_left_to_a_device() {
        let program = program();
        let pace_of = |opcode, file| pace(&program, &iocb(opcode, file, 0, 512));
        assert_eq!(pace_of(abi::PREAD, 0), Pace::Device);
        assert_eq!(pace_of(abi::PREAD, 1), Pace::Inline);
        assert_eq!(pace_of(abi::PREAD, 2), Pace::Inline);
        assert_eq!(pace_of(abi::FSYNC, 2), Pace::Worker);
        assert_eq!(pace_of(abi::POLL, 0), Pace::Poll);
    }

    #[test]
    fn writes_conflict_with_what_shares_a_unit() {
        let write = iocb(abi::PWRITE, 0, 4096, 512);
        assert!(conflict(&write, &iocb(abi::PREAD, 1, 8000, 10)));
        assert!(!conflict(&write, &iocb(abi::PREAD, 1, 8192, 10)));
        assert!(!conflict(&write, &iocb(abi::PREAD, 1, 0, 4096)));
        let read = iocb(abi::PREAD, 0, 4096, 512);
        assert!(!conflict(&read, &read));
    }

    #[test]
    fn a_write_that_moves_the_end_conflicts_with_all_of_the_file() {
        let write = iocb(abi::PWRITE, 0, 65536, 4096);
        assert!(conflict(&write, &iocb(abi::PREAD, 0, 0, 1)));
        assert!(conflict(&write, &iocb(abi::PREAD, 0, 1 << 40, 1)));
    }

    #[test]
    fn a_pipe_is_no_store() {
        assert_eq!(Claim::of(&program(), &iocb(abi::PREAD, 2, 0, 1)), []);
    }

    #[test]
    fn who_signals_an_eventfd_conflicts_with_who_reads_it() {
        let mut signal = iocb(abi::PREAD, 0, 0, 1);
        signal.resfd = Fd::File(3);
        assert!(!conflict(&signal, &iocb(abi::PREAD, 3, 0, 8)));
        signal.flags = abi::FLAG_RESFD;
        assert!(conflict(&signal, &iocb(abi::PREAD, 3, 0, 8)));
        assert!(conflict(&signal, &iocb(abi::POLL, 3, 0, 0)));
        assert!(!conflict(&signal, &iocb(abi::POLL, 2, 0, 0)));
        let poll = iocb(abi::POLL, 3, 0, 0);
        assert!(!conflict(&poll, &poll));
    }
}
