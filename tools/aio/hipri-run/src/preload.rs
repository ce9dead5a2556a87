// SPDX-License-Identifier: GPL-2.0-only

//! Whether the dynamic linker will preload the library into a program.
//!
//! Where it cannot, it says nothing or goes on after a warning, and the program would run unpolled
//! without its user knowing.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::elf::{self, Elf};
use crate::failure::{self, Failure};

/// How many scripts may run one another: the kernel allows no more.
const SCRIPT_DEPTH: usize = 5;

/// What of a file is read: its headers, or its first line.
const START: u64 = 64 * 1024;

const SETUID: u32 = 0o4000;
const SETGID: u32 = 0o2000;

/// Checks that `library` can be preloaded into `program`, or into the interpreter of a script.
pub fn check(program: &Path, library: &Path) -> Result<(), Failure> {
    let library_start = read_start(library).map_err(|error| {
        Failure::own(format!(
            "cannot read {}: {}",
            library.display(),
            failure::reason(&error)
        ))
    })?;
    let library_elf = elf::parse(&library_start)
        .ok_or_else(|| Failure::own(format!("{} is no shared library", library.display())))?;
    check_program(program, &library_elf, SCRIPT_DEPTH)
}

fn check_program(program: &Path, library: &Elf, depth: usize) -> Result<(), Failure> {
    // A program may be executable and not readable; the kernel runs it all the same.
    let Ok(start) = read_start(program) else {
        return Ok(());
    };
    match interpreter(&start) {
        Some(interpreter) if depth > 0 => check_program(&interpreter, library, depth - 1),
        Some(_) => Ok(()),
        None => match elf::parse(&start) {
            Some(elf) => check_elf(program, &elf, library),
            // Text without `#!`, which a shell runs.
            None => Ok(()),
        },
    }
}

fn check_elf(program: &Path, elf: &Elf, library: &Elf) -> Result<(), Failure> {
    let shown = program.display();
    let refusal = if elf.target != library.target {
        if elf.target.is_32_bit() && !library.target.is_32_bit() {
            format!("{shown} is a 32-bit program and libhipri.so a 64-bit library; use a 64-bit build of it")
        } else {
            format!("{shown} is a program for another kind of machine than libhipri.so is")
        }
    } else if !elf.has_interpreter {
        format!(
            "{shown} is statically linked, so no library can be preloaded; \
             use a dynamically linked build of it"
        )
    } else if changes_user(program) {
        format!(
            "{shown} runs as another user or group, so the system ignores preloaded libraries; \
             run hipri-run as that user"
        )
    } else {
        return Ok(());
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

fn read_start(path: &Path) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    File::open(path)?.take(START).read_to_end(&mut start)?;
    Ok(start)
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
    fn a_dynamic_program_of_the_same_kind_passes() {
        let this = Path::new("/proc/self/exe");
        assert_eq!(check(this, this), Ok(()));
    }

    #[test]
    fn what_is_no_library_is_named() {
        let failure = check(Path::new("/bin/sh"), Path::new("/etc/passwd")).unwrap_err();
        assert_eq!(failure.status, 125);
        assert_eq!(failure.sentence, "/etc/passwd is no shared library");
    }
}
