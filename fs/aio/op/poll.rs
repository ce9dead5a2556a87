// SPDX-License-Identifier: GPL-2.0-only

//! POLL: one event when a file has one of the poll events asked for.
//!
//! A [`Poll`] sits on the wait queue of its file. It ends once, by whoever takes its request out:
//!
//! - its submission, where the file is ready already,
//! - a wake-up that says which events came, on the spot,
//! - otherwise a worker, which asks the file: wake-ups that do not say, cancellation, and a queue
//!   that is freed under the entry.
//!
//! What decides between them is the lock of the file's wait queue: the entry is on the queue as
//! long as nobody has ended the wait. A wake-up while the worker is under way is noted and makes
//! it look again, so that none is lost.
//!
//! C counterpart: `aio_poll()` and what belongs to it in `fs/aio.c`. There a lock of the context is
//! taken around that of the wait queue, for cancellation; here the list of what can be cancelled
//! holds references, so its lock nests inside.

use crate::{
    abi::Iocb,
    context::{
        Context,
        User, //
    },
    request::Request, //
};
use kernel::{
    error::code::*,
    fs::AsyncFile,
    impl_has_work,
    new_spinlock_irq,
    new_work,
    prelude::*,
    rbtree::{
        RBTree,
        RBTreeNodeReservation, //
    },
    sync::{
        atomic::{
            ordering,
            Atomic, //
        },
        poll_entry::{
            from_user_events,
            to_user_events,
            PollEntry,
            PollWaiter,
            Queued,
            Queueing,
            EPOLLERR,
            EPOLLHUP,
            POLLFREE, //
        },
        Arc,
        ArcBorrow,
        SpinLockIrq, //
    },
    workqueue::{
        self,
        Work,
        WorkItem, //
    }, //
};

/// Identifies a waiting POLL among those of its context: the address of the iocb, then the order
/// of submission.
type ActiveKey = (u64, u64);

/// The POLLs of a context that wait, for io_cancel(2) and the context's end.
pub(crate) struct ActivePolls {
    polls: RBTree<ActiveKey, Arc<Poll>>,
    next: u64,
}

impl ActivePolls {
    pub(crate) fn new() -> Self {
        Self {
            polls: RBTree::new(),
            next: 0,
        }
    }
}

/// What the lock of the file's wait queue protects.
pub(crate) struct WakeState {
    /// The worker is queued or runs.
    working: bool,
    /// There was a wake-up since: it has to look again.
    woken_again: bool,
}

/// A POLL.
#[pin_data]
pub(crate) struct Poll {
    entry: PollEntry<Poll>,
    #[pin]
    finish: Work<Poll, FINISH>,
    #[pin]
    deliver: Work<Poll, DELIVER>,
    /// Events waited for, as the kernel has them.
    events: u32,
    /// To end whether or not there are events.
    cancelled: Atomic<bool>,
    /// Key among the active ones, once it is there.
    active: Atomic<u64>,
    obj: u64,
    /// What came, for [`DELIVER`].
    came: Atomic<u32>,
    context: Arc<Context>,
    /// Taken by whoever ends it.
    #[pin]
    request: SpinLockIrq<Option<Request>>,
}

/// The work that looks whether there are events.
const FINISH: u64 = 0;
/// The work that delivers what came, where that cannot be done under the queue's lock.
const DELIVER: u64 = 1;

impl_has_work! {
    impl HasWork<Self, FINISH> for Poll { self.finish }
    impl HasWork<Self, DELIVER> for Poll { self.deliver }
}

impl WorkItem<FINISH> for Poll {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        this.finish_if_ready();
    }
}

impl WorkItem<DELIVER> for Poll {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        this.complete(this.came.load(ordering::Relaxed));
    }
}

impl PollWaiter for Poll {
    type State = WakeState;

    fn poll_entry(&self) -> &PollEntry<Self> {
        &self.entry
    }

