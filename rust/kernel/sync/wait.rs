// SPDX-License-Identifier: GPL-2.0-only

//! Wait queues whose waiters say how much they wait for.
//!
//! A [`CondVar`] wakes everybody, or one. Here each waiter needs an amount of something (events, in
//! asynchronous I/O), and whoever provides it wakes only those whose need it meets.
//!
//! C headers: [`include/linux/wait.h`](srctree/include/linux/wait.h),
//! [`include/linux/hrtimer.h`](srctree/include/linux/hrtimer.h)
//!
//! [`CondVar`]: super::CondVar

use super::{
    atomic::{
        Atomic,
        Relaxed, //
    },
    barrier::{
        smp_mb,
        Full, //
    },
    LockClassKey, //
};
use crate::{
    bindings,
    container_of,
    prelude::*,
    str::CStr,
    types::Opaque, //
};

/// How long to wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Patience {
    /// Not at all.
    None,
    /// At most this many nanoseconds of `CLOCK_MONOTONIC`, and the timer slack of the task.
    Nanos(i64),
    /// At most this many nanoseconds of `CLOCK_MONOTONIC`.
    Exactly(i64),
    /// Until woken or interrupted.
    Forever,
}

impl Patience {
    /// From a relative `ktime_t` as `timespec64_to_ktime()` makes it.
    ///
    /// A negative one is forever: that is what a timer in C makes of it, for which the sum of such
    /// a time and the present one has overflown.
    #[inline]
    pub fn from_ktime(nanos: i64) -> Self {
        match nanos {
            0 => Patience::None,
            // `KTIME_MAX`
            i64::MAX | i64::MIN..=-1 => Patience::Forever,
            nanos => Patience::Nanos(nanos),
        }
    }
}

/// What a waiter found when it looked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Look {
    /// All it wanted, or a reason to stop.
    Done,
    /// Something; it wants to look again at once, and needs this much more.
    More(usize),
    /// Nothing; it wants to sleep until there is this much.
    Sleep(usize),
}

/// Why a wait ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Woken {
    /// The waiter was [`Look::Done`].
    Done,
    /// Time is up.
    TimedOut,
    /// A signal is pending.
    Interrupted,
}

/// A wait queue for amounts.
///
/// # Examples
///
/// ```
/// use kernel::sync::wait::{new_wait_queue, Look, Patience, WaitQueue, Woken};
///
/// let queue = KBox::pin_init(new_wait_queue!("example"), GFP_KERNEL)?;
/// let mut looks = 0;
/// let woken = queue.wait(Patience::Nanos(1_000_000), 1, || {
///     looks += 1;
///     Look::Sleep(1)
/// });
/// assert_eq!(woken, Woken::TimedOut);
/// assert!(looks >= 2);
/// assert!(!queue.is_active());
/// # Ok::<(), Error>(())
/// ```
#[pin_data]
pub struct WaitQueue {
    #[pin]
    head: Opaque<bindings::wait_queue_head>,
}

// SAFETY: A wait queue is made to be used from all tasks.
unsafe impl Send for WaitQueue {}

// SAFETY: As above; it has its own lock.
unsafe impl Sync for WaitQueue {}

/// Creates a [`WaitQueue`] initialiser with the given name and a newly-created lock class.
#[macro_export]
macro_rules! new_wait_queue {
    ($($name:literal)?) => {
        $crate::sync::wait::WaitQueue::new(
            $crate::optional_name!($($name)?), $crate::static_lock_class!()
        )
    };
}
pub use new_wait_queue;

/// Wakes everybody, whatever they need.
const EVERYBODY: usize = usize::MAX;

/// A waiting task.
#[repr(C)]
struct Waiter {
    entry: Opaque<bindings::wait_queue_entry>,
    /// Read by who wakes, with the queue's lock, and written by the waiter without.
    need: Atomic<usize>,
}

