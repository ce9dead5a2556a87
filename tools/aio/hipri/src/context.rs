// SPDX-License-Identifier: GPL-2.0-only

//! What is known of a context of the program's.
//!
//! It is served by one context of the kernel's, the one that `io_setup` made and whose id the
//! program holds: the visible side. The first I/O decides whether that takes polled I/O or other
//! I/O. When there is I/O of the other kind, a second context of the kernel's is made, of which the
//! program does not know: the shadow side. All this is decided once for the context's life.
//!
//! Several threads may do anything at once, so every field is atomic. Orderings are sequentially
//! consistent wherever one field is read to see what another thread does about another field.

use core::sync::atomic::Ordering::{Relaxed, SeqCst};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicU8, AtomicUsize};

use aio_abi::ContextId;

use crate::statistics::Counts;
use crate::system::System;

/// Which I/O the visible side takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Role {
    /// Nothing was submitted yet, or nothing was accepted.
    Undecided,
    /// Polled I/O.
    Polled,
    /// Other I/O.
    Plain,
    /// All I/O, as it comes: the kernel does not poll.
    LeftAlone,
}

impl Role {
    fn from_code(code: u8) -> Self {
        [Role::Undecided, Role::Polled, Role::Plain]
            .into_iter()
            .find(|role| *role as u8 == code)
            .unwrap_or(Role::LeftAlone)
    }

    /// The side that takes I/O which is not polled, once there is one.
    pub fn plain_side(self) -> Side {
        match self {
            Role::Polled => Side::Shadow,
            _ => Side::Visible,
        }
    }

    /// The side that takes polled I/O, once there is one.
    pub fn polled_side(self) -> Side {
        self.plain_side().other()
    }
}

/// One of the two contexts of the kernel's that serve one of the program's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that the program made.
    Visible,
    /// The one that it does not know of.
    Shadow,
}

impl Side {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Side::Visible => Side::Shadow,
            Side::Shadow => Side::Visible,
        }
    }
}

/// I/O in flight: submitted, and its event not read.
///
/// Where the program reads the ring itself, this does not see the events go and counts too many:
/// see [`Context::note_idle`].
#[derive(Debug)]
pub struct InFlight {
    submitted: AtomicU64,
    read: AtomicU64,
}

impl InFlight {
    const fn new() -> Self {
        InFlight {
            submitted: AtomicU64::new(0),
            read: AtomicU64::new(0),
        }
    }

    /// How much there is.
    pub fn count(&self) -> usize {
        // In this order it is not too little.
        let read = self.read.load(SeqCst);
        let count = self.submitted().wrapping_sub(read) as i64;
        usize::try_from(count).unwrap_or(0)
    }

    /// How much there ever was, and is about to be.
    fn submitted(&self) -> u64 {
        self.submitted.load(SeqCst)
    }

    /// Counts I/O before it is submitted, as somebody else may read its event before that returns.
    pub fn add(&self, count: usize) {
        self.submitted.fetch_add(count as u64, SeqCst);
    }

    /// Counts I/O that was not accepted.
    pub fn take_back(&self, count: usize) {
        if count > 0 {
            self.submitted.fetch_sub(count as u64, SeqCst);
        }
    }

    /// Counts events that were read.
    pub fn remove(&self, count: usize) {
        if count > 0 {
            self.read.fetch_add(count as u64, SeqCst);
        }
    }

    /// Takes all that there is for read, but nothing that is submitted or read meanwhile.
    fn forget(&self) {
        let read = self.read.load(SeqCst);
        let unread = self.submitted().wrapping_sub(read);
        self.read.fetch_add(unread, SeqCst);
    }

    fn reset(&self) {
        self.submitted.store(0, SeqCst);
        self.read.store(0, SeqCst);
    }
}

/// There is no shadow side yet.
const NO_SHADOW: usize = 0;
/// There will never be one: the context is being destroyed.
const DEAD: usize = 1;

