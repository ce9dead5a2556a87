// SPDX-License-Identifier: GPL-2.0-only

//! Owned kiocbs: reads and writes that complete some time after their submission.
//!
//! A [`struct kiocb`] in flight is shared by two parties. The submitter's stack may still use it
//! inside `->read_iter()` after the device has completed it, and the device completes it from
//! wherever it likes: a task, another poller, an interrupt, a worker. Whoever of the two lets go
//! last owns the kiocb again. The types follow its life:
//!
//! - [`PreparedKiocb`]: ours alone, not submitted yet.
//! - in flight: nobody's; reachable by the device and, where it is polled, by a [`PollQueue`].
//! - [`CompletedKiocb`]: ours alone, with a result. It reaches [`KiocbData::complete`], or the
//!   [`PollQueue`] that it was issued on, exactly once.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h)
//!
//! [`struct kiocb`]: srctree/include/linux/fs.h

use super::{
    cancel_list::{
        CancelEntry,
        CancelFn,
        CancelList, //
    },
    iopoll::{
        PollLinks,
        PollQueue, //
    },
    AsyncFile, //
};
use crate::{
    alloc::{
        kmem_cache::{
            CacheBox,
            Cached,
            KmemCache,
            UninitCacheBox, //
        },
        Flags, //
    },
    bindings,
    error::{
        code::*,
        to_result, //
    },
    iov::user::{
        Direction,
        UserIter, //
    },
    prelude::*,
    sync::{
        atomic::{
            ordering,
            Atomic, //
        },
        rcu, //
    },
    types::Opaque, //
};
use core::{
    cell::Cell,
    convert::Infallible,
    ops::{
        Deref,
        DerefMut, //
    },
    ptr::NonNull, //
};

