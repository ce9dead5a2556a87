// SPDX-License-Identifier: GPL-2.0-only

//! Whether the kernel builds, boots and passes its unit tests after each patch.
//!
//! The steps are built one after the other in a source tree and an object tree of their own, so
//! that each compiles only what its patch touches.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};

use super::message::Patch;
use super::script::Step;
use crate::build::kmake::{Compiler, KernelMake, Start};
use crate::build::lock::{self, CacheLock};
use crate::build::overlay::Overlay;
use crate::build::source::Pristine;
use crate::build::{beside, config, key, seed, stage, BuildRoot, Flavour, Workspace};
use crate::variable;
use crate::vm::{kernel_message, Boot, Host, Job};

/// The fragment under `configs/` with the unit tests.
const UNIT_TESTS: &str = "kunit";

/// What is done in each machine: a script in `guest/`.
const SMOKE_TEST: &str = "series-step";

const TIMEOUT: Duration = Duration::from_secs(300);

/// What all steps are built with.
struct Builder<'a> {
    ws: &'a Workspace,
    root: &'a BuildRoot,
    pristine: &'a Pristine,
    tree: PathBuf,
    objects: PathBuf,
    logs: PathBuf,
    _lock: CacheLock,
}

/// Builds and boots `steps`; `stages` is the overlay after each of `patches`.
pub fn check(
    ws: &Workspace,
    root: &BuildRoot,
    pristine: &Pristine,
    stages: &[Overlay],
    patches: &[Patch],
    steps: &[Step],
) -> Result<()> {
    let whole = stages.last().context("there are no patches")?;
    let builder = Builder::prepare(ws, root, pristine)?;
    let mut host = None;
    for step in steps {
        let image = builder.build(*step, &stages[step - 1], whole)?;
        let host = match &mut host {
            Some(host) => host,
            none => none.insert(Host::prepare(ws, &image)?),
        };
        let passed = boot(host, *step, &image)?;
        let subject = patches[step - 1].subject();
        println!("ok {step:2} builds, boots, {passed} KUnit suites: {subject}");
    }
    println!("{} of {} steps build and boot", steps.len(), stages.len());
    Ok(())
}

impl Builder<'_> {
    /// Readies the trees.
    fn prepare<'a>(
        ws: &'a Workspace,
        root: &'a BuildRoot,
        pristine: &'a Pristine,
    ) -> Result<Builder<'a>> {
        let tree = beside(&stage::folder(ws, pristine), "-series");
        let builder = Builder {
            ws,
            root,
            pristine,
            objects: pristine.objects_folder(ws, root, "series"),
            logs: ws.build.join("series"),
            _lock: lock::exclusive(&beside(&tree, ".lock"))?,
            tree,
        };
        builder.start_from_product()?;
        Ok(builder)
    }

    /// Copies the trees of the whole series, if it was built with the unit tests, so that most of
    /// its objects are good for the first step.
    ///
    /// Objects are good for the tree that they were made from only: both are copied, or none.
    fn start_from_product(&self) -> Result<()> {
        if self.tree.exists() && self.objects.exists() {
            return Ok(());
        }
        for folder in [&self.tree, &self.objects] {
            if folder.exists() {
                fs::remove_dir_all(folder)?;
            }
        }
        let variant = format!("{}-{UNIT_TESTS}", Flavour::Rust.name());
        let product = self.pristine.objects_folder(self.ws, self.root, &variant);
        let _lock = lock::exclusive(&self.pristine.lock_file(self.ws))?;
        if product.join("vmlinux").exists() {
            stage::duplicate(&stage::folder(self.ws, self.pristine), &self.tree)?;
            seed(&self.objects, &product)?;
        }
        Ok(())
    }

    /// Builds one step; returns its image.
    fn build(&self, step: Step, overlay: &Overlay, whole: &Overlay) -> Result<PathBuf> {
        eprintln!("step {step}");
        stage::bring_up_to_date(&self.tree, self.pristine, overlay)?;
        let make = KernelMake {
            root: self.root,
            tree: &self.tree,
            objects: &self.objects,
            compiler: Compiler::Llvm,
            architecture: self.ws.architecture,
        };
        let log = |what: &str| self.logs.join(format!("{what}-{step:02}.log"));
        let fragment = self.fragment(step, overlay, whole)?;
        let symbols = key::of([&self.pristine.generation, &overlay.kconfig_key()]);
        let content = key::of([&self.pristine.generation, &overlay.key()]);
        make.configure(Start::Nothing, &[fragment], &symbols, &log("config"))?;
        let log = log("build");
        make.image(&content, &log)
            .with_context(|| format!("after patch {step}"))?;
        refuse_warnings(&log).with_context(|| format!("after patch {step}"))?;
        Ok(self.objects.join(self.ws.architecture.image()))
    }

    /// The configuration of the whole series without the symbols that come with later patches.
    fn fragment(&self, step: Step, overlay: &Overlay, whole: &Overlay) -> Result<PathBuf> {
        let paths = config::fragments(self.ws, Flavour::Rust, &[UNIT_TESTS])?;
        let mut text = String::new();
        for path in paths {
            text += &fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
        }
        let later = later_symbols(overlay, whole, &self.pristine.path)?;
        let path = self.logs.join(format!("step-{step:02}.config"));
        fs::write(&path, without(&text, &later))?;
        Ok(path)
    }
}

