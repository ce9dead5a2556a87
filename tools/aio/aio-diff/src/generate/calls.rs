// SPDX-License-Identifier: GPL-2.0-only

//! Single calls.

use super::theme::Kind;
use super::Generator;
use crate::abi;
use crate::claim::{self, Claim, Pace};
use crate::program::{
    ArrayPlace, Call, ContextRef, Entry, EventsPlace, Fd, IdPlace, Iocb, IocbPlace, Manner,
    MaskArgument, Object, RingAct, Timeout, CONTEXT_NAMES, IOCBS, THREADS,
};

/// Contexts for no more events than this come into being, unless there are others.
const LIKELY_EVENTS: u32 = 40_000;

/// How many pointers an array has at most.
const MOST_POINTERS: u16 = 300;

impl Generator {
    /// A context that everything else can use.
    pub fn plain_setup(&mut self) {
        let name = self.new_name();
        let call = Call::Setup {
            name,
            events: self.random.pick(&[1, 8, 32, 64, 128, 200]),
            id: IdPlace::Zero,
            limited: false,
        };
        self.note_setup(name);
        self.step(0, Manner::Wait, call);
    }

    /// A name for a context, new as long as there are some.
    fn new_name(&mut self) -> u8 {
        if self.names < CONTEXT_NAMES {
            self.names
        } else {
            self.random.below(CONTEXT_NAMES.into()) as u8
        }
    }

    fn note_setup(&mut self, name: u8) {
        self.names = self.names.max(name + 1);
        self.alive.retain(|other| *other != name);
        self.alive.push(name);
    }

    /// A call of this kind, where the program has what it takes.
    pub fn call(&mut self, kind: Kind) -> Option<Call> {
        Some(match kind {
            Kind::Setup => self.setup(),
            Kind::Destroy => self.destroy(),
            Kind::Submit => self.submit(),
            Kind::Fill => return self.fill_ring(),
            Kind::GetEvents => self.get_events(),
            Kind::Drain => Call::Drain(self.name()),
            Kind::Cancel => self.cancel(),
            Kind::Ring => self.ring(),
            Kind::Write => return self.write(),
            Kind::Read => return self.read(),
            Kind::Close => Call::Close(self.closed_fd()),
            Kind::Truncate => return self.truncate(),
            Kind::Signal => Call::Signal(self.random.below(THREADS.into()) as u8),
            Kind::Block => Call::Block(self.random.chance(60)),
            Kind::Fork => self.fork(),
            _ => return None,
        })
    }

    fn setup(&mut self) -> Call {
        let name = self.new_name();
        let bad = self.random.chance(self.theme.nonsense());
        let id = if bad {
            let set = self.random.pick(&[1, u64::MAX, 1 << 32]);
            let address = self.bad_address();
            self.random.pick(&[
                IdPlace::Set(set),
                IdPlace::ReadOnly,
                IdPlace::ReadOnly,
                IdPlace::Crossing,
                IdPlace::Bad(address),
            ])
        } else {
            IdPlace::Zero
        };
        let events = self.events_wanted();
        let limited = self.random.chance(3);
        if id == IdPlace::Zero && !limited && (1..=LIKELY_EVENTS).contains(&events) {
            self.note_setup(name);
        }
        Call::Setup {
            name,
            events,
            id,
            limited,
        }
    }

    fn destroy(&mut self) -> Call {
        let context = self.context();
        if let ContextRef::Name(name) = context {
            self.alive.retain(|other| *other != name);
        }
        Call::Destroy(context)
    }

    fn events_wanted(&mut self) -> u32 {
        let any = self.random.word() as u32;
        self.random.weighted(&[
            (5, 1),
            (5, 10),
            (5, 64),
            (5, 129),
            (4, 1000),
            (2, 5000),
            (2, 30_000),
            (2, 40_000),
            (1, 65_536),
            (2, 65_537),
            (2, 0),
            (1, 4_194_304),
            (1, 4_194_305),
            (1, 0x7fff_ffff),
            (2, 0x8000_0000),
            (1, 0x8000_0001),
            (1, u32::MAX),
            (1, any),
        ])
    }

    /// The name of a context, mostly one that exists.
    pub fn name(&mut self) -> u8 {
        if self.alive.is_empty() || self.random.chance(5) {
            self.random.below(CONTEXT_NAMES.into()) as u8
        } else {
            self.random.pick(&self.alive)
        }
    }

    pub fn context(&mut self) -> ContextRef {
        let name = self.name();
        if !self.random.chance(self.theme.nonsense() / 3 + 1) {
            return ContextRef::Name(name);
        }
        let number = self
            .random
            .pick(&[0, 1, u64::MAX, 1 << 47, 0xffff_8000_0000_0000]);
        let off = self.random.pick(&[1, 8, 32, 64, 4096, -4096]);
        self.random.pick(&[
            ContextRef::Before(name),
            ContextRef::Off(name, off),
            ContextRef::Fake(name),
            ContextRef::Number(number),
        ])
    }

