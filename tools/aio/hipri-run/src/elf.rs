// SPDX-License-Identifier: GPL-2.0-only

//! As much of the ELF format as tells whether a library can be preloaded into a program.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// What an ELF file's headers say.
#[derive(Debug, PartialEq, Eq)]
pub struct Elf {
    /// For which kind of process it is.
    pub target: Target,
    /// The dynamic linker that has a part in running it: a static program names none.
    pub linker: Option<Linker>,
}

/// A dynamic linker, which is a part of the C library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linker {
    /// That of the GNU C library, or one that is not known.
    Gnu,
    /// That of musl.
    Musl,
}

impl Linker {
    /// By its path, which a null byte may end.
    fn at(path: &[u8]) -> Self {
        match path.rsplit(|byte| *byte == b'/').next() {
            Some(name) if name.starts_with(b"ld-musl") => Linker::Musl,
            _ => Linker::Gnu,
        }
    }
}

/// The class, byte order and machine of an ELF file: equal for what fits in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    class: u8,
    byte_order: u8,
    machine: u16,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = if self.class == CLASS_32 { 32 } else { 64 };
        match self.machine {
            EM_386 | EM_X86_64 => write!(f, "{bits}-bit x86"),
            machine => write!(f, "{bits}-bit, of machine {machine}"),
        }
    }
}

const MAGIC: &[u8] = b"\x7fELF";
const CLASS_32: u8 = 1;
const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;
const EM_386: u16 = 3;
const EM_X86_64: u16 = 62;
/// Program header type of the dynamic linker's path.
const PT_INTERP: u32 = 3;

/// Where the program headers are said to be, and in one of them its part of the file, which differs
/// between the classes.
struct Layout {
    table_offset: usize,
    entry_size: usize,
    entries: usize,
    part_offset: usize,
    part_size: usize,
    /// The size of an offset or a size.
    word: usize,
}

const LAYOUT_32: Layout = Layout {
    table_offset: 28,
    entry_size: 42,
    entries: 44,
    part_offset: 4,
    part_size: 16,
    word: 4,
};

const LAYOUT_64: Layout = Layout {
    table_offset: 32,
    entry_size: 54,
    entries: 56,
    part_offset: 8,
    part_size: 32,
    word: 8,
};

/// How much of a file is read: its headers, or its first line.
const START: u64 = 64 * 1024;

/// Reads what of a file [`parse`] looks at.
pub fn read_start(path: &Path) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    File::open(path)?.take(START).read_to_end(&mut start)?;
    Ok(start)
}

