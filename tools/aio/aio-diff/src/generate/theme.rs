// SPDX-License-Identifier: GPL-2.0-only

//! What a program is mostly about: a program about everything would be about nothing.

use crate::random::Random;

/// What a program is mostly about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Theme {
    /// A little of everything.
    Mixed,
    /// Direct I/O to devices and file systems.
    Disk,
    /// Waiting for files.
    Poll,
    /// The ring, and how much it takes.
    Ring,
    /// Arguments that make no sense.
    Errors,
    /// Threads, signals and timeouts.
    Threads,
    /// What can be polled for, to be compared with itself.
    Pollable,
}

/// A kind of step, or a group of steps that belong together.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    Setup,
    Destroy,
    Submit,
    Fill,
    GetEvents,
    Drain,
    Cancel,
    Ring,
    Write,
    Read,
    Close,
    Truncate,
    Signal,
    Block,
    Fork,
    WaitForEvents,
    TwoWaiters,
    BlockedSubmit,
    Race,
    PollAndWake,
}

impl Theme {
    /// The theme of a program that is compared between kernels.
    pub fn draw(random: &mut Random) -> Self {
        random.weighted(&[
            (20, Self::Mixed),
            (20, Self::Disk),
            (15, Self::Poll),
            (15, Self::Ring),
            (15, Self::Errors),
            (15, Self::Threads),
        ])
    }

    /// How often each kind of step comes, relative to the others.
    pub fn kinds(self) -> &'static [(u64, Kind)] {
        match self {
            Self::Mixed => MIXED,
            Self::Disk => DISK,
            Self::Poll => POLL,
            Self::Ring => RING,
            Self::Errors => ERRORS,
            Self::Threads => THREADS,
            Self::Pollable => POLLABLE,
        }
    }

    /// In how many of 100 cases an argument is made one that makes no sense.
    pub fn nonsense(self) -> u64 {
        match self {
            Self::Errors => 60,
            Self::Mixed | Self::Pollable => 15,
            Self::Disk | Self::Poll => 8,
            Self::Ring | Self::Threads => 4,
        }
    }
}

const MIXED: &[(u64, Kind)] = &[
    (5, Kind::Setup),
    (3, Kind::Destroy),
    (20, Kind::Submit),
    (1, Kind::Fill),
    (14, Kind::GetEvents),
    (4, Kind::Drain),
    (4, Kind::Cancel),
    (6, Kind::Ring),
    (6, Kind::Write),
    (4, Kind::Read),
    (2, Kind::Close),
    (2, Kind::Truncate),
    (2, Kind::Signal),
    (1, Kind::Block),
    (2, Kind::Fork),
    (3, Kind::WaitForEvents),
    (1, Kind::TwoWaiters),
    (2, Kind::BlockedSubmit),
    (2, Kind::Race),
    (3, Kind::PollAndWake),
];

const DISK: &[(u64, Kind)] = &[
    (3, Kind::Setup),
    (2, Kind::Destroy),
    (30, Kind::Submit),
    (14, Kind::GetEvents),
    (6, Kind::Drain),
    (1, Kind::Cancel),
    (2, Kind::Ring),
    (1, Kind::Read),
    (2, Kind::Close),
    (2, Kind::Truncate),
    (1, Kind::Fork),
    (3, Kind::WaitForEvents),
    (5, Kind::Race),
];

const POLL: &[(u64, Kind)] = &[
    (2, Kind::Setup),
    (3, Kind::Destroy),
    (20, Kind::Submit),
    (10, Kind::GetEvents),
    (3, Kind::Drain),
    (12, Kind::Cancel),
    (2, Kind::Ring),
    (12, Kind::Write),
    (8, Kind::Read),
    (4, Kind::Close),
    (2, Kind::Signal),
    (1, Kind::Fork),
    (4, Kind::WaitForEvents),
    (2, Kind::BlockedSubmit),
    (14, Kind::PollAndWake),
];

const RING: &[(u64, Kind)] = &[
    (6, Kind::Setup),
    (4, Kind::Destroy),
    (14, Kind::Submit),
    (16, Kind::Fill),
    (14, Kind::GetEvents),
    (2, Kind::Drain),
    (30, Kind::Ring),
    (2, Kind::Fork),
    (2, Kind::WaitForEvents),
];

const ERRORS: &[(u64, Kind)] = &[
    (10, Kind::Setup),
    (6, Kind::Destroy),
    (40, Kind::Submit),
    (20, Kind::GetEvents),
    (2, Kind::Drain),
    (8, Kind::Cancel),
    (3, Kind::Ring),
    (3, Kind::Write),
    (3, Kind::Close),
    (2, Kind::Fork),
];

const THREADS: &[(u64, Kind)] = &[
    (4, Kind::Setup),
    (4, Kind::Destroy),
    (14, Kind::Submit),
    (12, Kind::GetEvents),
    (4, Kind::Drain),
    (2, Kind::Cancel),
    (2, Kind::Ring),
    (4, Kind::Write),
    (2, Kind::Read),
    (8, Kind::Signal),
    (5, Kind::Block),
    (2, Kind::Fork),
    (18, Kind::WaitForEvents),
    (6, Kind::TwoWaiters),
    (10, Kind::BlockedSubmit),
    (8, Kind::Race),
    (6, Kind::PollAndWake),
];

const POLLABLE: &[(u64, Kind)] = &[
    (4, Kind::Setup),
    (3, Kind::Destroy),
    (40, Kind::Submit),
    (14, Kind::Drain),
    (12, Kind::GetEvents),
    (3, Kind::Cancel),
    (3, Kind::Fork),
    (3, Kind::Close),
    (5, Kind::Race),
];
