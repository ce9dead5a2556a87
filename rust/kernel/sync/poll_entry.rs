// SPDX-License-Identifier: GPL-2.0-only

//! Waiting for a file's poll events without a task that waits.
//!
//! [`PollTable`] is the provider's side of `->poll()`. This is the other one: an entry on the
//! provider's wait queue whose function runs when events come in, as eventpoll, io_uring and
//! asynchronous I/O use it. The hard part is the life of the queue's head, which is the
//! provider's: it may go away while the entry is on it. Such a provider calls
//! `wake_up_pollfree()`, which wakes each entry with [`POLLFREE`] and frees the head an RCU grace
//! period after; each entry must be off the queue by the end of that call. So:
//!
//! - `head` is non-null from queueing until [`Queued::remove`], and null after.
//! - Who sees it non-null inside an RCU read section can lock it, and then see whether the entry
//!   is still queued.
//!
//! All other providers keep the head for as long as the file, which is why the entry has a
//! reference to that.
//!
//! C headers: [`include/linux/poll.h`](srctree/include/linux/poll.h),
//! [`include/linux/wait.h`](srctree/include/linux/wait.h)
//!
//! [`PollTable`]: super::poll::PollTable

use super::{
    atomic::{
        ordering,
        Atomic, //
    },
    rcu,
    Arc,
    ArcBorrow, //
};
use crate::{
    bindings,
    container_of,
    fs::AsyncFile,
    prelude::*,
    types::Opaque, //
};
use core::{
    cell::UnsafeCell,
    mem::ManuallyDrop,
    ptr, //
};

/// The queue is about to be freed; comes with other events in the mask of a wake-up.
pub const POLLFREE: u32 = bindings::POLLFREE;
/// An error condition; always polled for.
pub const EPOLLERR: u32 = bindings::EPOLLERR;
/// A hang-up; always polled for.
pub const EPOLLHUP: u32 = bindings::EPOLLHUP;

/// From the 16 bits of poll(2) to the kernel's event mask.
#[inline]
pub fn from_user_events(events: u16) -> u32 {
    // SAFETY: Plain arithmetic.
    unsafe { bindings::demangle_poll(events) }
}

/// From the kernel's event mask to the 16 bits of poll(2).
#[inline]
pub fn to_user_events(events: u32) -> u16 {
    // SAFETY: Plain arithmetic.
    unsafe { bindings::mangle_poll(events) }
}

/// An object that waits for poll events.
pub trait PollWaiter: Sized + Send + Sync + 'static {
    /// What the lock of the wait queue protects on the waiter's side.
    type State: Send;

    /// The waiter's entry.
    fn poll_entry(&self) -> &PollEntry<Self>;

    /// Events came in, or an unspecified wake-up where `events` is zero.
    ///
    /// Runs in any context with the queue's lock held. Where `events` has [`POLLFREE`] and the
    /// entry was not taken off the queue by [`Queued::remove`], it is taken off after. Returns
    /// whether the wake-up was for this waiter.
    fn woken(this: ArcBorrow<'_, Self>, queued: Queued<'_, Self>, events: u32) -> bool;
}

/// What asking the file led to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Queueing {
    /// The file has no queue to wait on.
    Unsupported,
    /// The entry was put on the file's queue.
    Queued,
    /// The file wanted it on more than one queue; it is on the first.
    SeveralQueues,
}

/// A place on the wait queue of a file.
///
/// # Examples
///
/// ```
/// use kernel::{
///     fs::AsyncFile,
///     sync::{
///         poll_entry::{
///             PollEntry,
///             PollWaiter,
///             Queued,
///             Queueing, //
///         },
///         Arc,
///         ArcBorrow, //
///     }, //
/// };
///
/// /// Collects the events that come in.
/// struct Collector {
///     entry: PollEntry<Self>,
/// }
///
/// impl PollWaiter for Collector {
///     type State = u32;
///
///     fn poll_entry(&self) -> &PollEntry<Self> {
///         &self.entry
///     }
///
///     fn woken(_: ArcBorrow<'_, Self>, mut queued: Queued<'_, Self>, events: u32) -> bool {
///         *queued.state() |= events;
///         true
///     }
/// }
///
/// impl Collector {
///     /// Waits for `wanted`, where the file can tell of it. Returns also what is there already.
///     fn start(file: AsyncFile, wanted: u32) -> Result<(Arc<Self>, u32)> {
///         let entry = PollEntry::new(file, 0);
///         let collector = Arc::new(Self { entry }, GFP_KERNEL)?;
///         match PollEntry::poll(&collector, wanted) {
///             (ready, Queueing::Queued) => Ok((collector, ready)),
///             _ => Err(EINVAL),
///         }
///     }
///
///     /// Stops waiting. Returns what came in, unless the queue has gone.
///     fn stop(&self) -> Option<u32> {
///         let mut queued = self.entry.lock()?;
///         let events = *queued.state();
///         drop(queued.remove());
///         Some(events)
///     }
/// }
/// ```
///
/// # Invariants
///
/// - While `entry` is on a queue, `entry.private` owns a reference to the waiter, and `head` points
///   to the head of that queue, which is `file`'s.
/// - `state` is accessed with that queue's lock held, or before the entry was queued.
pub struct PollEntry<T: PollWaiter> {
    file: AsyncFile,
    /// [`PollEntry::poll`] was called.
    polled: Atomic<bool>,
    head: Atomic<*mut bindings::wait_queue_head>,
    entry: Opaque<bindings::wait_queue_entry>,
    state: UnsafeCell<T::State>,
}

