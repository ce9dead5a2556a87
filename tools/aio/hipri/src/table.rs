// SPDX-License-Identifier: GPL-2.0-only

//! The contexts of a process, by id.
//!
//! The table has a fixed size and no lock, so that it can be used in a signal handler and is whole
//! in a child forked at any moment. A context that finds no room is simply not polled. A place is
//! used again only when nobody is busy with the context that was there.
//!
//! What is large and seldom used, the verdicts, is kept apart: the table is searched, and cleared in
//! every child, without touching the memory of places that were never used.

use core::ops::Deref;
use core::sync::atomic::AtomicU32;
use core::sync::atomic::Ordering::{Relaxed, SeqCst};

use aio_abi::ContextId;

use crate::context::{Context, Role, CLAIMED, FREE, RELEASED};
use crate::verdicts::Verdicts;

struct Place {
    context: Context,
    /// Threads that are busy with the context, or look whether it is the one they want.
    users: AtomicU32,
}

impl Place {
    const fn new() -> Self {
        Place {
            context: Context::vacant(),
            users: AtomicU32::new(0),
        }
    }

    fn word(&self) -> usize {
        self.context.id_word().load(SeqCst)
    }

    /// Takes the place for a new context, if nobody uses it.
    fn claim(&self) -> bool {
        let word = self.context.id_word();
        let claimed = [FREE, RELEASED].into_iter().find(|unused| {
            word.compare_exchange(*unused, CLAIMED, SeqCst, SeqCst)
                .is_ok()
        });
        match claimed {
            Some(unused) if self.users.load(SeqCst) != 0 => {
                word.store(unused, SeqCst);
                false
            }
            claimed => claimed.is_some(),
        }
    }
}

/// A context that keeps its place until this is dropped.
pub struct Held<'a> {
    place: &'a Place,
    verdicts: &'a Verdicts,
}

impl<'a> Held<'a> {
    /// What was found out about files for the context.
    pub fn verdicts(&self) -> &'a Verdicts {
        self.verdicts
    }
}

impl Deref for Held<'_> {
    type Target = Context;

    fn deref(&self) -> &Context {
        &self.place.context
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.place.users.fetch_sub(1, SeqCst);
    }
}

