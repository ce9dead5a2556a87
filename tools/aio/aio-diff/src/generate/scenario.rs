// SPDX-License-Identifier: GPL-2.0-only

//! Steps that belong together: one thread waits and another one ends its wait.

use super::theme::Kind;
use super::Generator;
use crate::abi;
use crate::program::{
    Access, ArrayPlace, Call, ContextRef, Entry, EventsPlace, Fd, FileSpec, IocbPlace, Manner,
    MaskArgument, Object, OpenFlags, SocketKind, Timeout, IOCBS,
};

/// No more files than this.
const MOST_FILES: usize = 8;

impl Generator {
    fn other_thread(&mut self) -> u8 {
        self.random.pick(&[1, 2])
    }

    fn submission_to(name: u8, entries: Vec<Entry>) -> Call {
        Call::Submit {
            context: ContextRef::Name(name),
            nr: None,
            entries,
            array: ArrayPlace::Plain,
        }
    }

    fn endless_wait(name: u8, min: i64, nr: i64, mask: Option<MaskArgument>) -> Call {
        Call::GetEvents {
            context: ContextRef::Name(name),
            min,
            nr,
            array: EventsPlace::Plain,
            timeout: Timeout::Forever,
            mask,
        }
    }

    /// A thread waits for events, and then something happens.
    ///
    /// How many it gets beyond what it waits for depends on when it wakes up. So it takes no more
    /// than that where events may come in close succession.
    pub fn wait_for_events(&mut self) {
        let (thread, name) = (self.other_thread(), self.name());
        let min = self.random.pick(&[1, 1, 1, 2, 3]);
        let greedy = self.random.chance(30) && self.quiet_iocb().is_some();
        let nr = if greedy { min + 8 } else { min };
        let mask = self.random.weighted(&[
            (6, None),
            (1, Some(MaskArgument::Empty)),
            (2, Some(MaskArgument::Blocking)),
        ]);
        let mut wait = Self::endless_wait(name, min, nr, mask);
        if let (Call::GetEvents { array, .. }, true) = (&mut wait, self.random.chance(8)) {
            *array = EventsPlace::Cut(self.random.below(3) as u16);
        }
        self.step(thread, Manner::Leave, wait);
        for _ in 0..self.random.between(1, 3) {
            self.disturb(thread, name, greedy);
        }
        self.step(0, Manner::Wait, Call::Join(thread));
    }

    /// Something that a waiting thread may notice; no more than one event where it is `greedy`.
    fn disturb(&mut self, thread: u8, name: u8, greedy: bool) {
        match self.random.below(10) {
            0 | 1 => self.step(0, Manner::Wait, Call::Signal(thread)),
            2 => {
                self.alive.retain(|other| *other != name);
                self.step(0, Manner::Wait, Call::Destroy(ContextRef::Name(name)));
            }
            3 => {
                let call = self.get_events();
                self.step(0, Manner::Wait, call);
            }
            4 | 5 if !greedy => {
                let kind = self.random.pick(&[Kind::Write, Kind::Submit]);
                if let Some(call) = self.call(kind) {
                    self.step(0, Manner::Wait, call);
                }
            }
            _ => self.disturb_by_event(name, greedy),
        }
    }

    fn disturb_by_event(&mut self, name: u8, greedy: bool) {
        let iocb = if greedy {
            self.quiet_iocb()
        } else {
            self.inline_iocb()
        };
        let iocb = match iocb {
            Some(iocb) => iocb,
            None => self.iocb(),
        };
        let entry = self.placed(iocb);
        self.step(0, Manner::Wait, Self::submission_to(name, vec![entry]));
    }

    /// Two threads wait for different numbers of events, and events come one by one.
    pub fn two_waiters(&mut self) {
        if self.quiet_iocb().is_none() {
            return;
        }
        let name = self.name();
        let few = self.random.pick(&[1, 2]);
        let many = few + self.random.pick(&[2, 3]);
        self.step(1, Manner::Leave, Self::endless_wait(name, few, few, None));
        self.step(2, Manner::Leave, Self::endless_wait(name, many, many, None));
        for _ in 0..self.random.between(1, (few + many) as u64) {
            self.disturb_by_event(name, true);
        }
        self.step(0, Manner::Wait, Call::Join(1));
        self.step(0, Manner::Wait, Call::Join(2));
    }

    /// A thread's submission blocks in a read, which another one ends.
    pub fn blocked_submit(&mut self) {
        let Some(index) = self.blocking_file() else {
            return;
        };
        let (thread, name) = (self.other_thread(), self.name());
        let mut read = self.iocb_of(abi::PREAD, index);
        read.rw_flags &= !abi::RWF_NOWAIT;
        read.fd = Fd::File(index);
        let mut entries = vec![self.placed(read)];
        if let (Some(iocb), true) = (self.inline_iocb(), self.random.chance(40)) {
            let entry = self.placed(iocb);
            let at = self.random.below(2) as usize;
            entries.insert(at, entry);
        }
        let submit = Self::submission_to(name, entries);
        self.step(thread, Manner::Leave, submit);
        self.unblock(thread, index);
        self.step(0, Manner::Wait, Call::Join(thread));
        if self.random.chance(70) {
            self.step(0, Manner::Wait, Call::Drain(name));
        }
    }