fn shadow_id(word: usize) -> Option<ContextId> {
    (word > DEAD).then_some(word as ContextId)
}

/// In place of an id: there never was a context here.
pub const FREE: usize = 0;
/// In place of an id: there was a context here.
pub const RELEASED: usize = 1;
/// In place of an id: there will be a context here.
pub const CLAIMED: usize = 2;

/// One context.
#[derive(Debug)]
pub struct Context {
    id: AtomicUsize,
    events: AtomicU32,
    capacity: AtomicUsize,
    role: AtomicU8,
    /// Threads that try to be the first to poll: what comes of it is not in `role` yet.
    trying_to_poll: AtomicU32,
    shadow: AtomicUsize,
    visible_in_flight: InFlight,
    shadow_in_flight: InFlight,
    /// Submissions of I/O that is not polled: how many began, and how many ended.
    begun: AtomicU32,
    ended: AtomicU32,
    /// Nothing is in flight on the visible side while no more than this was submitted to it.
    idle_at: AtomicU64,
    /// Threads that read or write the visible ring.
    in_ring: AtomicU32,
    /// Threads that wait, or are about to, for I/O that is not polled, and see nothing else.
    pub sleepers: AtomicU32,
    /// An event that wakes one of them is on its way.
    pub wake_pending: AtomicBool,
    /// Which side was looked at first the last time.
    turn: AtomicBool,
    /// What was accepted.
    pub counts: Counts,
}

impl Context {
    /// What a table holds where there never was a context.
    pub const fn vacant() -> Self {
        Context {
            id: AtomicUsize::new(FREE),
            events: AtomicU32::new(0),
            capacity: AtomicUsize::new(0),
            role: AtomicU8::new(Role::Undecided as u8),
            trying_to_poll: AtomicU32::new(0),
            shadow: AtomicUsize::new(NO_SHADOW),
            visible_in_flight: InFlight::new(),
            shadow_in_flight: InFlight::new(),
            begun: AtomicU32::new(0),
            ended: AtomicU32::new(0),
            idle_at: AtomicU64::new(0),
            in_ring: AtomicU32::new(0),
            sleepers: AtomicU32::new(0),
            wake_pending: AtomicBool::new(false),
            turn: AtomicBool::new(false),
            counts: Counts::new(),
        }
    }

    /// Makes it a context that nothing is known of but how it was set up; its id comes later.
    ///
    /// `events` is what `io_setup` was asked for, `capacity` the most I/O that the kernel takes.
    pub fn reset(&self, role: Role, events: u32, capacity: usize) {
        self.events.store(events, Relaxed);
        self.capacity.store(capacity, Relaxed);
        self.role.store(role as u8, Relaxed);
        self.trying_to_poll.store(0, Relaxed);
        self.shadow.store(NO_SHADOW, Relaxed);
        self.visible_in_flight.reset();
        self.shadow_in_flight.reset();
        self.begun.store(0, Relaxed);
        self.ended.store(0, Relaxed);
        self.idle_at.store(0, Relaxed);
        self.in_ring.store(0, Relaxed);
        self.sleepers.store(0, Relaxed);
        self.wake_pending.store(false, Relaxed);
        self.counts.reset();
    }

    /// The id, or [`FREE`], [`RELEASED`] or [`CLAIMED`]: the table's.
    pub fn id_word(&self) -> &AtomicUsize {
        &self.id
    }

    /// The id `io_setup` gave out, until the context is being destroyed.
    pub fn id(&self) -> Option<ContextId> {
        let word = self.id.load(SeqCst);
        (word > CLAIMED).then_some(word as ContextId)
    }

    /// What `io_setup` was asked for.
    pub fn events(&self) -> u32 {
        self.events.load(Relaxed)
    }

    /// The most I/O that the kernel takes into the visible side, and the largest batch.
    pub fn capacity(&self) -> usize {
        self.capacity.load(Relaxed)
    }

    /// The role of the visible side, as far as it is decided.
    pub fn role(&self) -> Role {
        Role::from_code(self.role.load(SeqCst))
    }

