// SPDX-License-Identifier: GPL-2.0-only

//! Programs: what system calls are made, in which order, by which thread, with which arguments.
//!
//! A program is data without addresses or descriptors: places in memory, contexts and files have
//! names, which the executor gives a meaning. Its steps are a single sequence. Each runs on a
//! thread and ends before the next starts, unless its [`Manner`] is another one.

use serde::{Deserialize, Serialize};

/// How many names for contexts there are.
pub const CONTEXT_NAMES: u8 = 4;
/// How many threads a program has; number 0 is the one that its process starts with.
pub const THREADS: u8 = 3;
/// How many iocbs there are of each kind of place.
pub const IOCBS: u8 = 48;

/// A program.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Program {
    /// What it was generated from; a shrunk program keeps it.
    pub seed: u64,
    /// Whether all its threads share one processor.
    pub one_cpu: bool,
    /// Whether it runs without root's privileges.
    pub unprivileged: bool,
    /// Whether it is one to compare polled I/O with, so that events must only be waited for.
    pub pollable: bool,
    /// Its files, open from the start.
    pub files: Vec<FileSpec>,
    /// What it does.
    pub steps: Vec<Step>,
    /// How it ends.
    pub end: End,
}

/// How a program's process ends.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum End {
    /// It exits, with whatever is still in flight.
    Exit,
    /// It is killed.
    Kill,
    /// It destroys all contexts and exits.
    Destroy,
}

/// A file of a program.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct FileSpec {
    /// What is opened.
    pub object: Object,
    /// For what.
    pub access: Access,
    /// With which flags.
    pub flags: OpenFlags,
}

/// What a file is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Object {
    /// A regular file of its own.
    Regular {
        /// Its file system.
        place: Place,
        /// Its size in bytes at the start.
        size: u32,
        /// How it came to that size.
        layout: Layout,
    },
    /// The regular file of this number, opened once more.
    Again(u8),
    /// A block device.
    Raw(Device),
    /// A pipe: the end to read from, and as the other file the end to write to.
    Pipe,
    /// A named pipe, opened for both.
    Fifo,
    /// A pair of connected sockets.
    Sockets(SocketKind),
    /// An eventfd with this count.
    EventFd {
        /// Its count at the start.
        count: u32,
        /// Whether reading takes one off.
        semaphore: bool,
    },
    /// `/dev/zero`
    Zero,
    /// `/dev/null`
    Null,
    /// `/dev/full`
    Full,
    /// A directory.
    Directory(Place),
    /// A regular file, opened as a mere place in the file system.
    PathOnly(Place),
    /// An epoll instance.
    Epoll,
    /// A signalfd for the signal that programs send.
    SignalFd,
    /// A descriptor that was closed.
    Closed,
}

/// A file system.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub enum Place {
    /// tmpfs
    Tmpfs,
    /// ext4
    Ext4,
    /// xfs
    Xfs,
}

/// A block device.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
pub enum Device {
    /// An NVMe namespace.
    Nvme,
    /// A null_blk disk that keeps data.
    NullBlock,
}

/// What the blocks of a regular file are at the start.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Layout {
    /// Data.
    Written,
    /// Holes.
    Sparse,
    /// Allocated and not written to.
    Unwritten,
}

/// A kind of socket.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum SocketKind {
    /// `SOCK_STREAM`
    Stream,
    /// `SOCK_DGRAM`
    Datagram,
    /// `SOCK_SEQPACKET`
    Sequence,
}

/// What a file is opened for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Access {
    /// `O_RDONLY`
    Read,
    /// `O_WRONLY`
    Write,
    /// `O_RDWR`
    Both,
}

/// The flags of an open file.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct OpenFlags {
    /// `O_DIRECT`
    pub direct: bool,
    /// `O_APPEND`
    pub append: bool,
    /// `O_NONBLOCK`
    pub nonblock: bool,
    /// `O_SYNC`
    pub sync: bool,
    /// `O_DSYNC`
    pub dsync: bool,
}

/// A descriptor.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Fd {
    /// That of the file with this number.
    File(u8),
    /// That of the other end of a pipe or socket.
    Other(u8),
    /// This very number.
    Number(i32),
}

/// One step of a program.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Step {
    /// The thread that makes the call.
    pub thread: u8,
    /// When the next step starts.
    pub manner: Manner,
    /// The call.
    pub call: Call,
}

/// When the step after a step starts.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Manner {
    /// When the call has returned.
    Wait,
    /// When the call has returned or its thread sleeps in it. [`Call::Join`] has the result.
    Leave,
    /// At once. [`Call::Join`] has the result.
    Race,
}