/// What a subsystem attaches to its kiocbs, and how it learns of their completion.
///
/// # Examples
///
/// A reader that lives for ever, and polls for what it reads.
///
/// ```
/// use kernel::{
///     alloc::kmem_cache::{
///         CacheFlags,
///         KmemCache, //
///     },
///     fs::{
///         async_kiocb::{
///             AsyncKiocb,
///             CompletedKiocb,
///             Issued,
///             KiocbData,
///             PollTarget,
///             PreparedKiocb, //
///         },
///         cancel_list::CancelList,
///         iopoll::{
///             Pass,
///             PollQueue, //
///         },
///         AsyncFile, //
///     },
///     iov::user::{
///         Direction,
///         ImportSpace,
///         Layout, //
///     },
///     sync::rcu,
///     uaccess::UserPtr, //
/// };
///
/// #[pin_data]
/// struct Reader {
///     #[pin]
///     queue: PollQueue<Read>,
/// }
///
/// // SAFETY: It has one queue.
/// unsafe impl PollTarget<Read> for Reader {
///     fn poll_queue(&self) -> &PollQueue<Read> {
///         &self.queue
///     }
///
///     fn completed(&self) {
///         // Here it would wake up who sleeps until something completes.
///     }
/// }
///
/// struct Read {
///     reader: &'static Reader,
/// }
///
/// static READS: KmemCache<AsyncKiocb<Read>> =
///     KmemCache::new(c"doctest_read", CacheFlags::HWCACHE_ALIGN);
///
/// // SAFETY: There is no list. A reader issues on its own queue, and neither of them ever goes.
/// unsafe impl KiocbData for Read {
///     type Owner = Reader;
///
///     fn cache() -> &'static KmemCache<AsyncKiocb<Self>> {
///         &READS
///     }
///
///     fn complete(kiocb: CompletedKiocb<Self>) {
///         kiocb.reader.queue.completed(kiocb);
///     }
///
///     fn completed<'a>(&self, _: isize, _: &'a rcu::Guard) -> Option<&'a Reader> {
///         Some(self.reader)
///     }
///
///     fn cancel_list(&self) -> Option<&CancelList<Self>> {
///         None
///     }
/// }
///
/// impl Reader {
///     /// Begins to read. How it ended, the kiocb tells that is found on the queue.
///     fn read(&'static self, file: AsyncFile, to: UserPtr, len: usize) -> Result {
///         if !file.can_poll() {
///             return Err(EOPNOTSUPP);
///         }
///         let memory = AsyncKiocb::memory(GFP_KERNEL)?;
///         let mut kiocb = PreparedKiocb::new(memory, file, 0, 0, Read { reader: self });
///         kiocb.check_access(Direction::Read)?;
///         let mut space = ImportSpace::new();
///         let mut iter = space.import(Direction::Read, Layout::Buffer, to, len)?;
///         kiocb.verify_area(Direction::Read, iter.count())?;
///         match kiocb.issue_polled(&self.queue, Direction::Read, &mut iter) {
///             Issued::InFlight => (),
///             Issued::Done(kiocb) => self.queue.completed(kiocb),
///         }
///         Ok(())
///     }
/// }
///
/// READS.create()?;
/// let reader = KBox::pin_init(
///     pin_init!(Reader {
///         queue <- PollQueue::new(),
///     }),
///     GFP_KERNEL,
/// )?;
/// let mut reaper = reader.queue.try_reap().ok_or(EBUSY)?;
/// assert_eq!(reaper.poll(), Pass::NothingToPoll { parked: 0 });
/// assert_eq!(reaper.ready(), 0);
/// // There is one reaper at a time.
/// assert!(reader.queue.try_reap().is_none());
/// # Ok::<(), Error>(())
/// ```
///
/// # Safety
///
/// From the moment that a kiocb is issued until it is completed:
///
/// - [`KiocbData::cancel_list`] returns the same list each time.
/// - Where it is issued on a [`PollQueue`], that is the queue of the owner which
///   [`KiocbData::completed`] returns, the same one each time and never `None`; and the queue stays
///   until the kiocb has been taken from it.
pub unsafe trait KiocbData: Sized + Send + Sync + 'static {
    /// Has the queue that polled kiocbs complete into.
    type Owner: PollTarget<Self>;

    /// The cache that these kiocbs are allocated from.
    fn cache() -> &'static KmemCache<AsyncKiocb<Self>>;

    /// Takes an unpolled kiocb that has completed. Runs in any context, with interrupts possibly
    /// off, and possibly inside [`PreparedKiocb::issue`].
    fn complete(kiocb: CompletedKiocb<Self>);

    /// A kiocb issued on a [`PollQueue`] has completed with `result`: returns the owner of that
    /// queue. In any context.
    ///
    /// Once it is on the queue, the kiocb is the reaper's, who may drop it at any time. The owner
    /// must stay all the same, for as long as `guard` does.
    fn completed<'a>(&self, result: isize, guard: &'a rcu::Guard) -> Option<&'a Self::Owner>;

    /// The list that cancellable kiocbs of the same owner are on.
    fn cancel_list(&self) -> Option<&CancelList<Self>>;
}

/// Has a queue that polled kiocbs complete into.
///
/// # Safety
///
/// [`PollTarget::poll_queue`] returns the same queue each time.
pub unsafe trait PollTarget<T: KiocbData> {
    /// The queue.
    fn poll_queue(&self) -> &PollQueue<T>;

    /// A completed kiocb was put on the queue. Runs in any context.
    fn completed(&self);
}

/// The submitter has let go: `->read_iter()` has returned.
const ISSUED: u32 = 1;
/// The device has let go: `->ki_complete()` has run.
const COMPLETED: u32 = 2;

/// Memory for a kiocb.
pub type KiocbMemory<T> = UninitCacheBox<AsyncKiocb<T>>;

/// A kiocb with a subsystem's data behind it.
///
/// # Invariants
///
/// - `kiocb.ki_filp` owns a reference to its file.
/// - `cancel` is either empty or on the list of `data.cancel_list()`.
#[repr(C)]
pub struct AsyncKiocb<T: KiocbData> {
    // First, so that a pointer to it is a pointer to the whole.
    kiocb: Opaque<bindings::kiocb>,
    /// Who has let go: [`ISSUED`] and [`COMPLETED`].
    released: Atomic<u32>,
    result: Cell<isize>,
    pub(super) poll: PollLinks,
    pub(super) cancel: CancelEntry,
    data: T,
}

