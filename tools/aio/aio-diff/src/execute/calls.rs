// SPDX-License-Identifier: GPL-2.0-only

//! The system calls of AIO: from a step to its arguments, and from its result to a line.

use super::contexts::{elements, Context};
use super::digest::Digest;
use super::files::number;
use super::flights::{Content, Flight};
use super::layout::{iocb_address, iocb_name, own_segments, Placed};
use super::ring;
use super::sys::{result_text, SystemCall};
use super::world::World;
use crate::abi::{self, Direction};
use crate::claim::{self, Claim, Pace};
use crate::program::{BadAddress, Call, Iocb, Memory, Timeout};

/// A call whose arguments are in memory.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The call.
    pub call: SystemCall,
    /// The context that it is about, where there is one.
    pub context: Option<usize>,
    /// Whether it may wait for ever.
    pub is_endless: bool,
    /// What is to be made of its result.
    pub then: Then,
}

/// What is to be made of a result.
#[derive(Clone, Debug)]
pub enum Then {
    /// A context may have come into being, with its id at this address.
    SetUp {
        /// Its name.
        name: u8,
        /// Where its id is, if that can be read.
        word: u64,
        /// What was there before.
        before: u64,
    },
    /// The context may have ended.
    Destroyed,
    /// Some of these may be in flight.
    Submitted(Vec<Placed>),
    /// There may be events at this address.
    Reaped(u64),
    /// The request of the iocb at this address may be cancelled.
    Cancelled(u64),
    /// It is just said, under this name.
    Report(&'static str),
}

/// What io_cancel(2) returns when the event is to come.
const CANCELLING: i64 = -(libc::EINPROGRESS as i64);

/// How many requests the smallest context surely accepts, whichever processors have its slots.
const SURELY_ACCEPTED: usize = 32;

impl World<'_> {
    /// Puts the arguments of a call into the memory of its thread. [`None`] for other calls.
    pub(super) fn prepare(&mut self, thread: u8, call: &Call) -> Option<Prepared> {
        match call {
            Call::Setup {
                name, events, id, ..
            } => {
                let word = self.writer().id_word(thread, *id);
                let before = self.readable_word(word);
                Some(Prepared {
                    call: SystemCall::new(libc::SYS_io_setup, &[u64::from(*events), word]),
                    context: None,
                    is_endless: false,
                    then: Then::SetUp {
                        name: *name,
                        word,
                        before,
                    },
                })
            }
            Call::Destroy(context) => {
                let id = self.id_of(*context);
                let call = SystemCall::new(libc::SYS_io_destroy, &[id]);
                Some(self.about(id, call, Then::Destroyed))
            }
            Call::Submit { .. } => Some(self.prepare_submit(thread, call)),
            Call::GetEvents { .. } => Some(self.prepare_get_events(thread, call)),
            Call::Cancel { context, iocb, key } => {
                let id = self.id_of(*context);
                let obj = iocb_address(*iocb);
                if let Some(key) = key {
                    self.set_key(obj, *key);
                }
                let call = SystemCall::new(libc::SYS_io_cancel, &[id, obj, 0]);
                Some(self.about(id, call, Then::Cancelled(obj)))
            }
            _ => None,
        }
    }

    fn about(&self, id: u64, call: SystemCall, then: Then) -> Prepared {
        Prepared {
            call,
            context: self.contexts.with_id(id),
            is_endless: false,
            then,
        }
    }

    /// The word at `addr`, or 0 where none can be read.
    fn readable_word(&self, addr: u64) -> u64 {
        let word = self.probe.read(addr, 8).unwrap_or_default();
        word.try_into().map_or(0, u64::from_ne_bytes)
    }

    fn set_key(&self, obj: u64, key: u32) {
        const KEY_AT: u64 = 8;
        self.probe.write(obj.wrapping_add(KEY_AT), key);
    }

    fn prepare_submit(&mut self, thread: u8, call: &Call) -> Prepared {
        let Call::Submit {
            context,
            nr,
            entries,
            array,
        } = call
        else {
            unreachable!("the caller has looked");
        };
        let id = self.id_of(*context);
        let (pointers, mut batch) = self.writer().batch(thread, entries, *array);
        let mut nr = nr.unwrap_or(batch.len() as i64);
        if let Some(at) = self.contexts.with_id(id) {
            nr = self.surely_accepted(at, &batch, nr);
        }
        batch.truncate(nr.max(0) as usize);
        let call = SystemCall::new(libc::SYS_io_submit, &[id, nr as u64, pointers]);
        self.about(id, call, Then::Submitted(batch))
    }