/// Reads the headers, which are in the first few KiB of a file; `None` if `start` is of no ELF file
/// or they go beyond it.
pub fn parse(start: &[u8]) -> Option<Elf> {
    if !start.starts_with(MAGIC) {
        return None;
    }
    let (class, byte_order) = (*start.get(4)?, *start.get(5)?);
    let layout = match class {
        CLASS_32 => LAYOUT_32,
        CLASS_64 => LAYOUT_64,
        _ => return None,
    };
    let number = |offset: usize, size: usize| -> Option<u64> {
        let bytes = start.get(offset..offset.checked_add(size)?)?;
        let push = |value: u64, byte: &u8| (value << 8) | u64::from(*byte);
        Some(if byte_order == LITTLE_ENDIAN {
            bytes.iter().rev().fold(0, push)
        } else {
            bytes.iter().fold(0, push)
        })
    };
    let word = |offset: usize| usize::try_from(number(offset, layout.word)?).ok();
    let table = word(layout.table_offset)?;
    let entry_size = number(layout.entry_size, 2)? as usize;
    let entries = number(layout.entries, 2)? as usize;
    let mut linker = None;
    for entry in 0..entries {
        let entry = table.checked_add(entry * entry_size)?;
        if number(entry, 4)? == u64::from(PT_INTERP) {
            let path = word(entry + layout.part_offset)?;
            let end = path.checked_add(word(entry + layout.part_size)?)?;
            // Where it is further on in the file, it is not known.
            linker = Some(Linker::at(start.get(path..end).unwrap_or_default()));
        }
    }
    Some(Elf {
        target: Target {
            class,
            byte_order,
            machine: number(18, 2)? as u16,
        },
        linker,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A little-endian file with the given program headers.
    pub(crate) fn file(class: u8, machine: u16, kinds: &[u32]) -> Vec<u8> {
        let (layout, header, entry) = match class {
            CLASS_32 => (LAYOUT_32, 52, 32),
            _ => (LAYOUT_64, 64, 56),
        };
        let mut file = vec![0; header + entry * kinds.len()];
        file[..4].copy_from_slice(MAGIC);
        file[4] = class;
        file[5] = LITTLE_ENDIAN;
        file[18..20].copy_from_slice(&machine.to_le_bytes());
        file[layout.table_offset] = header as u8;
        file[layout.entry_size] = entry as u8;
        file[layout.entries] = kinds.len() as u8;
        for (index, kind) in kinds.iter().enumerate() {
            let place = header + index * entry;
            file[place..place + 4].copy_from_slice(&kind.to_le_bytes());
        }
        file
    }

    #[test]
    fn an_interpreter_is_found_anywhere_in_the_table() {
        for class in [CLASS_32, CLASS_64] {
            let linker = |kinds| parse(&file(class, 62, kinds)).unwrap().linker;
            assert_eq!(linker(&[6, 3, 1]), Some(Linker::Gnu));
            assert_eq!(linker(&[1, 1, 3]), Some(Linker::Gnu));
            assert_eq!(linker(&[1, 2]), None);
            assert_eq!(linker(&[]), None);
        }
    }

    /// A little-endian file that names this interpreter.
    pub(crate) fn interpreted(class: u8, path: &str) -> Vec<u8> {
        let mut file = file(class, 62, &[1, PT_INTERP]);
        let (header, offset, size) = match class {
            CLASS_32 => (52 + 32, 4, 16),
            _ => (64 + 56, 8, 32),
        };
        file[header + offset] = file.len() as u8;
        file[header + size] = path.len() as u8 + 1;
        file.extend_from_slice(path.as_bytes());
        file.push(0);
        file
    }

    #[test]
    fn the_interpreter_tells_the_c_library() {
        for class in [CLASS_32, CLASS_64] {
            for (path, expected) in [
                ("/lib64/ld-linux-x86-64.so.2", Linker::Gnu),
                ("/ld-musl/lib/ld-linux.so.2", Linker::Gnu),
                ("/lib/ld-musl-x86_64.so.1", Linker::Musl),
                ("ld-musl-i386.so.1", Linker::Musl),
            ] {
                let mut file = interpreted(class, path);
                assert_eq!(parse(&file).unwrap().linker, Some(expected), "{path}");
                file.truncate(file.len() - 1);
                assert_eq!(parse(&file).unwrap().linker, Some(Linker::Gnu));
            }
        }
    }

    #[test]
    fn targets_differ_by_class_and_machine() {
        let target = |class, machine| parse(&file(class, machine, &[])).unwrap().target;
        assert_eq!(target(CLASS_64, 62), target(CLASS_64, 62));
        assert_ne!(target(CLASS_64, 62), target(CLASS_64, 183));
        assert_ne!(target(CLASS_64, 62), target(CLASS_32, 62));
        assert_eq!(target(CLASS_64, 62).to_string(), "64-bit x86");
        assert_eq!(target(CLASS_32, 3).to_string(), "32-bit x86");
        assert_eq!(target(CLASS_64, 183).to_string(), "64-bit, of machine 183");
    }

    #[test]
    fn other_and_damaged_files_are_no_elf() {
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"#!/bin/sh\n"), None);
        assert_eq!(parse(MAGIC), None);
        let whole = file(CLASS_64, 62, &[1, 3]);
        for len in 0..whole.len() - 56 {
            assert_eq!(parse(&whole[..len]), None, "{len} bytes");
        }
    }

    #[test]
    fn this_very_program_is_dynamic() {
        let program = std::fs::read("/proc/self/exe").unwrap();
        assert_eq!(parse(&program).unwrap().linker, Some(Linker::Gnu));
    }
}