impl<T: KiocbData> Cached for AsyncKiocb<T> {
    #[inline]
    fn cache() -> &'static KmemCache<Self> {
        T::cache()
    }
}

impl<T: KiocbData> Drop for AsyncKiocb<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariants we own this reference, and this is its only drop.
        unsafe { bindings::fput((*self.kiocb.get()).ki_filp) };
    }
}

impl<T: KiocbData> AsyncKiocb<T> {
    /// The subsystem's data.
    #[inline]
    pub(super) fn data(&self) -> &T {
        &self.data
    }

    /// Bytes transferred, or a negative error number; of use once it has completed.
    #[inline]
    pub(super) fn result(&self) -> isize {
        self.result.get()
    }

    /// Whether the device has completed this kiocb.
    ///
    /// Acquire pairs with the fully ordered `fetch_add()` of [`AsyncKiocb::release`]: what
    /// the device wrote before is seen after.
    #[inline]
    pub(super) fn is_completed(&self) -> bool {
        self.released.load(ordering::Acquire) & COMPLETED != 0
    }

    /// Lets one of the two parties go. Returns whether the other one had gone before, so that the
    /// caller owns the kiocb.
    ///
    /// # Safety
    ///
    /// `this` must point to a kiocb in flight whose party `who` has not been released yet; the
    /// caller must not touch it again where this returns `false`.
    #[inline]
    unsafe fn release(this: NonNull<Self>, who: u32) -> bool {
        // SAFETY: Until the line below has run, `who` keeps the kiocb alive.
        let released = unsafe { &this.as_ref().released };
        // ORDERING: Full, so that the party that goes last sees all that the other one wrote.
        released.fetch_add(who, ordering::Full) != 0
    }

    /// The `struct kiocb`.
    #[inline]
    pub(super) fn as_raw(&self) -> *mut bindings::kiocb {
        self.kiocb.get()
    }

    /// Ends what [`PreparedKiocb::start`] has begun and takes the kiocb off the cancel list.
    ///
    /// # Safety
    ///
    /// Must be called exactly once for each start, by the device's party.
    #[inline]
    unsafe fn end(&self, result: isize) {
        if self.cancel.is_listed() {
            if let Some(list) = self.data.cancel_list() {
                list.remove(&self.cancel);
            }
        }
        let kiocb = self.kiocb.get();
        // SAFETY: The kiocb and its file are valid. Write access to the super block was taken when
        // the kiocb was started.
        unsafe {
            if (*kiocb).ki_flags & bindings::IOCB_WRITE as c_int != 0
                && bindings::kiocb_is_regular(kiocb)
            {
                bindings::kiocb_end_write(kiocb);
            }
        }
        self.result.set(result);
    }
}

/// A kiocb that has not been submitted, or not yet again.
///
/// # Invariants
///
/// Nobody else has a pointer to the kiocb.
pub struct PreparedKiocb<T: KiocbData>(CacheBox<AsyncKiocb<T>>);

impl<T: KiocbData> AsyncKiocb<T> {
    /// Allocates memory for one.
    #[inline]
    pub fn memory(gfp: Flags) -> Result<KiocbMemory<T>> {
        Ok(CacheBox::new_uninit(gfp)?)
    }
}

impl<T: KiocbData> PreparedKiocb<T> {
    /// Makes a kiocb for `file` at `pos`, with the flags of the open file and the I/O priority
    /// `prio`: class and level as in `linux/ioprio.h`.
    #[inline]
    pub fn new(memory: KiocbMemory<T>, file: AsyncFile, pos: i64, prio: u16, data: T) -> Self {
        // INVARIANT: The reference is the kiocb's from here on.
        let filp = file.into_raw();
        // SAFETY: The reference keeps the `struct file` valid.
        let flags = unsafe { (*filp).f_iocb_flags };
        // In place: it is too large to be moved for each I/O.
        let kiocb = memory.write_init::<Infallible>(init!(AsyncKiocb {
            kiocb: Opaque::new(bindings::kiocb {
                ki_filp: filp,
                ki_pos: pos,
                ki_complete: None,
                private: core::ptr::null_mut(),
                ki_flags: flags as c_int | bindings::IOCB_AIO_RW as c_int,
                ki_ioprio: prio,
                ki_write_stream: 0,
                ki_waitq: core::ptr::null_mut(),
            }),
            released: Atomic::new(0),
            result: Cell::new(0),
            poll: PollLinks::new(),
            cancel: CancelEntry::new(),
            data,
        }? Infallible));
        match kiocb {
            // INVARIANT: It was just made.
            Ok(kiocb) => Self(kiocb),
            Err(never) => match never {},
        }
    }

