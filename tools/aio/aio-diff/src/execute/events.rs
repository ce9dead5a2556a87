// SPDX-License-Identifier: GPL-2.0-only

//! Events: what they say, in words that are the same in every run.

use super::flights::{Content, Flight};
use super::layout::{events_address, iocb_name, NO_EVENT};
use super::sys::{result_text, SystemCall};
use super::world::World;
use crate::abi::EVENT_BYTES;
use crate::program::{EventsPlace, Timeout};

/// A `struct io_event`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Event {
    /// `aio_data` of its iocb.
    pub data: u64,
    /// Address of its iocb.
    pub obj: u64,
    /// The result.
    pub res: i64,
    /// Another one.
    pub res2: i64,
}

impl Event {
    /// The event that these bytes are.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| {
            let bytes = bytes.get(at..at + 8)?;
            Some(u64::from_ne_bytes(bytes.try_into().ok()?))
        };
        Some(Self {
            data: word(0)?,
            obj: word(8)?,
            res: word(16)? as i64,
            res2: word(24)? as i64,
        })
    }
}

/// The line of an event.
pub fn event_text(event: &Event, content: &str) -> String {
    let (name, res) = (iocb_name(event.obj), result_text(event.res));
    let mut text = format!("event {name} {:x} {res}", event.data);
    if event.res2 != 0 {
        text += &format!(" res2 {}", result_text(event.res2));
    }
    if !content.is_empty() {
        text += &format!(" read {content}");
    }
    text
}

/// Lines with those that follow each other and are the same as one, with their number.
pub fn counted(lines: Vec<String>) -> Vec<String> {
    let mut counted: Vec<(String, usize)> = Vec::new();
    for line in lines {
        match counted.last_mut() {
            Some((last, times)) if *last == line => *times += 1,
            _ => counted.push((line, 1)),
        }
    }
    counted
        .into_iter()
        .map(|(line, times)| match times {
            1 => line,
            _ => format!("{line} x{times}"),
        })
        .collect()
}

/// Events that are asked for at once where all are wanted.
const MANY: u64 = 300;
/// How often they are asked for.
const MOST_READS: usize = 8;
/// How long polled I/O may take.
const POLLING_TIME: Timeout = Timeout::Micros(2_000_000);