    /// The role, when nobody is about to decide it any more.
    ///
    /// Who tries to be the first to poll does not wait for anything but the device.
    pub fn settled_role(&self, system: &impl System) -> Role {
        while self.is_unsettled() {
            system.give_way();
        }
        self.role()
    }

    /// Whether the role may still change, whatever it seems to be: somebody tries to poll, and the
    /// kernel may say yes. Who has seen a role that is not undecided, then this to be false, and
    /// sees the same role again, sees it for good.
    pub fn is_unsettled(&self) -> bool {
        self.trying_to_poll.load(SeqCst) != 0
    }

    /// Decides for I/O that is not polled, before there is any. Returns the role there is then.
    pub fn decide_plain(&self) -> Role {
        let decided =
            self.role
                .compare_exchange(Role::Undecided as u8, Role::Plain as u8, SeqCst, SeqCst);
        match decided {
            Ok(_) => Role::Plain,
            Err(code) => Role::from_code(code),
        }
    }

    /// Runs `attempt` to submit the first polled I/O, and decides for polling if it says that the
    /// kernel accepted any; `None` where the role was decided before.
    ///
    /// Unlike the decision for other I/O, this one is the kernel's.
    pub fn try_to_poll<R>(
        &self,
        attempt: impl FnOnce() -> R,
        accepted: impl FnOnce(&R) -> bool,
    ) -> Option<R> {
        self.trying_to_poll.fetch_add(1, SeqCst);
        let result = (self.role() == Role::Undecided).then(attempt);
        if result.as_ref().is_some_and(accepted) {
            // In place of a decision for plain I/O too: the kernel refuses that by now.
            self.role.store(Role::Polled as u8, SeqCst);
        }
        self.trying_to_poll.fetch_sub(1, SeqCst);
        result
    }

    /// Makes as if the role were this.
    #[cfg(test)]
    pub fn role_for_test(&self, role: Role) {
        self.role.store(role as u8, SeqCst);
    }

    /// The shadow side, if there is one.
    pub fn shadow(&self) -> Option<ContextId> {
        shadow_id(self.shadow.load(SeqCst))
    }

    /// Makes `id` the shadow side. Fails where there is one, with that, or where there must not be
    /// one any more, with `None`.
    pub fn adopt_shadow(&self, id: ContextId) -> Result<(), Option<ContextId>> {
        let adopted = self
            .shadow
            .compare_exchange(NO_SHADOW, id as usize, SeqCst, SeqCst);
        adopted.map(drop).map_err(shadow_id)
    }

    /// Takes the shadow side away for good, and returns it if there was one. Nobody touches the
    /// visible ring afterwards: call this when the context has lost its id.
    pub fn end(&self, system: &impl System) -> Option<ContextId> {
        let shadow = self.shadow.swap(DEAD, SeqCst);
        while self.in_ring.load(SeqCst) != 0 {
            system.give_way();
        }
        shadow_id(shadow)
    }

    /// Runs `act` with the id of the visible side, whose ring stays until it returns; not where the
    /// context is being destroyed.
    ///
    /// Who does that waits for it: so signals are to be blocked, whose handlers might, or not return.
    pub fn with_ring<R>(&self, act: impl FnOnce(ContextId) -> R) -> Option<R> {
        self.in_ring.fetch_add(1, SeqCst);
        let result = self.id().map(act);
        self.in_ring.fetch_sub(1, SeqCst);
        result
    }

    /// The kernel's context on a side; `None` where there is none, or not any more.
    pub fn on(&self, side: Side) -> Option<ContextId> {
        match side {
            Side::Visible => self.id(),
            Side::Shadow => self.shadow(),
        }
    }

    /// What is in flight on a side.
    pub fn in_flight(&self, side: Side) -> &InFlight {
        match side {
            Side::Visible => &self.visible_in_flight,
            Side::Shadow => &self.shadow_in_flight,
        }
    }

