// SPDX-License-Identifier: GPL-2.0-only

//! Finding the completions of kiocbs by polling their devices.
//!
//! A [`PollQueue`] holds the kiocbs of one owner from their submission until a [`Reaper`] takes
//! them, completed. Three lists make reaping cost what has completed, never what is in flight:
//!
//! - `submitted`: a lock-free stack that submitters push to,
//! - `completed`: a lock-free stack that completions push to, from any context,
//! - the reaper's list of kiocbs in flight, oldest first, whose only use is to find a device to
//!   ask. A completed kiocb is unlinked from it in constant time.
//!
//! A kiocb gets onto `submitted` before its submitter lets go of it, and onto `completed` after.
//! A reaper that empties `completed` first and `submitted` second thus knows each kiocb that it
//! takes. Reapers exclude each other, so a kiocb that one of them is looking at is not freed.
//!
//! C headers: [`include/linux/blkdev.h`](srctree/include/linux/blkdev.h),
//! [`include/linux/fs.h`](srctree/include/linux/fs.h)

use super::{
    async_kiocb::{
        AsyncKiocb,
        CompletedKiocb,
        KiocbData, //
    },
    late_cell::LateCell, //
};
use crate::{
    alloc::kmem_cache::SpareCell,
    bindings,
    prelude::*,
    sync::{
        atomic::{
            ordering,
            Atomic, //
        },
        new_mutex,
        rcu,
        Mutex,
        MutexGuard, //
    },
    types::Opaque, //
};
use core::{
    cell::Cell,
    marker::PhantomData,
    ptr::{
        self,
        NonNull, //
    }, //
};

mod completed_list;

pub use completed_list::CompletedList;

/// Where the reaper has a kiocb.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// Not on the reaper's list: not seen yet, or completed before it was.
    Unlisted,
    /// On the list of kiocbs in flight.
    InFlight,
    /// In flight, off the list, and counted: it completes without being polled.
    Parked,
}

/// The links of a kiocb to its [`PollQueue`].
///
/// A kiocb can complete while it still waits on the stack of submitted ones, so each stack has a
/// link of its own.
pub(super) struct PollLinks {
    /// Below it on the stack of completed kiocbs; then behind it among the ready ones.
    below: LateCell<*mut c_void>,
    /// Below it on the stack of submitted kiocbs; then behind it on the list of those in flight.
    next: LateCell<*mut c_void>,
    // The fields below belong to the holder of the reaper's lock.
    prev: LateCell<*mut c_void>,
    place: Cell<Place>,
}

impl PollLinks {
    #[inline]
    pub(super) const fn new() -> Self {
        Self {
            below: LateCell::new(),
            next: LateCell::new(),
            prev: LateCell::new(),
            place: Cell::new(Place::Unlisted),
        }
    }
}

/// A pointer to a kiocb, or null, as the links hold it.
type Link<T> = *mut AsyncKiocb<T>;

/// Names the link that a [`Stack`] uses.
trait StackLink {
    fn link(links: &PollLinks) -> &LateCell<*mut c_void>;
}

/// The stack of submitted kiocbs.
struct Submitted;

impl StackLink for Submitted {
    #[inline]
    fn link(links: &PollLinks) -> &LateCell<*mut c_void> {
        &links.next
    }
}

/// The stack of completed kiocbs.
struct Completed;

impl StackLink for Completed {
    #[inline]
    fn link(links: &PollLinks) -> &LateCell<*mut c_void> {
        &links.below
    }
}

/// A lock-free stack: many push, one takes all.
struct Stack<T: KiocbData, L: StackLink> {
    top: Atomic<Link<T>>,
    _link: PhantomData<L>,
}

impl<T: KiocbData, L: StackLink> Stack<T, L> {
    const fn new() -> Self {
        Self {
            top: Atomic::new(ptr::null_mut()),
            _link: PhantomData,
        }
    }