    #[inline]
    fn raw(&mut self) -> &mut bindings::kiocb {
        // SAFETY: The kiocb is initialised, and by the type invariants ours alone.
        unsafe { &mut *self.0.kiocb.get() }
    }

    /// Sets the I/O priority: class and level as in `linux/ioprio.h`.
    #[inline]
    pub fn set_ioprio(&mut self, prio: u16) {
        self.raw().ki_ioprio = prio;
    }

    /// Marks the I/O as one whose completion is also signalled to an eventfd.
    #[inline]
    pub fn set_eventfd(&mut self) {
        self.raw().ki_flags |= bindings::IOCB_EVENTFD as c_int;
    }

    /// Applies `RWF_*` flags of the user; see `kiocb_set_rw_flags()` for the errors.
    ///
    /// `RWF_HIPRI` is accepted and dropped: polling is asked for by
    /// [`PreparedKiocb::issue_polled`].
    #[inline]
    pub fn set_rw_flags(&mut self, flags: u32, direction: Direction) -> Result {
        let kiocb = self.raw();
        if flags == 0 {
            return Ok(());
        }
        // SAFETY: `kiocb` is initialised and its file valid.
        to_result(unsafe {
            bindings::kiocb_set_rw_flags(kiocb, flags as bindings::rwf_t, direction.as_raw())
        })?;
        kiocb.ki_flags &= !(bindings::IOCB_HIPRI as c_int);
        Ok(())
    }

    /// Checks that the file was opened for this direction ([`EBADF`]) and that it can be read or
    /// written through iterators ([`EINVAL`]).
    #[inline]
    pub fn check_access(&self, direction: Direction) -> Result {
        // SAFETY: The kiocb's file is valid, and so are its operations.
        let (mode, fops) = unsafe {
            let file = (*self.0.as_raw()).ki_filp;
            ((*file).f_mode, &*(*file).f_op)
        };
        let (needed, supported) = match direction {
            Direction::Read => (bindings::FMODE_READ, fops.read_iter.is_some()),
            Direction::Write => (bindings::FMODE_WRITE, fops.write_iter.is_some()),
        };
        if mode & needed == 0 {
            return Err(EBADF);
        }
        if !supported {
            return Err(EINVAL);
        }
        Ok(())
    }

    /// Checks position, length and locks of the region about to be accessed; see
    /// `rw_verify_area()`.
    #[inline(always)]
    pub fn verify_area(&mut self, direction: Direction, count: usize) -> Result {
        let kiocb = self.raw();
        // SAFETY: The file is valid, `ki_pos` is a valid position to read.
        to_result(unsafe {
            bindings::rw_verify_area(direction.as_raw(), kiocb.ki_filp, &kiocb.ki_pos, count)
        })
    }

    /// Whether this is direct I/O.
    #[inline]
    pub fn is_direct(&self) -> bool {
        // SAFETY: The kiocb is initialised.
        let flags = unsafe { (*self.0.as_raw()).ki_flags };
        flags & bindings::IOCB_DIRECT as c_int != 0
    }

    /// Submits the I/O; its completion reaches [`KiocbData::complete`], or is returned where the
    /// I/O was over before the submitter was.
    #[inline(always)]
    pub fn issue(mut self, direction: Direction, iter: &mut UserIter<'_>) -> Issued<T> {
        self.raw().ki_complete = Some(complete_unpolled::<T>);
        let (kiocb, returned) = self.start(direction, iter);
        if returned != queued() {
            // SAFETY: The I/O was not queued, so there is no device's party and this stands in.
            return Issued::Done(unsafe { end_inline(kiocb, returned) });
        }
        // SAFETY: The submitter's party is released here, once.
        if unsafe { AsyncKiocb::release(kiocb, ISSUED) } {
            // SAFETY: Both parties have let go, so the kiocb is ours.
            return Issued::Done(unsafe { CompletedKiocb::from_raw(kiocb) });
        }
        Issued::InFlight
    }