    fn submit(&mut self) -> Call {
        let mut entries: Vec<Entry> = Vec::new();
        let wanted = self
            .random
            .weighted(&[(8, 1), (4, 2), (4, 4), (2, 8), (1, 16), (1, 0)]);
        for _ in 0..wanted {
            let entry = self.entry(&entries, false);
            entries.extend(entry);
        }
        if wanted > 0 && self.random.chance(self.theme.nonsense()) {
            // Nothing that follows it in the batch is looked at, so it is mostly the last.
            entries.truncate(1 + self.random.below(wanted) as usize);
            let entry = self.entry(&entries, true);
            entries.extend(entry);
        }
        self.submission(entries)
    }

    /// io_submit(2) of `entries`, with now and then something wrong about it.
    fn submission(&mut self, entries: Vec<Entry>) -> Call {
        let count = entries.len() as i64;
        let mut nr = None;
        let mut array = ArrayPlace::Plain;
        if self.random.chance(self.theme.nonsense() / 3 + 1) {
            match self.random.below(2) {
                0 => {
                    let choices = [0, -1, i64::MIN, count - 1, count + 1, 1 << 32, i64::MAX];
                    nr = Some(self.random.pick(&choices));
                }
                _ => array = self.bad_array(entries.len()),
            }
        }
        Call::Submit {
            context: self.context(),
            nr,
            entries,
            array,
        }
    }

    /// An entry that can be in flight together with those `before`.
    fn entry(&mut self, before: &[Entry], nonsense: bool) -> Option<Entry> {
        if nonsense && self.random.chance(12) {
            return Some(self.bad_entry());
        }
        if before.is_empty() && !self.program.pollable && self.random.chance(3) {
            return Some(Entry {
                at: IocbPlace::Plain(self.random.below(IOCBS.into()) as u8),
                iocb: None,
                times: 1,
            });
        }
        for _ in 0..8 {
            let iocb = if nonsense {
                self.nonsense_iocb()
            } else {
                self.iocb()
            };
            if !self.conflicts(&iocb, before) {
                return Some(self.placed(iocb));
            }
        }
        None
    }

    /// The iocb at the next place.
    pub fn placed(&mut self, iocb: Iocb) -> Entry {
        let at = self.iocb_place();
        if iocb.opcode == abi::POLL {
            self.polls.push(at);
        }
        Entry {
            at,
            iocb: Some(iocb),
            times: 1,
        }
    }

    fn bad_entry(&mut self) -> Entry {
        let bad = self.bad_address();
        Entry {
            at: self
                .random
                .pick(&[IocbPlace::Bad(bad), IocbPlace::Crossing]),
            iocb: None,
            times: 1,
        }
    }

    /// Whether `iocb` must not be in flight together with those `before`: one of the two outlasts
    /// its submission.
    pub fn conflicts(&self, iocb: &Iocb, before: &[Entry]) -> bool {
        let claims = Claim::of(&self.program, iocb);
        let lasts = |iocb: &Iocb| claim::pace(&self.program, iocb) != Pace::Inline;
        before
            .iter()
            .filter_map(|entry| entry.iocb.as_ref())
            .filter(|other| lasts(iocb) || lasts(other))
            .any(|other| claim::conflict(&claims, &Claim::of(&self.program, other)))
    }

    /// The next place, so that iocbs in flight have different ones.
    pub fn iocb_place(&mut self) -> IocbPlace {
        let index = (self.iocbs % u32::from(IOCBS)) as u8;
        self.iocbs += 1;
        let nonsense = self.theme.nonsense();
        if self.random.chance(nonsense / 8 + 1) {
            self.random
                .pick(&[IocbPlace::ReadOnly(index), IocbPlace::Skewed(index)])
        } else {
            IocbPlace::Plain(index)
        }
    }

    /// The same iocb many times, to use up what the context takes.
    fn fill_ring(&mut self) -> Option<Call> {
        let iocb = self.iocb();
        if !self.program.one_cpu || !self.is_repeatable(&iocb) {
            return None;
        }
        let entry = Entry {
            at: self.iocb_place(),
            iocb: Some(iocb),
            times: self.random.pick(&[3, 30, 62, 63, 126, 127, MOST_POINTERS]),
        };
        Some(self.submission(vec![entry]))
    }

