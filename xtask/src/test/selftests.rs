// SPDX-License-Identifier: GPL-2.0-only

//! The kselftests of tools/testing/selftests/aio, as 64-bit and, on x86, as 32-bit programs.

use std::env;
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};

use super::case::{Case, Outcome};
use super::{sections, tap, Bench};
use crate::build::{self, command, Architecture, Flavour};
use crate::vm::report::Section;
use crate::vm::Job;

/// kselftest's exit status of a program that skipped.
const SKIPPED: i32 = 4;

const TIMEOUT: Duration = Duration::from_secs(900);

/// The variable that names the programs to run, with commas between; all of them if it is empty.
const TESTS: &str = "TESTS";

/// A way to compile the programs.
struct Width {
    /// The folder of the job that they go to.
    folder: &'static str,
    /// What the compiler and the linker are told.
    flags: &'static str,
    /// The symbol of a kernel that runs them, if not all do.
    symbol: Option<&'static str>,
}

/// The guest has no 32-bit libraries, so those programs bring theirs.
const X86: &[Width] = &[
    Width {
        folder: "bin64",
        flags: "-m64",
        symbol: None,
    },
    Width {
        folder: "bin32",
        flags: "-m32 -static",
        symbol: Some("CONFIG_IA32_EMULATION"),
    },
];

const ARM64: &[Width] = &[Width {
    folder: "bin64",
    flags: "",
    symbol: None,
}];

/// The ways to compile programs for an architecture, and why some are missing.
fn widths(architecture: Architecture) -> (&'static [Width], Option<Case>) {
    match architecture {
        Architecture::X86 => (X86, None),
        Architecture::Arm64 => {
            let reason = "the build root has no compiler of 32-bit Arm programs";
            (ARM64, Some(Case::skipped("bin32", reason)))
        }
    }
}

/// Builds the programs against the patched kernel's headers and runs each in the guest.
///
/// The stock kernel gets the same programs: they skip what it does not advertise.
pub fn run(bench: &Bench) -> Result<Vec<Case>> {
    let list = env::var(TESTS).unwrap_or_default();
    require_programs(&bench.ws.root, &list)?;
    run_some(bench, |name| is_wanted(&list, name))
}

/// Whether the programs of a list have one of this name.
fn is_wanted(list: &str, name: &str) -> bool {
    list.is_empty() || list.split(',').any(|wanted| wanted == name)
}

/// Fails on a list with the name of a program that does not exist.
fn require_programs(clone: &Path, list: &str) -> Result<()> {
    let folder = clone.join("tools/testing/selftests/aio");
    for name in list.split(',').filter(|_| !list.is_empty()) {
        ensure!(
            folder.join(format!("{name}.c")).is_file(),
            "{TESTS} has {name}, but there is no tools/testing/selftests/aio/{name}.c"
        );
    }
    Ok(())
}

/// The same, but only for programs of certain names.
pub fn run_some(bench: &Bench, wanted: impl Fn(&str) -> bool) -> Result<Vec<Case>> {
    let tree = build::staged_tree(bench.ws, Flavour::Rust)?;
    let architecture = bench.ws.architecture;
    let folder = bench.ws.build.join(architecture.named("selftests"));
    fs::create_dir_all(&folder)?;
    let job = Job::of_script(bench.ws, "selftests")?;
    install_headers(bench, &tree, &folder)?;
    let (widths, missing) = widths(architecture);
    let mut cases = Vec::from_iter(missing);
    for width in widths {
        if let Some(reason) = unusable(bench, width)? {
            cases.push(Case::skipped(width.folder, &reason));
            continue;
        }
        compile(bench, &tree, &folder, width)?;
        for program in programs(&folder.join(width.folder))? {
            let name = program.file_name().unwrap_or_default().to_string_lossy();
            if wanted(&name) {
                job.add(&program, &format!("{}/{name}", width.folder))?;
            }
        }
    }
    cases.extend(sections::run(bench, "selftests", &job, TIMEOUT, cases_of)?);
    Ok(cases)
}

/// Installs the tree's user-space headers into `folder`/headers.
pub fn install_headers(bench: &Bench, tree: &Path, folder: &Path) -> Result<()> {
    let mut make = bench
        .host
        .root
        .command(&[(tree, "/src"), (folder, "/out")], "/src");
    make.args([
        "make",
        "-s",
        "O=/out/objects",
        "INSTALL_HDR_PATH=/out/headers",
    ]);
    make.args(bench.ws.architecture.make_variables());
    fs::create_dir_all(folder.join("objects"))?;
    command::run(make.arg("headers_install"))
}

/// Why there cannot be programs of this width, if so.
fn unusable(bench: &Bench, width: &Width) -> Result<Option<String>> {
    if let Some(symbol) = width.symbol {
        if !bench.kernel.is_configured(&format!("{symbol}=y"))? {
            return Ok(Some(format!("the kernel is built without {symbol}")));
        }
    }
    if !can_link(bench, width)? {
        let gcc = gcc(bench);
        let reason = format!("{gcc} {} cannot link in the build root", width.flags);
        return Ok(Some(reason));
    }
    Ok(None)
}

