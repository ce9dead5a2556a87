// SPDX-License-Identifier: GPL-2.0-only

//! The end of contexts: io_destroy(2), and that of their address space.
//!
//! Both wait until no request is left, since until then the kernel writes to the user's buffers.
//! The requests of a polled context may have nobody to poll for them any more, so who waits for its
//! end polls. That is all contexts of a process at its exit, in turns: one that completes nothing
//! must not keep another one's requests from completing.
//!
//! C counterpart: `io_destroy()` and `exit_aio()` of `fs/aio.c`.

use super::{
    context::{
        Context,
        USERS, //
    },
    mode::Delivery, //
};
use kernel::{
    error::code::*,
    fs::iopoll::Pass,
    mm::{
        ioctx_table::IoctxTable,
        Mm, //
    },
    prelude::*,
    sync::Arc,
    task::cond_resched,
    time::Jiffies, //
};

/// Destroys a context of the current task. Fails with [`EINVAL`] where there is none, or somebody
/// else destroys it.
pub(crate) fn destroy(mm: &Mm, user_id: usize) -> Result {
    let user = Context::lookup(mm, user_id).ok_or(EINVAL)?;
    let context = user.to_arc();
    user.kill(mm)?;
    // Else it would never be drained.
    drop(user);
    drain(context);
    Ok(())
}

/// Destroys all contexts of an address space that nobody uses any more. Any task may come by to do
/// that; its own address space is another one.
pub(crate) fn destroy_all(mm: &Mm) {
    let mut dying: Option<Arc<Context>> = None;
    IoctxTable::<Context, USERS>::of(mm).take_all(|users| {
        let context = users.to_arc();
        Context::kill_at_exit(users);
        *context.next_dying.lock() = dying.take();
        dying = Some(context);
    });
    if let Some(first) = dying {
        drain(first);
    }
}

/// What a look at dying contexts found.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Progress {
    /// No request is left.
    Drained,
    /// The requests complete by themselves, if not now.
    Waiting,
    /// The requests complete by polling, and some device was polled.
    Polled,
}

/// Jiffies between looks where nothing can be polled, but may be later.
const LOOK_AGAIN: Jiffies = 1;

/// Waits until `first` and those behind it are drained.
fn drain(first: Arc<Context>) {
    while drain_pass(&first) != Progress::Drained {
        cond_resched();
    }
    forget(first);
}

/// Looks at each context once, and waits a little where there was nothing to do. Returns what the
/// liveliest of them did.
fn drain_pass(first: &Arc<Context>) -> Progress {
    let mut progress = Progress::Drained;
    let mut waiting = None;
    for_each(first, |context| {
        let one = look(context);
        progress = progress.max(one);
        if one == Progress::Waiting {
            waiting = Some(context.clone());
        }
    });
    if let (Progress::Waiting, Some(context)) = (progress, waiting) {
        wait(&context);
    }
    progress
}

/// Waits for a context whose requests complete by themselves. Not for ever where an I/O that is
/// being submitted may still turn out to be a polled one.
fn wait(context: &Context) {
    if context.mode.get() == Some(Delivery::Ring) {
        context.drained.wait_for_completion();
    } else {
        context.drained.wait_for_completion_timeout(LOOK_AGAIN);
    }
}

/// Polls a context once if there is something to poll, and drops what has completed: nobody can
/// read it any more.
fn look(context: &Context) -> Progress {
    if context.drained.is_done() {
        return Progress::Drained;
    }
    if !context.mode.is_polled() {
        return Progress::Waiting;
    }
    // Others that poll see that the context is dead, and leave.
    let Some(mut reaper) = context.queue.try_reap() else {
        return Progress::Waiting;
    };
    let pass = reaper.poll();
    reaper.collect();
    drop(reaper.take(usize::MAX));
    match pass {
        Pass::Polled => Progress::Polled,
        Pass::NothingToPoll { .. } => Progress::Waiting,
    }
}

fn for_each(first: &Arc<Context>, mut f: impl FnMut(&Arc<Context>)) {
    let mut next = Some(first.clone());
    while let Some(context) = next {
        f(&context);
        next = context.next_dying.lock().clone();
    }
}

/// Drops the contexts one by one, not each inside the drop of the one before.
fn forget(first: Arc<Context>) {
    let mut next = Some(first);
    while let Some(context) = next {
        next = context.next_dying.lock().take();
    }
}