    /// Forgets what was in flight on the visible side before there was a shadow side, where the
    /// program may have read events from the ring: the number is good for nothing.
    pub fn forget_in_flight(&self) {
        self.visible_in_flight.forget();
    }

    /// Runs `submit`, which counts and submits I/O that is not polled.
    ///
    /// Where a signal's handler leaves it by a jump, the visible side is not taken for idle any more.
    pub fn submitting_plain<R>(&self, submit: impl FnOnce() -> R) -> R {
        self.begun.fetch_add(1, SeqCst);
        let result = submit();
        self.ended.fetch_add(1, SeqCst);
        result
    }

    /// Takes note of it where nothing is in flight on a visible side that is not polled.
    ///
    /// That is what was submitted, less what was read; and where the program may have read events
    /// from the ring, only the ring tells how many. It does so modulo its size, which is enough, as
    /// the kernel takes less than that at once: but only while no submission is under way, which
    /// counts what may be too much.
    ///
    /// Call this where there is a shadow, as then nobody tries any more to poll on this side.
    pub fn note_idle(&self, system: &impl System) {
        let ended = self.ended.load(SeqCst);
        if self.begun.load(SeqCst) != ended {
            return;
        }
        let submitted = self.visible_in_flight.submitted();
        // SAFETY: the context lives meanwhile.
        let ring = self.with_ring(|id| unsafe { system.ring(id) });
        let is_idle = ring.is_some_and(|ring| {
            let size = self.capacity() as u64 + 1;
            ring.is_empty() && submitted % size == u64::from(ring.head) % size
        });
        if is_idle && self.begun.load(SeqCst) == ended {
            self.idle_at.store(submitted, SeqCst);
        }
    }

    /// How much more I/O the context takes: with two sides as much as with one.
    pub fn room(&self) -> usize {
        let taken = self.visible_in_flight.count() + self.shadow_in_flight.count();
        match self.shadow() {
            Some(_) => self.capacity().saturating_sub(taken),
            None => usize::MAX,
        }
    }

    /// Whether something may complete on a side.
    ///
    /// Of the visible side that is not known for sure where it is not polled: see [`InFlight`].
    pub fn may_complete(&self, side: Side) -> bool {
        if side == Side::Visible && self.role() != Role::Polled {
            self.visible_in_flight.submitted() != self.idle_at.load(SeqCst)
        } else {
            self.in_flight(side).count() > 0
        }
    }

    /// The side to look at first: one and the other in turns.
    pub fn first_side(&self) -> Side {
        if self.turn.fetch_xor(true, Relaxed) {
            Side::Shadow
        } else {
            Side::Visible
        }
    }
}

#[cfg(test)]
mod tests {
    use aio_abi::POLL;

    use super::*;
    use crate::batch::test_iocb;
    use crate::played::{Played, VISIBLE};
    use crate::system::error;

    fn context() -> Context {
        let context = Context::vacant();
        context.reset(Role::Undecided, 8, 64);
        context
    }

    #[test]
    fn roles_survive_their_code() {
        for role in [Role::Undecided, Role::Polled, Role::Plain, Role::LeftAlone] {
            assert_eq!(Role::from_code(role as u8), role);
        }
    }

    #[test]
    fn the_sides_take_one_kind_each() {
        for role in [Role::Polled, Role::Plain] {
            assert_ne!(role.polled_side(), role.plain_side());
        }
        assert_eq!(Role::Polled.polled_side(), Side::Visible);
        assert_eq!(Role::Plain.plain_side(), Side::Visible);
    }

    #[test]
    fn a_decision_for_plain_io_needs_no_kernel() {
        let context = context();
        assert_eq!(context.decide_plain(), Role::Plain);
        assert_eq!(context.decide_plain(), Role::Plain);
        assert_eq!(context.try_to_poll(|| (), |()| true), None);
        assert_eq!(context.role(), Role::Plain);
    }

