// SPDX-License-Identifier: GPL-2.0-only

//! Contexts: what io_setup(2) makes and all else happens in.
//!
//! A context has two counts. `users` counts system calls that use it; `reqs` counts requests that
//! owe it an event. Its life:
//!
//! 1. The table of its address space holds the initial reference of `users`, so lookups work.
//! 2. [`Context::kill`] takes it out of the table, which nobody can look it up from any more, and
//!    drops that reference.
//! 3. With the last user gone no more requests can come. The cancellable ones are cancelled, and
//!    the initial reference of `reqs` is dropped.
//! 4. With the last request gone the context is drained, which io_destroy(2) and exit wait for.
//! 5. A grace period later, for lookups that saw it in the table, it is freed.
//!
//! Locks, in the order in which they nest:
//!
//! 1. the lock of the address space's table, the readers' lock of the ring, or the head of a file's
//!    wait queue that a POLL is on; none inside another,
//! 2. `polls`, the request of a POLL, the lock of `cancellable`, or the writers' lock of the ring;
//!    none inside another,
//! 3. the lock of `wait`.
//!
//! C counterpart: `struct kioctx`, `ioctx_alloc()`, `kill_ioctx()`, `free_ioctx*()` of `fs/aio.c`.
//! There the waits for the last request share a completion among contexts; here each context has
//! one, and the waiter a reference to each context.

use super::{
    hybrid::Expectation,
    liveness::Liveness,
    mode::{
        Delivery,
        Mode, //
    },
    op::poll::ActivePolls,
    quota,
    request::Request,
    ring::Ring,
    slots::Slots, //
};
use kernel::{
    cpu,
    error::code::*,
    fs::{
        async_kiocb::PollTarget,
        cancel_list::CancelList,
        iopoll::PollQueue,
        ring_file, //
    },
    mm::{
        ioctx_table::IoctxTable,
        Mm, //
    },
    prelude::*,
    sync::{
        atomic::{
            ordering,
            Atomic, //
        },
        new_spinlock_irq,
        percpu_ref::{
            HasPercpuRef,
            HeldRef,
            HeldRefs,
            InitialRef,
            PercpuRef, //
        },
        rcu,
        wait::{
            new_wait_queue,
            WaitQueue, //
        },
        Arc,
        Completion,
        SpinLockIrq, //
    },
    workqueue::{
        impl_has_delayed_work,
        new_delayed_work,
        DelayedWork, //
    }, //
};

/// The count of system calls.
pub(crate) const USERS: u64 = 0;
/// The count of requests.
pub(crate) const REQS: u64 = 1;

/// A system call's reference to a context.
pub(crate) type User = HeldRef<Context, USERS>;

/// The largest ring, in events.
const MAX_EVENTS: u32 = 0x1000_0000 / super::abi::EVENT_BYTES as u32;

/// An AIO context.
#[pin_data]
pub(crate) struct Context {
    #[pin]
    users: PercpuRef<Context, USERS>,
    #[pin]
    reqs: PercpuRef<Context, REQS>,
    /// Held until the last user is gone.
    #[pin]
    initial_req: SpinLockIrq<Option<InitialRef<Context, REQS>>>,
    /// Place in the table.
    id: Atomic<u32>,
    /// What user space calls it: the address of the ring's mapping.
    user_id: Atomic<usize>,
    dead: Atomic<bool>,
    /// What was asked of io_setup(2), for the system's limit only.
    max_reqs: u32,
    pub(crate) mode: Mode,
    pub(crate) slots: Slots,
    pub(crate) ring: Ring,
    /// Waits for events, and in a polled context also for something to poll and for one's turn.
    #[pin]
    pub(crate) wait: WaitQueue,
    /// Reads and writes that their drivers can cancel.
    #[pin]
    pub(crate) cancellable: CancelList<Request>,
    /// POLLs that wait.
    #[pin]
    pub(crate) polls: SpinLockIrq<ActivePolls>,
    /// Polled reads and writes.
    #[pin]
    pub(crate) queue: PollQueue<Request>,
    pub(crate) liveness: Liveness,
    pub(crate) expectation: Expectation,
    #[pin]
    look: DelayedWork<Context>,
    /// No request is left, and none can come.
    #[pin]
    pub(crate) drained: Completion,
    /// The next of those that end together; see [`super::teardown`].
    #[pin]
    pub(crate) next_dying: SpinLockIrq<Option<Arc<Context>>>,
}

impl_has_delayed_work! {
    impl HasDelayedWork<Self> for Context { self.look }
}

