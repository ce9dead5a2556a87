// SPDX-License-Identifier: GPL-2.0-only

//! Whether the dynamic linker will preload a library into a program, and which kind of library.
//!
//! Where it cannot, it says nothing or goes on after a warning, and the program would run unpolled
//! without its user knowing.

use std::ffi::{CStr, CString, OsStr};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::ptr;

use crate::elf::{self, Elf, Linker, Target};
use crate::failure::Failure;

/// How many scripts may run one another: the kernel allows no more.
const SCRIPT_DEPTH: usize = 5;

const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;

/// The attribute of a file that holds its capabilities.
const CAPABILITIES: &CStr = c"security.capability";

/// The kind of library that can be preloaded into `program`, or into the interpreter of a script;
/// `None` where that cannot be told.
pub fn target(program: &Path) -> Result<Option<Target>, Failure> {
    target_of_script(program, SCRIPT_DEPTH)
}

fn target_of_script(program: &Path, depth: usize) -> Result<Option<Target>, Failure> {
    // A program may be executable and not readable; the kernel runs it all the same.
    let Ok(start) = elf::read_start(program) else {
        return Ok(None);
    };
    match interpreter(&start) {
        Some(interpreter) if depth > 0 => target_of_script(&interpreter, depth - 1),
        Some(_) => Ok(None),
        None => match elf::parse(&start) {
            Some(elf) => target_of_elf(program, &elf).map(Some),
            // Text without `#!`, which a shell runs.
            None => Ok(None),
        },
    }
}

fn target_of_elf(program: &Path, elf: &Elf) -> Result<Target, Failure> {
    let shown = program.display();
    let refusal = if elf.linker.is_none() {
        format!(
            "{shown} is statically linked, so no library can be preloaded; \
             use a dynamically linked build of it"
        )
    } else if elf.linker == Some(Linker::Musl) {
        format!(
            "{shown} is linked with musl, and libhipri.so needs the GNU C library; \
             use a build of the program for that"
        )
    } else if changes_user(program) {
        format!(
            "{shown} runs as another user or group, so the system ignores preloaded libraries; \
             run hipri-run as that user"
        )
    } else if has_capabilities(program) && !is_root() {
        format!(
            "{shown} has file capabilities, so the system ignores preloaded libraries; \
             run hipri-run as root, or a copy of the program without them"
        )
    } else {
        return Ok(elf.target);
    };
    Err(Failure::cannot_run(refusal))
}

/// Whether running `program` changes the user or group, on which the dynamic linker ignores
/// `LD_PRELOAD`.
fn changes_user(program: &Path) -> bool {
    let (Ok(program), Ok(process)) = (fs::metadata(program), fs::metadata("/proc/self")) else {
        return false;
    };
    let is_set = |bit| program.mode() & bit != 0;
    is_set(SETUID) && program.uid() != process.uid()
        || is_set(SETGID) && program.gid() != process.gid()
}

/// Whether running `program` gives capabilities, on which the dynamic linker ignores `LD_PRELOAD` too,
/// unless root runs it.
fn has_capabilities(program: &Path) -> bool {
    let Ok(program) = CString::new(program.as_os_str().as_bytes()) else {
        return false;
    };
    let attribute = CAPABILITIES.as_ptr();
    // SAFETY: both names are valid strings; nothing is written.
    unsafe { libc::getxattr(program.as_ptr(), attribute, ptr::null_mut(), 0) >= 0 }
}

fn is_root() -> bool {
    // SAFETY: getuid cannot fail.
    unsafe { libc::getuid() == 0 }
}

/// The interpreter a script names in its first line.
fn interpreter(start: &[u8]) -> Option<PathBuf> {
    let line = start
        .strip_prefix(b"#!")?
        .split(|byte| *byte == b'\n')
        .next()?;
    let path = line
        .split(|byte| matches!(byte, b' ' | b'\t'))
        .find(|word| !word.is_empty())?;
    Some(PathBuf::from(OsStr::from_bytes(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_name_their_interpreter() {
        let named = |script: &str| interpreter(script.as_bytes());
        assert_eq!(named("#!/bin/sh\necho"), Some("/bin/sh".into()));
        assert_eq!(named("#! /usr/bin/env fio\n"), Some("/usr/bin/env".into()));
        assert_eq!(named("#!\t/bin/sh"), Some("/bin/sh".into()));
        assert_eq!(named("#!\n/bin/sh"), None);
        assert_eq!(named("/bin/sh"), None);
    }

    #[test]
    fn a_dynamic_program_has_a_kind() {
        let this = target(Path::new("/proc/self/exe")).unwrap();
        assert!(this.is_some());
        assert_eq!(target(Path::new("/bin/sh")).unwrap(), this);
    }

    #[test]
    fn programs_that_use_musl_are_refused() {
        let program = std::env::temp_dir().join(format!("hipri-musl-{}", std::process::id()));
        let of = |interpreter| {
            fs::write(&program, elf::tests::interpreted(2, interpreter)).unwrap();
            target(&program)
        };
        let musl = of("/lib/ld-musl-x86_64.so.1").unwrap_err();
        let gnu = of("/lib64/ld-linux-x86-64.so.2");
        fs::remove_file(&program).unwrap();
        assert_eq!(musl.status, 126);
        let expected = format!("{} is linked with musl, ", program.display());
        assert!(musl.sentence.starts_with(&expected), "{}", musl.sentence);
        assert!(gnu.unwrap().is_some());
    }

    #[test]
    fn of_text_nothing_is_known() {
        assert_eq!(target(Path::new("/etc/passwd")), Ok(None));
    }
}