    /// # Safety
    ///
    /// The kiocb must be alive until it is taken, and its link `L` not be in use.
    #[inline]
    unsafe fn push(&self, kiocb: NonNull<AsyncKiocb<T>>) {
        // SAFETY: Alive by the caller's contract.
        let link = unsafe { L::link(&(*kiocb.as_ptr()).poll) };
        let mut top = self.top.load(ordering::Relaxed);
        loop {
            link.set(top.cast());
            // ORDERING: Full. The release part pairs with the acquire in `take_all()`: who takes
            // the kiocb sees all that was written to it. The rest orders the push before the
            // pusher's check for sleepers.
            match self.top.cmpxchg(top, kiocb.as_ptr(), ordering::Full) {
                Ok(_) => return,
                Err(now) => top = now,
            }
        }
    }

    /// Takes the whole stack: its top, linked downwards by `L`.
    #[inline]
    fn take_all(&self) -> Link<T> {
        if self.top.load(ordering::Relaxed).is_null() {
            return ptr::null_mut();
        }
        // Acquire pairs with the push.
        self.top.xchg(ptr::null_mut(), ordering::Acquire)
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.top.load(ordering::Relaxed).is_null()
    }
}

/// What the reapers' lock protects.
///
/// # Invariants
///
/// The kiocbs from `first` on, linked by `next` and `prev`, are alive and [`Place::InFlight`].
struct Reaped<T: KiocbData> {
    first: Link<T>,
    last: Link<T>,
    parked: usize,
    ready: CompletedList<T>,
}

// SAFETY: The kiocbs are accessed by the holder of the lock only, from whatever task; their data is
// `Send`.
unsafe impl<T: KiocbData> Send for Reaped<T> {}

impl<T: KiocbData> Reaped<T> {
    const fn new() -> Self {
        Self {
            first: ptr::null_mut(),
            last: ptr::null_mut(),
            parked: 0,
            ready: CompletedList::new(),
        }
    }

    /// Appends a chain to the list of kiocbs in flight: it is linked by `next`, from the newest to
    /// the oldest.
    ///
    /// # Safety
    ///
    /// The kiocbs must be alive, off the list, and stay alive until they are unlinked.
    #[inline]
    unsafe fn link(&mut self, newest: NonNull<AsyncKiocb<T>>) {
        let mut kiocb = newest;
        let mut newer: Link<T> = ptr::null_mut();
        loop {
            // SAFETY: Alive by the caller's contract.
            let links = unsafe { &(*kiocb.as_ptr()).poll };
            // SAFETY: Set, since it links the chain.
            let older = NonNull::new(unsafe { links.next.get() }.cast::<AsyncKiocb<T>>());
            links.place.set(Place::InFlight);
            links.next.set(newer.cast());
            let Some(older) = older else {
                links.prev.set(self.last.cast());
                break;
            };
            links.prev.set(older.as_ptr().cast());
            newer = kiocb.as_ptr();
            kiocb = older;
        }
        match NonNull::new(self.last) {
            // SAFETY: By the type invariants the last one is alive.
            Some(last) => unsafe { &(*last.as_ptr()).poll }
                .next
                .set(kiocb.as_ptr().cast()),
            None => self.first = kiocb.as_ptr(),
        }
        self.last = newest.as_ptr();
    }

    /// # Safety
    ///
    /// The kiocb must be on the list of those in flight.
    #[inline]
    unsafe fn unlink(&mut self, kiocb: Link<T>, to: Place) {
        // SAFETY: By the type invariants it is alive.
        let links = unsafe { &(*kiocb).poll };
        // SAFETY: By the caller's contract they link the list.
        let (prev, next): (Link<T>, Link<T>) =
            unsafe { (links.prev.get().cast(), links.next.get().cast()) };
        links.place.set(to);
        match NonNull::new(prev) {
            // SAFETY: By the type invariants its neighbours are alive.
            Some(prev) => unsafe { &(*prev.as_ptr()).poll }.next.set(next.cast()),
            None => self.first = next,
        }
        match NonNull::new(next) {
            // SAFETY: As above.
            Some(next) => unsafe { &(*next.as_ptr()).poll }.prev.set(prev.cast()),
            None => self.last = prev,
        }
    }
}