/// What a step does.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Call {
    /// io_setup(2)
    Setup {
        /// The name of the context.
        name: u8,
        /// How many events it is for.
        events: u32,
        /// Where its id goes.
        id: IdPlace,
        /// Whether the process may map no more memory meanwhile.
        limited: bool,
    },
    /// io_destroy(2)
    Destroy(ContextRef),
    /// io_submit(2)
    Submit {
        /// The context.
        context: ContextRef,
        /// The number of pointers that the kernel is told, if not that of the entries.
        nr: Option<i64>,
        /// What the pointers point to.
        entries: Vec<Entry>,
        /// Where the array of pointers is.
        array: ArrayPlace,
    },
    /// io_getevents(2), or io_pgetevents(2) where there is a mask.
    GetEvents {
        /// The context.
        context: ContextRef,
        /// How many events to wait for.
        min: i64,
        /// How many to take.
        nr: i64,
        /// Where they go.
        array: EventsPlace,
        /// How long to wait.
        timeout: Timeout,
        /// The signal mask meanwhile.
        mask: Option<MaskArgument>,
    },
    /// io_cancel(2)
    Cancel {
        /// The context.
        context: ContextRef,
        /// The iocb.
        iocb: IocbPlace,
        /// What `aio_key` is made first.
        key: Option<u32>,
    },
    /// Something done to a context's ring by its process.
    Ring {
        /// The context.
        name: u8,
        /// What.
        act: RingAct,
    },
    /// Waits for all events that are on their way, and takes them.
    Drain(u8),
    /// write(2), if that would not block.
    Write {
        /// The file.
        fd: Fd,
        /// How many bytes; an eventfd takes this as its number.
        bytes: u32,
    },
    /// read(2), if that would not block.
    Read {
        /// The file.
        fd: Fd,
        /// How many bytes.
        bytes: u32,
    },
    /// close(2)
    Close(Fd),
    /// ftruncate(2)
    Truncate {
        /// The file.
        fd: Fd,
        /// Its new size in bytes.
        size: u32,
    },
    /// Sends a thread the signal.
    Signal(u8),
    /// The thread of the step blocks the signal, or no longer does.
    Block(bool),
    /// Collects what a thread was left to do.
    Join(u8),
    /// A child process makes these calls and exits.
    Fork(Vec<Call>),
}

/// Where io_setup(2) is to write the id.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum IdPlace {
    /// A word that is 0.
    Zero,
    /// A word that is not.
    Set(u64),
    /// A word that cannot be written, and is 0.
    ReadOnly,
    /// A word of which only a part is mapped.
    Crossing,
    /// No memory.
    Bad(BadAddress),
}

/// A context, as it is named to the kernel.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum ContextRef {
    /// What io_setup(2) returned last under this name, alive or not.
    Name(u8),
    /// Where the ring of that name was before it was moved last.
    Before(u8),
    /// That many bytes off.
    Off(u8, i32),
    /// A page of the program's own that looks like the ring of that name.
    Fake(u8),
    /// This number.
    Number(u64),
}

/// An address that is good for nothing.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum BadAddress {
    /// 0
    Null,
    /// User memory where nothing is mapped.
    Unmapped,
    /// The kernel's half.
    Kernel,
    /// Neither the user's half nor the kernel's.
    NonCanonical,
}

/// A pointer of io_submit(2)'s array, and what it points to.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Entry {
    /// Where it points.
    pub at: IocbPlace,
    /// What is written there first; [`None`] leaves what is there.
    pub iocb: Option<Iocb>,
    /// How often the pointer is in the array, one after another.
    pub times: u16,
}

/// Where an iocb is.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum IocbPlace {
    /// In ordinary memory.
    Plain(u8),
    /// In memory that cannot be written when it is submitted.
    ReadOnly(u8),
    /// At an odd address.
    Skewed(u8),
    /// With its second half where nothing is mapped.
    Crossing,
    /// Nowhere.
    Bad(BadAddress),
}

/// An iocb.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Iocb {
    /// `aio_data`
    pub data: u64,
    /// `aio_key`
    pub key: u32,
    /// `aio_rw_flags`
    pub rw_flags: u32,
    /// `aio_lio_opcode`
    pub opcode: u16,
    /// `aio_reqprio`
    pub reqprio: u16,
    /// `aio_fildes`
    pub fd: Fd,
    /// `aio_buf` and `aio_nbytes`
    pub memory: Memory,
    /// `aio_offset`
    pub offset: Offset,
    /// `aio_reserved2`
    pub reserved: u64,
    /// `aio_flags`
    pub flags: u32,
    /// `aio_resfd`
    pub resfd: Fd,
}

/// A position in a file.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Offset {
    /// This one.
    At(i64),
    /// Relative to the end of a block device.
    FromEnd(i64),
}