// SAFETY: `head` is atomic; the rest is protected by the queue's lock.
unsafe impl<T: PollWaiter> Send for PollEntry<T> {}

// SAFETY: As above.
unsafe impl<T: PollWaiter> Sync for PollEntry<T> {}

impl<T: PollWaiter> PollEntry<T> {
    /// An entry for the queue of `file`, on no queue yet. It must not be moved once
    /// [`PollEntry::poll`] was called, which the [`Arc`] that takes sees to.
    pub fn new(file: AsyncFile, state: T::State) -> Self {
        let entry = Opaque::new(bindings::wait_queue_entry::default());
        // SAFETY: `entry` is ours.
        unsafe { bindings::init_waitqueue_func_entry(entry.get(), Some(wake::<T>)) };
        Self {
            file,
            polled: Atomic::new(false),
            head: Atomic::new(ptr::null_mut()),
            entry,
            state: UnsafeCell::new(state),
        }
    }

    /// Asks the file for `events`, and puts the waiter's entry on its queue. Only the first call
    /// for a waiter does that, another one finds the file to be [`Queueing::Unsupported`].
    ///
    /// Returns the events that are there already, wanted or not, and what became of the entry.
    pub fn poll(waiter: &Arc<T>, events: u32) -> (u32, Queueing) {
        let this = waiter.poll_entry();
        if this.polled.xchg(true, ordering::Relaxed) {
            return (this.poll_again(events), Queueing::Unsupported);
        }
        // SAFETY: This is the first call, so the entry is on no queue yet; the waiter does not
        // move.
        unsafe { bindings::INIT_LIST_HEAD(&mut (*this.entry.get()).entry) };
        let mut table = Table::<T> {
            table: Opaque::new(bindings::poll_table_struct {
                _qproc: Some(enqueue::<T>),
                _key: events,
            }),
            waiter,
            queueing: Queueing::Unsupported,
        };
        // SAFETY: File and table are valid. `enqueue()` is right to take the table for ours.
        let ready = unsafe { bindings::vfs_poll(this.file.as_ptr(), (&raw mut table).cast()) };
        (ready, table.queueing)
    }

    /// Asks the file which of `events` are there, without waiting for more.
    pub fn poll_again(&self, events: u32) -> u32 {
        let mut table = bindings::poll_table_struct {
            _qproc: None,
            _key: events,
        };
        // SAFETY: File and table are valid.
        unsafe { bindings::vfs_poll(self.file.as_ptr(), &mut table) }
    }

    /// Locks the queue that the entry is on. `None` if it is on none, or not any more.
    pub fn lock(&self) -> Option<Queued<'_, T>> {
        let rcu = rcu::read_lock();
        // Acquire pairs with the release in `Queued::remove()`.
        let head = self.head.load(ordering::Acquire);
        if head.is_null() {
            return None;
        }
        // SAFETY: A non-null head stays allocated for the read section, or as long as the file:
        // see the module documentation.
        unsafe { bindings::spin_lock_irq_disable(&mut (*head).lock) };
        let queued = Queued {
            entry: self,
            _lock: Some(HeadLock { head, _rcu: rcu }),
        };
        // SAFETY: The queue's lock is held.
        let gone = unsafe { bindings::list_empty(&(*self.entry.get()).entry) };
        // Dropping it unlocks.
        (!gone).then_some(queued)
    }
}

/// The lock of a queue's head, and the read section that keeps the head.
struct HeadLock {
    head: *mut bindings::wait_queue_head,
    // After the lock: the last entry gone, only this keeps the head.
    _rcu: rcu::Guard,
}

