// SPDX-License-Identifier: GPL-2.0-only

//! `make test MODE=matrix`: kernels that are configured or compiled otherwise, each built, booted
//! and put through the quick tests.
//!
//! Of preemption models x86 offers full and lazy, and real time on top; the product's is lazy.

use anyhow::{bail, Result};

use super::case::{Case, Stage};
use super::{fio, run_stages, selftests, Bench};
use crate::build::{Flavour, Workspace};

/// What `MODE` is.
pub const MODE: &str = "matrix";

/// The kernels, by their fragments under `configs/`.
const KERNELS: &[&str] = &[
    "matrix-preempt",
    "matrix-preempt-rt",
    "matrix-preempt-dynamic",
    "matrix-up",
    "matrix-no-compat",
    "matrix-no-migration",
    "matrix-gcc",
];

/// The self-tests that are quick and go everywhere.
const QUICK: &[&str] = &[
    "abi_setup",
    "abi_submit",
    "abi_rw",
    "abi_fsync",
    "abi_poll",
    "abi_eventfd",
    "abi_getevents",
    "abi_ring",
    "hipri_mode",
    "hipri_rw",
    "hipri_sharing",
    "hipri_teardown",
];

/// The kernels that `list` names, with commas between them; all if it is empty.
pub fn chosen_kernels(list: &str) -> Result<Vec<&'static str>> {
    if list.is_empty() {
        return Ok(KERNELS.to_vec());
    }
    let kernel = |name: &str| match KERNELS.iter().find(|kernel| **kernel == name) {
        Some(kernel) => Ok(*kernel),
        None => bail!("STAGE has {name}, but there are: {}", KERNELS.join(", ")),
    };
    list.split(',').map(kernel).collect()
}

/// Builds and tests each kernel; one that fails does not keep the others. Also tells whether a
/// machine was lost.
pub fn run(ws: &Workspace, flavour: Flavour, kernels: &[&'static str]) -> (Vec<Stage>, bool) {
    run_stages(kernels.iter().map(|&name| {
        let ws = Workspace {
            mode: Some(name.to_owned()),
            ..ws.clone()
        };
        (name, move || {
            println!("{name}");
            quick_tests(&ws, flavour)
        })
    }))
}

fn quick_tests(ws: &Workspace, flavour: Flavour) -> Result<Vec<Case>> {
    let bench = Bench::prepare(ws, flavour)?;
    let mut cases = selftests::run_some(&bench, |name| QUICK.contains(&name))?;
    cases.extend(fio::run(&bench)?.into_iter().map(|case| case.under("fio")));
    Ok(cases)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn each_kernel_has_a_fragment() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs");
        for kernel in KERNELS {
            assert!(root.join(format!("{kernel}.config")).exists(), "{kernel}");
        }
    }

    #[test]
    fn each_quick_test_is_one() {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tools/testing/selftests/aio");
        for test in QUICK {
            assert!(tests.join(format!("{test}.c")).exists(), "{test}");
        }
    }

    #[test]
    fn kernels_are_chosen_by_name() {
        assert_eq!(chosen_kernels("").unwrap().len(), KERNELS.len());
        assert_eq!(chosen_kernels("matrix-up").unwrap(), ["matrix-up"]);
        assert!(chosen_kernels("selftests").is_err());
    }
}