/// What `aio_buf` and `aio_nbytes` describe.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Memory {
    /// One buffer.
    Buffer(Segment),
    /// An array of vectors.
    Vectors {
        /// The vectors.
        segments: Vec<Segment>,
        /// The number of vectors that the kernel is told, if not theirs.
        count: Option<u64>,
        /// Where the array is.
        table: ArrayPlace,
    },
    /// No memory: two numbers.
    Numbers {
        /// `aio_buf`
        buf: u64,
        /// `aio_nbytes`
        nbytes: u64,
    },
}

/// A piece of memory.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Segment {
    /// Where it starts.
    pub at: Spot,
    /// Its length in bytes, possibly more than is there.
    pub bytes: u64,
}

/// A place in the memory of a program.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Spot {
    /// This far into the data area.
    Data(u32),
    /// This far before the end of memory that is only read into; nothing is mapped behind it.
    SinkEnd(u32),
    /// This far before the end of memory that is never changed; nothing is mapped behind it.
    SourceEnd(u32),
    /// This far into memory that cannot be written.
    ReadOnly(u32),
    /// Nowhere.
    Bad(BadAddress),
}

/// Where an array is that the kernel reads.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum ArrayPlace {
    /// In ordinary memory, followed by zeroes.
    Plain,
    /// Such that nothing is mapped behind this many elements.
    Cut(u16),
    /// Nowhere.
    Bad(BadAddress),
}

/// Where the events go.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum EventsPlace {
    /// To ordinary memory.
    Plain,
    /// To memory that ends after this many events.
    Cut(u16),
    /// To memory that ends in the middle of the event after this many.
    Crossing(u16),
    /// To memory that cannot be written.
    ReadOnly,
    /// To nowhere.
    Bad(BadAddress),
}

/// How long io_getevents(2) may wait.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Timeout {
    /// A null pointer: for ever.
    Forever,
    /// This long.
    Micros(u32),
    /// What the two numbers of a `struct timespec` make of it.
    Raw {
        /// `tv_sec`
        seconds: i64,
        /// `tv_nsec`
        nanos: i64,
    },
    /// No memory.
    Bad(BadAddress),
}

/// The last argument of io_pgetevents(2).
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum MaskArgument {
    /// A null pointer.
    Null,
    /// A structure whose mask is a null pointer.
    NoMask,
    /// A mask that blocks nothing.
    Empty,
    /// A mask that blocks the signal.
    Blocking,
    /// A mask with this for its size.
    Size(u64),
    /// A structure whose mask is nowhere.
    BadMask(BadAddress),
    /// Nowhere.
    Bad(BadAddress),
}

/// What a process does to a ring.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum RingAct {
    /// Reads the header.
    Look,
    /// Takes up to this many events without a system call.
    Consume(u8),
    /// Writes this to that word of the header.
    Scribble(u8, u32),
    /// Moves it with mremap(2).
    Move,
    /// Has mremap(2) leave this many of its pages.
    Shrink(u8),
    /// Has mremap(2) make it larger.
    Grow,
    /// Unmaps it.
    Unmap,
    /// Unmaps its first page.
    UnmapFirst,
    /// Makes it readable only.
    ProtectRead,
    /// Makes it inaccessible.
    ProtectNone,
    /// madvise(2) with this number.
    Advise(i32),
}

/// The words of a ring's header, in order.
pub const RING_WORDS: [&str; 8] = [
    "id", "nr", "head", "tail", "magic", "compat", "incompat", "length",
];

impl Iocb {
    /// What memory is that nothing was written to: a read of nothing from standard input.
    pub fn zeroes() -> Self {
        Self {
            data: 0,
            key: 0,
            rw_flags: 0,
            opcode: 0,
            reqprio: 0,
            fd: Fd::Number(0),
            memory: Memory::Numbers { buf: 0, nbytes: 0 },
            offset: Offset::At(0),
            reserved: 0,
            flags: 0,
            resfd: Fd::Number(0),
        }
    }
}

impl Program {
    /// The file that `fd` is open on, if it names one; that of the first opening where it was
    /// opened several times.
    pub fn file(&self, fd: Fd) -> Option<(usize, &FileSpec)> {
        let (Fd::File(index) | Fd::Other(index)) = fd else {
            return None;
        };
        let file = self.files.get(usize::from(index))?;
        match file.object {
            Object::Again(first) => Some((usize::from(first), file)),
            _ => Some((usize::from(index), file)),
        }
    }

    /// What the file with this number is in the end.
    pub fn object(&self, index: usize) -> Option<Object> {
        match self.files.get(index)?.object {
            Object::Again(first) => Some(self.files.get(usize::from(first))?.object),
            object => Some(object),
        }
    }
}
