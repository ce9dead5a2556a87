// SPDX-License-Identifier: GPL-2.0-only

//! Where `libhipri.so` is, and how it gets into `LD_PRELOAD`.

use std::env;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use crate::failure::{self, Failure};

const NAME: &str = "libhipri.so";

/// The library: `HIPRI_LIBRARY`, or beside this program, or in `../lib` as seen from it.
pub fn find() -> Result<PathBuf, Failure> {
    if let Some(path) = env::var_os("HIPRI_LIBRARY").filter(|path| !path.is_empty()) {
        return named(Path::new(&path));
    }
    let program = env::current_exe().map_err(|error| {
        Failure::own(format!(
            "cannot tell where hipri-run is ({}); set HIPRI_LIBRARY to the path of {NAME}",
            failure::reason(&error)
        ))
    })?;
    near(&program).ok_or_else(|| {
        Failure::own(format!(
            "{NAME} is neither beside {} nor in ../lib; set HIPRI_LIBRARY to its path",
            program.display()
        ))
    })
}

fn named(path: &Path) -> Result<PathBuf, Failure> {
    path.canonicalize().map_err(|error| {
        Failure::own(format!(
            "HIPRI_LIBRARY names {}: {}",
            path.display(),
            failure::reason(&error)
        ))
    })
}

fn near(program: &Path) -> Option<PathBuf> {
    let folder = program.parent()?;
    [folder.join(NAME), folder.join("../lib").join(NAME)]
        .iter()
        .find_map(|path| path.canonicalize().ok())
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
    use super::*;

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
}
