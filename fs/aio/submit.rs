// SPDX-License-Identifier: GPL-2.0-only

//! io_submit(2): from an iocb to an operation that has started.
//!
//! C counterpart: `io_submit()`, `io_submit_one()` of `fs/aio.c`. The order of checks is theirs:
//! which of several errors an iocb gets is part of the interface.

use super::{
    abi::{
        EventKey,
        Iocb,
        Opcode,
        Other,
        KIOCB_KEY, //
    },
    context::{
        Context,
        User, //
    },
    op,
    request::Request,
    submission::{
        Submission,
        REQUESTS_AT_ONCE, //
    },
    trace, //
};
use kernel::{
    block::plug::{
        plugged,
        Plug, //
    },
    error::code::*,
    eventfd::EventFdContext,
    fs::AsyncFile,
    prelude::*,
    uaccess::{
        get_user_u32,
        get_user_u64,
        put_user_u32,
        UserPtr, //
    }, //
};

/// Fewer iocbs than this are not worth a plug.
const PLUG_THRESHOLD: usize = 3;

/// The caller's word size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Width {
    Native,
    /// A 32-bit task on a 64-bit kernel.
    Compat,
}

/// A user's array of pointers to iocbs.
struct IocbPointers {
    array: UserPtr,
    width: Width,
}

impl IocbPointers {
    #[inline]
    fn get(&self, index: usize) -> Result<UserPtr> {
        // CAST: A pointer of the caller's width fits ours.
        let addr = if self.width == Width::Compat || cfg!(not(CONFIG_64BIT)) {
            get_user_u32(self.array.wrapping_byte_add(index.wrapping_mul(4)))? as usize
        } else {
            get_user_u64(self.array.wrapping_byte_add(index.wrapping_mul(8)))? as usize
        };
        Ok(UserPtr::from_addr(addr))
    }
}

/// Submits up to `nr` iocbs. Returns how many were accepted; where it is none, the error of the
/// first.
pub(crate) fn submit(user: &User, nr: usize, array: UserPtr, width: Width) -> Result<usize> {
    let nr = nr.min(user.ring.nr() as usize);
    let iocbs = IocbPointers { array, width };
    if nr < PLUG_THRESHOLD {
        return submit_each(user, nr, &iocbs, None);
    }
    plugged(1, |plug| submit_each(user, nr, &iocbs, Some(plug)))
}

#[inline]
fn submit_each(user: &User, nr: usize, iocbs: &IocbPointers, plug: Option<&Plug>) -> Result<usize> {
    if nr == 0 {
        return Ok(0);
    }
    let mut submission = Submission::new(user, nr, plug)?;
    submit_with(&mut submission, nr, iocbs)
}

#[inline]
fn submit_with(submission: &mut Submission<'_>, nr: usize, iocbs: &IocbPointers) -> Result<usize> {
    for index in 0..nr {
        if index % REQUESTS_AT_ONCE == 0 {
            submission.expect_requests(nr - index);
        }
        let submitted = iocbs
            .get(index)
            .and_then(|iocb| submit_one(submission, iocb, iocbs.width));
        if let Err(error) = submitted {
            return if index == 0 { Err(error) } else { Ok(index) };
        }
    }
    Ok(nr)
}

/// Submits the iocb at `addr`.
///
/// # Errors
///
/// - [`EFAULT`]: it cannot be read, or its key not be written.
/// - [`EINVAL`]: a reserved field is used, a length is negative, there is no such operation, or one
///   of its arguments is wrong; the context was made polled and this is not, or the reverse.
/// - [`EAGAIN`]: the context has as many requests as it can take, or memory is short.
/// - [`EBADF`]: there is no such descriptor, or it is not open for this.
/// - [`EOPNOTSUPP`]: flags that the file does not support, polling among them.
#[inline]
fn submit_one(submission: &mut Submission<'_>, addr: UserPtr, width: Width) -> Result {
    let iocb = Iocb::read(addr)?;
    match iocb.opcode(width == Width::Compat) {
        Ok(Opcode::Transfer(direction, layout)) if iocb.is_hipri() => {
            op::transfer::submit_polled(submission, addr, &iocb, direction, layout)
        }
        Ok(Opcode::Transfer(direction, layout)) => {
            op::transfer::submit(submission, addr, &iocb, direction, layout)
        }
        Ok(Opcode::Other(other)) => submit_other(submission, addr, &iocb, Ok(other)),
        Err(error) => submit_other(submission, addr, &iocb, Err(error)),
    }
}

/// Submits what is neither read nor write: an error, where there is no such operation.
fn submit_other(
    submission: &mut Submission<'_>,
    addr: UserPtr,
    iocb: &Iocb,
    other: Result<Other>,
) -> Result {
    let mut request = Request::new(submission.admit()?, EventKey::of(iocb, addr));
    let file = AsyncFile::from_fd(iocb.fd())?;
    acknowledge(submission.context, &mut request, addr, iocb)?;
    match other? {
        _ if iocb.is_hipri() => Err(EINVAL),
        Other::Sync { datasync } => {
            op::fsync::submit(submission.user, request, file, iocb, datasync)
        }
        Other::Poll => op::poll::submit(submission.user, request, file, iocb),
    }
}

/// Takes the eventfd of an iocb, and lets user space see in the iocb that it got as far as this.
#[inline]
pub(crate) fn acknowledge(
    context: &Context,
    request: &mut Request,
    addr: UserPtr,
    iocb: &Iocb,
) -> Result {
    if let Some(resfd) = iocb.resfd() {
        request.set_eventfd(EventFdContext::from_fd(resfd)?);
    }
    put_user_u32(KIOCB_KEY, Iocb::key_ptr(addr))?;
    trace::submit(context, request.key(), iocb);
    Ok(())
}