/// The contexts of a process, by id.
pub struct Table<const PLACES: usize> {
    places: [Place; PLACES],
    verdicts: [Verdicts; PLACES],
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
            places: [const { Place::new() }; PLACES],
            verdicts: [const { Verdicts::new() }; PLACES],
        }
    }

    /// The context `id`, where its `io_setup` was seen and found room.
    pub fn find(&self, id: ContextId) -> Option<Held<'_>> {
        let word = id as usize;
        let (place, verdicts) = self
            .search(id)
            .take_while(|(place, _)| place.word() != FREE)
            .find(|(place, _)| place.word() == word)?;
        place.users.fetch_add(1, SeqCst);
        let held = Held { place, verdicts };
        // From here on it stays, if it is still the one.
        (word > CLAIMED && place.word() == word).then_some(held)
    }

    /// Adds context `id`, of which is known how it was set up; see [`Context::reset`]. Returns
    /// whether there was room.
    ///
    /// The caller removed a former context of that id.
    pub fn insert(&self, id: ContextId, role: Role, events: u32, capacity: usize) -> bool {
        let Some((place, verdicts)) = self.search(id).find(|(place, _)| place.claim()) else {
            return false;
        };
        place.context.reset(role, events, capacity);
        verdicts.reset();
        // Pairs with the loads in `find`.
        place.context.id_word().store(id as usize, SeqCst);
        true
    }

    /// Takes the id from a context that goes. Returns false where somebody else has.
    pub fn remove(&self, context: &Held<'_>, id: ContextId) -> bool {
        context
            .id_word()
            .compare_exchange(id as usize, RELEASED, SeqCst, SeqCst)
            .is_ok()
    }

    /// All contexts, by id.
    pub fn iter(&self) -> impl Iterator<Item = (ContextId, &Context)> {
        let contexts = self.places.iter().map(|place| &place.context);
        contexts.filter_map(|context| Some((context.id()?, context)))
    }

    /// Forgets all contexts: those of the parent, in a forked child.
    pub fn clear(&self) {
        for place in &self.places {
            // Reading first leaves the pages of a table that was hardly used untouched.
            if place.word() != FREE {
                place.users.store(0, Relaxed);
                place.context.id_word().store(FREE, Relaxed);
            }
        }
    }

    /// Every place once, from where `id` would best be.
    fn search(&self, id: ContextId) -> impl Iterator<Item = (&Place, &Verdicts)> {
        // Ids are page addresses, so their low bits say nothing.
        let hash = ((id >> 12) as u32).wrapping_mul(0x9e37_79b1) >> 16;
        let start = hash as usize % PLACES;
        let indices = (start..PLACES).chain(0..start);
        indices.map(|index| (&self.places[index], &self.verdicts[index]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: ContextId = 0x7f00_1000;

    fn insert<const PLACES: usize>(table: &Table<PLACES>, id: ContextId) -> bool {
        table.insert(id, Role::Undecided, 8, 64)
    }

    #[test]
    fn contexts_are_found_until_removed() {
        let table = Table::<4>::new();
        let ids = [ID, ID + 4096, ID + 8192, ID + 12288];
        for id in ids {
            assert!(insert(&table, id));
        }
        assert!(!insert(&table, ID + 16384));
        for id in ids {
            assert_eq!(table.find(id).and_then(|context| context.id()), Some(id));
        }
        assert!(table.remove(&table.find(ids[1]).unwrap(), ids[1]));
        assert!(table.find(ids[1]).is_none());
        for id in [ids[0], ids[2], ids[3]] {
            assert!(table.find(id).is_some());
        }
        assert!(insert(&table, ID + 16384));
        assert_eq!(table.iter().count(), 4);
    }

    #[test]
    fn what_was_found_out_ends_with_its_context() {
        let table = Table::<2>::new();
        for id in [ID, ID + 4096] {
            insert(&table, id);
        }
        let [context, other] = [ID, ID + 4096].map(|id| table.find(id).unwrap());
        context.verdicts().remember(3, Ok(()));
        assert_eq!(other.verdicts().recall(3), None);
        table.remove(&context, ID);
        drop(context);
        insert(&table, ID);
        assert_eq!(table.find(ID).unwrap().verdicts().recall(3), None);
    }

    #[test]
    fn a_context_is_removed_once() {
        let table = Table::<1>::new();
        insert(&table, ID);
        let [first, second] = [table.find(ID).unwrap(), table.find(ID).unwrap()];
        assert!(table.remove(&first, ID));
        assert!(!table.remove(&second, ID));
        assert_eq!(second.id(), None);
    }

    #[test]
    fn a_place_that_somebody_is_busy_with_is_not_used_again() {
        let table = Table::<1>::new();
        insert(&table, ID);
        let busy = table.find(ID).unwrap();
        table.remove(&busy, ID);
        assert!(!insert(&table, ID));
        drop(busy);
        assert!(insert(&table, ID));
    }

    #[test]
    fn ids_that_mark_places_are_no_contexts() {
        let table = Table::<2>::new();
        insert(&table, ID);
        table.remove(&table.find(ID).unwrap(), ID);
        for mark in [FREE, RELEASED, CLAIMED] {
            assert!(table.find(mark as ContextId).is_none());
        }
        assert_eq!(table.iter().count(), 0);
    }

    #[test]
    fn a_cleared_table_is_empty_and_usable() {
        let table = Table::<2>::new();
        insert(&table, ID);
        let before_the_fork = table.find(ID).unwrap();
        before_the_fork.decide_plain();
        table.clear();
        assert!(table.find(ID).is_none());
        assert!(insert(&table, ID));
        assert_eq!(table.find(ID).unwrap().role(), Role::Undecided);
        core::mem::forget(before_the_fork);
    }

    #[test]
    fn threads_do_not_share_a_place() {
        let table = Table::<64>::new();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let table = &table;
                scope.spawn(move || {
                    for round in 0..1000 {
                        let id = ID + ((thread * 1000 + round) << 12);
                        assert!(insert(table, id));
                        let context = table.find(id).unwrap();
                        assert_eq!(context.id(), Some(id));
                        assert!(table.remove(&context, id));
                    }
                });
            }
        });
        assert_eq!(table.iter().count(), 0);
    }
}
