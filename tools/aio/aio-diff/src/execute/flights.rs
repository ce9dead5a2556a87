// SPDX-License-Identifier: GPL-2.0-only

//! What was accepted and whose event has not been read yet.

use super::digest::Digest;
use super::files::ready_events;
use crate::claim::{conflict, Claim, Pace};

/// What tells how a read went, besides its result.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Content {
    /// Nothing.
    None,
    /// What the buffer had when the submission returned.
    Known(Digest),
    /// What the buffer has when the event is read: addresses and lengths.
    AtEnd(Vec<(u64, u64)>),
}

/// A request of a context.
#[derive(Clone, Debug)]
pub struct Flight {
    /// The context, by its place in the list of them.
    pub context: usize,
    /// Address of the iocb.
    pub obj: u64,
    /// `aio_data` of the iocb.
    pub data: u64,
    /// What completes it.
    pub pace: Pace,
    /// What it reads or writes.
    pub claims: Vec<Claim>,
    /// Descriptor and events of a POLL.
    pub polls: Option<(i32, i16)>,
    /// Whether it was cancelled.
    pub cancelled: bool,
    /// Whether an eventfd is signalled, too.
    pub signals: bool,
    /// Whether it is known to have completed.
    pub landed: bool,
    /// What was read.
    pub content: Content,
}

impl Flight {
    /// Whether its event is there, or about to be.
    pub fn is_expected(&self) -> bool {
        self.pace != Pace::Poll || self.cancelled || self.landed || self.is_ready()
    }

    fn is_ready(&self) -> bool {
        let ready = |(fd, events)| {
            // A descriptor that was closed since says nothing about the file.
            let found = ready_events(fd, events);
            found & libc::POLLNVAL == 0 && found != 0
        };
        self.polls.is_some_and(ready)
    }
}

/// All requests of a program.
#[derive(Default)]
pub struct Flights(Vec<Flight>);

impl Flights {
    /// Adds a request that was accepted.
    pub fn add(&mut self, flight: Flight) {
        self.0.push(flight);
    }

    /// Forgets all requests.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Forgets the requests of a context.
    pub fn forget(&mut self, context: usize) {
        self.0.retain(|flight| flight.context != context);
    }

    /// The requests of a context.
    pub fn of(&self, context: usize) -> impl Iterator<Item = &Flight> {
        self.0
            .iter()
            .filter(move |flight| flight.context == context)
    }

    /// How many requests of a context have an event now or soon.
    pub fn expected(&self, context: usize) -> usize {
        self.of(context)
            .filter(|flight| flight.is_expected())
            .count()
    }

    /// The contexts with requests that may not have completed.
    pub fn unsettled(&self) -> Vec<usize> {
        let mut contexts = self
            .0
            .iter()
            .filter(|flight| flight.pace != Pace::Inline && !flight.landed)
            .map(|flight| flight.context)
            .collect::<Vec<_>>();
        contexts.sort_unstable();
        contexts.dedup();
        contexts
    }

    /// The contexts that have something in flight which what makes these claims conflicts with.
    pub fn conflicting(&self, claims: &[Claim]) -> Vec<usize> {
        let conflicts = |flight: &&Flight| {
            flight.pace != Pace::Inline && !flight.landed && conflict(&flight.claims, claims)
        };
        self.0
            .iter()
            .filter(conflicts)
            .map(|flight| flight.context)
            .collect()
    }

    /// Marks what is expected of a context as completed.
    pub fn land(&mut self, context: usize) {
        for flight in &mut self.0 {
            if flight.context == context && flight.is_expected() {
                flight.landed = true;
            }
        }
    }

    /// Marks POLLs of files that are ready as completed.
    pub fn land_ready(&mut self) {
        for flight in &mut self.0 {
            flight.landed |= flight.pace == Pace::Poll && flight.is_ready();
        }
    }

    /// Marks the oldest POLL with this iocb as cancelled.
    pub fn cancel(&mut self, context: usize, obj: u64) {
        let wanted = |flight: &&mut Flight| {
            flight.context == context
                && flight.obj == obj
                && flight.pace == Pace::Poll
                && !flight.cancelled
                && !flight.landed
        };
        if let Some(flight) = self.0.iter_mut().find(wanted) {
            flight.cancelled = true;
        }
    }

    /// Takes out the oldest request that an event is for.
    pub fn take(&mut self, context: usize, obj: u64, data: u64) -> Option<Flight> {
        let at = self.0.iter().position(|flight| {
            flight.context == context && flight.obj == obj && flight.data == data
        })?;
        Some(self.0.remove(at))
    }
}
