// SPDX-License-Identifier: GPL-2.0-only

//! The kernel's own make, run in the build root on a staged tree and an object tree.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::available_parallelism;

use anyhow::{bail, Context, Result};

use super::progress::Progress;
use super::root::BuildRoot;
use super::{beside, command, config, key, Architecture};

/// Objects of a whole kernel when nothing better is known.
const OBJECTS_ESTIMATE: u64 = 2450;

/// Where make sees the object tree.
const OBJECTS: &str = "/out";

/// How much of a failed build's output is shown.
const SHOWN_LINES: usize = 30;

/// One kernel to build: where from, where to.
#[derive(Clone, Copy, Debug)]
pub struct KernelMake<'a> {
    /// Where make runs.
    pub root: &'a BuildRoot,
    /// The source tree, read-only to make.
    pub tree: &'a Path,
    /// The object tree.
    pub objects: &'a Path,
    /// What compiles C.
    pub compiler: Compiler,
    /// What the kernel runs on.
    pub architecture: Architecture,
}

/// What compiles C and links all.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Compiler {
    /// clang and LLVM's other tools, as for the product.
    Llvm,
    /// GCC and the binutils.
    Gcc,
}

/// What a configuration is before fragments are merged into it.
#[derive(Clone, Copy, Debug)]
pub enum Start<'a> {
    /// Everything off that can be off: allnoconfig.
    Nothing,
    /// The configuration in this file.
    File(&'a Path),
}

impl Compiler {
    /// The compiler that the texts of `fragments` ask for: GCC by its symbol, else LLVM's.
    pub fn wanted(fragments: &[String]) -> Self {
        let asks_for_gcc = |text: &String| text.lines().any(|line| line == "CONFIG_CC_IS_GCC=y");
        if fragments.iter().any(asks_for_gcc) {
            Self::Gcc
        } else {
            Self::Llvm
        }
    }

    /// The variables of the kernel's make, for a kernel of `architecture`.
    pub fn variables(self, architecture: Architecture) -> Vec<String> {
        let prefix = architecture.cross_compile();
        match self {
            // Its tools know all architectures.
            Self::Llvm => vec!["LLVM=1".to_owned(), "CC=ccache clang".to_owned()],
            Self::Gcc if prefix.is_empty() => vec!["CC=ccache gcc".to_owned()],
            Self::Gcc => vec![
                format!("CROSS_COMPILE={prefix}"),
                format!("CC=ccache {prefix}gcc"),
            ],
        }
    }
}

impl KernelMake<'_> {
    /// `make` with `arguments` (targets and variables) on all processors.
    pub fn command(&self, arguments: &[&str]) -> Result<Command> {
        Ok(self.make(self.inside()?, OBJECTS, arguments))
    }

    /// The same where `inside` leads, which sees the object tree at `objects`.
    pub fn make(&self, mut inside: Command, objects: &str, arguments: &[&str]) -> Command {
        let jobs = available_parallelism().map_or(1, usize::from);
        inside.args(["make", &format!("O={objects}")]);
        inside.args(self.architecture.make_variables());
        inside.args(self.compiler.variables(self.architecture));
        inside.arg(format!("-j{jobs}")).args(arguments);
        inside
    }

    /// A command in the source folder `/src`, objects at `/out`, still lacking its program.
    pub fn inside(&self) -> Result<Command> {
        fs::create_dir_all(self.objects)?;
        let mut command = self.root.command(&[(self.objects, OBJECTS)], "/src");
        command.arg("--ro-bind").arg(self.tree).arg("/src");
        Ok(command)
    }

    /// Resolves `start` with `fragments` into the object tree's `.config`, if any of that or
    /// `inputs` changed.
    ///
    /// `inputs` is a key of whatever else decides which symbols there are. Fails naming each line
    /// of the fragments that did not survive.
    pub fn configure(
        &self,
        start: Start<'_>,
        fragments: &[PathBuf],
        inputs: &str,
        log: &Path,
    ) -> Result<()> {
        let texts = fragments
            .iter()
            .map(read_text)
            .collect::<Result<Vec<_>>>()?;
        let start = match start {
            Start::Nothing => None,
            Start::File(path) => Some(read_text(path)?),
        };
        let parts = texts.iter().map(String::as_str).chain([inputs]);
        let key = key::of(parts.chain(start.as_deref()));
        let stamp = self.objects.join(".configured-from");
        if fs::read_to_string(&stamp).is_ok_and(|old| old == key) {
            return Ok(());
        }
        fs::create_dir_all(self.objects)?;
        fs::write(self.objects.join("fragment.config"), texts.concat())?;
        self.resolve(start.as_deref(), log)?;
        let resolved = self.objects.join(RESOLVED);
        let lost = config::lost(&texts, &read_text(&resolved)?);
        if !lost.is_empty() {
            let fragments = fragments.iter().map(|path| path.display().to_string());
            bail!(
                "the kernel's configuration does not honour {}: it lacks what these depend on; \
                 they come from {}",
                lost.join(", "),
                fragments.collect::<Vec<_>>().join(" or ")
            );
        }
        // The old file stays when nothing changed, and so do the objects.
        super::copy_if_changed(&resolved, &self.objects.join(".config"))?;
        Ok(fs::write(&stamp, key)?)
    }

    /// `start` or allnoconfig, then the fragments, then the defaults of what they made visible.
    fn resolve(&self, start: Option<&str>, log: &Path) -> Result<()> {
        let out = |name: &str| format!("{OBJECTS}/{name}");
        let variable = format!("KCONFIG_CONFIG={}", out(RESOLVED));
        match start {
            Some(text) => fs::write(self.objects.join(RESOLVED), text)?,
            None => run_logged(self.command(&[&variable, "allnoconfig"])?, log, |_| ())?,
        }
        let mut merge = self.inside()?;
        merge.env("KCONFIG_CONFIG", out(RESOLVED));
        merge.args(["scripts/kconfig/merge_config.sh", "-m", "-O", OBJECTS]);
        merge.args([out(RESOLVED), out("fragment.config")]);
        run_logged(merge, log, |_| ())?;
        run_logged(self.command(&[&variable, "olddefconfig"])?, log, |_| ())
    }

    /// Builds the image if what `key` stands for is not what the objects were built from.
    pub fn image(&self, key: &str, log: &Path) -> Result<()> {
        let stamp = self.objects.join(".built-from");
        let config = read_text(self.objects.join(".config"))?;
        let key = key::of([key, &config]);
        let image = self.objects.join(self.architecture.image());
        if image.exists() && fs::read_to_string(&stamp).is_ok_and(|old| old == key) {
            return Ok(());
        }
        let is_first = !self.objects.join("vmlinux").exists();
        let _ = fs::remove_file(&stamp);
        let progress = if is_first {
            Progress::towards("kernel", beside(self.objects, ".count"), OBJECTS_ESTIMATE)
        } else {
            Progress::open_ended("kernel")
        };
        let make = self.command(&[self.architecture.image_name()])?;
        run_shown(make, log, progress)?;
        Ok(fs::write(&stamp, key)?)
    }
}

