// SPDX-License-Identifier: GPL-2.0-only

//! The files of a program.

use super::theme::Theme;
use crate::program::{Access, Device, FileSpec, Layout, Object, OpenFlags, Place, SocketKind};
use crate::random::Random;

/// The kinds of files, as far as themes tell them apart.
#[derive(Clone, Copy, Debug)]
enum Family {
    Regular,
    DirectRegular,
    Again,
    Raw,
    Channel,
    EventFd,
    Endless,
    Odd,
}

fn families(theme: Theme) -> &'static [(u64, Family)] {
    match theme {
        Theme::Mixed | Theme::Errors => &[
            (4, Family::Regular),
            (4, Family::DirectRegular),
            (2, Family::Again),
            (3, Family::Raw),
            (4, Family::Channel),
            (3, Family::EventFd),
            (2, Family::Endless),
            (4, Family::Odd),
        ],
        Theme::Disk => &[
            (2, Family::Regular),
            (8, Family::DirectRegular),
            (4, Family::Again),
            (6, Family::Raw),
            (2, Family::EventFd),
        ],
        Theme::Poll => &[
            (1, Family::Regular),
            (10, Family::Channel),
            (8, Family::EventFd),
            (1, Family::Endless),
            (4, Family::Odd),
        ],
        Theme::Ring => &[
            (2, Family::Regular),
            (6, Family::Endless),
            (2, Family::EventFd),
            (1, Family::DirectRegular),
        ],
        Theme::Threads => &[
            (2, Family::Regular),
            (3, Family::DirectRegular),
            (2, Family::Raw),
            (6, Family::Channel),
            (4, Family::EventFd),
            (2, Family::Endless),
        ],
        Theme::Pollable => &[(4, Family::DirectRegular), (6, Family::Raw)],
    }
}

/// Two to five files.
pub fn draw(random: &mut Random, theme: Theme) -> Vec<FileSpec> {
    let mut files = Vec::new();
    for _ in 0..random.between(2, 5) {
        let family = random.weighted(families(theme));
        let file = one(random, family, &files, theme);
        files.push(file);
    }
    files
}

fn one(random: &mut Random, family: Family, before: &[FileSpec], theme: Theme) -> FileSpec {
    match family {
        Family::Regular => regular(random, false),
        Family::DirectRegular if theme == Theme::Pollable => pollable_regular(random),
        Family::DirectRegular => regular(random, true),
        Family::Again => again(random, before),
        Family::Raw => raw(random, theme),
        Family::Channel => channel(random),
        Family::EventFd => eventfd(random),
        Family::Endless => plain(random.pick(&[Object::Zero, Object::Zero, Object::Null])),
        Family::Odd => odd(random),
    }
}

fn plain(object: Object) -> FileSpec {
    FileSpec {
        object,
        access: Access::Both,
        flags: OpenFlags::default(),
    }
}

fn access(random: &mut Random) -> Access {
    random.weighted(&[(8, Access::Both), (1, Access::Read), (1, Access::Write)])
}

fn regular(random: &mut Random, direct: bool) -> FileSpec {
    let size = random.pick(&[0, 512, 4096, 5000, 65536, 65536, 131_072]);
    let layout = random.weighted(&[
        (6, Layout::Written),
        (1, Layout::Sparse),
        (1, Layout::Unwritten),
    ]);
    let object = Object::Regular {
        place: random.pick(&[Place::Tmpfs, Place::Ext4, Place::Xfs]),
        size,
        layout,
    };
    let flags = OpenFlags {
        direct,
        append: random.chance(8),
        nonblock: random.chance(4),
        sync: random.chance(4),
        dsync: random.chance(4),
    };
    FileSpec {
        object,
        access: access(random),
        flags,
    }
}

/// A file that can be polled for on both file systems.
fn pollable_regular(random: &mut Random) -> FileSpec {
    let object = Object::Regular {
        place: random.pick(&[Place::Ext4, Place::Xfs]),
        size: random.pick(&[65536, 65536, 131_072]),
        layout: random.weighted(&[
            (6, Layout::Written),
            (1, Layout::Sparse),
            (1, Layout::Unwritten),
        ]),
    };
    let flags = OpenFlags {
        direct: true,
        dsync: random.chance(8),
        ..OpenFlags::default()
    };
    FileSpec {
        object,
        access: access(random),
        flags,
    }
}

/// An earlier regular file once more, or a new one.
fn again(random: &mut Random, before: &[FileSpec]) -> FileSpec {
    let is_regular = |file: &FileSpec| matches!(file.object, Object::Regular { .. });
    let Some(first) = before.iter().position(is_regular) else {
        return regular(random, false);
    };
    let direct = random.chance(50);
    let mut file = regular(random, direct);
    file.object = Object::Again(first as u8);
    file
}

fn raw(random: &mut Random, theme: Theme) -> FileSpec {
    let object = Object::Raw(random.pick(&[Device::Nvme, Device::NullBlock]));
    let flags = OpenFlags {
        direct: theme == Theme::Pollable || random.chance(80),
        ..OpenFlags::default()
    };
    FileSpec {
        object,
        access: access(random),
        flags,
    }
}

/// Something that two ends talk through. It does not block, so that no submission does.
fn channel(random: &mut Random) -> FileSpec {
    let object = random.weighted(&[
        (5, Object::Pipe),
        (1, Object::Fifo),
        (2, Object::Sockets(SocketKind::Stream)),
        (1, Object::Sockets(SocketKind::Datagram)),
        (1, Object::Sockets(SocketKind::Sequence)),
    ]);
    FileSpec {
        object,
        access: Access::Both,
        flags: OpenFlags {
            nonblock: true,
            ..OpenFlags::default()
        },
    }
}

fn eventfd(random: &mut Random) -> FileSpec {
    let object = Object::EventFd {
        count: random.pick(&[0, 0, 0, 1, 7]),
        semaphore: random.chance(20),
    };
    FileSpec {
        object,
        access: Access::Both,
        flags: OpenFlags {
            nonblock: true,
            ..OpenFlags::default()
        },
    }
}

fn odd(random: &mut Random) -> FileSpec {
    let place = random.pick(&[Place::Tmpfs, Place::Ext4, Place::Xfs]);
    let object = random.pick(&[
        Object::Directory(place),
        Object::PathOnly(place),
        Object::Epoll,
        Object::SignalFd,
        Object::Closed,
        Object::Full,
        Object::Null,
    ]);
    FileSpec {
        access: match object {
            Object::Directory(_) => Access::Read,
            _ => Access::Both,
        },
        flags: OpenFlags {
            nonblock: object == Object::SignalFd,
            ..OpenFlags::default()
        },
        ..plain(object)
    }
}
