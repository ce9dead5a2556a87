// SPDX-License-Identifier: GPL-2.0-only

//! Which I/O can carry the flag, and the reasons why some cannot.

use std::fmt;

use crate::abi::{self, Iocb};
use crate::file::FileState;

/// Why an I/O, and with it its context, is not polled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Reason {
    /// The kernel does not announce polled AIO in the context's ring.
    KernelLacksPolling,
    /// The address of an iocb cannot be one: the kernel is left to refuse it.
    Address,
    /// Neither a read nor a write.
    Operation,
    /// Completion goes to an eventfd, for which nobody polls.
    Eventfd,
    /// The descriptor is not open.
    Descriptor,
    /// The file is not open with `O_DIRECT`.
    Buffered,
    /// The file's device has no poll queues.
    PollQueues,
    /// The kernel refused to poll: by its setting, or as the file system does not support it.
    Unsupported,
    /// The kernel took the context's first I/O unpolled only.
    Refused,
}

impl Reason {
    const ALL: [Reason; 9] = [
        Reason::KernelLacksPolling,
        Reason::Address,
        Reason::Operation,
        Reason::Eventfd,
        Reason::Descriptor,
        Reason::Buffered,
        Reason::PollQueues,
        Reason::Unsupported,
        Reason::Refused,
    ];

    /// The reason `code` stands for: the inverse of `reason as u8`.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.get(usize::from(code)).copied()
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Reason::KernelLacksPolling => "this kernel does not offer polled AIO",
            Reason::Address => "an iocb has no valid address",
            Reason::Operation => "an I/O is neither a read nor a write",
            Reason::Eventfd => "an I/O completes through an eventfd",
            Reason::Descriptor => "an I/O names a descriptor that is not open",
            Reason::Buffered => "a file is not open with O_DIRECT",
            Reason::PollQueues => {
                "a device has no poll queues; for NVMe, boot with nvme.poll_queues=1 or more"
            }
            Reason::Unsupported => {
                "the kernel refuses to poll this file; its file system must support that, \
                 and the sysctl fs.aio-poll be 1"
            }
            Reason::Refused => "the kernel takes the context's I/O unpolled only",
        })
    }
}

/// Checks what the iocb alone tells: the operation, and where its completion goes.
///
/// `None` stands for an iocb whose address is not valid.
///
/// # Errors
///
/// The reason why it cannot carry the flag.
pub fn check_form(iocb: Option<&Iocb>) -> Result<&Iocb, Reason> {
    let iocb = iocb.ok_or(Reason::Address)?;
    if !matches!(
        iocb.opcode,
        abi::PREAD | abi::PWRITE | abi::PREADV | abi::PWRITEV
    ) {
        return Err(Reason::Operation);
    }
    if iocb.flags.get() & abi::FLAG_RESFD != 0 {
        return Err(Reason::Eventfd);
    }
    Ok(iocb)
}

/// Checks the iocb and the file it names, which `look_up` looks at.
///
/// # Errors
///
/// The reason why it cannot carry the flag.
pub fn check(iocb: Option<&Iocb>, look_up: impl FnOnce(u32) -> FileState) -> Result<&Iocb, Reason> {
    let iocb = check_form(iocb)?;
    match look_up(iocb.fildes) {
        FileState::Pollable => Ok(iocb),
        FileState::Buffered => Err(Reason::Buffered),
        FileState::WithoutPollQueues => Err(Reason::PollQueues),
        FileState::Closed => Err(Reason::Descriptor),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::test_iocb as iocb;

    fn reason(opcode: u16, flags: u32, file: FileState) -> Option<Reason> {
        check(Some(&iocb(opcode, flags)), |_| file).err()
    }

    #[test]
    fn direct_reads_and_writes_are_eligible() {
        for opcode in [abi::PREAD, abi::PWRITE, abi::PREADV, abi::PWRITEV] {
            assert_eq!(reason(opcode, 0, FileState::Pollable), None);
        }
    }

    #[test]
    fn every_other_operation_is_not() {
        // FSYNC, FDSYNC, two that were never defined, POLL, NOOP, and an unknown one.
        for opcode in [2, 3, 4, 5, 6, 9, u16::MAX] {
            assert_eq!(
                reason(opcode, 0, FileState::Pollable),
                Some(Reason::Operation)
            );
        }
    }

    #[test]
    fn an_eventfd_is_not_eligible_whatever_else_is_set() {
        let flags = abi::FLAG_RESFD | abi::FLAG_HIPRI;
        assert_eq!(
            reason(abi::PREAD, flags, FileState::Pollable),
            Some(Reason::Eventfd)
        );
    }

    #[test]
    fn priority_does_not_matter() {
        assert_eq!(reason(abi::PREAD, 1 << 1, FileState::Pollable), None);
    }

    #[test]
    fn the_file_must_be_open_for_direct_io_on_a_device_that_polls() {
        assert_eq!(
            reason(abi::PWRITE, 0, FileState::Buffered),
            Some(Reason::Buffered)
        );
        assert_eq!(
            reason(abi::PWRITE, 0, FileState::Closed),
            Some(Reason::Descriptor)
        );
        assert_eq!(
            reason(abi::PWRITE, 0, FileState::WithoutPollQueues),
            Some(Reason::PollQueues)
        );
    }

    #[test]
    fn the_file_is_not_looked_up_for_what_is_refused_anyway() {
        let fsync = iocb(2, 0);
        let refused = check(Some(&fsync), |_| unreachable!());
        assert_eq!(refused.err(), Some(Reason::Operation));
        assert_eq!(check(None, |_| unreachable!()).err(), Some(Reason::Address));
    }

    #[test]
    fn codes_name_their_reasons() {
        for reason in Reason::ALL {
            assert_eq!(Reason::from_code(reason as u8), Some(reason));
        }
        assert_eq!(Reason::from_code(Reason::ALL.len() as u8), None);
    }
}