    /// Submits the I/O for polling on `queue`, which its completion also goes to, unless the I/O
    /// was over before the submitter was: then it is returned.
    ///
    /// Where it would wait for a request of the device, it fails with [`EAGAIN`] before this
    /// returns, if the device can do that: polling may be what frees one.
    #[inline]
    pub fn issue_polled(
        mut self,
        queue: &PollQueue<T>,
        direction: Direction,
        iter: &mut UserIter<'_>,
    ) -> Issued<T> {
        let raw = self.raw();
        raw.ki_complete = Some(complete_polled::<T>);
        raw.private = core::ptr::null_mut();
        raw.ki_flags |= bindings::IOCB_HIPRI as c_int | bindings::IOCB_POLL_NOWAIT as c_int;
        self.issue_on(queue, direction, iter)
    }

    /// Submits the I/O to complete by interrupt, on `queue` all the same. It may wait.
    #[inline(never)]
    pub fn issue_unpolled(
        mut self,
        queue: &PollQueue<T>,
        direction: Direction,
        iter: &mut UserIter<'_>,
    ) -> Issued<T> {
        let raw = self.raw();
        raw.ki_complete = Some(complete_polled::<T>);
        raw.private = core::ptr::null_mut();
        raw.ki_flags &= !(bindings::IOCB_HIPRI as c_int);
        self.issue_on(queue, direction, iter)
    }

    #[inline(always)]
    fn issue_on(
        self,
        queue: &PollQueue<T>,
        direction: Direction,
        iter: &mut UserIter<'_>,
    ) -> Issued<T> {
        let (kiocb, returned) = self.start(direction, iter);
        if returned != queued() {
            // SAFETY: The I/O was not queued, so there is no device's party and this stands in.
            return Issued::Done(unsafe { end_inline(kiocb, returned) });
        }
        // SAFETY: The submitter's party still keeps the kiocb alive.
        if unsafe { kiocb.as_ref() }.is_completed() {
            // SAFETY: The device's party has gone, and found ours still there. So the kiocb is
            // ours.
            return Issued::Done(unsafe { CompletedKiocb::from_raw(kiocb) });
        }
        // Only now, so that a poller never sees a kiocb that is still being submitted, and before
        // the submitter lets go, so that it sees it before it sees its completion.
        //
        // SAFETY: The submitter's party keeps the kiocb alive until it is on the queue, which then
        // holds it until its completion is taken from it.
        unsafe { queue.submitted(kiocb) };
        // SAFETY: The submitter's party is released here, once.
        if unsafe { AsyncKiocb::release(kiocb, ISSUED) } {
            // The device has gone in between: its completion is ours to publish.
            // SAFETY: Both parties have let go, so the kiocb is ours.
            publish(unsafe { CompletedKiocb::from_raw(kiocb) });
        }
        Issued::InFlight
    }

    /// Hands the kiocb to the file. Returns it, now shared, with what the file returned.
    #[inline(always)]
    fn start(
        self,
        direction: Direction,
        iter: &mut UserIter<'_>,
    ) -> (NonNull<AsyncKiocb<T>>, isize) {
        let kiocb = CacheBox::into_raw(self.0);
        // SAFETY: The kiocb is not shared yet, and valid.
        let raw = unsafe { kiocb.as_ref() }.as_raw();
        // SAFETY: `raw` and its file are valid, and `check_access()` found the operation to be
        // there, else the file's operations have none and `EINVAL` is right.
        let returned = unsafe {
            let fops = (*(*raw).ki_filp).f_op;
            let operation = match direction {
                Direction::Read => (*fops).read_iter,
                Direction::Write => {
                    if bindings::kiocb_is_regular(raw) {
                        bindings::kiocb_start_write(raw);
                    }
                    (*raw).ki_flags |= bindings::IOCB_WRITE as c_int;
                    (*fops).write_iter
                }
            };
            match operation {
                Some(operation) => operation(raw, iter.as_raw()),
                None => EINVAL.to_errno() as isize,
            }
        };
        (kiocb, returned as isize)
    }
}

