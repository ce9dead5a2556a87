// SPDX-License-Identifier: GPL-2.0-only

//! The completion ring that user space can see, read, and scribble on.
//!
//! It is an array of events behind a header, in pages that the kernel shares with the process. The
//! kernel writes events and the tail; events are read, and the head advanced, by io_getevents(2)
//! or by the process itself. All that is read from it is made to fit before it is used. A ring
//! with `nr` elements holds `nr - 1` events, so that equal head and tail mean empty.
//!
//! C counterpart: `aio_setup_ring()`, `aio_complete()`, `aio_read_events_ring()` and
//! `refill_reqs_available()` of `fs/aio.c`.

use super::{
    abi::{
        EventWords,
        EVENT_BYTES, //
    },
    slots::Slots, //
};
use kernel::{
    error::code::*,
    fs::ring_file::{
        RingFile,
        Writing, //
    },
    page::PAGE_SIZE,
    prelude::*,
    sync::barrier::{
        smp_mb,
        Read,
        Write, //
    },
    uaccess::UserPtr, //
};

/// `AIO_RING_MAGIC`: user space may read events from the ring.
const MAGIC: u32 = 0xa10a_10a1;
/// There is a ring.
const COMPAT_RING: u32 = 1 << 0;
/// `AIO_RING_COMPAT_HIPRI`: the kernel knows `IOCB_FLAG_HIPRI`.
const COMPAT_HIPRI: u32 = 1 << 1;
/// `AIO_RING_INCOMPAT_POLLED`: no events come to the ring.
const INCOMPAT_POLLED: u32 = 1 << 0;

/// The words of the header, in order.
#[derive(Clone, Copy)]
enum Header {
    /// The number of the context in its process.
    Id,
    /// Number of elements.
    Nr,
    /// Index of the next event to read.
    Head,
    /// Index of the next event to write.
    Tail,
    Magic,
    CompatFeatures,
    IncompatFeatures,
    /// Bytes before the first event.
    Length,
}

/// Bytes of the header, which is as long as an event.
const HEADER_BYTES: usize = 32;
const EVENTS_PER_PAGE: usize = PAGE_SIZE / EVENT_BYTES;

/// An id that no context has.
const NO_ID: u32 = u32::MAX;

/// What the writers of the ring know, and do not ask user space.
pub(crate) struct Tail {
    /// Index of the next event to write.
    index: u32,
    /// Events written whose slots have not been returned.
    unreturned: u32,
}

/// A completion ring.
pub(crate) struct Ring {
    file: RingFile<Tail>,
    nr: u32,
}

impl Ring {
    /// Creates a ring for at least `events` events.
    pub(crate) fn new(events: u32) -> Result<Self> {
        let pages = pages_for(events).ok_or(EINVAL)?;
        let file = RingFile::new(
            pages,
            Tail {
                index: 0,
                unreturned: 0,
            },
        )?;
        let ring = Self {
            file,
            nr: elements_in(pages),
        };
        ring.write_header();
        Ok(ring)
    }

    fn write_header(&self) {
        let ring = self.file.lock_writing();
        ring.store(Header::Id as usize, NO_ID);
        ring.store(Header::Nr as usize, self.nr);
        ring.store(Header::Magic as usize, MAGIC);
        ring.store(Header::CompatFeatures as usize, COMPAT_RING | COMPAT_HIPRI);
        ring.store(Header::Length as usize, HEADER_BYTES as u32);
    }

    /// Elements, one more than the events that fit.
    pub(crate) fn nr(&self) -> u32 {
        self.nr
    }

    /// The memory.
    pub(crate) fn file(&self) -> &RingFile<Tail> {
        &self.file
    }

    /// Tells user space, and so later system calls, which context this is.
    pub(crate) fn set_id(&self, id: u32) {
        self.file.lock_writing().store(Header::Id as usize, id);
    }

    /// Tells user space not to look here for events.
    pub(crate) fn mark_polled(&self) {
        let ring = self.file.lock_writing();
        ring.store(Header::Magic as usize, 0);
        ring.store(Header::IncompatFeatures as usize, INCOMPAT_POLLED);
    }