/// Runs a make with its output in `log`, and each object that it makes as a step of `progress`.
pub fn run_shown(make: Command, log: &Path, mut progress: Progress) -> Result<()> {
    let result = run_logged(make, log, |line| {
        if let Some(object) = built_object(line) {
            progress.step(object);
        }
    });
    match result {
        Ok(()) => progress.finish(),
        Err(_) => progress.abandon(),
    }
    result
}

/// Runs a step with its output in `log`; a failure shows what matters of it.
pub fn run_logged(mut command: Command, log: &Path, seen: impl FnMut(&str)) -> Result<()> {
    if command::stream(&mut command, log, seen)?.success() {
        return Ok(());
    }
    for line in telling_lines(&read_text(log)?) {
        eprintln!("{line}");
    }
    bail!(
        "the kernel does not build; the whole log is {}",
        log.display()
    );
}

/// Where a configuration is resolved before it takes the place of the one in use.
const RESOLVED: &str = ".config.resolved";

/// The text of a file, with what is no UTF-8 replaced.
pub fn read_text(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The object that a line of make's output says is being made: `  CC      fs/aio.o`.
fn built_object(line: &str) -> Option<&str> {
    let (verb, object) = line.strip_prefix("  ")?.split_once(' ')?;
    let is_verb = verb.starts_with(|c: char| c.is_ascii_uppercase())
        && verb
            .chars()
            .all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || "_-+".contains(c));
    object.split_whitespace().last().filter(|_| is_verb)
}

/// What of a failed build's log explains it: from the first error on, without progress.
pub fn telling_lines(log: &str) -> Vec<&str> {
    let lines = log
        .lines()
        .filter(|line| built_object(line).is_none() && !line.contains("ing directory '"))
        .collect::<Vec<_>>();
    let is_error = |line: &&str| line.starts_with("error") || line.contains("rror: ");
    let first = lines
        .iter()
        .position(is_error)
        .unwrap_or(lines.len().saturating_sub(SHOWN_LINES));
    lines.into_iter().skip(first).take(SHOWN_LINES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_lines_are_told_from_others() {
        assert_eq!(built_object("  CC      fs/aio.o"), Some("fs/aio.o"));
        assert_eq!(
            built_object("  RUSTC L rust/kernel.o"),
            Some("rust/kernel.o")
        );
        assert_eq!(built_object("  CC [M]  fs/x.o"), Some("fs/x.o"));
        assert_eq!(built_object("  LD      vmlinux"), Some("vmlinux"));
        for other in [
            "make[1]: x",
            "fs/aio.c:1: error: no",
            "  note: x",
            "  |",
            "",
            "  GEN",
        ] {
            assert_eq!(built_object(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_fragment_can_ask_for_gcc() {
        let wanted = |text: &str| Compiler::wanted(&[String::new(), text.to_owned()]);
        assert_eq!(wanted("CONFIG_A=y\n"), Compiler::Llvm);
        assert_eq!(wanted("CONFIG_A=y\nCONFIG_CC_IS_GCC=y\n"), Compiler::Gcc);
    }

    #[test]
    fn only_gcc_needs_to_be_told_that_it_crosses() {
        let (x86, arm64) = (Architecture::X86, Architecture::Arm64);
        assert_eq!(Compiler::Gcc.variables(x86), ["CC=ccache gcc"]);
        assert_eq!(
            Compiler::Gcc.variables(arm64),
            [
                "CROSS_COMPILE=aarch64-linux-gnu-",
                "CC=ccache aarch64-linux-gnu-gcc"
            ]
        );
        assert_eq!(
            Compiler::Llvm.variables(arm64),
            Compiler::Llvm.variables(x86)
        );
    }

    #[test]
    fn a_failure_is_shown_from_its_first_error() {
        let log = "  CC      a.o\nwarning: w\nerror[E1]: one\n --> a.rs\n  CC      b.o\n\
                   make[2]: *** [x] Error 1\nmake: Leaving directory '/out'\n";
        assert_eq!(
            telling_lines(log),
            ["error[E1]: one", " --> a.rs", "make[2]: *** [x] Error 1"]
        );
        assert_eq!(telling_lines("a\nb\n"), ["a", "b"]);
        let long = (0..100)
            .map(|n| format!("{n}\n"))
            .collect::<Vec<_>>()
            .concat();
        let shown = telling_lines(&long);
        assert_eq!((shown.len(), shown[0]), (30, "70"));
    }
}
