// SPDX-License-Identifier: GPL-2.0-only

//! What is known of a program's contexts and their rings.

use std::io;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::flights::Flights;
use crate::abi::RING_HEADER_BYTES;
use crate::program::{CONTEXT_NAMES, RING_WORDS};

/// The word of a ring's header that says how many events it has room for.
const NR: usize = 1;
/// That which user space advances.
const HEAD: usize = 2;
/// That which the kernel advances.
const TAIL: usize = 3;

/// The words of a ring's header.
pub type Header = [u32; RING_WORDS.len()];

/// A context that was set up.
#[derive(Clone, Debug)]
pub struct Context {
    /// What the kernel calls it.
    pub id: u64,
    /// What it was called before it was moved.
    pub before: u64,
    /// The name in the program.
    pub name: u8,
    /// Whether it was not destroyed.
    pub alive: bool,
    /// Elements of the ring.
    pub nr: u32,
    /// Bytes of the ring that are mapped; none when it cannot be read.
    pub mapped: u64,
    /// How many events were read that requests were known for.
    pub reaped: u64,
    /// Whether the program wrote to the head or the tail.
    pub scribbled: bool,
    /// Whether the order of events that are to be read is up to devices or workers.
    pub unordered: bool,
    /// Whether that was ever so.
    pub disordered: bool,
    /// Whether several processors may have some of its free slots.
    pub spread: bool,
    /// Events that were read while others were still to come, in no order.
    pub open: Vec<String>,
}

impl Context {
    /// Several threads or devices complete requests from here on.
    pub fn race(&mut self) {
        self.unordered = true;
        self.disordered = true;
        self.spread = true;
    }
}

/// All contexts of a program.
#[derive(Default)]
pub struct Contexts {
    list: Vec<Context>,
    /// What each name stands for.
    names: [Option<usize>; CONTEXT_NAMES as usize],
}

impl Contexts {
    /// Adds the context that a name stands for from here on.
    pub fn add(&mut self, context: Context) -> usize {
        self.names[usize::from(context.name)] = Some(self.list.len());
        self.list.push(context);
        self.list.len() - 1
    }

    /// The context of a name, alive or not.
    pub fn named(&self, name: u8) -> Option<usize> {
        *self.names.get(usize::from(name))?
    }

    /// The context that the kernel has under this id.
    pub fn with_id(&self, id: u64) -> Option<usize> {
        let mut list = self.list.iter();
        list.position(|context| context.alive && context.id == id)
    }

    /// The contexts that are alive.
    pub fn alive(&self) -> Vec<usize> {
        (0..self.list.len())
            .filter(|&at| self.list[at].alive)
            .collect()
    }

    /// A context by its place.
    pub fn get(&self, at: usize) -> &Context {
        &self.list[at]
    }

    /// A context by its place.
    pub fn get_mut(&mut self, at: usize) -> &mut Context {
        &mut self.list[at]
    }

    /// All of them are somebody else's: a child process has none.
    pub fn disown(&mut self) {
        for context in &mut self.list {
            context.alive = false;
            context.mapped = 0;
        }
    }
}

/// Looks at memory that may not be there.
pub struct Probe {
    read_end: i32,
    write_end: i32,
}