/// A pass over the devices of a [`PollQueue`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pass {
    /// A device was asked once.
    Polled,
    /// Nothing in flight can be found by polling; this many complete by themselves.
    NothingToPoll {
        /// Kiocbs in flight that complete by interrupt or from a worker.
        parked: usize,
    },
}

/// The kiocbs of one owner whose completions are found by polling.
///
/// # Examples
///
/// [`KiocbData`] has one that is made and submitted to. This is how completions are taken from it,
/// by who would rather have the device asked than wait for it.
///
/// ```
/// use kernel::fs::{
///     async_kiocb::KiocbData,
///     iopoll::{
///         Pass,
///         PollQueue, //
///     }, //
/// };
///
/// /// Polls for as many as are `wanted`, while polling finds any. Returns the bytes that they
/// /// transferred, or `None` while somebody else polls.
/// fn reap<T: KiocbData>(queue: &PollQueue<T>, wanted: usize) -> Option<usize> {
///     let mut reaper = queue.try_reap()?;
///     reaper.collect();
///     while reaper.ready() < wanted && reaper.poll() == Pass::Polled {
///         reaper.collect();
///     }
///     let mut completed = reaper.take(wanted);
///     // What is done with them need not keep others from polling.
///     drop(reaper);
///     let mut bytes = 0;
///     while let Some(kiocb) = completed.pop() {
///         bytes += usize::try_from(kiocb.result()).unwrap_or(0);
///     }
///     Some(bytes)
/// }
/// ```
#[pin_data(PinnedDrop)]
pub struct PollQueue<T: KiocbData> {
    submitted: Stack<T, Submitted>,
    completed: Stack<T, Completed>,
    spares: SpareCell<AsyncKiocb<T>>,
    /// The last reaper has collected more than it has taken. Written under the lock below.
    leftover: Atomic<bool>,
    /// The last reaper has left kiocbs in flight that can be polled for. Written under it too.
    pollable: Atomic<bool>,
    #[pin]
    reaped: Mutex<Reaped<T>>,
}

// SAFETY: The stacks are atomic and the kiocbs on them `Send`; the rest is behind a mutex.
unsafe impl<T: KiocbData> Sync for PollQueue<T> {}

// SAFETY: As above.
unsafe impl<T: KiocbData> Send for PollQueue<T> {}

impl<T: KiocbData> PollQueue<T> {
    /// An empty queue.
    pub fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            submitted: Stack::new(),
            completed: Stack::new(),
            spares: SpareCell::new(),
            leftover: Atomic::new(false),
            pollable: Atomic::new(false),
            reaped <- new_mutex!(Reaped::new(), "PollQueue::reaped"),
        })
    }

    /// A kiocb was submitted and may be polled from now on.
    ///
    /// # Safety
    ///
    /// The kiocb must stay alive until it has been put on this queue completed and taken from it.
    #[inline]
    pub(super) unsafe fn submitted(&self, kiocb: NonNull<AsyncKiocb<T>>) {
        // SAFETY: By the caller's contract.
        unsafe { self.submitted.push(kiocb) };
    }

    /// Puts a completed kiocb, or one that was taken and could not be delivered, on the queue.
    #[inline]
    pub fn completed(&self, kiocb: CompletedKiocb<T>) {
        // SAFETY: The kiocb is ours alone, and from here on the queue's.
        unsafe { self.completed.push(kiocb.into_raw()) };
    }

    /// Memory of kiocbs that were reaped, for those to be submitted.
    #[inline]
    pub fn spares(&self) -> &SpareCell<AsyncKiocb<T>> {
        &self.spares
    }

    /// Whether there are completions for the next reaper to take.
    #[inline]
    pub fn has_completed(&self) -> bool {
        !self.completed.is_empty() || self.leftover.load(ordering::Relaxed)
    }

    /// Whether there are submissions that no reaper has seen.
    #[inline]
    pub fn has_submitted(&self) -> bool {
        !self.submitted.is_empty()
    }

    /// Whether there is anything for a reaper to do: completions to take, submissions to look at,
    /// or a device to ask.
    ///
    /// Who sleeps until there is has to be woken after each submission and each completion, and
    /// whenever a reaper leaves.
    #[inline]
    pub fn has_work(&self) -> bool {
        self.has_completed() || self.has_submitted() || self.pollable.load(ordering::Relaxed)
    }

    /// Becomes the reaper, unless somebody else is.
    #[inline]
    pub fn try_reap(&self) -> Option<Reaper<'_, T>> {
        self.reaped.try_lock().map(|reaped| Reaper {
            queue: self,
            reaped,
        })
    }
}

