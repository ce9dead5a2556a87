// SPDX-License-Identifier: GPL-2.0-only

//! Where `libhipri.so` is, and how it gets into `LD_PRELOAD`.
//!
//! There may be one for each kind of program. Where they are installed as a distribution installs
//! libraries of several kinds, the dynamic linker of each process is left to choose: a 64-bit shell
//! may run a 32-bit program.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::elf::{self, Target};
use crate::failure::{self, Failure};

const NAME: &str = "libhipri.so";

/// Pairs of folders which are what `$LIB` stands for in 64-bit and in 32-bit processes: of Debian
/// with foreign packages, of Debian with libc6-i386, of Fedora and of Arch.
const LIB: [[&str; 2]; 4] = [
    ["lib/x86_64-linux-gnu", "lib/i386-linux-gnu"],
    ["lib/x86_64-linux-gnu", "lib32"],
    ["lib64", "lib"],
    ["lib", "lib32"],
];

/// What to preload into programs for `target`, or for one like this where that is not known.
///
/// `HIPRI_LIBRARY`, or what lies beside this program or in a folder for libraries as seen from it.
pub fn find(target: Option<Target>) -> Result<PathBuf, Failure> {
    if let Some(path) = env::var_os("HIPRI_LIBRARY").filter(|path| !path.is_empty()) {
        return named(Path::new(&path), target);
    }
    let program = env::current_exe().map_err(|error| {
        Failure::own(format!(
            "cannot tell where hipri-run is ({}); set HIPRI_LIBRARY to the path of {NAME}",
            failure::reason(&error)
        ))
    })?;
    let target = match target {
        Some(target) => target,
        None => target_of(&program)?,
    };
    near(&program, target).ok_or_else(|| {
        Failure::own(format!(
            "there is no {NAME} for {target} programs beside {} or in {}; \
             set HIPRI_LIBRARY to its path",
            program.display(),
            folders().collect::<Vec<_>>().join(", "),
        ))
    })
}

/// The folders to look in, as seen from this program's.
fn folders() -> impl Iterator<Item = String> {
    let mut folders: Vec<&str> = LIB.into_iter().flatten().collect();
    folders.sort();
    folders.dedup();
    folders.into_iter().map(|folder| format!("../{folder}"))
}

fn named(path: &Path, wanted: Option<Target>) -> Result<PathBuf, Failure> {
    let path = path.canonicalize().map_err(|error| {
        Failure::own(format!(
            "HIPRI_LIBRARY names {}: {}",
            path.display(),
            failure::reason(&error)
        ))
    })?;
    let target = target_of(&path)?;
    match wanted {
        Some(wanted) if wanted != target => Err(Failure::own(format!(
            "HIPRI_LIBRARY names {}, which is for {target} programs; the program is {wanted}",
            path.display()
        ))),
        _ => Ok(path),
    }
}

/// The kind of processes that the ELF file at `path` fits in.
fn target_of(path: &Path) -> Result<Target, Failure> {
    let start = elf::read_start(path).map_err(|error| {
        Failure::own(format!(
            "cannot read {}: {}",
            path.display(),
            failure::reason(&error)
        ))
    })?;
    let elf = elf::parse(&start)
        .ok_or_else(|| Failure::own(format!("{} is no shared library", path.display())))?;
    Ok(elf.target)
}

fn near(program: &Path, target: Target) -> Option<PathBuf> {
    let folder = program.parent()?;
    let fits = |path: &PathBuf| target_of(path).is_ok_and(|found| found == target);
    let beside = folder.join(NAME);
    if fits(&beside) {
        return beside.canonicalize().ok();
    }
    let prefix = folder.parent()?;
    let paths = |pair: [&str; 2]| pair.map(|lib| prefix.join(lib).join(NAME));
    let pairs = LIB.map(paths);
    if pairs
        .iter()
        .any(|pair| pair.iter().all(|path| path.exists()) && pair.iter().any(fits))
    {
        return Some(prefix.join("$LIB").join(NAME));
    }
    pairs.into_iter().flatten().find(fits)
}