impl World<'_> {
    /// Takes in what io_getevents(2) has returned.
    pub(super) fn reaped(&mut self, context: Option<usize>, events: u64, result: i64) {
        if result < 0 {
            return;
        }
        let count = result as u64;
        let bytes = self.probe_long(events, count * EVENT_BYTES);
        let Some(bytes) = bytes else {
            self.say("the events cannot be read");
            return;
        };
        self.say_overrun(events + count * EVENT_BYTES);
        self.take_events(context, &bytes);
    }

    /// Reads memory that may be longer than a probe's reach.
    fn probe_long(&self, addr: u64, bytes: u64) -> Option<Vec<u8>> {
        const REACH: u64 = 4096;
        let mut all = Vec::new();
        let mut at = 0;
        while at < bytes {
            let part = REACH.min(bytes - at);
            all.extend(self.probe.read(addr + at, part as usize)?);
            at += part;
        }
        Some(all)
    }

    /// Says so if there is an event more than was returned.
    fn say_overrun(&self, end: u64) {
        let next = self.probe.read(end, EVENT_BYTES as usize);
        if next.is_some_and(|bytes| bytes.iter().any(|byte| *byte != NO_EVENT)) {
            self.say("there is more behind the last event");
        }
    }

    /// Takes in events that were read of a context, and says what can be said of them.
    ///
    /// Where devices or workers decide on the order of events, all that there will be are said in
    /// an order of their own; which ones are read when is nothing to be said.
    pub(super) fn take_events(&mut self, context: Option<usize>, bytes: &[u8]) {
        let lines = bytes
            .chunks_exact(EVENT_BYTES as usize)
            .filter_map(Event::of)
            .map(|event| self.take_event(context, &event))
            .collect::<Vec<_>>();
        let Some(at) = context else {
            self.say_lines(lines);
            return;
        };
        let is_over = self.flights.expected(at) == 0;
        let context = self.contexts.get_mut(at);
        if context.scribbled && context.disordered {
            // Old events may be read again, in whatever order they came.
            return;
        }
        if !context.unordered {
            self.say_lines(lines);
            return;
        }
        context.open.extend(lines);
        if is_over {
            context.unordered = false;
            let mut lines = std::mem::take(&mut context.open);
            lines.sort();
            self.say_lines(lines);
        }
    }

    fn say_lines(&self, lines: Vec<String>) {
        for line in counted(lines) {
            self.say(&line);
        }
    }

    fn take_event(&mut self, context: Option<usize>, event: &Event) -> String {
        let flight = context.and_then(|at| self.flights.take(at, event.obj, event.data));
        let content = match &flight {
            Some(flight) => {
                self.contexts.get_mut(flight.context).reaped += 1;
                self.content(flight, event)
            }
            None => "unknown".to_owned(),
        };
        event_text(event, &content)
    }

    /// What was read into memory, where that is certain.
    fn content(&self, flight: &Flight, event: &Event) -> String {
        match &flight.content {
            Content::None => String::new(),
            Content::Known(digest) => digest.to_string(),
            Content::AtEnd(parts) => {
                let bytes = parts.iter().map(|(_, bytes)| bytes).sum::<u64>();
                // What is left behind by I/O that failed or ended early is up to the device.
                if event.res >= 0 && event.res as u64 == bytes {
                    self.digest(parts).to_string()
                } else {
                    String::new()
                }
            }
        }
    }

    /// Waits for all events of a context that are on their way, and reads them.
    pub(super) fn drain(&mut self, thread: u8, name: u8) {
        let Some(at) = self.contexts.named(name) else {
            self.say("drain of nothing");
            return;
        };
        self.free(thread);
        self.say("drain");
        self.settle(at);
        self.reap_all(at);
    }

    /// Reads all events of a context that there are, or of one that may be polled, that there will
    /// be.
    pub(super) fn reap_all(&mut self, at: usize) {
        // One call has them all, unless something is wrong with the ring.
        for _ in 0..MOST_READS {
            let call = self.reaping_call(at);
            // SAFETY: The events go to the arena.
            let result = unsafe { call.make() };
            if result <= 0 {
                if result < 0 {
                    self.say(&format!("getevents = {}", result_text(result)));
                }
                return;
            }
            let events = events_address(0, EventsPlace::Plain);
            let bytes = self.arena.read(events, result as u64 * EVENT_BYTES);
            self.take_events(Some(at), &bytes);
        }
    }

    /// io_getevents(2) of all that is there, or of all that there will be by polling.
    fn reaping_call(&mut self, at: usize) -> SystemCall {
        let id = self.contexts.get(at).id;
        let (wanted, timeout) = if self.program.pollable {
            (self.flights.expected(at) as u64, POLLING_TIME)
        } else {
            (0, Timeout::Micros(0))
        };
        let writer = self.writer();
        let events = writer.events(0, EventsPlace::Plain);
        let timeout = writer.timeout(0, timeout);
        let arguments = [id, wanted, MANY.max(wanted), events, timeout];
        SystemCall::new(libc::SYS_io_getevents, &arguments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_has_a_line() {
        let event = Event {
            data: 0xab,
            obj: 0,
            res: -22,
            res2: 0,
        };
        assert_eq!(event_text(&event, ""), "event 0x0 ab -EINVAL");
        let event = Event {
            res: 7,
            res2: -1,
            ..event
        };
        assert_eq!(event_text(&event, "x"), "event 0x0 ab 7 res2 -EPERM read x");
    }

    #[test]
    fn equal_lines_are_counted() {
        let lines = ["a", "a", "b", "a"].map(str::to_owned).to_vec();
        assert_eq!(counted(lines), ["a x2", "b", "a"]);
    }

    #[test]
    fn bytes_are_an_event() {
        let words: [u64; 4] = [1, 2, u64::MAX, 4];
        let bytes = words.map(u64::to_ne_bytes).concat();
        let event = Event::of(&bytes).unwrap();
        assert_eq!(
            (event.data, event.obj, event.res, event.res2),
            (1, 2, -1, 4)
        );
        assert_eq!(Event::of(&bytes[..31]), None);
    }
}
