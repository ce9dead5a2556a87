// SPDX-License-Identifier: GPL-2.0-only

//! The duty to deliver one event.
//!
//! A [`Request`] comes into being when a context accepts an iocb, with a slot of that context. It
//! is moved to whoever completes the operation: a kiocb, a work item, a poll entry. Completing it
//! consumes it, so there is one event. Dropping it instead is what refusing the iocb means: there
//! is no event, and the slot goes back.
//!
//! C counterpart: the part of `struct aio_kiocb` that all operations share.

use super::{
    abi::EventKey,
    context::{
        Context,
        REQS, //
    },
    trace, //
};
use kernel::{
    alloc::kmem_cache::{
        CacheFlags,
        KmemCache, //
    },
    eventfd::EventFdContext,
    fs::{
        async_kiocb::{
            AsyncKiocb,
            CompletedKiocb,
            KiocbData, //
        },
        cancel_list::CancelList, //
    },
    prelude::*,
    sync::{
        percpu_ref::HeldRef,
        rcu, //
    }, //
};

/// A reference to a context that keeps it from ending.
pub(crate) type ContextRef = HeldRef<Context, REQS>;

/// A reference to a context, and a slot there. Dropping it gives both back.
pub(crate) struct Admission(Option<ContextRef>);

impl Admission {
    /// The caller has taken the slot, and passes it on.
    #[inline]
    pub(crate) fn new(context: ContextRef) -> Self {
        Self(Some(context))
    }

    /// Parts with both: the reference is returned, and the slot is for the caller to return.
    #[inline]
    fn take(&mut self) -> Option<ContextRef> {
        self.0.take()
    }
}

impl Drop for Admission {
    #[inline]
    fn drop(&mut self) {
        if let Some(context) = self.take() {
            give_back(context);
        }
    }
}

#[cold]
fn give_back(context: ContextRef) {
    context.slots.put(1);
}

/// The duty to deliver one event.
pub(crate) struct Request {
    /// Whom it is owed to, until it is delivered.
    admission: Admission,
    key: EventKey,
    eventfd: Option<EventFdContext>,
}

impl Request {
    /// A request that is identified by `key`.
    #[inline]
    pub(crate) fn new(admission: Admission, key: EventKey) -> Self {
        Self {
            admission,
            key,
            eventfd: None,
        }
    }

    /// Has an eventfd signalled along with the event.
    #[inline]
    pub(crate) fn set_eventfd(&mut self, eventfd: EventFdContext) {
        self.eventfd = Some(eventfd);
    }

    /// What identifies the event.
    #[inline]
    pub(crate) fn key(&self) -> EventKey {
        self.key
    }

    /// Whether an eventfd is signalled along with the event.
    #[inline]
    pub(crate) fn has_eventfd(&self) -> bool {
        self.eventfd.is_some()
    }

    /// Delivers the event to the ring. Returns the reference to the context, for the caller to drop
    /// after all else that belongs to the request. In any context.
    #[inline(always)]
    #[must_use = "the context may end when this is dropped"]
    pub(crate) fn deliver(&mut self, result: i64) -> Option<ContextRef> {
        let context = self.admission.take()?;
        trace::complete(&context, self.key, result);
        let event = self.key.with_result(result);
        let available = context.ring.post(&event, &context.slots);
        if let Some(eventfd) = &self.eventfd {
            eventfd.signal();
        }
        context.wait.wake(available as usize);
        Some(context)
    }

    /// The event was delivered elsewhere. Returns the reference to the context; the slot is for the
    /// caller to return.
    #[inline]
    #[must_use = "the context may end when this is dropped"]
    pub(crate) fn settle(mut self) -> Option<ContextRef> {
        self.admission.take()
    }
}

static KIOCBS: KmemCache<AsyncKiocb<Request>> =
    KmemCache::new(c"aio_kiocb", CacheFlags::HWCACHE_ALIGN);

/// Creates the cache of kiocbs. Once, at boot.
pub(crate) fn init() -> Result {
    KIOCBS.create()
}

// SAFETY: List and owner are those of the one context that `admission` refers to, which issues
// polled kiocbs on its own queue. `admission` is taken by the end of the kiocb, not before, and the
// context stays until then.
unsafe impl KiocbData for Request {
    type Owner = Context;

    #[inline]
    fn cache() -> &'static KmemCache<AsyncKiocb<Self>> {
        &KIOCBS
    }

    #[inline(always)]
    fn complete(mut kiocb: CompletedKiocb<Self>) {
        let result = kiocb.result();
        let context = kiocb.deliver(result as i64);
        // The file first: a context that has ended has released all its files.
        drop(kiocb);
        drop(context);
    }

    #[inline]
    fn completed<'a>(&self, result: isize, guard: &'a rcu::Guard) -> Option<&'a Context> {
        let context = self.admission.0.as_ref()?.deref_rcu(guard);
        trace::complete(context, self.key, result as i64);
        Some(context)
    }

    #[inline]
    fn cancel_list(&self) -> Option<&CancelList<Self>> {
        self.admission
            .0
            .as_ref()
            .map(|context| &context.cancellable)
    }
}
