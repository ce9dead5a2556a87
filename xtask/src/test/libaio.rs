// SPDX-License-Identifier: GPL-2.0-only

//! libaio's own harness, with the library it comes with and with Debian's.

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{bail, Result};

use super::case::{Case, Outcome};
use super::{sections, Bench};
use crate::build::debian::{MIRROR, SUITE};
use crate::build::scratch::Scratch;
use crate::build::{archive, command, key, lock, Architecture};
use crate::vm::report::Section;
use crate::vm::Job;

/// What is downloaded, by the name Debian gives it.
const TARBALL: &str = "libaio_0.3.113.orig.tar.gz";
const TARBALL_SHA256: &str = "2c44d1c5fd0d43752287c9ae1eb9c023f04ef848ea8d4aafa46e9aedb678200b";
const UNPACKED: &str = "libaio-0.3.113";

/// The cases that run on one ext4 folder; 8 and 10 want file systems of their own, and 14 is
/// about I/O that nobody waits for.
const CASES: &[u32] = &[
    2, 3, 4, 5, 7, 11, 12, 13, 15, 16, 17, 18, 19, 20, 21, 22, 23,
];

/// By the names of folders.
const LINKAGES: &[&str] = &["static", "shared"];

const WHY_ONE_LINKAGE: &str =
    "the kernel sees the same calls as of static, which take half an hour when it watches itself";

/// The harness's own exit status for a case that cannot run.
const SKIPPED: i32 = 3;

const TIMEOUT: Duration = Duration::from_secs(900);

/// Fetches and compiles the harness, and runs its cases in the guest.
pub fn run(bench: &Bench) -> Result<Vec<Case>> {
    let programs = compiled_harness(bench)?;
    let job = Job::of_script(bench.ws, "libaio-harness")?;
    job.add_text("cases", &lines(CASES))?;
    let (tried, left_out) = linkages(bench.ws.is_watched());
    job.add_text("linkages", &lines(tried))?;
    for linkage in tried {
        for number in CASES {
            let program = format!("{linkage}/{number}");
            job.add(&programs.join(&program), &program)?;
        }
    }
    let ran = sections::run(bench, "libaio", &job, TIMEOUT, |section| {
        vec![case_of(section)]
    })?;
    let skipped = left_out
        .iter()
        .map(|linkage| Case::skipped(linkage, WHY_ONE_LINKAGE));
    Ok(ran.into_iter().chain(skipped).collect())
}

/// How the cases are linked with the library: what is tried, and what is left out.
///
/// A kernel that watches itself has enough to do with one.
fn linkages(is_watched: bool) -> (&'static [&'static str], &'static [&'static str]) {
    LINKAGES.split_at(if is_watched { 1 } else { LINKAGES.len() })
}

/// One to a line.
fn lines(items: &[impl Display]) -> String {
    let lines = items.iter().map(|item| format!("{item}\n"));
    lines.collect::<Vec<_>>().concat()
}

fn case_of(section: &Section) -> Case {
    let outcome = match section.status {
        Some(0) => Outcome::Passed,
        Some(SKIPPED) => Outcome::Skipped("the harness says that it cannot run here".to_owned()),
        _ => Outcome::Failed,
    };
    let mut detail = section.lines.clone();
    detail.push(match section.status {
        Some(124) => "it took too long".to_owned(),
        Some(status) => format!("it ended with status {status}"),
        None => "it did not end".to_owned(),
    });
    Case {
        name: section.name.clone(),
        outcome,
        detail,
    }
}