#[pinned_drop]
impl<T: KiocbData> PinnedDrop for PollQueue<T> {
    fn drop(self: Pin<&mut Self>) {
        let mut reaper = Reaper {
            queue: &self,
            reaped: self.reaped.lock(),
        };
        reaper.collect();
        drop(reaper.take(usize::MAX));
    }
}

/// The right to take completed kiocbs from a [`PollQueue`] and to poll for more.
pub struct Reaper<'a, T: KiocbData> {
    queue: &'a PollQueue<T>,
    reaped: MutexGuard<'a, Reaped<T>>,
}

impl<T: KiocbData> Drop for Reaper<'_, T> {
    #[inline]
    fn drop(&mut self) {
        note(&self.queue.leftover, !self.reaped.ready.is_empty());
        note(&self.queue.pollable, !self.reaped.first.is_null());
    }
}

/// Writes what others read all the time only where it has changed.
#[inline]
fn note(flag: &Atomic<bool>, value: bool) {
    if flag.load(ordering::Relaxed) != value {
        flag.store(value, ordering::Relaxed);
    }
}

impl<T: KiocbData> Reaper<'_, T> {
    /// Moves what has completed to where [`Reaper::take`] finds it.
    #[inline]
    pub fn collect(&mut self) {
        // This before the submitted ones: see the module documentation.
        let Some(newest) = NonNull::new(self.queue.completed.take_all()) else {
            return;
        };
        self.admit();
        let mut chain = CompletedList::new();
        let mut next = Some(newest);
        while let Some(kiocb) = next {
            // SAFETY: Completed kiocbs on the queue are the queue's.
            let links = unsafe { &(*kiocb.as_ptr()).poll };
            match links.place.get() {
                // SAFETY: It is on the list.
                Place::InFlight => unsafe { self.reaped.unlink(kiocb.as_ptr(), Place::Unlisted) },
                Place::Parked => {
                    links.place.set(Place::Unlisted);
                    self.reaped.parked = self.reaped.parked.wrapping_sub(1);
                }
                Place::Unlisted => (),
            }
            // SAFETY: Set, since it links the stack. That was taken as a whole, so the kiocb is
            // ours.
            unsafe {
                next = NonNull::new(links.below.get().cast());
                chain.push_front(kiocb);
            }
        }
        self.reaped.ready.append(chain);
    }

    /// Moves new submissions to the list of those in flight.
    #[inline]
    fn admit(&mut self) {
        if let Some(newest) = NonNull::new(self.queue.submitted.take_all()) {
            // SAFETY: Submitted kiocbs are alive until they are taken, which only a reaper does;
            // the chain was taken as a whole, so it is ours, and on no list yet.
            unsafe { self.reaped.link(newest) };
        }
    }

    /// How many completed kiocbs were collected, and not taken yet.
    #[inline]
    pub fn ready(&self) -> usize {
        self.reaped.ready.len()
    }

    /// Takes the oldest of the completed kiocbs that were collected, up to `max`.
    #[inline]
    pub fn take(&mut self, max: usize) -> CompletedList<T> {
        self.reaped.ready.split_front(max)
    }

    /// Asks the device of the oldest kiocb in flight once for completions.
    ///
    /// Kiocbs that turn out to complete without that are parked on the way, each once in its life.
    #[inline]
    pub fn poll(&mut self) -> Pass {
        self.admit();
        while let Some(kiocb) = NonNull::new(self.reaped.first) {
            // SAFETY: By the type invariants kiocbs in flight are alive, as long as we are the
            // reaper.
            let kiocb_ref = unsafe { kiocb.as_ref() };
            if kiocb_ref.is_completed() {
                // On its way to `completed`, if not there.
                // SAFETY: It is the first of the list.
                unsafe { self.reaped.unlink(kiocb.as_ptr(), Place::Unlisted) };
            } else if !is_pollable(kiocb_ref) {
                // SAFETY: It is the first of the list.
                unsafe { self.reaped.unlink(kiocb.as_ptr(), Place::Parked) };
                self.reaped.parked = self.reaped.parked.wrapping_add(1);
            } else {
                poll_device(kiocb_ref);
                self.rotate(kiocb);
                return Pass::Polled;
            }
        }
        Pass::NothingToPoll {
            parked: self.reaped.parked,
        }
    }

    /// Gives the next kiocb, which may be on another device, its turn.
    #[inline]
    fn rotate(&mut self, kiocb: NonNull<AsyncKiocb<T>>) {
        if self.reaped.last == kiocb.as_ptr() {
            return;
        }
        // SAFETY: It is on the list: only a reaper takes it off.
        unsafe {
            self.reaped.unlink(kiocb.as_ptr(), Place::Unlisted);
            (*kiocb.as_ptr()).poll.next.set(ptr::null_mut());
            self.reaped.link(kiocb);
        }
    }
}