    fn woken(this: ArcBorrow<'_, Self>, queued: Queued<'_, Self>, events: u32) -> bool {
        if events != 0 && events & this.events == 0 {
            return false;
        }
        this.wake(queued, events);
        true
    }
}

impl Poll {
    /// Ends the wait on the spot where the wake-up says what came, else leaves it to the worker.
    fn wake(self: ArcBorrow<'_, Self>, mut queued: Queued<'_, Self>, events: u32) {
        if events != 0 && !queued.state().working {
            let of_queue = queued.remove();
            self.leave_active();
            self.complete_under_lock(events);
            drop(of_queue);
            return;
        }
        self.start_worker(&mut queued);
        if events & POLLFREE != 0 {
            self.cancelled.store(true, ordering::Relaxed);
            // The worker has its own reference.
            drop(queued.remove());
        }
    }

    /// Has the worker look, or look again.
    fn start_worker(self: ArcBorrow<'_, Self>, queued: &mut Queued<'_, Self>) {
        let state = queued.state();
        if state.working {
            state.woken_again = true;
        } else {
            state.working = true;
            let _ = workqueue::system_percpu().enqueue::<Arc<Self>, FINISH>(self.into());
        }
    }

    /// Delivers with the lock of the file's wait queue held. Not to an eventfd: what it wakes may
    /// want that very lock.
    fn complete_under_lock(self: ArcBorrow<'_, Self>, events: u32) {
        let deferred = self
            .request
            .lock()
            .as_ref()
            .is_some_and(Request::has_eventfd);
        if deferred {
            self.came.store(events, ordering::Relaxed);
            let _ = workqueue::system_percpu().enqueue::<Arc<Self>, DELIVER>(self.into());
        } else {
            self.complete(events);
        }
    }

    /// Delivers the event, if nobody has.
    fn complete(&self, events: u32) {
        let Some(mut request) = self.request.lock().take() else {
            return;
        };
        drop(request.deliver(to_user_events(events).into()));
    }

    /// The worker: ends the wait if there are events, or if it was cancelled.
    fn finish_if_ready(self: &Arc<Self>) {
        let events = if self.cancelled.load(ordering::Relaxed) {
            0
        } else {
            self.entry.poll_again(self.events) & self.events
        };
        if let Some(mut queued) = self.entry.lock() {
            if events == 0 && !self.cancelled.load(ordering::Relaxed) {
                let state = queued.state();
                state.working = state.woken_again;
                if state.woken_again {
                    state.woken_again = false;
                    let _ = workqueue::system_percpu().enqueue::<Arc<Self>, FINISH>(self.clone());
                }
                return;
            }
            drop(queued.remove());
        }
        // Off the queue, by us or because that was freed: nobody else ends it any more.
        self.leave_active();
        self.complete(events);
    }

    /// Has the wait end without events. The entry may be gone already: then it has ended.
    fn cancel(self: &Arc<Self>) {
        if let Some(mut queued) = self.entry.lock() {
            self.cancelled.store(true, ordering::Relaxed);
            if !queued.state().working {
                self.as_arc_borrow().start_worker(&mut queued);
            }
        }
    }

    /// Can be cancelled from now on. The caller holds the lock of the file's wait queue, so that it
    /// does not end before.
    fn enter_active(self: &Arc<Self>, node: RBTreeNodeReservation<ActiveKey, Arc<Self>>) {
        let mut active = self.context.polls.lock();
        active.next = active.next.wrapping_add(1);
        let order = active.next;
        self.active.store(order, ordering::Relaxed);
        active
            .polls
            .insert(node.into_node((self.obj, order), self.clone()));
    }

    /// Cannot be cancelled any more.
    fn leave_active(&self) {
        let order = self.active.load(ordering::Relaxed);
        if order != 0 {
            let node = self
                .context
                .polls
                .lock()
                .polls
                .remove_node(&(self.obj, order));
            drop(node);
        }
    }
}