    /// As many of a batch as the context takes wherever its free slots are.
    ///
    /// Each processor keeps some of them to itself, and which one gets those that become free is
    /// up to who completes a request.
    fn surely_accepted(&mut self, at: usize, batch: &[Placed], nr: i64) -> i64 {
        let mut iocbs = batch.iter().filter_map(|placed| placed.iocb.as_ref());
        let spreads = iocbs.any(|iocb| claim::pace(self.program, iocb) != Pace::Inline);
        let context = self.contexts.get_mut(at);
        context.spread |= spreads;
        if !context.spread {
            return nr;
        }
        let room = SURELY_ACCEPTED.saturating_sub(self.flights.of(at).count());
        nr.min(room as i64)
    }

    fn prepare_get_events(&mut self, thread: u8, call: &Call) -> Prepared {
        let Call::GetEvents {
            context,
            min,
            nr,
            array,
            timeout,
            mask,
        } = call
        else {
            unreachable!("the caller has looked");
        };
        let id = self.id_of(*context);
        let (mut min, mut nr, mut timeout) = (*min, *nr, *timeout);
        if self.program.pollable {
            (min, nr) = self.all_or_nothing(id, min, nr);
        }
        if self.is_child && waits_for_ever(timeout) {
            timeout = Timeout::Micros(2000);
        }
        let writer = self.writer();
        let events = writer.events(thread, *array);
        let timeout_at = writer.timeout(thread, timeout);
        let mut arguments = vec![id, min as u64, nr as u64, events, timeout_at];
        let mut number = libc::SYS_io_getevents;
        if let Some(mask) = mask {
            arguments.push(writer.mask(thread, *mask));
            number = abi::SYS_IO_PGETEVENTS;
        }
        let call = SystemCall::new(number, &arguments);
        let mut prepared = self.about(id, call, Then::Reaped(events));
        prepared.is_endless = waits_for_ever(timeout);
        prepared
    }

    /// What to ask a context for that may be polled: how many have completed is not known, but
    /// all of them will have.
    fn all_or_nothing(&self, id: u64, min: i64, nr: i64) -> (i64, i64) {
        let Some(at) = self.contexts.with_id(id) else {
            return (min, nr);
        };
        if min < 0 || nr < 0 || min > nr {
            return (min, nr);
        }
        let all = self.flights.expected(at) as i64;
        (all.min(nr), all.min(nr))
    }

    /// Takes a result in, and says what is to be said of it.
    pub(super) fn conclude(&mut self, prepared: Prepared, result: i64) {
        let text = result_text(result);
        let context = prepared.context;
        match prepared.then {
            Then::SetUp { name, word, before } => {
                self.say(&format!("setup = {text}"));
                self.set_up(name, word, before, result);
            }
            Then::Destroyed => {
                self.say(&format!("destroy = {text}"));
                if result == 0 {
                    self.destroyed(context);
                }
            }
            Then::Submitted(batch) => {
                self.say(&format!("submit = {text}"));
                self.submitted(context, &batch, result);
            }
            Then::Reaped(events) => {
                self.say(&format!("getevents = {text}"));
                self.reaped(context, events, result);
            }
            Then::Cancelled(obj) => {
                self.say(&format!("cancel = {text}"));
                if let (Some(at), CANCELLING) = (context, result) {
                    self.flights.cancel(at, obj);
                }
            }
            Then::Report(name) => self.say(&format!("{name} = {text}")),
        }
    }

    fn set_up(&mut self, name: u8, word: u64, before: u64, result: i64) {
        let id = self.readable_word(word);
        if result != 0 {
            if id != before {
                self.say("the id was written");
            }
            return;
        }
        let Some(header) = self.probe.header(id) else {
            self.say("there is no ring at the id");
            return;
        };
        let nr = elements(&header);
        self.contexts.add(Context {
            id,
            before: id,
            name,
            alive: true,
            nr,
            mapped: ring_bytes(nr),
            reaped: 0,
            scribbled: false,
            unordered: false,
            disordered: false,
            spread: !self.program.one_cpu,
            open: Vec::new(),
        });
    }

    fn destroyed(&mut self, context: Option<usize>) {
        let Some(at) = context else {
            self.say("nobody knew of it");
            return;
        };
        self.flights.forget(at);
        let context = self.contexts.get_mut(at);
        context.alive = false;
        let mapped = std::mem::take(&mut context.mapped);
        ring::keep_free(context.id, mapped);
    }