/// The value for `LD_PRELOAD`: `library`, then what is preloaded already.
pub fn prepend_to_preloads(library: &Path) -> Result<OsString, Failure> {
    preloads(library, env::var_os("LD_PRELOAD").as_deref())
}

fn preloads(library: &Path, present: Option<&OsStr>) -> Result<OsString, Failure> {
    let mut list = library.as_os_str().as_bytes().to_vec();
    // The dynamic linker splits the list at both, and knows no way to quote them.
    if list.iter().any(|byte| matches!(byte, b':' | b' ')) {
        return Err(Failure::own(format!(
            "{} cannot be preloaded, as its path has a space or colon; put it elsewhere",
            library.display()
        )));
    }
    if let Some(present) = present.filter(|list| !list.is_empty()) {
        list.push(b':');
        list.extend_from_slice(present.as_bytes());
    }
    Ok(OsString::from_vec(list))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::elf::tests::file;

    fn joined(library: &str, present: Option<&str>) -> Result<OsString, Failure> {
        preloads(Path::new(library), present.map(OsStr::new))
    }

    #[test]
    fn the_library_comes_first() {
        assert_eq!(joined("/l/x.so", None).unwrap(), "/l/x.so");
        assert_eq!(joined("/l/x.so", Some("")).unwrap(), "/l/x.so");
        assert_eq!(
            joined("/l/x.so", Some("a.so b.so")).unwrap(),
            "/l/x.so:a.so b.so"
        );
    }

    #[test]
    fn a_path_the_linker_would_split_is_refused() {
        assert_eq!(joined("/l l/x.so", None).unwrap_err().status, 125);
        assert_eq!(joined("/l:l/x.so", None).unwrap_err().status, 125);
    }

    /// A prefix with libraries of the given ELF classes in it, and what is found in it for each.
    fn found(name: &str, libraries: &[(&str, u8)]) -> [Option<String>; 2] {
        let prefix = env::temp_dir().join(format!("hipri-{name}-{}", std::process::id()));
        for (folder, class) in libraries {
            let folder = prefix.join(folder);
            fs::create_dir_all(&folder).unwrap();
            let machine = if *class == 1 { 3 } else { 62 };
            fs::write(folder.join(NAME), file(*class, machine, &[])).unwrap();
        }
        let program = prefix.join("bin/hipri-run");
        let found = [(2, 62), (1, 3)].map(|(class, machine)| {
            let target = elf::parse(&file(class, machine, &[])).unwrap().target;
            let path = near(&program, target)?;
            let path = path.strip_prefix(&prefix).unwrap();
            Some(path.to_str().unwrap().to_owned())
        });
        fs::remove_dir_all(prefix).unwrap();
        found
    }

    #[test]
    fn the_linker_chooses_between_two_installed_ones() {
        for (name, [wide, narrow]) in ["debian", "mixed", "fedora", "arch"].into_iter().zip(LIB) {
            for path in found(name, &[(wide, 2), (narrow, 1)]) {
                assert_eq!(path.as_deref(), Some("$LIB/libhipri.so"));
            }
        }
    }

    #[test]
    fn a_single_one_is_taken_for_its_kind_of_program() {
        let library = |folder: &str| Some(format!("{folder}/libhipri.so"));
        assert_eq!(found("wide", &[("lib", 2)]), [library("lib"), None]);
        assert_eq!(found("narrow", &[("lib", 1)]), [None, library("lib")]);
        let debian = "lib/x86_64-linux-gnu";
        assert_eq!(found("single", &[(debian, 2)]), [library(debian), None]);
    }

    #[test]
    fn one_beside_the_program_comes_first() {
        let [wide, _] = found("beside", &[("lib64", 2), ("bin", 2)]);
        assert_eq!(wide.as_deref(), Some("bin/libhipri.so"));
    }
}