/// Fails on a build that had something to say; one that had nothing to do left no log.
fn refuse_warnings(log: &Path) -> Result<()> {
    if !log.exists() {
        return Ok(());
    }
    let bytes = fs::read(log)?;
    let text = String::from_utf8_lossy(&bytes);
    if let Some(warning) = text.lines().find(|line| is_warning(line)) {
        bail!("the compiler says \"{warning}\", see {}", log.display());
    }
    Ok(())
}

/// Whether a line of a build's output is a warning of rustc, or of a compiler or tool of C.
fn is_warning(line: &str) -> bool {
    line.starts_with("warning:") || line.contains(": warning: ")
}

/// Boots a step, runs the smoke test, and returns how many suites of unit tests passed.
fn boot(host: &Host, step: Step, image: &Path) -> Result<usize> {
    let job = Job::of_script(host.ws, SMOKE_TEST)?;
    let booted = host.boot(
        &Boot {
            name: &format!("series-{step:02}"),
            kernel: image,
            job: &job,
            parameters: "",
            timeout: TIMEOUT,
        },
        &mut |_| (),
    )?;
    booted
        .require_clean()
        .with_context(|| format!("after patch {step}"))?;
    let console = fs::read(&booted.console)?;
    suites(&String::from_utf8_lossy(&console))
        .with_context(|| format!("after patch {step}, see {}", booted.console.display()))
}

/// How many suites a console says have passed. One case that failed is an error.
fn suites(console: &str) -> Result<usize> {
    let messages = console.lines().filter_map(kernel_message);
    let mut passed = 0;
    for message in messages {
        if message.trim_start().starts_with("not ok ") {
            bail!("a unit test failed: {}", message.trim());
        }
        passed += usize::from(message.starts_with("ok "));
    }
    ensure!(passed > 0, "no unit tests ran");
    Ok(passed)
}

/// The steps to check of `count`, by the values of `CHECK` and `STEPS`, empty where unset.
pub fn wanted(check: &str, list: &str, count: usize) -> Result<Vec<Step>> {
    if variable::is_check_wanted(check)? {
        return chosen(list, count);
    }
    ensure!(
        list.is_empty(),
        "STEPS={list} says what CHECK=1 is to check, but CHECK is not 1"
    );
    Ok(Vec::new())
}

/// The steps that a list with commas names, of `count`; all of them if it is empty.
fn chosen(list: &str, count: usize) -> Result<Vec<Step>> {
    if list.is_empty() {
        return Ok((1..=count).collect());
    }
    list.split(',')
        .map(|word| {
            let step = word.parse().ok().filter(|step| (1..=count).contains(step));
            step.with_context(|| format!("STEPS has {word}, but there are the steps 1 to {count}"))
        })
        .collect()
}

/// The configuration symbols that `whole` adds to the tree `pristine`, and `overlay` not yet.
fn later_symbols(overlay: &Overlay, whole: &Overlay, pristine: &Path) -> Result<BTreeSet<String>> {
    let mut known = symbols(overlay);
    for path in whole.files.keys().filter(|path| is_kconfig(path)) {
        let original = pristine.join(path);
        if original.exists() {
            known.extend(defined(&fs::read(original)?));
        }
    }
    Ok(&symbols(whole) - &known)
}

/// The configuration symbols that the Kconfig files of an overlay define.
fn symbols(overlay: &Overlay) -> BTreeSet<String> {
    let files = overlay.files.iter().filter(|(path, _)| is_kconfig(path));
    files.flat_map(|(_, file)| defined(&file.content)).collect()
}