    pub fn get_events(&mut self) -> Call {
        let nr = self.random.pick(&[1, 2, 4, 16, 64, 100]);
        let min = self
            .random
            .weighted(&[(4, 0), (6, 1), (2, nr), (1, nr / 2)]);
        let mut call = Call::GetEvents {
            context: self.context(),
            min,
            nr,
            array: EventsPlace::Plain,
            timeout: self.timeout(),
            mask: None,
        };
        if self.random.chance(12) {
            self.set_mask(&mut call);
        }
        if self.random.chance(self.theme.nonsense() / 2 + 6) {
            self.spoil_get_events(&mut call);
        }
        call
    }

    fn timeout(&mut self) -> Timeout {
        self.random.weighted(&[
            (6, Timeout::Micros(0)),
            (3, Timeout::Micros(1)),
            (4, Timeout::Micros(3000)),
            (3, Timeout::Forever),
        ])
    }

    fn set_mask(&mut self, call: &mut Call) {
        let good = self.random.pick(&[
            MaskArgument::Null,
            MaskArgument::NoMask,
            MaskArgument::Empty,
            MaskArgument::Empty,
            MaskArgument::Blocking,
            MaskArgument::Blocking,
        ]);
        if let Call::GetEvents { mask, .. } = call {
            *mask = Some(good);
        }
    }

    fn spoil_get_events(&mut self, call: &mut Call) {
        let address = self.bad_address();
        let kind = self.random.below(6);
        let Call::GetEvents {
            min,
            nr,
            array,
            timeout,
            mask,
            ..
        } = call
        else {
            return;
        };
        match kind {
            0 => {
                let choices = [(0, 0), (1, 0), (-1, 1), (0, -1), (i64::MIN, 4), (2, 1)];
                (*min, *nr) = self.random.pick(&choices);
            }
            1 => {
                let choices = [
                    (0, 1 << 32),
                    (1, i64::MAX),
                    (1 << 40, i64::MAX),
                    (1000, 1000),
                ];
                (*min, *nr) = self.random.pick(&choices);
                *timeout = Timeout::Micros(2000);
            }
            2 => {
                let cut = self.random.below(5) as u16;
                *array = self.random.pick(&[
                    EventsPlace::Cut(cut),
                    EventsPlace::Crossing(cut),
                    EventsPlace::ReadOnly,
                    EventsPlace::Bad(address),
                ]);
            }
            3 => {
                let bad_size = self.random.pick(&[0, 4, 9, 16, u64::MAX]);
                *mask = Some(self.random.pick(&[
                    MaskArgument::Size(bad_size),
                    MaskArgument::BadMask(address),
                    MaskArgument::Bad(address),
                ]));
            }
            _ => *timeout = self.odd_timeout(),
        }
    }

    fn odd_timeout(&mut self) -> Timeout {
        let (seconds, nanos) = self.random.pick(&[
            (0, -1),
            (0, 1),
            (0, 2_000_000_000),
            (-1, 1_000_500_000),
            (-1, 1_000_000_000),
            (0, i64::MIN),
        ]);
        if self.random.chance(40) {
            Timeout::Bad(self.bad_address())
        } else if nanos == 2_000_000_000 {
            // More than a second's worth is taken for what it is; no need to wait it out.
            Timeout::Raw {
                seconds: -2,
                nanos: nanos + 1_000_000,
            }
        } else {
            Timeout::Raw { seconds, nanos }
        }
    }

    fn cancel(&mut self) -> Call {
        let recent = self.iocbs.saturating_sub(1 + self.random.below(4) as u32);
        let index = (recent % u32::from(IOCBS)) as u8;
        let bad = self.bad_address();
        let last_polls = self.polls.len().saturating_sub(4);
        if last_polls < self.polls.len() && self.random.chance(70) {
            return Call::Cancel {
                context: self.context(),
                iocb: self.random.pick(&self.polls[last_polls..]),
                key: None,
            };
        }
        let iocb = self.random.weighted(&[
            (4, IocbPlace::Plain(index)),
            (1, IocbPlace::Skewed(index)),
            (1, IocbPlace::Crossing),
            (1, IocbPlace::Bad(bad)),
        ]);
        let key = self.random.chance(6).then(|| self.random.word() as u32 | 1);
        Call::Cancel {
            context: self.context(),
            iocb,
            key,
        }
    }

    fn ring(&mut self) -> Call {
        let consume = RingAct::Consume(self.random.pick(&[1, 2, 5, 50, 200]));
        let scribble = self.scribble();
        let advice = RingAct::Advise(self.random.pick(&[4, 9, 10, 11, 14, 21]));
        let pages = self.random.below(3) as u8;
        let act = self.random.weighted(&[
            (8, RingAct::Look),
            (8, consume),
            (8, scribble),
            (5, RingAct::Move),
            (1, RingAct::Shrink(pages)),
            (1, RingAct::Grow),
            (1, RingAct::Unmap),
            (1, RingAct::UnmapFirst),
            (1, RingAct::ProtectRead),
            (1, RingAct::ProtectNone),
            (1, advice),
        ]);
        Call::Ring {
            name: self.name(),
            act,
        }
    }

