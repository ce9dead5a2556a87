// SPDX-License-Identifier: GPL-2.0-only

//! What is known of each AIO context, and the table they are kept in.
//!
//! The table has a fixed size and no lock, so that it can be used in a signal handler and is whole
//! in a child forked at any moment. A context that finds no room is simply not polled.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::abi::ContextId;
use crate::eligibility::Reason;

/// What a context's first I/O decided for its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing yet: no I/O was accepted.
    Undecided,
    /// All its I/O is polled.
    Polled,
    /// None of it is.
    Plain(Reason),
}

impl Mode {
    const UNDECIDED: u8 = 0xfe;
    const POLLED: u8 = 0xff;

    fn to_code(self) -> u8 {
        match self {
            Mode::Undecided => Self::UNDECIDED,
            Mode::Polled => Self::POLLED,
            Mode::Plain(reason) => reason as u8,
        }
    }

    fn from_code(code: u8) -> Self {
        match Reason::from_code(code) {
            Some(reason) => Mode::Plain(reason),
            None if code == Self::POLLED => Mode::Polled,
            None => Mode::Undecided,
        }
    }
}

/// A context's mode as it was read, the ground on which a decision is taken.
#[derive(Clone, Copy)]
pub struct Observed(u64);

impl Observed {
    const MODE_BITS: u32 = 8;

    /// The mode.
    pub fn mode(self) -> Mode {
        Mode::from_code(self.0 as u8)
    }

    fn with_mode(self, mode: Mode) -> Self {
        Observed(self.0 >> Self::MODE_BITS << Self::MODE_BITS | u64::from(mode.to_code()))
    }

    fn next_generation(self) -> Self {
        Observed(self.0.wrapping_add(1 << Self::MODE_BITS))
    }
}

/// One context.
pub struct Context {
    /// Its id, [`FREE`], [`RELEASED`] or [`CLAIMED`].
    id: AtomicU64,
    /// The mode, and above it a generation: a decision taken for a context that was destroyed
    /// meanwhile does not hit its successor in this place.
    state: AtomicU64,
    capacity: AtomicUsize,
    submitted: AtomicU64,
}

/// Never used: a search ends here.
const FREE: u64 = 0;
/// Used before: a search goes on.
const RELEASED: u64 = 1;
/// Being filled in.
const CLAIMED: u64 = 2;

impl Context {
    const fn new() -> Self {
        Context {
            id: AtomicU64::new(FREE),
            state: AtomicU64::new(0),
            capacity: AtomicUsize::new(0),
            submitted: AtomicU64::new(0),
        }
    }

    /// The id `io_setup` gave out.
    pub fn id(&self) -> ContextId {
        self.id.load(Ordering::Relaxed)
    }

    /// The mode at this moment.
    pub fn observe(&self) -> Observed {
        Observed(self.state.load(Ordering::Relaxed))
    }

