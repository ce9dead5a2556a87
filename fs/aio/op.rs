// SPDX-License-Identifier: GPL-2.0-only

//! The operations, one file each.
//!
//! Each has a `submit()` that checks what is left to check and starts the operation, to which it
//! gives the [`Request`](super::request::Request). Where it fails, the operation has not started
//! and there will be no event.

pub(crate) mod fsync;
pub(crate) mod poll;
pub(crate) mod transfer;