/// Whether a submitted kiocb waits for a bio that completes by polling.
///
/// Its `private` is that bio, or null where there is none, or more than one.
#[inline]
fn is_pollable<T: KiocbData>(kiocb: &AsyncKiocb<T>) -> bool {
    // The bio may be completed and freed at any time. Its memory stays a bio until the end of the
    // read section. The answer may be that of another bio then, but the kiocb's has ended, so that
    // its completion comes whether it is polled for or not.
    let _rcu = rcu::read_lock();
    // SAFETY: The kiocb is alive; `private` is set and cleared by the file concurrently.
    unsafe {
        let bio = ptr::read_volatile(&raw const (*kiocb.as_raw()).private);
        !bio.is_null() && bindings::bio_is_polled(bio.cast())
    }
}

/// Looks once at the queue that the kiocb was submitted to.
#[inline]
fn poll_device<T: KiocbData>(kiocb: &AsyncKiocb<T>) {
    let batch = CompletionBatch::new();
    // SAFETY: The kiocb and its file are valid. It was issued for polling, which implies an
    // `->iopoll`.
    unsafe {
        let raw = kiocb.as_raw();
        if let Some(iopoll) = (*(*(*raw).ki_filp).f_op).iopoll {
            // What it returns is no measure of progress: it is positive for a signal as well.
            iopoll(raw, batch.0.get(), bindings::BLK_POLL_ONESHOT);
        }
    }
}

/// Requests found complete, which may be any process's: ended at the latest when this is dropped.
struct CompletionBatch(Opaque<bindings::io_comp_batch>);

impl CompletionBatch {
    #[inline]
    fn new() -> Self {
        Self(Opaque::new(bindings::io_comp_batch {
            req_list: bindings::rq_list {
                head: ptr::null_mut(),
                tail: ptr::null_mut(),
            },
            need_ts: false,
            complete: None,
            poll_ctx: ptr::null_mut(),
        }))
    }
}

impl Drop for CompletionBatch {
    #[inline]
    fn drop(&mut self) {
        let batch = self.0.get();
        // SAFETY: The batch is initialised. Where it holds requests, its driver has set `complete`.
        unsafe {
            if bindings::io_comp_batch_pending(batch) {
                if let Some(complete) = (*batch).complete {
                    complete(batch);
                }
            }
        }
    }
}