    /// Records what the kernel's acceptance of an I/O proved. Only the first decision counts.
    pub fn decide(&self, observed: Observed, mode: Mode) {
        let decided = observed.with_mode(mode);
        // A failure means that another thread recorded the same proof first.
        let _ = self.state.compare_exchange(
            observed.0,
            decided.0,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
    }

    /// The largest batch that the kernel takes.
    pub fn capacity(&self) -> usize {
        self.capacity.load(Ordering::Relaxed)
    }

    /// Counts I/O the kernel accepted.
    pub fn count(&self, accepted: u64) {
        self.submitted.fetch_add(accepted, Ordering::Relaxed);
    }

    /// How many I/Os the kernel accepted.
    pub fn submitted(&self) -> u64 {
        self.submitted.load(Ordering::Relaxed)
    }

    /// Fills a claimed place and gives it its id, with which it is found.
    fn publish(&self, id: ContextId, mode: Mode, capacity: usize) {
        let state = self.observe().next_generation().with_mode(mode);
        self.state.store(state.0, Ordering::Relaxed);
        self.capacity.store(capacity, Ordering::Relaxed);
        self.submitted.store(0, Ordering::Relaxed);
        // Pairs with the acquire load in `Table::find`.
        self.id.store(id, Ordering::Release);
    }

    fn claim(&self) -> bool {
        [FREE, RELEASED].into_iter().any(|unused| {
            self.id
                .compare_exchange(unused, CLAIMED, Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
        })
    }
}

/// The contexts of a process, by id.
pub struct Table<const PLACES: usize> {
    places: [Context; PLACES],
}

impl<const PLACES: usize> Default for Table<PLACES> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const PLACES: usize> Table<PLACES> {
    /// An empty table.
    pub const fn new() -> Self {
        Table {
            places: [const { Context::new() }; PLACES],
        }
    }

    /// The context `id`, where its `io_setup` was seen and found room.
    pub fn find(&self, id: ContextId) -> Option<&Context> {
        self.search(id)
            .take_while(|(held, _)| *held != FREE)
            .find_map(|(held, context)| (held == id).then_some(context))
    }

    /// Adds context `id`, which takes batches of `capacity` iocbs; `None` when the table is full.
    ///
    /// The caller removed a former context of that id.
    pub fn insert(&self, id: ContextId, mode: Mode, capacity: usize) -> Option<&Context> {
        let (_, context) = self.search(id).find(|(_, context)| context.claim())?;
        context.publish(id, mode, capacity);
        Some(context)
    }

    /// Gives the place of `context` back.
    pub fn remove(&self, context: &Context) {
        context.id.store(RELEASED, Ordering::Release);
    }

    /// All contexts.
    pub fn iter(&self) -> impl Iterator<Item = &Context> {
        self.places.iter().filter(|context| context.id() > CLAIMED)
    }

    /// Forgets all contexts: those of the parent, in a forked child.
    pub fn clear(&self) {
        for context in &self.places {
            // Reading first leaves the pages of a table that was hardly used untouched.
            if context.id() != FREE {
                context.id.store(FREE, Ordering::Relaxed);
            }
        }
    }

    /// Every place once, with the id it holds, from where `id` would best be.
    fn search(&self, id: ContextId) -> impl Iterator<Item = (u64, &Context)> {
        // Ids are page addresses, so their low bits say nothing.
        let start = (id >> 12).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        let start = start as usize % PLACES;
        let (wrapped, first) = self.places.split_at(start);
        first
            .iter()
            .chain(wrapped)
            .map(|context| (context.id.load(Ordering::Acquire), context))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: ContextId = 0x7f00_0000_1000;

    #[test]
    fn modes_survive_their_code() {
        for mode in [
            Mode::Undecided,
            Mode::Polled,
            Mode::Plain(Reason::Eventfd),
            Mode::Plain(Reason::KernelLacksPolling),
        ] {
            assert_eq!(Mode::from_code(mode.to_code()), mode);
        }
    }

    #[test]
    fn the_first_decision_holds() {
        let table = Table::<4>::new();
        let context = table.insert(ID, Mode::Undecided, 8).unwrap();
        let observed = context.observe();
        context.decide(observed, Mode::Polled);
        context.decide(observed, Mode::Plain(Reason::Refused));
        assert_eq!(context.observe().mode(), Mode::Polled);
    }

    #[test]
    fn a_late_decision_does_not_hit_the_next_context_in_the_place() {
        let table = Table::<1>::new();
        let context = table.insert(ID, Mode::Undecided, 8).unwrap();
        let observed = context.observe();
        table.remove(context);
        let successor = table.insert(ID, Mode::Undecided, 8).unwrap();
        context.decide(observed, Mode::Polled);
        assert_eq!(successor.observe().mode(), Mode::Undecided);
    }

    #[test]
    fn contexts_are_found_until_removed() {
        let table = Table::<4>::new();
        let ids = [ID, ID + 4096, ID + 8192, ID + 12288];
        for id in ids {
            assert!(table.insert(id, Mode::Undecided, 8).is_some());
        }
        assert!(table.insert(ID + 16384, Mode::Undecided, 8).is_none());
        for id in ids {
            assert_eq!(table.find(id).map(Context::id), Some(id));
        }
        table.remove(table.find(ids[1]).unwrap());
        assert!(table.find(ids[1]).is_none());
        for id in [ids[0], ids[2], ids[3]] {
            assert!(table.find(id).is_some());
        }
        assert!(table.insert(ID + 16384, Mode::Undecided, 8).is_some());
        assert_eq!(table.iter().count(), 4);
    }

    #[test]
    fn ids_that_mark_places_are_no_contexts() {
        let table = Table::<2>::new();
        let context = table.insert(ID, Mode::Undecided, 8).unwrap();
        table.remove(context);
        assert!(table.find(FREE).is_none());
        assert_eq!(table.iter().count(), 0);
    }

    #[test]
    fn a_cleared_table_is_empty_and_usable() {
        let table = Table::<2>::new();
        table.insert(ID, Mode::Polled, 8).unwrap();
        table.clear();
        assert!(table.find(ID).is_none());
        let again = table.insert(ID, Mode::Undecided, 8).unwrap();
        assert_eq!(again.observe().mode(), Mode::Undecided);
    }

    #[test]
    fn threads_do_not_share_a_place() {
        let table = Table::<64>::new();
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let table = &table;
                scope.spawn(move || {
                    for round in 0..1000 {
                        let id = ID + ((thread * 1000 + round) << 12);
                        let context = table.insert(id, Mode::Undecided, 8).unwrap();
                        assert!(std::ptr::eq(table.find(id).unwrap(), context));
                        table.remove(context);
                    }
                });
            }
        });
        assert_eq!(table.iter().count(), 0);
    }
}