kernel::impl_ioctx_table_entry! {
    impl IoctxTableEntry<USERS> for Context;
}

impl HasPercpuRef<USERS> for Context {
    fn percpu_ref(&self) -> &PercpuRef<Self, USERS> {
        &self.users
    }

    fn released(&self) {
        self.cancellable.cancel_all();
        super::op::poll::cancel_all(self);
        let initial = self.initial_req.lock().take();
        drop(initial);
    }
}

impl HasPercpuRef<REQS> for Context {
    fn percpu_ref(&self) -> &PercpuRef<Self, REQS> {
        &self.reqs
    }

    fn released(&self) {
        self.drained.complete_all();
    }
}

// SAFETY: It is a field.
unsafe impl PollTarget<Request> for Context {
    #[inline]
    fn poll_queue(&self) -> &PollQueue<Request> {
        &self.queue
    }

    #[inline]
    fn completed(&self) {
        self.wait.wake(1);
    }
}

impl Context {
    /// Makes a context for `nr_events` events in the current address space.
    ///
    /// Fails with [`EINVAL`] where they are too many for a ring, [`EAGAIN`] where they are too many
    /// for the system, [`EINTR`] and [`ENOMEM`].
    pub(crate) fn create(mm: &Mm, nr_events: u32) -> Result<User> {
        let ring_events = ring_events(nr_events)?;
        quota::check_limit(nr_events)?;

        let context = Self::new(nr_events, ring_events)?;
        let addr = context.ring.file().map()?;
        context.user_id.store(addr, ordering::Relaxed);
        context.publish(mm).inspect_err(|_| {
            ring_file::unmap(addr, context.ring.file().size());
        })
    }

    fn new(max_reqs: u32, ring_events: u32) -> Result<Arc<Self>> {
        let ring = Ring::new(ring_events)?;
        let slots = Slots::new(ring.nr() - 1)?;
        Arc::try_pin_init(
            try_pin_init!(Self {
                users <- PercpuRef::new(GFP_KERNEL),
                reqs <- PercpuRef::new(GFP_KERNEL),
                initial_req <- new_spinlock_irq!(None, "aio::initial_req"),
                id: Atomic::new(0),
                user_id: Atomic::new(0),
                dead: Atomic::new(false),
                max_reqs,
                mode: Mode::new(),
                slots,
                ring,
                wait <- new_wait_queue!("aio::wait"),
                cancellable <- CancelList::new(),
                polls <- new_spinlock_irq!(ActivePolls::new(), "aio::polls"),
                queue <- PollQueue::new(),
                liveness: Liveness::new(),
                expectation: Expectation::new(),
                look <- new_delayed_work!("aio::look"),
                drained <- Completion::new(),
                next_dying <- new_spinlock_irq!(None, "aio::next_dying"),
            }),
            GFP_KERNEL,
        )
    }

    /// Accounts the context and puts it in the table, so that it can be looked up.
    fn publish(self: &Arc<Self>, mm: &Mm) -> Result<User> {
        quota::charge(self.max_reqs)?;
        self.enter_table(mm)
            .inspect_err(|_| quota::uncharge(self.max_reqs))
    }

    fn enter_table(self: &Arc<Self>, mm: &Mm) -> Result<User> {
        let reqs = PercpuRef::<Self, REQS>::arm(self.clone())?;
        *self.initial_req.lock() = Some(reqs);
        // Dropped on failure, this ends the context as a kill does.
        let users = PercpuRef::<Self, USERS>::arm(self.clone())?;
        let user = users.get();
        IoctxTable::<Self, USERS>::of(mm).insert(users, GFP_KERNEL, |context, id| {
            context.id.store(id, ordering::Relaxed);
            context.ring.set_id(id);
        })?;
        Ok(user)
    }

    /// Looks a context up by what user space calls it.
    #[inline]
    pub(crate) fn lookup(mm: &Mm, user_id: usize) -> Option<User> {
        use kernel::uaccess::{
            get_user_u32,
            UserPtr, //
        };
        // The ring's first word is its number. What the user may have made of it is checked.
        let id = get_user_u32(UserPtr::from_addr(user_id)).ok()?;
        IoctxTable::<Self, USERS>::of(mm).lookup(id, |context| context.user_id() == user_id)
    }

    /// What user space calls it.
    #[inline]
    pub(crate) fn user_id(&self) -> usize {
        self.user_id.load(ordering::Relaxed)
    }

