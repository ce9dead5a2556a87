// SPDX-License-Identifier: GPL-2.0-only

//! The events that tracing sees.
//!
//! C header: [`include/trace/events/aio.h`](srctree/include/trace/events/aio.h), which says what
//! they tell.

use super::{
    abi::{
        EventKey,
        Iocb, //
    },
    context::Context, //
};
use kernel::ffi::c_ulong;

#[expect(clippy::too_many_arguments)]
mod events {
    use kernel::prelude::*;

    kernel::declare_trace! {
        /// # Safety
        ///
        /// Always safe to call.
        pub(super) unsafe fn aio_submit(
            ctx: c_ulong,
            obj: u64,
            data: u64,
            opcode: u16,
            flags: u32,
            fd: u32,
            offset: i64,
            nbytes: u64,
        );

        /// # Safety
        ///
        /// Always safe to call.
        pub(super) unsafe fn aio_queue(ctx: c_ulong, obj: u64, polled: bool);

        /// # Safety
        ///
        /// Always safe to call.
        pub(super) unsafe fn aio_poll(ctx: c_ulong, passes: u64, ready: u64);

        /// # Safety
        ///
        /// Always safe to call.
        pub(super) unsafe fn aio_complete(ctx: c_ulong, obj: u64, data: u64, res: i64);

        /// # Safety
        ///
        /// Always safe to call.
        pub(super) unsafe fn aio_reap(ctx: c_ulong, min_nr: u64, nr: u64, ret: i64);
    }
}

/// What user space calls a context. Not read where nobody can trace, as the arguments of an event
/// are evaluated all the same.
#[inline(always)]
fn id(context: &Context) -> c_ulong {
    if cfg!(CONFIG_TRACEPOINTS) {
        context.user_id()
    } else {
        0
    }
}

/// An iocb has got its slot and is about to be started.
#[inline(always)]
pub(crate) fn submit(context: &Context, key: EventKey, iocb: &Iocb) {
    // SAFETY: Always safe to call.
    unsafe {
        events::aio_submit(
            id(context),
            key.obj,
            key.data,
            iocb.raw_opcode(),
            iocb.flags(),
            iocb.fd(),
            iocb.offset(),
            iocb.nbytes(),
        )
    };
}

/// A request of a polled context is in flight, and is polled for or not.
#[inline(always)]
pub(crate) fn queue(context: &Context, obj: u64, polled: bool) {
    // SAFETY: Always safe to call.
    unsafe { events::aio_queue(id(context), obj, polled) };
}

/// A reader has asked devices `passes` times and has `ready` completions.
#[inline(always)]
pub(crate) fn poll(context: &Context, passes: u64, ready: usize) {
    // SAFETY: Always safe to call.
    unsafe { events::aio_poll(id(context), passes, ready as u64) };
}

/// A request has completed.
#[inline(always)]
pub(crate) fn complete(context: &Context, key: EventKey, result: i64) {
    // SAFETY: Always safe to call.
    unsafe { events::aio_complete(id(context), key.obj, key.data, result) };
}

/// A reader that waited for `min` events and had room for `max` got `ret`.
#[inline(always)]
pub(crate) fn reap(context: &Context, min: usize, max: usize, ret: i64) {
    // SAFETY: Always safe to call.
    unsafe { events::aio_reap(id(context), min as u64, max as u64, ret) };
}