impl<T: KiocbData> Deref for PreparedKiocb<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0.data
    }
}

impl<T: KiocbData> DerefMut for PreparedKiocb<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0.data
    }
}

/// What became of an I/O by the time its submission returned.
#[must_use = "a completed kiocb still has to be delivered"]
pub enum Issued<T: KiocbData> {
    /// It is on its way and will complete elsewhere.
    InFlight,
    /// It is over, one way or the other.
    Done(CompletedKiocb<T>),
}

/// A kiocb that has completed, with its result.
///
/// # Invariants
///
/// Nobody else has a pointer to the kiocb.
pub struct CompletedKiocb<T: KiocbData>(CacheBox<AsyncKiocb<T>>);

impl<T: KiocbData> CompletedKiocb<T> {
    /// Takes a kiocb that both parties have let go.
    ///
    /// # Safety
    ///
    /// The kiocb must have been started, and nobody else may have a pointer to it.
    #[inline]
    pub(super) unsafe fn from_raw(kiocb: NonNull<AsyncKiocb<T>>) -> Self {
        // SAFETY: The pointer came from `CacheBox::into_raw()` in `start()`; it is ours alone.
        Self(unsafe { CacheBox::from_raw(kiocb) })
    }

    /// Gives the kiocb away as a pointer that owns it.
    #[inline]
    pub(super) fn into_raw(self) -> NonNull<AsyncKiocb<T>> {
        CacheBox::into_raw(self.0)
    }

    /// Bytes transferred, or a negative error number.
    #[inline]
    pub fn result(&self) -> isize {
        self.0.result()
    }

    /// Releases the file, and takes the rest apart: the data, and the memory of the kiocb.
    #[inline]
    pub fn into_parts(self) -> (T, KiocbMemory<T>) {
        // SAFETY: By the type invariants the kiocb is ours. Its data is moved out here, and its
        // reference to the file dropped; below it is forgotten, which drops neither.
        let data = unsafe {
            bindings::fput((*self.0.as_raw()).ki_filp);
            core::ptr::read(&self.0.data)
        };
        (data, self.0.forget_object())
    }

    /// Whether the user did not want the I/O to wait: then [`EAGAIN`] is a result of it.
    #[inline]
    pub fn is_nowait(&self) -> bool {
        // SAFETY: The kiocb is initialised.
        let flags = unsafe { (*self.0.as_raw()).ki_flags };
        flags & bindings::IOCB_NOWAIT as c_int != 0
    }

    /// Makes the kiocb ready for another try at `pos`.
    #[inline]
    pub fn prepare_again(mut self, pos: i64) -> PreparedKiocb<T> {
        // SAFETY: The kiocb is initialised, and by the type invariants ours alone.
        unsafe {
            let kiocb = self.0.kiocb.get();
            (*kiocb).ki_pos = pos;
            // Set by each start that writes.
            (*kiocb).ki_flags &= !(bindings::IOCB_WRITE as c_int);
        }
        *self.0.released.get_mut() = 0;
        PreparedKiocb(self.0)
    }
}

impl<T: KiocbData> Deref for CompletedKiocb<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0.data
    }
}

impl<T: KiocbData> DerefMut for CompletedKiocb<T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0.data
    }
}

/// What a file returns for an I/O that it will complete later.
#[inline]
fn queued() -> isize {
    -(bindings::EIOCBQUEUED as isize)
}

/// The result of an I/O that was over when its submission returned.
///
/// A system call can be restarted by the signal code, an I/O among others cannot: it fails with
/// `EINTR`.
#[inline]
fn inline_result(returned: isize) -> isize {
    let restart = [
        bindings::ERESTARTSYS,
        bindings::ERESTARTNOINTR,
        bindings::ERESTARTNOHAND,
        bindings::ERESTART_RESTARTBLOCK,
    ];
    if returned < 0 && restart.iter().any(|code| returned == -(*code as isize)) {
        return EINTR.to_errno() as isize;
    }
    returned
}