    /// The user moved the ring's mapping to `addr`, with a size of `size`. Returns whether that is
    /// fine.
    pub(crate) fn moved(&self, addr: usize, size: usize) -> bool {
        if self.is_dead() || size != self.ring.file().size() {
            return false;
        }
        self.user_id.store(addr, ordering::Relaxed);
        true
    }

    /// Whether the context was killed.
    #[inline]
    pub(crate) fn is_dead(&self) -> bool {
        self.dead.load(ordering::Relaxed)
    }

    /// References for `nr` requests. There are some to be had for as long as there are users.
    #[inline]
    pub(crate) fn request_refs(user: &User, nr: u32) -> Option<HeldRefs<Self, REQS>> {
        let first = PercpuRef::<Self, REQS>::try_get_live(user, &rcu::read_lock())?;
        let mut refs = match nr.checked_sub(1) {
            None | Some(0) => HeldRefs::default(),
            Some(others) => HeldRefs::new(&first, others),
        };
        refs.put(first);
        Some(refs)
    }

    /// Takes the context out of the table and lets it end. Fails with [`EINVAL`] where somebody
    /// else has.
    pub(crate) fn kill(&self, mm: &Mm) -> Result {
        let id = self.id.load(ordering::Relaxed);
        let users = IoctxTable::<Self, USERS>::of(mm)
            .remove(id, self, || !self.dead.xchg(true, ordering::Full))
            .ok_or(EINVAL)?;
        self.retire();
        ring_file::unmap(self.user_id(), self.ring.file().size());
        drop(users);
        Ok(())
    }

    /// As [`Context::kill`], of a context that `users` was taken out of its table for, and whose
    /// address space is about to go.
    pub(crate) fn kill_at_exit(users: InitialRef<Self, USERS>) {
        users.dead.store(true, ordering::Relaxed);
        users.retire();
    }

    /// What ends before the last user does: waits, and the context's part of the system's limit,
    /// which whoever saw io_destroy(2) return expects to be free.
    fn retire(&self) {
        self.wait.wake_all();
        quota::uncharge(self.max_reqs);
    }

    /// Takes a slot, if need be one of an event that was read without us.
    #[inline]
    pub(crate) fn take_slot(&self) -> bool {
        if self.slots.take() {
            return true;
        }
        self.ring.reclaim(&self.slots);
        self.slots.take()
    }

    /// Decides for `delivery` right before an I/O starts that nothing can refuse any more. Fails
    /// with [`EINVAL`] where the context was decided otherwise.
    #[inline(always)]
    pub(crate) fn fix_mode(&self, delivery: Delivery) -> Result {
        if self.mode.get() == Some(delivery) {
            return Ok(());
        }
        self.decide(delivery)
    }

    #[cold]
    fn decide(&self, delivery: Delivery) -> Result {
        if self.mode.fix(delivery)? && delivery == Delivery::Polled {
            self.ring.mark_polled();
            // Who waits for the ring has to wait in another way.
            self.wait.wake_all();
        }
        Ok(())
    }
}

/// Events of a ring that lets user space have `nr_events` in flight: each CPU may keep up to half
/// of its share of the slots to itself.
fn ring_events(nr_events: u32) -> Result<u32> {
    // As in C a number that does not fit wraps, and is then too large or too small.
    let events = nr_events
        .max(cpu::num_possible_cpus().wrapping_mul(4))
        .wrapping_mul(2);
    if events > MAX_EVENTS {
        return Err(EINVAL);
    }
    if events == 0 {
        return Err(EAGAIN);
    }
    Ok(events)
}

#[cfg(CONFIG_AIO_RUST_KUNIT_TEST)]
#[kunit_tests(aio_context)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_is_twice_what_was_asked_for() {
        assert_eq!(ring_events(100_000), Ok(200_000));
    }

    #[test]
    fn a_small_ring_has_some_for_each_cpu() {
        assert_eq!(ring_events(1), Ok(cpu::num_possible_cpus() * 8));
    }

    #[test]
    fn a_ring_has_a_largest_size() {
        assert_eq!(ring_events(MAX_EVENTS / 2), Ok(MAX_EVENTS));
        assert_eq!(ring_events(MAX_EVENTS / 2 + 1), Err(EINVAL));
        assert_eq!(ring_events(i32::MAX as u32), Err(EINVAL));
    }

    #[test]
    fn a_number_that_wraps_is_refused_as_in_c() {
        assert_eq!(ring_events(0x8000_0000), Err(EAGAIN));
    }
}
