// SPDX-License-Identifier: GPL-2.0-only

//! Which I/O can carry the flag, and the reasons why some cannot.

use core::fmt;

use aio_abi::{self as abi, Iocb};

use crate::file::FileState;
use crate::system::System;
use crate::verdicts::{Verdict, Verdicts};

/// Why an I/O is not polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// The kernel does not announce polled AIO in the context's ring.
    KernelLacksPolling,
    /// Neither a read nor a write.
    Operation,
    /// Completion goes to an eventfd, for which nobody polls.
    Eventfd,
    /// The file is not open with `O_DIRECT`.
    Buffered,
    /// The file's device has no poll queues.
    PollQueues,
    /// Which device the file is on, or whether that has poll queues, cannot be told.
    DeviceUnknown,
    /// The kernel refused to poll: by its setting, or as the file system does not support it.
    Unsupported,
    /// There is no room for a second context, or for what wakes those who wait in the first.
    NoRoom,
}

impl Reason {
    /// All of them, in the order of their codes.
    pub const ALL: [Reason; 8] = [
        Reason::KernelLacksPolling,
        Reason::Operation,
        Reason::Eventfd,
        Reason::Buffered,
        Reason::PollQueues,
        Reason::DeviceUnknown,
        Reason::Unsupported,
        Reason::NoRoom,
    ];

    /// The reason `code` stands for: the inverse of `reason as u8`.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }

    /// It in a few words, for a list.
    pub fn label(self) -> &'static str {
        match self {
            Reason::KernelLacksPolling => "kernel without polled AIO",
            Reason::Operation => "not a read or write",
            Reason::Eventfd => "eventfd",
            Reason::Buffered => "not O_DIRECT",
            Reason::PollQueues => "no poll queues",
            Reason::DeviceUnknown => "unknown device",
            Reason::Unsupported => "refused by the kernel",
            Reason::NoRoom => "no room for a second context",
        }
    }

    /// Whether it says something about the program or the machine that a user may not expect.
    ///
    /// That `fsync` is not polled is no news, and there is nothing to be done about it.
    pub fn is_news(self) -> bool {
        self != Reason::Operation
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::KernelLacksPolling => "this kernel does not offer polled AIO",
            Reason::Operation => "it is neither a read nor a write",
            Reason::Eventfd => "it completes through an eventfd",
            Reason::Buffered => "the file is not open with O_DIRECT",
            Reason::PollQueues => {
                "the device has no poll queues; `hipri-run --check FILE` says how it gets some"
            }
            Reason::DeviceUnknown => {
                "/sys does not tell whether the device has poll queues; it must be mounted and \
                 readable, a descriptor be left for it, and the file not be on f2fs or on a \
                 realtime device of XFS"
            }
            Reason::Unsupported => {
                "the kernel refuses to poll this file; its file system must support that, \
                 and the sysctl fs.aio-poll not be 0"
            }
            Reason::NoRoom => {
                "there is no room for a second context; raise the sysctl fs.aio-max-nr"
            }
        })
    }
}

/// Which way an I/O goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Polled.
    Polled,
    /// Not polled, for this reason.
    Plain(Reason),
    /// Wherever: the kernel refuses it.
    Nowhere,
}

/// The way for an iocb; `None` stands for one whose address is not valid.
///
/// Files are looked up where `verdicts` do not know them.
#[inline]
pub fn way(iocb: Option<&Iocb>, verdicts: &Verdicts, system: &impl System) -> Way {
    let Some(iocb) = iocb else {
        return Way::Nowhere;
    };
    match iocb.opcode {
        abi::PREAD | abi::PWRITE | abi::PREADV | abi::PWRITEV => {}
        abi::FSYNC | abi::FDSYNC | abi::POLL => return Way::Plain(Reason::Operation),
        _ => return Way::Nowhere,
    }
    if iocb.flags & abi::FLAG_RESFD != 0 {
        return Way::Plain(Reason::Eventfd);
    }
    match verdict(iocb.fildes, verdicts, system) {
        Ok(()) => Way::Polled,
        Err(reason) => Way::Plain(reason),
    }
}

fn verdict(fd: u32, verdicts: &Verdicts, system: &impl System) -> Verdict {
    match verdicts.recall(fd) {
        Some(verdict) => verdict,
        None => find_out(fd, verdicts, system),
    }
}

