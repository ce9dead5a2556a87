// SPDX-License-Identifier: GPL-2.0-only

//! KUnit suites, which a kernel built for them runs before process 1.

use std::fs;
use std::time::Duration;

use anyhow::Result;

use super::case::{boot_cases, Case};
use super::{tap, Bench};
use crate::build::{self, Flavour};
use crate::vm::{kernel_message, Boot, Job};

/// The fragment under `configs/` that a kernel with the suites has.
pub const FRAGMENT: &str = "kunit";

/// What must be among the suites, by the beginning of its name.
const EXPECTED_SUITES: &[&str] = &[
    "aio_",
    "rust_doctests_kernel",
    "rust_percpu",
    "rust_ioctx_table",
    "rust_kmem_cache",
];

const TIMEOUT: Duration = Duration::from_secs(180);

/// Builds and boots the kernel with KUnit and reads its console.
pub fn run(bench: &Bench) -> Result<Vec<Case>> {
    if bench.flavour == Flavour::C {
        return Ok(vec![Case::skipped(
            "suites",
            "they are those of the Rust fs/aio",
        )]);
    }
    let fragments = [bench.ws.fragments(), vec![FRAGMENT]].concat();
    let kernel = build::kernel(bench.ws, bench.flavour, &fragments)?;
    let job = Job::of_script(bench.ws, "nothing")?;
    let boot = Boot {
        name: "kunit",
        kernel: &kernel.image,
        job: &job,
        parameters: "",
        timeout: TIMEOUT,
    };
    let booted = bench.host.boot(&boot, &mut |_| ())?;
    let console = fs::read(&booted.console)?;
    let mut cases = suites(&String::from_utf8_lossy(&console), EXPECTED_SUITES);
    cases.extend(boot_cases(&booted));
    Ok(cases)
}

/// The cases on a console, and one for each suite that is `expected` and not there.
fn suites(console: &str, expected: &[&str]) -> Vec<Case> {
    let messages = console.lines().filter_map(kernel_message);
    let mut cases = tap::parse(messages.skip_while(|text| !text.starts_with("KTAP version")));
    for expected in expected {
        if !cases.iter().any(|case| case.name.starts_with(expected)) {
            let fault = "no suite of this name ran".to_owned();
            cases.push(Case::failed(&format!("{expected}*"), &[fault]));
        }
    }
    cases
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONSOLE: &str = "[    0.500000] Linux version 7.3\n\
        [    1.000000] KTAP version 1\n[    1.000001] 1..2\n\
        [    1.000002]     KTAP version 1\n[    1.000003]     1..1\n\
        [    1.000004]     ok 1 fixes\n[    1.000005] ok 1 aio_mode\n\
        [    1.000006]     1..1\n[    1.000007]     not ok 1 rust_doctest_kernel_x\n\
        [    1.000008] not ok 2 rust_doctests_kernel\n[    1.100000] Run /init\n";

    fn printed(console: &str) -> Vec<String> {
        suites(console, &["aio_", "rust_doctests_kernel"])
            .iter()
            .map(Case::to_string)
            .collect()
    }

    #[test]
    fn a_console_has_suites() {
        assert_eq!(
            printed(CONSOLE),
            [
                "ok aio_mode/fixes",
                "not ok rust_doctests_kernel/rust_doctest_kernel_x"
            ]
        );
    }

    #[test]
    fn a_missing_suite_is_a_failure() {
        let console = CONSOLE.replace("aio_mode", "other");
        assert!(printed(&console).contains(&"not ok aio_*".to_owned()));
        assert_eq!(printed("").len(), 3);
    }
}