    /// Writes an event, for which there is room because its request has a slot. Returns how many
    /// events there are to read now. In any context.
    #[inline(always)]
    pub(crate) fn post(&self, event: &EventWords, slots: &Slots) -> u32 {
        let mut ring = self.file.lock_writing();
        let (page, slot) = place(ring.state().index);
        ring.write(page, slot, event);

        let tail = next(ring.state().index, self.nr);
        // The event before the tail. Pairs with the barrier in `read()`, and with the one that
        // user space needs between its reads of the tail and of the event.
        smp_mb(Write);
        ring.state().index = tail;
        let head = ring.load(Header::Head as usize);
        ring.store(Header::Tail as usize, tail);

        ring.state().unreturned = ring.state().unreturned.wrapping_add(1);
        if ring.state().unreturned > 1 {
            self.return_slots(&mut ring, head, slots);
        }
        to_read(head, tail, self.nr)
    }

    /// Returns the slots of events that user space has read behind our back.
    pub(crate) fn reclaim(&self, slots: &Slots) {
        let mut ring = self.file.lock_writing();
        if ring.state().unreturned > 0 {
            let head = ring.load(Header::Head as usize);
            self.return_slots(&mut ring, head, slots);
        }
    }

    #[inline(always)]
    fn return_slots(&self, ring: &mut Writing<'_, Tail>, head: u32, slots: &Slots) {
        let state = ring.state();
        let unread = unread(head, state.index, self.nr);
        let read = state.unreturned.saturating_sub(unread);
        if read > 0 {
            state.unreturned = state.unreturned.wrapping_sub(read);
            slots.put(read);
        }
    }

    /// Copies up to `max` events to a user and advances the head. Returns how many.
    ///
    /// Fails with [`EFAULT`], with all events left in the ring.
    #[inline(always)]
    pub(crate) fn read(&self, to: UserPtr, max: usize) -> Result<usize> {
        let ring = self.file.lock_reading();
        let head = ring.load(Header::Head as usize);
        let tail = ring.load(Header::Tail as usize);
        // The tail before the events. Pairs with the barrier in `post()`.
        smp_mb(Read);
        if head == tail {
            return Ok(0);
        }

        let (mut head, tail) = (within(head, self.nr), within(tail, self.nr));
        let mut copied = 0;
        while head != tail && copied < max {
            let run = run_length(head, tail, self.nr, max - copied);
            let (page, slot) = place(head);
            ring.copy_to_user(
                page,
                slot * EVENT_BYTES,
                to.wrapping_byte_add(copied.wrapping_mul(EVENT_BYTES)),
                run as usize * EVENT_BYTES,
            )?;
            copied += run as usize;
            head = after_run(head, run, self.nr);
        }
        ring.store(Header::Head as usize, head);
        Ok(copied)
    }
}

/// Pages of a ring for `events` events: the header, one element that stays empty, and one more as
/// there has always been. `None` where they are too many.
fn pages_for(events: u32) -> Option<u32> {
    let bytes = (events as usize)
        .checked_add(2)?
        .checked_mul(EVENT_BYTES)?
        .checked_add(HEADER_BYTES)?;
    i32::try_from(bytes.div_ceil(PAGE_SIZE))
        .ok()
        .and_then(|pages| u32::try_from(pages).ok())
}

/// Elements that fit into this many pages, behind the header.
fn elements_in(pages: u32) -> u32 {
    // CAST: No more than `pages_for()` had from a `u32`, rounded up to a page.
    ((pages as usize * PAGE_SIZE - HEADER_BYTES) / EVENT_BYTES) as u32
}

/// Page of an element, and its place in that page.
#[inline]
fn place(index: u32) -> (usize, usize) {
    let index = index as usize + HEADER_BYTES / EVENT_BYTES;
    (index / EVENTS_PER_PAGE, index % EVENTS_PER_PAGE)
}

/// A user's index, made to fit.
#[inline]
fn within(index: u32, nr: u32) -> u32 {
    // As a rule it fits, and a division takes long.
    if index < nr {
        index
    } else {
        index % nr
    }
}

/// The index after `index`.
#[inline]
fn next(index: u32, nr: u32) -> u32 {
    match index.wrapping_add(1) {
        next if next >= nr => 0,
        next => next,
    }
}

