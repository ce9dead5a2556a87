// SPDX-License-Identifier: GPL-2.0-only

//! FSYNC and FDSYNC: a worker syncs the file with the submitter's credentials.
//!
//! C counterpart: `aio_fsync()` and `aio_fsync_work()` of `fs/aio.c`.

use crate::{
    abi::Iocb,
    context::User,
    mode::Delivery,
    request::Request, //
};
use kernel::{
    cred::Credential,
    error::code::*,
    fs::AsyncFile,
    impl_has_work,
    new_work,
    prelude::*,
    sync::aref::ARef,
    workqueue::{
        self,
        Work,
        WorkItem, //
    }, //
};

/// A sync that waits for its worker.
#[pin_data]
struct Fsync {
    #[pin]
    work: Work<Fsync>,
    request: Request,
    file: AsyncFile,
    datasync: bool,
    creds: ARef<Credential>,
}

impl_has_work! {
    impl HasWork<Self> for Fsync { self.work }
}

impl WorkItem for Fsync {
    type Pointer = Pin<KBox<Self>>;

    fn run(mut this: Pin<KBox<Self>>) {
        let synced = this.creds.with_creds(|| this.file.fsync(this.datasync));
        let result = synced.map_or_else(|error| error.to_errno(), |()| 0);
        let context = this.as_mut().project().request.deliver(result.into());
        // The file first: a context that has ended has released all its files.
        drop(this);
        drop(context);
    }
}

/// Starts a sync, of data only if `datasync`. Fails with [`EINVAL`] where an argument is given, or
/// the file cannot be synced, and [`ENOMEM`].
pub(crate) fn submit(
    user: &User,
    request: Request,
    file: AsyncFile,
    iocb: &Iocb,
    datasync: bool,
) -> Result {
    if iocb.buf() != 0 || iocb.offset() != 0 || iocb.nbytes() != 0 || iocb.rw_flags() != 0 {
        return Err(EINVAL);
    }
    if !file.has_fsync() {
        return Err(EINVAL);
    }
    let fsync = KBox::pin_init(
        try_pin_init!(Fsync {
            work <- new_work!("aio::Fsync"),
            request,
            file,
            datasync,
            creds: Credential::prepare()?,
        }? Error),
        GFP_KERNEL,
    )?;
    user.fix_mode(Delivery::Ring)?;
    workqueue::system_percpu().enqueue(fsync);
    Ok(())
}