/// Whether the build root has what programs of this width are linked with.
fn can_link(bench: &Bench, width: &Width) -> Result<bool> {
    let name = gcc(bench);
    let mut gcc = bench.host.root.command(&[], "/tmp");
    gcc.args([&name, "-x", "c"]);
    gcc.args(width.flags.split_whitespace());
    gcc.args(["-o", "/dev/null", "-"]);
    command::announce(&gcc);
    let mut gcc = gcc.stdin(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let mut program = gcc.stdin.take().context("gcc has an input")?;
    program.write_all(b"int main(void) { return 0; }\n")?;
    drop(program);
    Ok(gcc.wait()?.success())
}

/// The compiler of the guest's programs.
fn gcc(bench: &Bench) -> String {
    format!("{}gcc", bench.ws.architecture.cross_compile())
}

/// Compiles the programs into the folder of their width.
fn compile(bench: &Bench, tree: &Path, folder: &Path, width: &Width) -> Result<()> {
    let flags = width.flags;
    fs::create_dir_all(folder.join(width.folder))?;
    let mut make = bench
        .host
        .root
        .command(&[(tree, "/src"), (folder, "/out")], "/src");
    make.args(["make", "-s", "-C", "tools/testing/selftests/aio"]);
    make.args(bench.ws.architecture.make_variables());
    make.arg(format!("CC={}", gcc(bench)));
    make.arg(format!("OUTPUT=/out/{}", width.folder));
    make.args(["KHDR_INCLUDES=-isystem /out/headers/include"]);
    make.args([
        format!("USERCFLAGS={flags}"),
        format!("USERLDFLAGS={flags}"),
    ]);
    command::run(&mut make)
}

/// The executable files of a folder, by name.
fn programs(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut programs = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        if metadata.is_file() && metadata.permissions().mode() & 0o111 != 0 {
            programs.push(entry.path());
        }
    }
    programs.sort();
    if programs.is_empty() {
        bail!("no program was compiled into {}", folder.display());
    }
    Ok(programs)
}

/// The cases of one program, and one more if its exit status says what no result did.
fn cases_of(section: &Section) -> Vec<Case> {
    let mut cases = tap::parse(section.lines.iter().map(String::as_str));
    let skipped = |case: &Case| matches!(case.outcome, Outcome::Skipped(_));
    let explained = match section.status {
        Some(0) => true,
        Some(SKIPPED) => cases.iter().any(skipped),
        _ => cases.iter().any(Case::has_failed),
    };
    if !explained {
        let fault = section
            .status
            .map_or("it did not end".to_owned(), |status| {
                format!("it ended with status {status}")
            });
        cases.push(Case::failed("exit status", &[fault]));
    }
    cases
        .into_iter()
        .map(|case| case.under(&section.name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(lines: &[&str], status: Option<i32>) -> Vec<String> {
        let section = Section {
            name: "bin64/x".to_owned(),
            lines: lines.iter().map(|&line| line.to_owned()).collect(),
            status,
        };
        cases_of(&section).iter().map(Case::to_string).collect()
    }

    #[test]
    fn programs_are_wanted_by_their_names() {
        assert!(is_wanted("", "abi_rw"));
        assert!(is_wanted("abi_poll,abi_rw", "abi_rw"));
        assert!(!is_wanted("abi_poll", "abi_rw"));
        let clone = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        assert!(require_programs(clone, "").is_ok());
        assert!(require_programs(clone, "abi_poll,hipri_rw").is_ok());
        assert!(require_programs(clone, "abi_poll,").is_err());
    }

    #[test]
    fn a_width_that_is_not_compiled_is_skipped() {
        let (widths, missing) = widths(Architecture::Arm64);
        assert!(widths.iter().all(|width| width.folder == "bin64"));
        let printed = missing.map(|case| case.to_string());
        assert!(printed.is_some_and(|line| line.starts_with("ok bin32 # SKIP the build root")));
    }

    #[test]
    fn a_program_s_cases_have_its_name() {
        assert_eq!(printed(&["1..1", "ok 1 a"], Some(0)), ["ok bin64/x/a"]);
    }

    #[test]
    fn an_exit_status_that_no_result_explains_is_a_failure() {
        let crash = printed(&["1..1", "ok 1 a"], Some(139));
        assert_eq!(crash, ["ok bin64/x/a", "not ok bin64/x/exit status"]);
        assert_eq!(printed(&["1..1", "ok 1 a"], Some(4)).len(), 2);
        assert_eq!(printed(&["1..1", "ok 1 a"], None).len(), 2);
        assert_eq!(printed(&["1..1", "not ok 1 a"], Some(1)).len(), 1);
        assert_eq!(printed(&["1..1", "ok 1 a # SKIP why"], Some(4)).len(), 1);
    }
}