/// A cached folder with the cases as programs, in `static` and `shared`.
fn compiled_harness(bench: &Bench) -> Result<PathBuf> {
    let parent = bench.ws.cache.join("libaio");
    let script = fs::read(bench.ws.root.join("guest/compile-libaio-harness"))?;
    let cases = format!("{CASES:?}");
    let root_key = &bench.host.root.key;
    let target = bench.ws.architecture.fragment();
    let key = key::of(
        [root_key, target, &cases]
            .map(str::as_bytes)
            .into_iter()
            .chain([&script[..]]),
    );
    let folder = parent.join(key);
    fs::create_dir_all(&parent)?;
    let _lock = lock::exclusive(&parent.join("lock"))?;
    if !folder.exists() {
        let tarball = tarball(bench, &parent)?;
        let partial = Scratch::new_in(&parent)?;
        compile(bench, &tarball, partial.path())?;
        partial.rename(&folder)?;
    }
    Ok(folder)
}

/// The harness's source as Debian has it, with the hash that was looked at.
fn tarball(bench: &Bench, folder: &Path) -> Result<PathBuf> {
    let tarball = folder.join(TARBALL);
    if !tarball.exists() {
        let entry = format!("deb-src {MIRROR} {SUITE} main");
        let verb = ["source", "--download-only", "libaio"];
        let fetched = archive::fetch(bench.ws, &bench.host.root, &[&entry], &verb, folder);
        // Some mirrors keep no .dsc, which is not needed: only the tarball counts.
        if let (Err(error), false) = (fetched, tarball.exists()) {
            return Err(error);
        }
    }
    let hash = key::file_sha256(&tarball)?;
    if hash != TARBALL_SHA256 {
        bail!(
            "{} has the hash {hash}, not {TARBALL_SHA256}: delete it",
            tarball.display()
        );
    }
    Ok(tarball)
}

/// The library of Debian for another architecture, by its path in the guest.
const ARM64_LIBRARY: &str = "usr/lib/aarch64-linux-gnu/libaio.so.1t64";

/// What Debian's library is for the linker that `/out` is `folder` to.
///
/// The build root has the one of its own architecture; others are taken from the guest.
fn shared_library(bench: &Bench, folder: &Path) -> Result<String> {
    match bench.ws.architecture {
        Architecture::X86 => Ok("-laio".to_owned()),
        Architecture::Arm64 => {
            let pattern = format!("./{ARM64_LIBRARY}*");
            bench.host.guest.unpack(&pattern, folder)?;
            Ok(format!("/out/{ARM64_LIBRARY}"))
        }
    }
}

/// Compiles the cases in the build root into `folder`.
fn compile(bench: &Bench, tarball: &Path, folder: &Path) -> Result<()> {
    let mut tar = Command::new("tar");
    command::run(tar.arg("-xf").arg(tarball).arg("-C").arg(folder))?;
    let scripts = bench.ws.root.join("guest");
    let mut shell = bench
        .host
        .root
        .command(&[(folder, "/out"), (&scripts, "/scripts")], "/out");
    let prefix = bench.ws.architecture.cross_compile();
    shell.args(["--setenv", "CROSS_COMPILE", prefix]);
    shell.args(["--setenv", "LIBAIO", &shared_library(bench, folder)?]);
    shell.args(["sh", "/scripts/compile-libaio-harness", UNPACKED]);
    command::run(shell.args(CASES.iter().map(u32::to_string)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_that_watches_itself_runs_one_linkage() {
        assert_eq!(linkages(false), (LINKAGES, &[][..]));
        assert_eq!(linkages(true), (&["static"][..], &["shared"][..]));
    }

    #[test]
    fn the_exit_status_is_the_outcome() {
        let case = |status| {
            let name = "static/2".to_owned();
            case_of(&Section {
                name,
                lines: vec!["said".to_owned()],
                status,
            })
        };
        assert_eq!(case(Some(0)).outcome, Outcome::Passed);
        assert_eq!(case(Some(1)).outcome, Outcome::Failed);
        assert_eq!(case(Some(124)).detail, ["said", "it took too long"]);
        assert_eq!(case(None).outcome, Outcome::Failed);
        assert!(matches!(case(Some(3)).outcome, Outcome::Skipped(_)));
    }
}
