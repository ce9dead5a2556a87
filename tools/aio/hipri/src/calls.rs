// SPDX-License-Identifier: GPL-2.0-only

//! What becomes of each AIO call of the program.
//!
//! Every function here returns in the kernel's form and has a `pass`, which makes the call as the
//! program made it. That is all that happens to contexts which this library does not know: they
//! were made before it could see it, or found no room in its table.

use aio_abi::{ContextId, Event, Iocb, RingHeader};
use libc::c_long;

use crate::batch::{plausible, Batch};
use crate::context::{Context, Role, Side};
use crate::eligibility::Reason;
use crate::linux::{Linux, NANOS_PER_SECOND};
use crate::reap::{self, Request};
use crate::submit::Submission;
use crate::system::{KernelResult, Patience, Room, SignalArgument, Signals, System};
use crate::table::{Held, Table};
use crate::{notice, statistics};

/// The contexts of this process; more than this at once are not polled.
pub static CONTEXTS: Table<1024> = Table::new();

/// A place that was never used costs no memory, but all can be locked into it.
const _: () = assert!(size_of::<Table<1024>>() < 3 << 20);

/// The context `id`, where it is not left alone.
fn find(id: ContextId) -> Option<Held<'static>> {
    CONTEXTS
        .find(id)
        .filter(|context| context.role() != Role::LeftAlone)
}

/// `io_setup`.
///
/// # Safety
///
/// If `pass` succeeds, `place` holds the id of a context.
pub unsafe fn set_up(
    events: u32,
    place: *const ContextId,
    pass: impl FnOnce() -> KernelResult,
) -> KernelResult {
    let result = pass();
    if result == 0 {
        // SAFETY: the caller's; as for the kernel, it need not be aligned.
        let id = unsafe { place.read_unaligned() };
        // SAFETY: an id is the address of the ring, which is mapped as long as the context lives.
        let ring = unsafe { core::ptr::read_volatile(id as *const RingHeader) };
        remember(id, events, &ring);
    }
    result
}

fn remember(id: ContextId, events: u32, ring: &RingHeader) {
    // One with the same id was destroyed in a way that this library does not see.
    if let Some(context) = CONTEXTS.find(id) {
        forget(&context, id);
    }
    let role = if ring.offers_polling() {
        Role::Undecided
    } else {
        notice::kernel_lacks_polling();
        Role::LeftAlone
    };
    let capacity = ring.nr.saturating_sub(1) as usize;
    if !CONTEXTS.insert(id, role, events, capacity) {
        notice::too_many_contexts();
    }
}

/// Takes a context out of the table and destroys its shadow side.
fn forget(context: &Held<'_>, id: ContextId) {
    if CONTEXTS.remove(context, id) {
        statistics::report(id, context);
        if let Some(shadow) = context.end(&Linux) {
            Linux.destroy(shadow);
        }
    }
}

/// `io_destroy`.
pub fn destroy(id: ContextId, pass: impl FnOnce() -> KernelResult) -> KernelResult {
    // First, as the kernel may give the id to another thread's new context as soon as it is free.
    if let Some(context) = CONTEXTS.find(id) {
        forget(&context, id);
    }
    pass()
}

/// `io_submit`.
///
/// # Safety
///
/// As for the call; and unless an address is obviously none, iocbs must be writable memory where
/// the kernel would report `EFAULT`.
pub unsafe fn submit(
    id: ContextId,
    nr: c_long,
    iocbs: *const *mut Iocb,
    pass: impl FnOnce() -> KernelResult,
) -> KernelResult {
    let Some(context) = CONTEXTS.find(id) else {
        return pass();
    };
    if context.role() == Role::LeftAlone {
        let result = pass();
        let accepted = usize::try_from(result).unwrap_or(0);
        context.counts.plain(Reason::KernelLacksPolling, accepted);
        return result;
    }
    // SAFETY: the caller's.
    let Some(batch) = (unsafe { Batch::new(iocbs, nr, context.capacity() + 1) }) else {
        return pass();
    };
    let submission = Submission {
        context: &context,
        verdicts: context.verdicts(),
        system: &Linux,
        tell: &notice::tell,
    };
    submission.submit(batch)
}

/// `io_cancel`, with the id of a context in place of the program's.
pub fn cancel(id: ContextId, pass: impl FnOnce(ContextId) -> KernelResult) -> KernelResult {
    // Nothing polled can be cancelled.
    let cancellable = |context: &Context| {
        let plain = context.on(context.role().plain_side());
        plain.or_else(|| context.on(Side::Visible))
    };
    let id = find(id)
        .and_then(|context| cancellable(&context))
        .unwrap_or(id);
    pass(id)
}

/// The arguments of `io_getevents` and `io_pgetevents`.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    /// The context.
    pub id: ContextId,
    /// Events to wait for.
    pub min: c_long,
    /// Room for events.
    pub nr: c_long,
    /// Where they go.
    pub events: *mut Event,
    /// How long to wait.
    pub timeout: Timeout,
    /// Which signals to block meanwhile; null for no change.
    pub signals: *const SignalArgument,
}

/// A timeout of the program's; null for none.
#[derive(Clone, Copy, Debug)]
pub enum Timeout {
    /// Two fields of 64 bits.
    Wide(*const [i64; 2]),
    /// Two fields of 32 bits.
    Narrow(*const [i32; 2]),
}

