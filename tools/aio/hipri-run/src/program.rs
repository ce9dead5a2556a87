// SPDX-License-Identifier: GPL-2.0-only

//! Which file a program's name stands for, as a shell finds it.

use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// Where programs are looked for when `PATH` is not set.
const DEFAULT_PATH: &str = "/bin:/usr/bin";

/// The file to run: `name` itself when it has a slash, otherwise the first executable of that name
/// in `PATH`.
pub fn find(name: &OsStr) -> Result<PathBuf, Failure> {
    let path = env::var_os("PATH").unwrap_or_else(|| OsString::from(DEFAULT_PATH));
    find_in(name, &path)
}

fn find_in(name: &OsStr, path: &OsStr) -> Result<PathBuf, Failure> {
    if name.as_bytes().contains(&b'/') {
        return check(PathBuf::from(name));
    }
    let mut failure = Failure::not_found(format!(
        "{} is not found in PATH",
        Path::new(name).display()
    ));
    if name.is_empty() {
        return Err(failure);
    }
    for folder in env::split_paths(path) {
        // An empty item of the list is the working directory.
        let candidate = Path::new(".").join(folder).join(name);
        match check(candidate) {
            Ok(program) => return Ok(program),
            Err(found) if found.status == 126 => failure = found,
            Err(_) => {}
        }
    }
    Err(failure)
}

fn check(program: PathBuf) -> Result<PathBuf, Failure> {
    let shown = program.display();
    let metadata =
        fs::metadata(&program).map_err(|_| Failure::not_found(format!("{shown} is not found")))?;
    if metadata.is_dir() {
        return Err(Failure::cannot_run(format!("{shown} is a directory")));
    }
    if metadata.permissions().mode() & 0o111 == 0 {
        return Err(Failure::cannot_run(format!("{shown} is not executable")));
    }
    if !may_execute(&program) {
        return Err(Failure::cannot_run(format!(
            "{shown} may not be executed here; run hipri-run as a user who may, and mount its file \
             system without noexec"
        )));
    }
    Ok(program)
}

/// Whether the kernel would let this process execute a file.
fn may_execute(program: &Path) -> bool {
    let Ok(program) = CString::new(program.as_os_str().as_bytes()) else {
        return false;
    };
    // SAFETY: the path is a valid string.
    unsafe { libc::access(program.as_ptr(), libc::X_OK) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(name: &str, path: &str) -> u8 {
        find_in(name.as_ref(), path.as_ref()).unwrap_err().status
    }

    #[test]
    fn programs_are_found_in_the_path() {
        let program = find_in("sh".as_ref(), "/nonexistent:/bin".as_ref()).unwrap();
        assert_eq!(program, Path::new("/bin/sh"));
    }

    #[test]
    fn a_slash_means_no_search() {
        assert_eq!(
            find_in("/bin/sh".as_ref(), "".as_ref()).unwrap(),
            Path::new("/bin/sh")
        );
        assert_eq!(status("./sh", "/bin"), 127);
    }

    #[test]
    fn failures_have_the_status_of_a_shell() {
        assert_eq!(status("no-such-program", "/bin"), 127);
        assert_eq!(status("/no/such/program", "/bin"), 127);
        assert_eq!(status("", "/bin"), 127);
        assert_eq!(status("/etc", "/bin"), 126);
        assert_eq!(status("/etc/passwd", "/bin"), 126);
        assert_eq!(status("passwd", "/nonexistent:/etc"), 126);
    }
}