    #[test]
    fn the_kernel_decides_for_polling() {
        let context = context();
        assert_eq!(context.try_to_poll(|| 1, |_| false), Some(1));
        assert_eq!(context.role(), Role::Undecided);
        assert_eq!(context.try_to_poll(|| 2, |_| true), Some(2));
        assert_eq!(context.decide_plain(), Role::Polled);
    }

    #[test]
    fn what_the_kernel_polls_is_polled_whoever_decided_meanwhile() {
        let context = context();
        let attempt = || context.decide_plain();
        assert_eq!(context.try_to_poll(attempt, |_| true), Some(Role::Plain));
        assert_eq!(context.settled_role(&Played::new()), Role::Polled);
    }

    #[test]
    fn there_is_one_shadow_and_none_after_the_end() {
        let context = context();
        assert_eq!(context.adopt_shadow(0x2000), Ok(()));
        assert_eq!(context.adopt_shadow(0x3000), Err(Some(0x2000)));
        assert_eq!(context.on(Side::Shadow), Some(0x2000));
        assert_eq!(context.end(&Played::new()), Some(0x2000));
        assert_eq!(context.adopt_shadow(0x3000), Err(None));
        assert_eq!(context.shadow(), None);
    }

    #[test]
    fn the_ring_of_a_context_that_lost_its_id_is_not_touched() {
        let context = context();
        context.id_word().store(0x1000, SeqCst);
        assert_eq!(context.with_ring(|id| id), Some(0x1000));
        context.id_word().store(RELEASED, SeqCst);
        assert_eq!(context.with_ring(|_| unreachable!()), None::<()>);
    }

    #[test]
    fn two_sides_have_the_room_of_one() {
        let context = context();
        context.in_flight(Side::Visible).add(60);
        assert_eq!(context.room(), usize::MAX);
        context.adopt_shadow(0x2000).unwrap();
        assert_eq!(context.room(), 4);
        context.in_flight(Side::Shadow).add(10);
        assert_eq!(context.room(), 0);
    }

    fn fill(context: &Context, played: &Played) {
        let poll = test_iocb(POLL, 0);
        for _ in 0..context.capacity() {
            assert_eq!(played.submit_to(context, &[poll]), 1);
        }
    }

    #[test]
    fn a_full_ring_is_not_idle_whatever_is_being_submitted() {
        let (context, played) = Played::with_context();
        fill(context, &played);
        context.submitting_plain(|| {
            // As many as the ring has elements.
            context.in_flight(Side::Visible).add(1);
            context.note_idle(&played);
            assert!(context.may_complete(Side::Visible));
            context.in_flight(Side::Visible).take_back(1);
        });
        context.note_idle(&played);
        assert!(context.may_complete(Side::Visible));
    }

    #[test]
    fn a_ring_is_idle_when_all_was_read_until_there_is_more() {
        let (context, played) = Played::with_context();
        for _ in 0..2 {
            fill(context, &played);
            for left in (0..context.capacity()).rev() {
                played.complete(VISIBLE);
                context.note_idle(&played);
                assert!(context.may_complete(Side::Visible));
                played.read_in_ring(VISIBLE);
                context.note_idle(&played);
                assert_eq!(context.may_complete(Side::Visible), left > 0);
            }
            assert_eq!(
                played.submit_to(context, &[test_iocb(99, 0)]),
                error(libc::EINVAL)
            );
            assert!(!context.may_complete(Side::Visible));
        }
    }

    #[test]
    fn what_is_forgotten_is_read_later() {
        let in_flight = InFlight::new();
        in_flight.add(3);
        in_flight.remove(1);
        in_flight.forget();
        assert_eq!(in_flight.count(), 0);
        in_flight.add(3);
        in_flight.take_back(1);
        assert_eq!(in_flight.count(), 2);
    }

    #[test]
    fn reading_more_than_was_counted_leaves_none() {
        let in_flight = InFlight::new();
        in_flight.remove(2);
        assert_eq!(in_flight.count(), 0);
        in_flight.add(3);
        assert_eq!(in_flight.count(), 1);
    }
}
