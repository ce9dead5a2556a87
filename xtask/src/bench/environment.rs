// SPDX-License-Identifier: GPL-2.0-only

//! What a figure depends on besides the code: every file of figures states it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::build::key;
use crate::vm::{qemu_banner, Host};

/// A kernel that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct KernelFacts {
    /// Its release, such as `7.3.4`.
    pub release: String,
    /// The compiler and linker it was built with.
    pub compiler: String,
    /// A hash of its configuration.
    pub config: String,
    /// Whether the C helpers are inlined into Rust code.
    pub inline_helpers: bool,
}

/// The machines that measured.
#[derive(Clone, Debug, Serialize)]
pub struct MachineFacts {
    /// QEMU and its version.
    pub qemu: String,
    /// How the processor is run where instructions are counted.
    pub counting: &'static str,
    /// How the processors are run where time is measured.
    pub timing: &'static str,
}

impl KernelFacts {
    /// The facts of a kernel by its `/proc/version` and the configuration that lies beside `image`.
    pub fn of(version: &str, image: &Path) -> Result<Self> {
        let path = image.with_file_name("config");
        let config =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::from_texts(version, &config)
            .with_context(|| format!("the guest says of its version \"{version}\""))
    }

    fn from_texts(version: &str, config: &str) -> Option<Self> {
        let release = version.strip_prefix("Linux version ")?.split(' ').next()?;
        let from = version.find(") (")? + 3;
        let to = from + version[from..].find(") #")?;
        Some(Self {
            release: release.to_owned(),
            compiler: version[from..to].to_owned(),
            config: key::of([config]),
            inline_helpers: config
                .lines()
                .any(|line| line == "CONFIG_RUST_INLINE_HELPERS=y"),
        })
    }
}

impl MachineFacts {
    /// The facts of the machines of both hosts.
    pub fn of(counting: &Host, timing: &Host) -> Result<Self> {
        Ok(Self {
            qemu: qemu_banner(&timing.root)?,
            counting: counting.accelerator(),
            timing: timing.accelerator(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSION: &str = "Linux version 7.3.4 (polled@aio) (Debian clang version 19.1.7 (3+b1), \
        Debian LLD 19.1.7) #1 SMP PREEMPT_LAZY Thu Jan  1 00:00:00 UTC 2026";

    #[test]
    fn facts_are_in_the_version_and_the_configuration() {
        let facts = KernelFacts::from_texts(VERSION, "CONFIG_RUST_INLINE_HELPERS=y\n").unwrap();
        assert_eq!(facts.release, "7.3.4");
        assert_eq!(
            facts.compiler,
            "Debian clang version 19.1.7 (3+b1), Debian LLD 19.1.7"
        );
        assert!(facts.inline_helpers);
        let other = KernelFacts::from_texts(VERSION, "CONFIG_RUST=y\n").unwrap();
        assert!(!other.inline_helpers);
        assert_ne!(facts.config, other.config);
        assert!(KernelFacts::from_texts("a kernel", "").is_none());
    }
}