    fn submitted(&mut self, context: Option<usize>, batch: &[Placed], result: i64) {
        let accepted = result.clamp(0, batch.len() as i64) as usize;
        if result > batch.len() as i64 {
            self.say("more than there were");
        }
        self.say_keys(batch);
        let Some(at) = context else {
            return;
        };
        for placed in &batch[..accepted] {
            match &placed.iocb {
                Some(iocb) => self.take_off(at, placed.addr, iocb),
                None => self.say("accepted what is no iocb"),
            }
        }
    }

    /// The keys that the kernel wrote, where there were others before.
    fn say_keys(&mut self, batch: &[Placed]) {
        const KEY_AT: u64 = 8;
        for placed in batch {
            let written = placed.iocb.as_ref().filter(|iocb| iocb.key != 0);
            if let Some(bytes) = written.and(self.probe.read(placed.addr + KEY_AT, 4)) {
                let name = iocb_name(placed.addr);
                self.say(&format!("key of {name} {bytes:?}"));
            }
        }
    }

    /// A request is in flight now.
    fn take_off(&mut self, at: usize, addr: u64, iocb: &Iocb) {
        let pace = claim::pace(self.program, iocb);
        let fd = number(&self.files, iocb.fd);
        let polls = match &iocb.memory {
            Memory::Numbers { buf, .. } if pace == Pace::Poll => Some((fd, *buf as i16)),
            _ => None,
        };
        let flight = Flight {
            context: at,
            obj: addr,
            data: iocb.data,
            pace,
            claims: Claim::of(self.program, iocb),
            polls,
            cancelled: false,
            signals: iocb.flags & abi::FLAG_RESFD != 0,
            landed: false,
            content: self.content_of(iocb, pace),
        };
        self.flights.add(flight);
        if pace != Pace::Inline {
            self.contexts.get_mut(at).race();
        }
    }

    fn content_of(&self, iocb: &Iocb, pace: Pace) -> Content {
        if abi::direction(iocb.opcode) != Some(Direction::Read) {
            return Content::None;
        }
        let parts = own_segments(iocb)
            .iter()
            .map(|segment| {
                let bytes = super::arena::mapped_bytes(segment.at, segment.bytes);
                (super::arena::spot_address(segment.at), bytes)
            })
            .collect::<Vec<_>>();
        match pace {
            Pace::Inline => Content::Known(self.digest(&parts)),
            _ => Content::AtEnd(parts),
        }
    }

    /// The digest of pieces of memory.
    pub(super) fn digest(&self, parts: &[(u64, u64)]) -> Digest {
        let mut bytes = Vec::new();
        for (addr, length) in parts {
            bytes.extend(self.arena.read(*addr, *length));
        }
        Digest::of(&bytes)
    }
}

/// Bytes of the mapping of a ring with this many elements.
fn ring_bytes(nr: u32) -> u64 {
    const PAGE: u64 = 4096;
    (abi::RING_HEADER_BYTES + u64::from(nr) * abi::EVENT_BYTES).div_ceil(PAGE) * PAGE
}

/// Whether a wait with this timeout has no end: a time that is less than none is for ever, too.
fn waits_for_ever(timeout: Timeout) -> bool {
    match timeout {
        Timeout::Forever | Timeout::Bad(BadAddress::Null) => true,
        Timeout::Raw { seconds, nanos } => seconds
            .checked_mul(1_000_000_000)
            .and_then(|sum| sum.checked_add(nanos))
            .is_none_or(|sum| sum < 0),
        Timeout::Micros(_) | Timeout::Bad(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_than_no_time_is_for_ever() {
        let raw = |seconds, nanos| waits_for_ever(Timeout::Raw { seconds, nanos });
        assert!(raw(0, -1));
        assert!(raw(-1, 999_999_999));
        assert!(raw(0, i64::MIN));
        assert!(!raw(-1, 1_000_000_000));
        assert!(!raw(0, 1));
        assert!(waits_for_ever(Timeout::Forever));
        assert!(waits_for_ever(Timeout::Bad(BadAddress::Null)));
        assert!(!waits_for_ever(Timeout::Bad(BadAddress::Unmapped)));
        assert!(!waits_for_ever(Timeout::Micros(0)));
    }

    #[test]
    fn a_ring_is_whole_pages() {
        assert_eq!(ring_bytes(127), 4096);
        assert_eq!(ring_bytes(128), 8192);
    }
}