/// The configuration symbols that a Kconfig file defines.
fn defined(kconfig: &[u8]) -> Vec<String> {
    let symbol = |line: &str| {
        let name = line
            .strip_prefix("config ")
            .or(line.strip_prefix("menuconfig "))?;
        Some(format!("CONFIG_{}", name.trim()))
    };
    let text = String::from_utf8_lossy(kconfig);
    text.lines().filter_map(symbol).collect()
}

fn is_kconfig(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.as_encoded_bytes().starts_with(b"Kconfig")
}

/// The lines of a configuration that do not set one of `symbols`.
fn without(text: &str, symbols: &BTreeSet<String>) -> String {
    let is_set = |line: &&str| {
        line.split_once('=')
            .is_some_and(|(symbol, _)| symbols.contains(symbol))
    };
    text.lines()
        .filter(|line| !is_set(line))
        .map(|line| format!("{line}\n"))
        .collect::<Vec<_>>()
        .concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::overlay::{Origin, Staged};

    #[test]
    fn steps_are_wanted_by_a_one() {
        assert!(wanted("", "", 2).unwrap().is_empty());
        assert!(wanted("0", "", 2).unwrap().is_empty());
        assert_eq!(wanted("1", "", 2).unwrap(), [1, 2]);
        assert_eq!(wanted("1", "2", 2).unwrap(), [2]);
        for (check, list) in [("yes", ""), ("yes", "2"), ("", "2"), ("0", "2"), ("1", "3")] {
            assert!(wanted(check, list, 2).is_err(), "{check} {list}");
        }
    }

    #[test]
    fn steps_are_named_by_number() {
        assert_eq!(chosen("", 3).unwrap(), [1, 2, 3]);
        assert_eq!(chosen("3,1", 3).unwrap(), [3, 1]);
        for list in ["0", "4", "1,", "one"] {
            assert!(chosen(list, 3).is_err(), "{list}");
        }
    }

    fn overlay(files: &[(&str, &str)]) -> Overlay {
        let staged = |text: &str| Staged {
            content: text.into(),
            mode: 0o644,
            origin: Origin::Added,
        };
        let files = files.iter().map(|(path, text)| (path.into(), staged(text)));
        Overlay {
            files: files.collect(),
        }
    }

    #[test]
    fn a_step_has_no_symbols_of_later_ones() {
        let pristine = tempfile::tempdir().unwrap();
        fs::create_dir(pristine.path().join("init")).unwrap();
        fs::write(pristine.path().join("init/Kconfig"), "config OLD\n").unwrap();
        let step = overlay(&[("fs/aio/Kconfig", "config A\n")]);
        let whole = overlay(&[
            ("fs/aio/Kconfig", "config A\n\thelp\nmenuconfig B_C\n"),
            ("fs/aio/a.c", "config C\n"),
            ("init/Kconfig", "config OLD\nconfig NEW\n"),
        ]);
        let later = later_symbols(&step, &whole, pristine.path()).unwrap();
        let names = later.iter().map(String::as_str).collect::<Vec<_>>();
        assert_eq!(names, ["CONFIG_B_C", "CONFIG_NEW"]);
        let text = "# words\nCONFIG_A=y\nCONFIG_B_C=y\nCONFIG_B=y\nCONFIG_OLD=y\n";
        assert_eq!(
            without(text, &later),
            "# words\nCONFIG_A=y\nCONFIG_B=y\nCONFIG_OLD=y\n"
        );
    }

    #[test]
    fn warnings_are_told_from_what_is_built() {
        assert!(is_warning("warning: method `into_raw` is never used"));
        assert!(is_warning("fs/aio/trace.c:3:1: warning: unused"));
        assert!(!is_warning("  CC      lib/warning.o"));
    }

    #[test]
    fn suites_are_counted_and_one_that_failed_is_an_error() {
        let line = |text: &str| format!("[    1.000000] {text}\n");
        let passed = [
            line("KTAP version 1"),
            line("    ok 1 a case"),
            line("ok 1 a suite"),
            line("ok 2 another"),
        ]
        .concat();
        assert_eq!(suites(&passed).unwrap(), 2);
        let failed = passed.clone() + &line("        not ok 1 a case");
        assert!(suites(&failed).is_err());
        assert!(suites("").is_err());
    }
}