/// The index after `run` elements from `index` on, of which the last is not beyond the end.
#[inline]
fn after_run(index: u32, run: u32, nr: u32) -> u32 {
    match index.wrapping_add(run) {
        after if after >= nr => 0,
        after => after,
    }
}

/// Events between a user's `head` and our `tail`, by what a waiter is told: `head` is taken as it
/// is, and an empty ring for a full one.
#[inline]
fn to_read(head: u32, tail: u32, nr: u32) -> u32 {
    if tail > head {
        tail - head
    } else {
        tail.wrapping_add(nr).wrapping_sub(head)
    }
}

/// Events between a user's `head`, made to fit, and our `tail`.
#[inline(always)]
fn unread(head: u32, tail: u32, nr: u32) -> u32 {
    let head = within(head, nr);
    if head <= tail {
        tail - head
    } else {
        nr - (head - tail)
    }
}

/// Events from `head` on that lie in one piece, in one page, and are no more than `max`.
#[inline]
fn run_length(head: u32, tail: u32, nr: u32, max: usize) -> u32 {
    let in_ring = if head <= tail { tail } else { nr } - head;
    let (_, slot) = place(head);
    let in_page = EVENTS_PER_PAGE - slot;
    // CAST: No more than `in_ring`.
    (in_ring as usize).min(in_page).min(max) as u32
}

#[cfg(CONFIG_AIO_RUST_KUNIT_TEST)]
#[kunit_tests(aio_ring)]
mod tests {
    use super::*;

    #[test]
    fn size_holds_what_was_asked_for() {
        for events in [1, 16, 124, 125, 126, 127, 128, 1000, 65536] {
            let pages = pages_for(events).unwrap();
            assert!(elements_in(pages) > events);
            assert!(
                pages as usize * PAGE_SIZE < (events as usize + 2 + 1) * EVENT_BYTES + PAGE_SIZE
            );
        }
    }

    #[test]
    fn first_page_has_the_header() {
        assert_eq!(place(0), (0, 1));
        assert_eq!(place(EVENTS_PER_PAGE as u32 - 2), (0, EVENTS_PER_PAGE - 1));
        assert_eq!(place(EVENTS_PER_PAGE as u32 - 1), (1, 0));
    }

    #[test]
    fn the_last_element_is_followed_by_the_first() {
        assert_eq!(next(0, 127), 1);
        assert_eq!(next(125, 127), 126);
        assert_eq!(next(126, 127), 0);
        assert_eq!(next(u32::MAX, 127), 0);
    }

    #[test]
    fn unread_events_are_counted_around_the_end() {
        assert_eq!(unread(5, 5, 127), 0);
        assert_eq!(unread(5, 9, 127), 4);
        assert_eq!(unread(125, 2, 127), 4);
    }

    #[test]
    fn a_scribbled_head_cannot_make_more_than_there_are() {
        for head in [127, 128, 1 << 20, u32::MAX - 1, u32::MAX] {
            for tail in [0, 1, 63, 126] {
                assert!(unread(head, tail, 127) < 127);
                // Any number will do, it must only not overflow.
                let _ = to_read(head, tail, 127);
            }
        }
    }

    #[test]
    fn runs_stop_at_the_ends_of_ring_page_and_wish() {
        assert_eq!(run_length(0, 5, 127, 100), 5);
        assert_eq!(run_length(0, 5, 127, 3), 3);
        assert_eq!(run_length(120, 5, 127, 100), 7);
        let first = EVENTS_PER_PAGE as u32 - 1;
        assert_eq!(run_length(0, first + 10, 2 * first, 1000), first);
        assert_eq!(run_length(first, first + 10, 2 * first, 1000), 10);
        assert_eq!(after_run(120, 7, 127), 0);
        assert_eq!(after_run(0, 5, 127), 5);
    }

    #[test]
    fn posted_events_return_their_slots_when_read() {
        let ring = Ring::new(16).unwrap();
        let slots = Slots::new(0).unwrap();
        assert_eq!(ring.post(&[1, 2, 3, 0], &slots), 1);
        assert_eq!(ring.post(&[4, 5, 6, 0], &slots), 2);
        assert!(!slots.take());
        // User space reads both.
        ring.file.lock_writing().store(Header::Head as usize, 2);
        ring.reclaim(&slots);
        assert!(slots.take());
        assert!(slots.take());
        assert!(!slots.take());
    }
}