    fn scribble(&mut self) -> RingAct {
        let word = self
            .random
            .weighted(&[(3, 0), (1, 1), (8, 2), (6, 3), (1, 4), (1, 5), (1, 6)]);
        let any = self.random.word() as u32;
        let small = self.random.below(130) as u32;
        let value =
            self.random
                .pick(&[0, 1, small, small, 62, 63, 64, 126, 127, 128, u32::MAX, any]);
        RingAct::Scribble(word, value)
    }

    fn channels(&self) -> Vec<Fd> {
        let mut fds = Vec::new();
        for index in self.files(|_| true) {
            match self.program.object(usize::from(index)) {
                Some(Object::Pipe | Object::Sockets(_)) => {
                    fds.extend([Fd::File(index), Fd::Other(index)]);
                }
                Some(Object::EventFd { .. } | Object::Fifo) => fds.push(Fd::File(index)),
                _ => {}
            }
        }
        fds
    }

    fn write(&mut self) -> Option<Call> {
        let fds = self.channels();
        (!fds.is_empty()).then(|| Call::Write {
            fd: self.random.pick(&fds),
            bytes: self.random.pick(&[1, 1, 10, 300, 5000]),
        })
    }

    fn read(&mut self) -> Option<Call> {
        let fds = self.channels();
        (!fds.is_empty()).then(|| Call::Read {
            fd: self.random.pick(&fds),
            bytes: self.random.pick(&[8, 8, 100, 65536]),
        })
    }

    fn closed_fd(&mut self) -> Fd {
        let index = self.any_file();
        self.random
            .weighted(&[(3, Fd::File(index)), (2, Fd::Other(index))])
    }

    /// ftruncate(2) of a file whose end matters to nobody else.
    fn truncate(&mut self) -> Option<Call> {
        let fds = (0..self.shared)
            .filter(|&index| self.is_safe_to_truncate(index))
            .map(Fd::File)
            .collect::<Vec<_>>();
        (!fds.is_empty()).then(|| Call::Truncate {
            fd: self.random.pick(&fds),
            size: self.random.pick(&[0, 1, 4096, 10_000, 200_000]),
        })
    }

    fn is_safe_to_truncate(&self, index: u8) -> bool {
        let store = |index| self.program.file(Fd::File(index)).map(|(first, _)| first);
        let regular = matches!(
            self.program.object(usize::from(index)),
            Some(Object::Regular { .. })
        );
        let direct = (0..self.shared)
            .filter(|&other| store(other) == store(index))
            .any(|other| self.program.files[usize::from(other)].flags.direct);
        regular && !direct
    }

    /// Calls for a child process: none of them means anything to the contexts.
    fn fork(&mut self) -> Call {
        let calls = (0..self.random.between(1, 3))
            .filter_map(|_| {
                let kind = self.random.pick(&[
                    Kind::Setup,
                    Kind::Destroy,
                    Kind::Submit,
                    Kind::GetEvents,
                    Kind::Cancel,
                ]);
                self.call(kind)
            })
            .collect();
        Call::Fork(calls)
    }

    /// An iocb whose event is there when its submission returns.
    pub fn inline_iocb(&mut self) -> Option<Iocb> {
        self.iocb_for(|object| {
            matches!(
                object,
                Object::Zero | Object::Null | Object::Pipe | Object::EventFd { .. }
            )
        })
    }

    /// An iocb whose event is there when its submission returns, and that makes no other one come.
    pub fn quiet_iocb(&mut self) -> Option<Iocb> {
        self.iocb_for(|object| matches!(object, Object::Zero | Object::Null))
    }

    fn iocb_for(&mut self, wanted: impl Fn(Object) -> bool) -> Option<Iocb> {
        let files = self.files(wanted);
        if files.is_empty() {
            return None;
        }
        let index = self.random.pick(&files);
        let opcode = self.random.pick(&[abi::PREAD, abi::PWRITE]);
        let mut iocb = self.iocb_of(opcode, index);
        iocb.flags &= !abi::FLAG_RESFD;
        Some(iocb)
    }

    /// Whether `iocb` can race with the batch `other`, and be in flight with the batch `own`.
    pub fn suits_race(&self, iocb: &Iocb, own: &[Entry], other: &[Entry]) -> bool {
        let claims = Claim::of(&self.program, iocb);
        let races = other
            .iter()
            .filter_map(|entry| entry.iocb.as_ref())
            .any(|other| claim::conflict(&claims, &Claim::of(&self.program, other)));
        !races && !self.conflicts(iocb, own)
    }
}