impl WaitQueue {
    /// An empty queue.
    pub fn new(name: &'static CStr, key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        pin_init!(Self {
            head <- Opaque::ffi_init(|head| {
                // SAFETY: `head` is valid for writes; name and key are static.
                unsafe {
                    bindings::__init_waitqueue_head(head, name.as_char_ptr(), key.as_ptr())
                }
            }),
        })
    }

    /// Whether somebody waits. Call it after providing what they may wait for.
    ///
    /// The barrier pairs with the one in `set_current_state()` that [`WaitQueue::wait`] runs
    /// between joining the queue and looking: either we see the waiter, or it sees what we
    /// provided.
    #[inline]
    pub fn is_active(&self) -> bool {
        smp_mb(Full);
        // SAFETY: By the type the head is initialised.
        unsafe { bindings::waitqueue_active(self.head.get()) }
    }

    /// Wakes all that need no more than `available`.
    #[inline]
    pub fn wake(&self, available: usize) {
        if self.is_active() {
            self.wake_key(available);
        }
    }

    /// Wakes everybody.
    #[inline]
    pub fn wake_all(&self) {
        self.wake(EVERYBODY);
    }

    fn wake_key(&self, available: usize) {
        // SAFETY: The head is initialised. All its entries are `Waiter`s, whose function takes the
        // key for an amount.
        unsafe {
            bindings::__wake_up(
                self.head.get(),
                bindings::TASK_NORMAL,
                0,
                available as *mut c_void,
            )
        };
    }

    /// Sleeps, interruptibly, until `look` is [`Look::Done`].
    ///
    /// `look` is called at least once, while the task already counts as waiting for `need`. It may
    /// block.
    pub fn wait(&self, patience: Patience, need: usize, mut look: impl FnMut() -> Look) -> Woken {
        let waiter = Waiter {
            entry: Opaque::new(bindings::wait_queue_entry::default()),
            need: Atomic::new(need),
        };
        let entry = waiter.entry.get();
        // SAFETY: `entry` is valid for writes and does not move until `finish_wait()`.
        unsafe {
            bindings::init_wait(entry);
            (*entry).func = Some(wake_if_met);
        }
        let woken = with_timer(patience, |timer| loop {
            // SAFETY: Head and entry are initialised.
            let pending = unsafe {
                bindings::prepare_to_wait_event(
                    self.head.get(),
                    entry,
                    bindings::TASK_INTERRUPTIBLE as c_int,
                )
            };
            let ended = if pending != 0 {
                Some(Woken::Interrupted)
            } else if timer.is_over() {
                Some(Woken::TimedOut)
            } else {
                None
            };
            // `look()` may sleep on a lock. That ends the wait before its time, to look once more.
            // SAFETY: No requirements.
            unsafe { bindings::sched_annotate_sleep() };
            match (look(), ended) {
                (Look::Done, _) => break Woken::Done,
                (_, Some(why)) => break why,
                (Look::More(need), None) => waiter.need.store(need, Relaxed),
                (Look::Sleep(need), None) => {
                    waiter.need.store(need, Relaxed);
                    // SAFETY: We are in task context, and the task state says what to wait for.
                    unsafe { bindings::schedule() };
                }
            }
        });
        // SAFETY: Head and entry are initialised.
        unsafe { bindings::finish_wait(self.head.get(), entry) };
        woken
    }
}

/// Wakes a waiter whose need is met, and takes it off the queue.
///
/// # Safety
///
/// Called by `__wake_up()` with the queue's lock held; `entry` must be that of a [`Waiter`].
unsafe extern "C" fn wake_if_met(
    entry: *mut bindings::wait_queue_entry,
    mode: c_uint,
    flags: c_int,
    key: *mut c_void,
) -> c_int {
    // SAFETY: Entries with this function are inside a `Waiter` that waits.
    let waiter = unsafe { &*container_of!(Opaque::cast_from(entry), Waiter, entry) };
    if waiter.need.load(Relaxed) > key as usize {
        return 0;
    }
    // SAFETY: `entry` is on the queue, whose lock is held; its task is alive until it has left
    // `finish_wait()`, which sees the entry off the queue only after the last line.
    unsafe {
        let woken = bindings::default_wake_function(entry, mode, flags, key);
        bindings::list_del_init_careful(&mut (*entry).entry);
        woken
    }
}

/// The timer that ends a wait, if there is one.
struct WaitTimer<'a> {
    sleeper: Option<&'a Opaque<bindings::hrtimer_sleeper>>,
}

impl WaitTimer<'_> {
    /// Whether it has expired.
    #[inline]
    fn is_over(&self) -> bool {
        match self.sleeper {
            // SAFETY: The sleeper is initialised; its function clears the task when it expires.
            Some(sleeper) => unsafe {
                core::ptr::read_volatile(&raw const (*sleeper.get()).task).is_null()
            },
            None => false,
        }
    }
}

/// Runs `wait` with a timer that wakes the current task when its patience ends.
#[inline]
fn with_timer<R>(patience: Patience, wait: impl FnOnce(WaitTimer<'_>) -> R) -> R {
    // SAFETY: The current task has a slack.
    let task_slack = || unsafe { (*bindings::get_current()).timer_slack_ns };
    let (nanos, slack) = match patience {
        Patience::Forever => return wait(WaitTimer { sleeper: None }),
        Patience::None => (0, task_slack()),
        Patience::Nanos(nanos) => (nanos, task_slack()),
        Patience::Exactly(nanos) => (nanos, 0),
    };
    let sleeper = Opaque::<bindings::hrtimer_sleeper>::uninit();
    let raw = sleeper.get();
    // SAFETY: `raw` is valid for writes and stays where it is until the timer is cancelled below.
    let result = unsafe {
        bindings::hrtimer_setup_sleeper_on_stack(
            raw,
            bindings::CLOCK_MONOTONIC as bindings::clockid_t,
            bindings::hrtimer_mode_HRTIMER_MODE_REL,
        );
        bindings::hrtimer_set_expires_range_ns(&mut (*raw).timer, nanos, slack);
        bindings::hrtimer_sleeper_start_expires(raw, bindings::hrtimer_mode_HRTIMER_MODE_REL);
        wait(WaitTimer {
            sleeper: Some(&sleeper),
        })
    };
    // SAFETY: The timer was set up above.
    unsafe {
        bindings::hrtimer_cancel(&mut (*raw).timer);
        bindings::destroy_hrtimer_on_stack(&mut (*raw).timer);
    }
    result
}