impl Probe {
    /// A new one.
    pub fn new() -> Result<Self> {
        let mut ends = [0; 2];
        // SAFETY: There is room for two descriptors.
        if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
            return Err(io::Error::last_os_error()).context("cannot make a pipe");
        }
        Ok(Self {
            read_end: ends[0],
            write_end: ends[1],
        })
    }

    /// Reads up to a page of memory; [`None`] where it cannot be read.
    pub fn read(&self, addr: u64, bytes: usize) -> Option<Vec<u8>> {
        let mut copy = vec![0; bytes];
        // SAFETY: The kernel checks that the memory can be read; the copy has the same length.
        let copied = unsafe {
            let written = libc::write(self.write_end, addr as *const _, bytes);
            if written > 0 {
                libc::read(self.read_end, copy.as_mut_ptr().cast(), written as usize)
            } else {
                written
            }
        };
        (copied == bytes as isize).then_some(copy)
    }

    /// Writes memory. Returns whether it could be written.
    pub fn write(&self, addr: u64, value: u32) -> bool {
        let bytes = value.to_ne_bytes();
        // SAFETY: The kernel checks that the memory can be written. It is part of a ring, which
        // nothing in this process refers to.
        unsafe {
            libc::write(self.write_end, bytes.as_ptr().cast(), bytes.len());
            if libc::read(self.read_end, addr as *mut _, bytes.len()) == bytes.len() as isize {
                return true;
            }
            // What was not taken must not be in the way of the next look.
            let mut rest = bytes;
            libc::read(self.read_end, rest.as_mut_ptr().cast(), rest.len());
            false
        }
    }

    /// The header of a ring.
    pub fn header(&self, addr: u64) -> Option<Header> {
        let bytes = self.read(addr, RING_HEADER_BYTES as usize)?;
        let mut header = Header::default();
        for (word, chunk) in header.iter_mut().zip(bytes.chunks_exact(4)) {
            *word = u32::from_ne_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
        }
        Some(header)
    }
}

/// Number of elements of a ring, from its header.
pub fn elements(header: &Header) -> u32 {
    header[NR]
}

/// Head and tail of a ring, from its header.
pub fn head_and_tail(header: &Header) -> (u32, u32) {
    (header[HEAD], header[TAIL])
}

/// How long completions may take.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long to wait where the ring does not tell.
const BLIND_WAIT: Duration = Duration::from_millis(15);
/// From the tail's change to the end of a completion.
const AFTER_TAIL: Duration = Duration::from_millis(1);
/// How often the ring is looked at.
const LOOK: Duration = Duration::from_micros(100);

/// Waits until all of a context that completes by itself has.
pub fn settle(context: &Context, at: usize, flights: &Flights, probe: &Probe) {
    let pending = |flight: &&super::flights::Flight| {
        !flight.landed && flight.pace != crate::claim::Pace::Inline
    };
    if !flights.of(at).any(|flight| pending(&flight)) {
        return;
    }
    if context.scribbled || context.mapped == 0 {
        std::thread::sleep(BLIND_WAIT);
        return;
    }
    let start = Instant::now();
    loop {
        let wanted = context.reaped + flights.expected(at) as u64;
        let Some(header) = probe.header(context.id) else {
            std::thread::sleep(BLIND_WAIT);
            return;
        };
        if has_reached(header[TAIL], wanted, context.nr) || start.elapsed() > PATIENCE {
            break;
        }
        std::thread::sleep(LOOK);
    }
    if flights
        .of(at)
        .any(|flight| flight.signals && pending(&flight))
    {
        std::thread::sleep(AFTER_TAIL);
    }
}

/// Whether a tail of a ring with `nr` elements shows at least `wanted` completions since the start.
fn has_reached(tail: u32, wanted: u64, nr: u32) -> bool {
    let nr = u64::from(nr.max(1));
    let ahead = (u64::from(tail) + nr - wanted % nr) % nr;
    ahead < nr / 2 || wanted == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_wraps_around() {
        assert!(has_reached(0, 0, 62));
        assert!(!has_reached(0, 1, 62));
        assert!(has_reached(1, 1, 62));
        assert!(has_reached(2, 1, 62));
        assert!(has_reached(1, 63, 62));
        assert!(!has_reached(61, 63, 62));
    }

    #[test]
    fn a_probe_survives_what_is_not_there() {
        let probe = Probe::new().unwrap();
        let word = 5_u32;
        assert_eq!(probe.read(0, 32), None);
        assert_eq!(
            probe.read(&raw const word as u64, 4),
            Some(word.to_ne_bytes().to_vec())
        );
        assert!(!probe.write(0, 1));
        let mut target = 0_u32;
        assert!(probe.write(&raw mut target as u64, 7));
        assert_eq!(target, 7);
    }
}