/// Ends a kiocb that was over when its submission returned.
///
/// # Safety
///
/// The kiocb was started and not queued, so that it is the caller's alone.
#[inline]
unsafe fn end_inline<T: KiocbData>(
    kiocb: NonNull<AsyncKiocb<T>>,
    returned: isize,
) -> CompletedKiocb<T> {
    // SAFETY: The kiocb is ours alone, and there is no other end.
    unsafe {
        kiocb.as_ref().end(inline_result(returned));
        CompletedKiocb::from_raw(kiocb)
    }
}

/// `->ki_complete()` of an unpolled kiocb.
///
/// # Safety
///
/// Called by the file, once, with a kiocb that [`PreparedKiocb::issue`] has started.
unsafe extern "C" fn complete_unpolled<T: KiocbData>(kiocb: *mut bindings::kiocb, res: c_long) {
    // SAFETY: By the caller's contract.
    if let Some(kiocb) = unsafe { end_by_device(kiocb, res) } {
        T::complete(kiocb);
    }
}

/// `->ki_complete()` of a kiocb that completes into a [`PollQueue`].
///
/// # Safety
///
/// Called by the file, once, with a kiocb that [`PreparedKiocb::issue_polled`] or
/// [`PreparedKiocb::issue_unpolled`] has started.
unsafe extern "C" fn complete_polled<T: KiocbData>(kiocb: *mut bindings::kiocb, res: c_long) {
    // SAFETY: By the caller's contract.
    if let Some(kiocb) = unsafe { end_by_device::<T>(kiocb, res) } {
        hand_over(kiocb);
    }
}

/// Ends a kiocb and lets the device's party go. Returns it if the submitter's has gone before.
///
/// # Safety
///
/// Called on behalf of the file, once, with a kiocb that was started and has a `T` behind it.
#[inline(always)]
unsafe fn end_by_device<T: KiocbData>(
    kiocb: *mut bindings::kiocb,
    res: c_long,
) -> Option<CompletedKiocb<T>> {
    // SAFETY: `kiocb` is the first field of an `AsyncKiocb` and not null.
    let kiocb = unsafe { NonNull::new_unchecked(kiocb.cast::<AsyncKiocb<T>>()) };
    // SAFETY: The device's party keeps the kiocb alive, and ends it here, once.
    unsafe { kiocb.as_ref().end(res) };
    // SAFETY: The device's party is released here, once.
    if unsafe { AsyncKiocb::release(kiocb, COMPLETED) } {
        // SAFETY: Both parties have let go, so the kiocb is ours.
        Some(unsafe { CompletedKiocb::from_raw(kiocb) })
    } else {
        None
    }
}

/// Puts a completed kiocb on the queue of its owner.
#[inline(never)]
pub fn publish<T: KiocbData>(kiocb: CompletedKiocb<T>) {
    hand_over(kiocb);
}

#[inline(always)]
fn hand_over<T: KiocbData>(kiocb: CompletedKiocb<T>) {
    let guard = rcu::read_lock();
    if let Some(owner) = T::completed(&kiocb, kiocb.result(), &guard) {
        owner.poll_queue().completed(kiocb);
        owner.completed();
    }
}

/// Registers the function that cancels a kiocb: what C calls `kiocb_set_cancel_fn()`.
///
/// A kiocb that is not marked as asynchronous I/O's is left alone; one that has such a function
/// already keeps it, with a warning.
///
/// # Safety
///
/// - `kiocb` must be in flight, and not be completed before this returns.
/// - Where it is marked `IOCB_AIO_RW`, it must be one with a `T` behind it.
pub unsafe fn set_cancel_fn<T: KiocbData>(kiocb: *mut bindings::kiocb, cancel: CancelFn) {
    // SAFETY: A kiocb in flight is valid.
    if unsafe { (*kiocb).ki_flags } & bindings::IOCB_AIO_RW as c_int == 0 {
        return;
    }
    // SAFETY: By the caller's contract this is the first field of an `AsyncKiocb<T>`.
    let kiocb = unsafe { &*kiocb.cast::<AsyncKiocb<T>>() };
    if let Some(list) = kiocb.data.cancel_list() {
        list.add(kiocb, cancel);
    }
}