#[cold]
fn find_out(fd: u32, verdicts: &Verdicts, system: &impl System) -> Verdict {
    let verdict = match system.look_up(fd) {
        FileState::Pollable => Ok(()),
        FileState::Buffered => Err(Reason::Buffered),
        FileState::WithoutPollQueues => Err(Reason::PollQueues),
        FileState::DeviceUnknown => Err(Reason::DeviceUnknown),
        // A descriptor may be left for the next I/O.
        FileState::DeviceUnknownForNow => return Err(Reason::DeviceUnknown),
        // Not worth remembering: the kernel will say so.
        FileState::Closed => return Ok(()),
    };
    verdicts.remember(fd, verdict);
    verdict
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::test_iocb as iocb;
    use crate::played::Played;

    fn way_of(opcode: u16, flags: u32, file: FileState) -> Way {
        let played = Played::new();
        played.file(3, file);
        way(Some(&iocb(opcode, flags)), &Verdicts::new(), &played)
    }

    #[test]
    fn direct_reads_and_writes_are_polled() {
        for opcode in [abi::PREAD, abi::PWRITE, abi::PREADV, abi::PWRITEV] {
            assert_eq!(way_of(opcode, 0, FileState::Pollable), Way::Polled);
        }
    }

    #[test]
    fn every_other_operation_is_not() {
        for opcode in [abi::FSYNC, abi::FDSYNC, abi::POLL] {
            let way = way_of(opcode, 0, FileState::Pollable);
            assert_eq!(way, Way::Plain(Reason::Operation));
        }
        // Two that were never defined, NOOP, and an unknown one.
        for opcode in [4, 6, 9, u16::MAX] {
            assert_eq!(way_of(opcode, 0, FileState::Pollable), Way::Nowhere);
        }
    }

    #[test]
    fn an_eventfd_is_not_polled_whatever_else_is_set() {
        let flags = abi::FLAG_RESFD | abi::FLAG_HIPRI;
        let way = way_of(abi::PREAD, flags, FileState::Pollable);
        assert_eq!(way, Way::Plain(Reason::Eventfd));
    }

    #[test]
    fn priority_does_not_matter() {
        assert_eq!(way_of(abi::PREAD, 1 << 1, FileState::Pollable), Way::Polled);
    }

    #[test]
    fn the_file_must_be_open_for_direct_io_on_a_device_that_polls() {
        let way = |file| way_of(abi::PWRITE, 0, file);
        assert_eq!(way(FileState::Buffered), Way::Plain(Reason::Buffered));
        let no_queues = FileState::WithoutPollQueues;
        assert_eq!(way(no_queues), Way::Plain(Reason::PollQueues));
        for unknown in [FileState::DeviceUnknown, FileState::DeviceUnknownForNow] {
            assert_eq!(way(unknown), Way::Plain(Reason::DeviceUnknown));
        }
        // The kernel refuses it, whichever way it goes.
        assert_eq!(way(FileState::Closed), Way::Polled);
    }

    #[test]
    fn an_address_that_is_none_goes_nowhere() {
        assert_eq!(way(None, &Verdicts::new(), &Played::new()), Way::Nowhere);
    }

    #[test]
    fn what_may_be_otherwise_the_next_time_is_looked_up_every_time() {
        let (played, verdicts) = (Played::new(), Verdicts::new());
        for (state, looks) in [
            (FileState::Buffered, 1),
            (FileState::DeviceUnknown, 1),
            (FileState::DeviceUnknownForNow, 3),
            (FileState::Closed, 3),
        ] {
            played.file(3, state);
            verdicts.reset();
            played.looked_up.take();
            for _ in 0..3 {
                way(Some(&iocb(abi::PREAD, 0)), &verdicts, &played);
            }
            assert_eq!(played.looked_up.take(), vec![3; looks]);
        }
    }

    #[test]
    fn hundreds_of_descriptors_are_looked_up_once() {
        let (played, verdicts) = (Played::new(), Verdicts::new());
        let of_file = |fildes| Iocb {
            fildes,
            ..iocb(abi::PREAD, 0)
        };
        for _ in 0..3 {
            for fd in 3..503 {
                way(Some(&of_file(fd)), &verdicts, &played);
            }
        }
        assert_eq!(played.looked_up.take(), Vec::from_iter(3..503));
    }

    #[test]
    fn codes_name_their_reasons() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_code(reason as u8), Some(reason));
        }
        assert_eq!(Reason::from_code(Reason::ALL.len() as u8), None);
    }
}