/// `io_getevents` and `io_pgetevents`.
///
/// Inlined, so that the arguments stay in registers.
///
/// # Safety
///
/// As for the calls; and unless an address is obviously none, timeout and signals must be memory
/// where the kernel would report `EFAULT`.
#[inline(always)]
pub unsafe fn getevents(wait: &Wait, pass: impl FnOnce() -> KernelResult) -> KernelResult {
    let Some(context) = find(wait.id) else {
        return pass();
    };
    // SAFETY: the caller's.
    match unsafe { wait.to_request() } {
        // SAFETY: the caller's.
        Some(request) => unsafe { reap::getevents(&context, &request, &Linux) },
        None => pass(),
    }
}

impl Wait {
    /// What it asks for; `None` where the kernel refuses it.
    ///
    /// # Safety
    ///
    /// As for [`getevents`].
    unsafe fn to_request(self) -> Option<Request> {
        let min = usize::try_from(self.min).ok()?;
        let len = usize::try_from(self.nr).ok()?;
        // SAFETY: the caller's.
        let (patience, signals) = unsafe { (self.timeout.read()?, self.read_signals()?) };
        let events = self.events;
        (min <= len).then_some(Request {
            min,
            room: Room { events, len },
            patience,
            signals,
        })
    }

    /// # Safety
    ///
    /// As for [`getevents`].
    unsafe fn read_signals(&self) -> Option<Signals> {
        if self.signals.is_null() {
            return Some(Signals::Unchanged);
        }
        if !plausible(self.signals) {
            return None;
        }
        // SAFETY: the caller's.
        let argument = unsafe { self.signals.read_unaligned() };
        Some(if argument.set.is_null() {
            Signals::Unchanged
        } else {
            Signals::Given(self.signals)
        })
    }
}

impl Timeout {
    /// How long that is; `None` for an address that cannot be one.
    ///
    /// # Safety
    ///
    /// As for [`getevents`].
    unsafe fn read(self) -> Option<Patience> {
        match self {
            Timeout::Wide(timeout) if timeout.is_null() => Some(Patience::Forever),
            Timeout::Narrow(timeout) if timeout.is_null() => Some(Patience::Forever),
            Timeout::Wide(timeout) if plausible(timeout) => {
                // SAFETY: the caller's.
                Some(patience(unsafe { timeout.read_unaligned() }))
            }
            Timeout::Narrow(timeout) if plausible(timeout) => {
                // SAFETY: the caller's.
                let timeout = unsafe { timeout.read_unaligned() };
                Some(patience(timeout.map(i64::from)))
            }
            _ => None,
        }
    }
}

/// As the kernel has it: what is negative is over, what is too long is for ever, and so many
/// nanoseconds may be more than a second.
fn patience([seconds, nanoseconds]: [i64; 2]) -> Patience {
    let nanos = seconds
        .saturating_mul(NANOS_PER_SECOND as i64)
        .saturating_add(nanoseconds);
    if nanos == i64::MAX {
        Patience::Forever
    } else {
        Patience::Nanos(u64::try_from(nanos).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::ptr;

    fn wait(min: c_long, nr: c_long, timeout: Timeout) -> Wait {
        Wait {
            id: 0,
            min,
            nr,
            events: ptr::null_mut(),
            timeout,
            signals: ptr::null(),
        }
    }

    fn request(wait: Wait) -> Option<Request> {
        // SAFETY: what is passed is valid, or obviously not.
        unsafe { wait.to_request() }
    }

    #[test]
    fn timeouts_are_what_the_kernel_takes_them_for() {
        assert_eq!(patience([0, 0]), Patience::NONE);
        assert_eq!(patience([-1, 5]), Patience::NONE);
        assert_eq!(patience([2, 1_500_000_000]), Patience::Nanos(3_500_000_000));
        assert_eq!(patience([i64::MAX, 0]), Patience::Forever);
    }

    #[test]
    fn timeouts_of_both_widths_are_read() {
        let (wide, narrow) = ([1i64, 2], [3i32, 4]);
        let patience = |timeout| request(wait(1, 1, timeout)).map(|request| request.patience);
        let of_wide = patience(Timeout::Wide(&wide));
        assert_eq!(of_wide, Some(Patience::Nanos(1_000_000_002)));
        let of_narrow = patience(Timeout::Narrow(&narrow));
        assert_eq!(of_narrow, Some(Patience::Nanos(3_000_000_004)));
        for null in [Timeout::Wide(ptr::null()), Timeout::Narrow(ptr::null())] {
            assert_eq!(patience(null), Some(Patience::Forever));
        }
        let nowhere = Timeout::Wide(usize::MAX as *const _);
        assert_eq!(patience(nowhere), None);
    }

    #[test]
    fn what_the_kernel_refuses_is_its_to_refuse() {
        let forever = Timeout::Wide(ptr::null());
        assert!(request(wait(-1, 1, forever)).is_none());
        assert!(request(wait(1, -1, forever)).is_none());
        assert!(request(wait(2, 1, forever)).is_none());
        assert!(request(wait(0, 0, forever)).is_some());
    }

    #[test]
    fn no_set_of_signals_is_no_change() {
        let set = 1u64;
        let signals = |set: *const u64| {
            let argument = SignalArgument { set, size: 8 };
            let wait = Wait {
                signals: &raw const argument,
                ..wait(1, 1, Timeout::Wide(ptr::null()))
            };
            request(wait).map(|request| matches!(request.signals, Signals::Given(_)))
        };
        assert_eq!(signals(ptr::null()), Some(false));
        assert_eq!(signals(&raw const set), Some(true));
    }
}