/// Cancels the oldest POLL that waits with this iocb. Returns whether there was one.
pub(crate) fn cancel(context: &Context, obj: u64) -> bool {
    let found = {
        let mut active = context.polls.lock();
        let key = active
            .polls
            .cursor_lower_bound(&(obj, 0))
            .map(|cursor| *cursor.current().0)
            .filter(|key| key.0 == obj);
        key.and_then(|key| active.polls.remove_node(&key))
    };
    let Some(node) = found else {
        return false;
    };
    node.to_key_value().1.cancel();
    true
}

/// Cancels all POLLs that wait.
pub(crate) fn cancel_all(context: &Context) {
    loop {
        let first = {
            let mut active = context.polls.lock();
            let key = active
                .polls
                .cursor_front()
                .map(|cursor| *cursor.current().0);
            key.and_then(|key| active.polls.remove_node(&key))
        };
        let Some(node) = first else {
            return;
        };
        node.to_key_value().1.cancel();
    }
}

/// Starts waiting for the events in `aio_buf`.
///
/// Fails with [`EINVAL`] for unknown events, for arguments that have no meaning here, and for a
/// file that cannot be waited for, or on more than one queue only.
pub(crate) fn submit(user: &User, request: Request, file: AsyncFile, iocb: &Iocb) -> Result {
    let events = u16::try_from(iocb.buf()).map_err(|_| EINVAL)?;
    if iocb.offset() != 0 || iocb.nbytes() != 0 || iocb.rw_flags() != 0 {
        return Err(EINVAL);
    }
    let node = RBTreeNodeReservation::new(GFP_KERNEL).map_err(|_| EAGAIN)?;
    let obj = request.key().obj;
    let poll = Arc::pin_init(
        pin_init!(Poll {
            entry: PollEntry::new(
                file,
                WakeState {
                    working: false,
                    woken_again: false,
                },
            ),
            finish <- new_work!("aio::Poll::finish"),
            deliver <- new_work!("aio::Poll::deliver"),
            events: from_user_events(events) | EPOLLERR | EPOLLHUP,
            cancelled: Atomic::new(false),
            active: Atomic::new(0),
            obj,
            came: Atomic::new(0),
            context: user.to_arc(),
            request <- new_spinlock_irq!(Some(request), "aio::Poll::request"),
        }),
        GFP_KERNEL,
    )
    .map_err(|_| EAGAIN)?;

    let claim = user.mode.claim_ring()?;
    start(&poll, node)?;
    claim.accept();
    Ok(())
}

/// Asks the file, and leaves the POLL waiting or ended.
fn start(poll: &Arc<Poll>, node: RBTreeNodeReservation<ActiveKey, Arc<Poll>>) -> Result {
    let (there, queueing) = PollEntry::poll(poll, poll.events);
    let ready = there & poll.events;
    if queueing == Queueing::Unsupported {
        // Ready all the same: regular files are, always.
        return if ready != 0 {
            poll.complete(ready);
            Ok(())
        } else {
            poll.refuse()
        };
    }

    let several = queueing == Queueing::SeveralQueues;
    let Some(mut queued) = poll.entry.lock() else {
        // A wake-up has ended it, or the worker will.
        return Ok(());
    };
    if queued.state().working {
        if several {
            poll.cancelled.store(true, ordering::Relaxed);
        } else {
            // The worker may find nothing, and leave it waiting.
            poll.enter_active(node);
        }
        return Ok(());
    }
    if ready != 0 {
        drop(queued.remove());
        poll.complete(ready);
        return Ok(());
    }
    if several {
        drop(queued.remove());
        return poll.refuse();
    }
    poll.enter_active(node);
    // Before this, nobody could end it.
    drop(queued);
    Ok(())
}

impl Poll {
    /// There will be no event.
    fn refuse(&self) -> Result {
        drop(self.request.lock().take());
        Err(EINVAL)
    }
}
