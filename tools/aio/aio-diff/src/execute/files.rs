// SPDX-License-Identifier: GPL-2.0-only

//! The open files of a program's process.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use anyhow::{Context, Result};

use super::places::Places;
use super::sys::with_error;
use super::thread::SIGNAL;
use crate::program::{Access, Fd, FileSpec, Object, Program, SocketKind};

/// A file of a program, opened.
#[derive(Clone, Copy, Debug)]
pub struct OpenFile {
    /// Its descriptor.
    pub fd: i32,
    /// That of its other end, if it has one; else an invalid one.
    pub other: i32,
    /// The size of a block device in bytes.
    pub size: u64,
}

/// Descriptors of programs start here: what is opened meanwhile does not take the place of one
/// that a program has closed.
const FIRST_FD: i32 = 200;
/// Descriptors of files that a program finds closed start here.
const FIRST_CLOSED_FD: i32 = 900;
/// No descriptor has this number.
const NO_FD: i32 = -1;

/// Opens all files of a program.
pub fn open_all(program: &Program, places: &Places) -> Result<Vec<OpenFile>> {
    (0..program.files.len())
        .map(|index| open(program, index, places).with_context(|| format!("file {index}")))
        .collect()
}

fn open(program: &Program, index: usize, places: &Places) -> Result<OpenFile> {
    let file = &program.files[index];
    let flags = open_flags(file);
    let one = |fd| alone(fd, 0);
    match file.object {
        Object::Regular { place, .. } => one(open_path(&places.file(place, index)?, flags)?),
        Object::Again(first) => {
            let path = places.path_of(program, usize::from(first))?;
            one(open_path(&path, flags)?)
        }
        Object::Raw(device) => {
            let fd = open_path(places.device(device)?, flags)?;
            // SAFETY: No memory is involved.
            let size = unsafe { libc::lseek(fd, 0, libc::SEEK_END) };
            alone(fd, size.max(0) as u64)
        }
        Object::Pipe => pair(file, |fds, flags| {
            // SAFETY: `fds` has room for two.
            unsafe { libc::pipe2(fds, flags) }
        }),
        Object::Fifo => one(open_path(
            &places.fifo(index)?,
            libc::O_RDWR | libc::O_NONBLOCK,
        )?),
        Object::Sockets(kind) => pair(file, |fds, flags| {
            let kind = socket_type(kind) | if flags == 0 { 0 } else { libc::SOCK_NONBLOCK };
            // SAFETY: `fds` has room for two.
            unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, fds) }
        }),
        Object::EventFd { count, semaphore } => one(eventfd(count, semaphore, file)?),
        Object::Zero => one(open_path(Path::new("/dev/zero"), flags)?),
        Object::Null => one(open_path(Path::new("/dev/null"), flags)?),
        Object::Full => one(open_path(Path::new("/dev/full"), flags)?),
        Object::Directory(place) => one(open_path(
            places.folder(place)?,
            libc::O_RDONLY | libc::O_DIRECTORY,
        )?),
        Object::PathOnly(place) => one(open_path(places.folder(place)?, libc::O_PATH)?),
        Object::Epoll => {
            // SAFETY: No memory is involved.
            one(valid(unsafe { libc::epoll_create1(0) })?)
        }
        Object::SignalFd => one(signalfd()?),
        Object::Closed => Ok(OpenFile {
            fd: FIRST_CLOSED_FD + index as i32,
            other: NO_FD,
            size: 0,
        }),
    }
}

fn open_flags(file: &FileSpec) -> i32 {
    let mut flags = match file.access {
        Access::Read => libc::O_RDONLY,
        Access::Write => libc::O_WRONLY,
        Access::Both => libc::O_RDWR,
    };
    for (set, flag) in [
        (file.flags.direct, libc::O_DIRECT),
        (file.flags.append, libc::O_APPEND),
        (file.flags.nonblock, libc::O_NONBLOCK),
        (file.flags.sync, libc::O_SYNC),
        (file.flags.dsync, libc::O_DSYNC),
    ] {
        if set {
            flags |= flag;
        }
    }
    flags
}

fn open_path(path: &Path, flags: i32) -> Result<i32> {
    let name = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: The path ends in a zero.
    let fd = unsafe { libc::open(name.as_ptr(), flags) };
    valid(fd).with_context(|| format!("cannot open {}", path.display()))
}

fn socket_type(kind: SocketKind) -> i32 {
    match kind {
        SocketKind::Stream => libc::SOCK_STREAM,
        SocketKind::Datagram => libc::SOCK_DGRAM,
        SocketKind::Sequence => libc::SOCK_SEQPACKET,
    }
}

/// Two descriptors that `make` writes to the array it gets, with `O_NONBLOCK` or no flags.
fn pair(file: &FileSpec, make: impl FnOnce(*mut i32, i32) -> i32) -> Result<OpenFile> {
    let mut fds = [NO_FD; 2];
    let flags = if file.flags.nonblock {
        libc::O_NONBLOCK
    } else {
        0
    };
    valid(make(fds.as_mut_ptr(), flags))?;
    Ok(OpenFile {
        fd: lifted(fds[0])?,
        other: lifted(fds[1])?,
        size: 0,
    })
}

fn eventfd(count: u32, semaphore: bool, file: &FileSpec) -> Result<i32> {
    let mut flags = 0;
    if semaphore {
        flags |= libc::EFD_SEMAPHORE;
    }
    if file.flags.nonblock {
        flags |= libc::EFD_NONBLOCK;
    }
    // SAFETY: No memory is involved.
    valid(unsafe { libc::eventfd(count, flags) })
}

fn signalfd() -> Result<i32> {
    let mask: u64 = 1 << (SIGNAL - 1);
    // SAFETY: The mask has the kernel's size.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_signalfd4,
            -1,
            &raw const mask,
            size_of::<u64>(),
            libc::SFD_NONBLOCK,
        )
    };
    valid(fd as i32)
}

fn alone(fd: i32, size: u64) -> Result<OpenFile> {
    Ok(OpenFile {
        fd: lifted(fd)?,
        other: NO_FD,
        size,
    })
}

/// The same file under a number that nothing else takes.
fn lifted(fd: i32) -> Result<i32> {
    // SAFETY: No memory is involved.
    let high = unsafe { libc::fcntl(fd, libc::F_DUPFD, FIRST_FD) };
    close(fd);
    valid(high)
}

fn valid(fd: i32) -> Result<i32> {
    if fd < 0 {
        return Err(io::Error::last_os_error()).context("cannot open");
    }
    Ok(fd)
}

/// Closes a descriptor. Returns what close(2) does.
pub fn close(fd: i32) -> i64 {
    // SAFETY: Nothing in this process relies on descriptors that are closed.
    with_error(unsafe { libc::close(fd) }.into())
}

/// The number behind a program's name for a descriptor.
pub fn number(files: &[OpenFile], fd: Fd) -> i32 {
    let file = |index: u8| files.get(usize::from(index));
    match fd {
        Fd::File(index) => file(index).map_or(NO_FD, |file| file.fd),
        Fd::Other(index) => file(index).map_or(NO_FD, |file| file.other),
        Fd::Number(number) => number,
    }
}

/// Which of these poll events a descriptor has right now, errors and hang-ups included.
pub fn ready_events(fd: i32, events: i16) -> i16 {
    let mut entry = libc::pollfd {
        fd,
        events,
        revents: 0,
    };
    // SAFETY: There is one entry.
    match unsafe { libc::poll(&raw mut entry, 1, 0) } {
        1 => entry.revents,
        _ => 0,
    }
}
