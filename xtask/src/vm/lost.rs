// SPDX-License-Identifier: GPL-2.0-only

//! The error of a machine that did not live to say how its job ended.

use std::fmt;
use std::path::PathBuf;

/// A virtual machine that panicked, hung, ran out of time or never started.
///
/// Nothing is known of what it was to test, so this is never "a test failed".
#[derive(Debug)]
pub struct Lost {
    /// The name of the boot.
    pub boot: String,
    /// Why it counts as lost, in a few words.
    pub reason: String,
    /// Whether the kernel itself said so: a panic, a stall, a hung task.
    pub kernel_failed: bool,
    /// The whole console.
    pub console: PathBuf,
}

impl Lost {
    /// What the program exits with: the service is not available, in the words of sysexits(3).
    pub const EXIT_STATUS: u8 = 69;
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "VM lost in boot {}: {}; its console is {}",
            self.boot,
            self.reason,
            self.console.display()
        )
    }
}

impl std::error::Error for Lost {}
