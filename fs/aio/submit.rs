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
        KIOCB_KEY, //
    },
    context::User,
    op,
    request::Request,
    submission::Submission,
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

/// So many requests the block layer is asked to allocate at once. It finds their tags in one word of
/// a bitmap or not at all, and the words of a small bitmap have no more bits.
const REQUESTS_AT_ONCE: usize = 16;

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
    let mut submission = Submission::new(user, nr)?;
    for index in 0..nr {
        if let (Some(plug), 0) = (plug, index % REQUESTS_AT_ONCE) {
            // CAST: A small constant at most.
            plug.expect((nr - index).min(REQUESTS_AT_ONCE) as u16);
        }
        let submitted = iocbs
            .get(index)
            .and_then(|iocb| submit_one(&mut submission, iocb, iocbs.width));
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
    let key = EventKey {
        data: iocb.data,
        obj: addr.as_const_ptr() as u64,
    };
    let mut request = Request::new(submission.admit()?, key);

    let file = if iocb.is_hipri() {
        submission.file_for_polling(iocb.fd)?
    } else {
        AsyncFile::from_fd(iocb.fd)?
    };
    if let Some(resfd) = iocb.resfd() {
        request.set_eventfd(EventFdContext::from_fd(resfd)?);
    }
    put_user_u32(KIOCB_KEY, Iocb::key_ptr(addr))?;

    let opcode = iocb.opcode(width == Width::Compat)?;
    let user = submission.user;
    trace::submit(user.user_id(), key, &iocb);
    if iocb.is_hipri() {
        // An eventfd would never be signalled: nobody polls on its behalf.
        return match opcode {
            Opcode::Transfer(direction, layout) if !request.has_eventfd() => {
                op::transfer::submit_polled(submission, request, file, &iocb, direction, layout)
            }
            _ => Err(EINVAL),
        };
    }
    match opcode {
        Opcode::Transfer(direction, layout) => {
            op::transfer::submit(submission, request, file, &iocb, direction, layout)
        }
        Opcode::Sync { datasync } => op::fsync::submit(user, request, file, &iocb, datasync),
        Opcode::Poll => op::poll::submit(user, request, file, &iocb),
    }
}