    fn unblock(&mut self, thread: u8, index: u8) {
        let writer = match self.program.object(usize::from(index)) {
            Some(Object::EventFd { .. }) => Fd::File(index),
            _ => Fd::Other(index),
        };
        let call = self.random.weighted(&[
            (5, Call::Signal(thread)),
            (
                5,
                Call::Write {
                    fd: writer,
                    bytes: 10,
                },
            ),
            (1, Call::Close(writer)),
        ]);
        self.step(0, Manner::Wait, call);
    }

    /// A file of its own, which nothing but blocked submissions uses.
    fn blocking_file(&mut self) -> Option<u8> {
        if self.program.files.len() >= MOST_FILES {
            return None;
        }
        let object = self.random.pick(&[
            Object::Pipe,
            Object::Pipe,
            Object::Sockets(SocketKind::Stream),
            Object::EventFd {
                count: 0,
                semaphore: false,
            },
        ]);
        self.program.files.push(FileSpec {
            object,
            access: Access::Both,
            flags: OpenFlags::default(),
        });
        Some(self.program.files.len() as u8 - 1)
    }

    /// Two threads submit to one context at the same time.
    pub fn race(&mut self) {
        let name = self.name();
        let first = self.race_batch(&[]);
        let second = self.race_batch(&first);
        if first.is_empty() || second.is_empty() {
            return;
        }
        self.step(1, Manner::Race, Self::submission_to(name, first));
        self.step(2, Manner::Race, Self::submission_to(name, second));
        self.step(0, Manner::Wait, Call::Join(1));
        self.step(0, Manner::Wait, Call::Join(2));
        self.step(0, Manner::Wait, Call::Drain(name));
    }

    /// I/O whose outcome does not depend on what the other thread does.
    fn race_batch(&mut self, other: &[Entry]) -> Vec<Entry> {
        let stores = self.files(|object| {
            matches!(
                object,
                Object::Regular { .. } | Object::Raw(_) | Object::Zero | Object::Null
            )
        });
        let mut entries: Vec<Entry> = Vec::new();
        if stores.is_empty() {
            return entries;
        }
        for _ in 0..self.random.between(1, 6) {
            let index = self.random.pick(&stores);
            let opcode = self.random.pick(&[abi::PREAD, abi::PWRITE]);
            let mut iocb = self.iocb_of(opcode, index);
            // Whether it would have to wait depends on the other thread.
            iocb.rw_flags &= !abi::RWF_NOWAIT;
            if iocb.flags & abi::FLAG_RESFD == 0 && self.suits_race(&iocb, &entries, other) {
                let mut entry = self.placed(iocb);
                // What cannot be written now can be while another thread's batch is made.
                entry.at = IocbPlace::Plain((self.iocbs % u32::from(IOCBS)) as u8);
                entries.push(entry);
            }
        }
        entries
    }

    /// A thread polls a file, and another one makes it ready.
    pub fn poll_and_wake(&mut self) {
        let channels = self.files(|object| {
            matches!(
                object,
                Object::Pipe
                    | Object::Fifo
                    | Object::Sockets(_)
                    | Object::EventFd { .. }
                    | Object::Epoll
                    | Object::SignalFd
            )
        });
        if channels.is_empty() {
            return;
        }
        let name = self.name();
        let index = self.random.pick(&channels);
        let mut entries = Vec::new();
        for _ in 0..self.random.pick(&[1, 1, 2, 3]) {
            let iocb = self.iocb_of(abi::POLL, index);
            if !self.conflicts(&iocb, &entries) {
                entries.push(self.placed(iocb));
            }
        }
        let first = entries[0].at;
        self.step(0, Manner::Wait, Self::submission_to(name, entries));
        if self.random.chance(20) {
            // Another one where the first one is, which cancelling has to tell apart.
            let iocb = self.iocb_of(abi::POLL, index);
            let mut entry = self.placed(iocb);
            entry.at = first;
            self.step(0, Manner::Wait, Self::submission_to(name, vec![entry]));
        }
        let cancel = Call::Cancel {
            context: ContextRef::Name(name),
            iocb: first,
            key: None,
        };
        let writer = match self.program.object(usize::from(index)) {
            Some(Object::Pipe | Object::Sockets(_)) => Fd::Other(index),
            _ => Fd::File(index),
        };
        let bytes = self.random.pick(&[1, 10, 300]);
        let wake = self.random.weighted(&[
            (8, Call::Write { fd: writer, bytes }),
            (2, Call::Close(writer)),
            (2, Call::Close(Fd::File(index))),
            (2, Call::Signal(0)),
            (5, cancel),
            (
                2,
                Call::Read {
                    fd: Fd::File(index),
                    bytes: 65536,
                },
            ),
        ]);
        self.step(0, Manner::Wait, wake);
        if self.random.chance(60) {
            let call = self.get_events();
            self.step(0, Manner::Wait, call);
        }
    }
}
