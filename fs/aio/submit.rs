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
    context::{
        Context,
        User, //
    },
    op,
    request::Request, //
};
use kernel::{
    block::plug::plugged,
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
        return submit_each(user, nr, &iocbs);
    }
    // CAST: A hint, cut to what the plug can note.
    plugged(nr.min(u16::MAX.into()) as u16, || {
        submit_each(user, nr, &iocbs)
    })
}

#[inline]
fn submit_each(user: &User, nr: usize, iocbs: &IocbPointers) -> Result<usize> {
    for index in 0..nr {
        let submitted = iocbs
            .get(index)
            .and_then(|iocb| submit_one(user, iocb, iocbs.width));
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
fn submit_one(user: &User, addr: UserPtr, width: Width) -> Result {
    let iocb = Iocb::read(addr)?;
    if !user.take_slot() {
        return Err(EAGAIN);
    }
    let key = EventKey {
        data: iocb.data,
        obj: addr.as_const_ptr() as u64,
    };
    let context = Context::request_ref(user).ok_or(EINVAL)?;
    // Owns the slot from here on.
    let mut request = Request::new(context, key);

    let file = AsyncFile::from_fd(iocb.fd)?;
    if let Some(resfd) = iocb.resfd() {
        request.set_eventfd(EventFdContext::from_fd(resfd)?);
    }
    put_user_u32(KIOCB_KEY, Iocb::key_ptr(addr))?;

    let opcode = iocb.opcode(width == Width::Compat)?;
    if iocb.is_hipri() {
        // An eventfd would never be signalled: nobody polls on its behalf.
        return match opcode {
            Opcode::Transfer(direction, layout) if !request.has_eventfd() => {
                op::transfer::submit_polled(user, request, file, &iocb, direction, layout)
            }
            _ => Err(EINVAL),
        };
    }
    match opcode {
        Opcode::Transfer(direction, layout) => {
            op::transfer::submit(user, request, file, &iocb, direction, layout)
        }
        Opcode::Sync { datasync } => op::fsync::submit(user, request, file, &iocb, datasync),
        Opcode::Poll => op::poll::submit(user, request, file, &iocb),
    }
}
