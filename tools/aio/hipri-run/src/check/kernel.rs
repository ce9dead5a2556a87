// SPDX-License-Identifier: GPL-2.0-only

//! Whether the kernel polls, and may.

use std::fs;

use super::polled_read::Context;
use super::Finding;

/// Where the administrator allows polling.
const SETTING: &str = "/proc/sys/fs/aio-poll";

/// Whether the kernel says that it polls.
pub fn offer() -> Finding {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel = format!("kernel {}", release.trim());
    match Context::set_up(1) {
        Ok(context) if context.offers_polling() => {
            Finding::good(format!("{kernel} offers polled AIO"))
        }
        Ok(_) => Finding::bad(
            format!("{kernel} does not offer polled AIO"),
            "boot a kernel with the polled AIO series and CONFIG_AIO_RUST=y",
        ),
        Err(error) => Finding::bad(
            format!("io_setup fails: {}", crate::failure::reason(&error)),
            remedy(error.raw_os_error()),
        ),
    }
}

/// What to do about an `io_setup` that fails.
fn remedy(errno: Option<i32>) -> &'static str {
    match errno {
        Some(libc::ENOSYS) => {
            "boot a kernel with CONFIG_AIO=y, or allow the call where a sandbox forbids it"
        }
        Some(libc::EPERM | libc::EACCES) => "allow io_setup in the sandbox that this runs in",
        Some(libc::EAGAIN) => "raise the sysctl fs.aio-max-nr",
        _ => "free some memory",
    }
}

/// Whether the administrator allows polling.
pub fn setting() -> Finding {
    match fs::read_to_string(SETTING).as_deref().map(str::trim) {
        Ok("0") => Finding::bad("fs.aio-poll is 0", "as root, run: sysctl fs.aio-poll=1"),
        Ok(value) => Finding::good(format!("fs.aio-poll is {value}")),
        // Who cannot see it is told by the read.
        Err(_) => Finding::good("fs.aio-poll is not to be seen here"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_has_a_remedy_of_its_own() {
        let remedies = [libc::ENOSYS, libc::EPERM, libc::EAGAIN, libc::ENOMEM].map(Some);
        let mut remedies = remedies.map(remedy).to_vec();
        remedies.dedup();
        assert_eq!(remedies.len(), 4);
    }
}