impl Drop for HeadLock {
    fn drop(&mut self) {
        // SAFETY: The lock is held, and the read section has not ended.
        unsafe { bindings::spin_unlock_irq_enable(&mut (*self.head).lock) };
    }
}

/// Proof that an entry is on a queue whose lock is held.
pub struct Queued<'a, T: PollWaiter> {
    entry: &'a PollEntry<T>,
    /// Unlocks when dropped; `None` where the lock is that of whoever wakes the queue.
    _lock: Option<HeadLock>,
}

impl<T: PollWaiter> Queued<'_, T> {
    /// The waiter's state.
    #[inline]
    pub fn state(&mut self) -> &mut T::State {
        // SAFETY: The queue's lock is held, and `self` is borrowed for as long as the state.
        unsafe { &mut *self.entry.state.get() }
    }

    /// Takes the entry off the queue, and never looks at that again. Returns the reference that
    /// the queue held.
    #[inline]
    pub fn remove(self) -> Arc<T> {
        let entry = self.entry.entry.get();
        // SAFETY: The entry is queued and the queue's lock held. By the type invariants `private`
        // owns a reference, which goes to the caller with the entry off the queue.
        let waiter = unsafe {
            bindings::list_del_init(&mut (*entry).entry);
            Arc::from_raw((*entry).private.cast::<T>().cast_const())
        };
        // The last touch of the queue through the entry: it may be freed before the waiter is, and
        // who sees null does not lock it. Pairs with `PollEntry::lock()`.
        self.entry.head.store(ptr::null_mut(), ordering::Release);
        waiter
    }
}

/// The poll table of one [`PollEntry::poll`].
#[repr(C)]
struct Table<'a, T: PollWaiter> {
    // First, so that a pointer to it is a pointer to the whole.
    table: Opaque<bindings::poll_table_struct>,
    waiter: &'a Arc<T>,
    queueing: Queueing,
}

/// Puts the waiter on the file's queue.
///
/// # Safety
///
/// Called by the file's `->poll()` with a live queue and the table inside a [`Table<T>`].
unsafe extern "C" fn enqueue<T: PollWaiter>(
    _file: *mut bindings::file,
    head: *mut bindings::wait_queue_head,
    table: *mut bindings::poll_table_struct,
) {
    // SAFETY: The table is the first field of a `Table<T>` that nobody else uses.
    let table = unsafe { &mut *table.cast::<Table<'_, T>>() };
    if table.queueing != Queueing::Unsupported {
        table.queueing = Queueing::SeveralQueues;
        return;
    }
    table.queueing = Queueing::Queued;
    let this = table.waiter.poll_entry();
    let entry = this.entry.get();
    this.head.store(head, ordering::Relaxed);
    // INVARIANT: The queue gets a reference and the entry its head before it is queued.
    // SAFETY: The entry is on no queue, so it is ours; the head is alive.
    unsafe {
        (*entry).private = Arc::into_raw(table.waiter.clone()).cast_mut().cast();
        bindings::add_wait_queue(head, entry);
    }
}

/// The entry's wake-up function.
///
/// # Safety
///
/// Called with the lock of the queue that the entry of a `PollEntry<T>` is on.
unsafe extern "C" fn wake<T: PollWaiter>(
    entry: *mut bindings::wait_queue_entry,
    _mode: c_uint,
    _flags: c_int,
    key: *mut c_void,
) -> c_int {
    // SAFETY: The entry is inside a `PollEntry<T>`, which the reference in `private` keeps alive.
    let (this, private) = unsafe {
        (
            &*container_of!(Opaque::cast_from(entry), PollEntry<T>, entry),
            (*entry).private.cast::<T>().cast_const(),
        )
    };
    // `woken()` may take the queue's reference and drop it.
    // SAFETY: By the type invariants `private` owns a reference while the entry is queued.
    let waiter = ManuallyDrop::new(unsafe { Arc::from_raw(private) });
    let waiter: Arc<T> = Arc::clone(&waiter);
    let queued = || Queued {
        entry: this,
        _lock: None,
    };
    // CAST: The key of a wake-up is a mask of 32 bits.
    let events = key as usize as u32;
    let for_us = T::woken(waiter.as_arc_borrow(), queued(), events);
    // SAFETY: The queue's lock is held.
    if events & POLLFREE != 0 && unsafe { !bindings::list_empty(&(*entry).entry) } {
        drop(queued().remove());
    }
    for_us.into()
}
