// SPDX-License-Identifier: GPL-2.0-only

//! hipri-run and the library together, on whatever kernel this is.

use std::env;
use std::ffi::CString;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// Builds the library beside hipri-run, where it is looked for: cargo does not build a library for
/// the tests of another package.
fn hipri_run() -> Command {
    static BUILT: OnceLock<()> = OnceLock::new();
    let program = Path::new(env!("CARGO_BIN_EXE_hipri-run"));
    let folder = program.parent().unwrap();
    BUILT.get_or_init(|| {
        let mut build = Command::new(env!("CARGO"));
        build.args(["build", "--quiet", "--package", "hipri", "--manifest-path"]);
        build.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml"));
        build.arg("--target-dir").arg(folder.parent().unwrap());
        if folder.ends_with("release") {
            build.arg("--release");
        }
        assert!(build.status().unwrap().success(), "building hipri failed");
    });
    let mut command = Command::new(program);
    command.env_remove("HIPRI_LIBRARY").env_remove("LD_PRELOAD");
    command
}

fn aio_read() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_hipri-run"))
        .with_file_name("examples")
        .join("aio_read")
}

fn scratch(name: &str, content: &[u8], mode: u32) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    path
}

fn input(name: &str) -> PathBuf {
    let content: Vec<u8> = (0..3 * 4096u32).map(|i| (i % 251) as u8).collect();
    scratch(name, &content, 0o600)
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn output(command: &mut Command) -> Output {
    command.output().unwrap()
}

/// Says that a test did not run; to standard error itself, as what a passing test prints is dropped.
fn skip(reason: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {reason}");
}

/// Whether io_setup works here: a sandbox may forbid it.
fn has_aio() -> bool {
    let mut context: libc::c_ulong = 0;
    // SAFETY: the context is a live variable, and destroyed unused.
    unsafe {
        if libc::syscall(libc::SYS_io_setup, 1, &mut context) != 0 {
            let error = std::io::Error::last_os_error();
            skip(format_args!("io_setup does not work here: {error}"));
            return false;
        }
        libc::syscall(libc::SYS_io_destroy, context);
    }
    true
}

/// The name of a libaio that can be loaded here.
fn libaio() -> Option<&'static str> {
    let found = ["libaio.so.1t64", "libaio.so.1"].into_iter().find(|name| {
        let name = CString::new(*name).unwrap();
        // SAFETY: libaio does nothing on being loaded.
        !unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_LAZY) }.is_null()
    });
    if found.is_none() {
        skip(format_args!("libaio is not installed"));
    }
    found
}

/// Runs aio_read by itself and under hipri-run, with `libraries` preloaded, and demands the same of
/// both. Returns what was said on standard error under hipri-run.
fn assert_unchanged(option: &[&str], arguments: &[&str], libraries: &str, kernel: &str) -> String {
    let preloading = |command: &mut Command| {
        let command = command.args(arguments).env("POLLING_KERNEL", kernel);
        output(command.env("LD_PRELOAD", libraries))
    };
    let alone = preloading(&mut Command::new(aio_read()));
    assert!(alone.status.success(), "{}", stderr(&alone));
    let polled = preloading(hipri_run().args(option).arg(aio_read()));
    assert_eq!(stdout(&polled), stdout(&alone));
    assert!(polled.status.success(), "{}", stderr(&polled));
    stderr(&polled)
}

/// On whatever kernel this is: the file is read without `O_DIRECT`, so it is not polled.
fn assert_plain(interface: &str, libraries: &str) {
    let file = input(&format!("plain-{interface}"));
    let said = assert_unchanged(&[], &[interface, file.to_str().unwrap()], libraries, "");
    // Once, for child and parent.
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with("hipri: I/O is not polled: "), "{said}");
}

#[test]
fn a_program_that_makes_system_calls_is_unchanged() {
    if has_aio() {
        assert_plain("syscall", "");
    }
}

#[test]
fn a_program_that_uses_libaio_is_unchanged() {
    if has_aio() {
        if let Some(library) = libaio() {
            assert_plain("libaio", library);
        }
    }
}

/// The stand-in for a kernel that polls.
fn polling_kernel() -> PathBuf {
    aio_read().with_file_name("libpolling_kernel.so")
}

/// Whether `file` can be read past the page cache: some file systems cannot.
fn has_direct_io(file: &Path) -> bool {
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_DIRECT)
        .open(file);
    if let Err(error) = &opened {
        let file = file.display();
        skip(format_args!(
            "{file} cannot be opened with O_DIRECT: {error}"
        ));
    }
    opened.is_ok()
}

/// Runs aio_read on a direct file before the stand-in; returns what that was given, and what hipri
/// said, without the process and the context a line names.
fn run_direct(name: &str, interface: &str, library: &str, kernel: &str) -> Option<[String; 2]> {
    let file = input(name);
    if !has_aio() || !has_direct_io(&file) {
        return None;
    }
    let libraries = format!("{}:{library}", polling_kernel().display());
    let arguments = [interface, file.to_str().unwrap(), "direct"];
    let said = assert_unchanged(&["--stats"], &arguments, &libraries, kernel);
    Some(["kernel: submit ", "hipri: "].map(|prefix| {
        let lines = said.lines().filter_map(|line| line.strip_prefix(prefix));
        let unnamed = lines.map(|line| match line.strip_prefix("process ") {
            Some(line) => line.split_once(": ").unwrap().1,
            None => line,
        });
        unnamed.collect::<Vec<_>>().join("\n")
    }))
}

/// What aio_read submits when the context polls: three reads; what must fail, without the flag; a
/// batch with a bad address, which is not polled; and three reads in the child.
const POLLED: &str = "\
HHH: 3
-: -1
: -1
-: -1
-: -1
-: 1
HHH: 3";

/// What hipri says of it.
const POLLED_SAID: &str = "\
polled, 3 submitted
I/O is not polled: an iocb has no valid address
not polled, 1 submitted: an iocb has no valid address
polled, 3 submitted
nothing submitted";

#[test]
fn direct_io_by_system_calls_is_polled() {
    if let Some([submitted, said]) = run_direct("direct-syscall", "syscall", "", "") {
        assert_eq!(submitted, POLLED);
        assert_eq!(said, POLLED_SAID);
    }
}

#[test]
fn direct_io_by_libaio_is_polled_and_handled_once() {
    let Some(library) = libaio() else { return };
    if let Some([submitted, said]) = run_direct("direct-libaio", "libaio", library, "") {
        assert_eq!(submitted, POLLED);
        assert_eq!(said, POLLED_SAID);
    }
}

#[test]
fn a_kernel_that_refuses_gets_the_same_io_without_the_flag() {
    if let Some([submitted, said]) = run_direct("refused", "syscall", "", "refuse") {
        let expected = POLLED.replace("HHH: 3", "HHH: -1\n---: 3");
        assert_eq!(submitted, expected);
        let lines: Vec<&str> = said.lines().collect();
        assert!(
            lines[0].starts_with("I/O is not polled: the kernel refuses"),
            "{said}"
        );
        assert!(
            lines[1].starts_with("not polled, 3 submitted: the kernel"),
            "{said}"
        );
        assert_eq!(lines.len(), 6, "{said}");
    }
}

#[test]
fn a_file_on_a_device_without_poll_queues_is_plain_from_the_start() {
    if let Some([submitted, said]) = run_direct("no-queues", "syscall", "", "no-queues") {
        assert_eq!(submitted, POLLED.replace("HHH", "---"));
        let notice = said.lines().next().unwrap();
        assert!(
            notice.starts_with("I/O is not polled: a device has no poll queues"),
            "{said}"
        );
    }
}

#[test]
fn statistics_tell_of_every_context_once() {
    if !has_aio() {
        return;
    }
    let file = input("statistics");
    let output = output(
        hipri_run()
            .arg("--stats")
            .arg(aio_read())
            .arg("syscall")
            .arg(file),
    );
    let said = stderr(&output);
    let contexts: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with("hipri: process "))
        .collect();
    assert_eq!(contexts.len(), 4, "{said}");
    assert_eq!(
        contexts
            .iter()
            .filter(|line| line.contains(", 3 submitted"))
            .count(),
        2,
        "{said}"
    );
    assert_eq!(
        contexts
            .iter()
            .filter(|line| line.contains(", 1 submitted"))
            .count(),
        1,
        "{said}"
    );
}

#[test]
fn arguments_and_status_are_those_of_the_program() {
    let output = output(hipri_run().args(["sh", "-c", "echo \"$0 $1\"; exit 7", "a b", "--stats"]));
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(stdout(&output), "a b --stats\n");
    assert_eq!(stderr(&output), "");
}

#[test]
fn the_library_is_preloaded_before_others() {
    let output = output(
        hipri_run()
            .args(["sh", "-c", "echo $LD_PRELOAD"])
            .env("LD_PRELOAD", "libm.so.6"),
    );
    assert!(
        stdout(&output).ends_with("/libhipri.so:libm.so.6\n"),
        "{}",
        stdout(&output)
    );
}

#[track_caller]
fn assert_fails(command: &mut Command, status: i32, sentence: &str) {
    let output = output(command);
    assert_eq!(stderr(&output), format!("hipri-run: {sentence}\n"));
    assert_eq!(output.status.code(), Some(status));
    assert_eq!(stdout(&output), "");
}

#[test]
fn a_missing_program_is_named() {
    assert_fails(
        hipri_run().arg("no-such-program"),
        127,
        "no-such-program is not found in PATH",
    );
}

#[test]
fn a_static_program_is_refused() {
    // The header of a 64-bit little-endian x86-64 program without program headers.
    let mut header = [0u8; 64];
    header[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    (header[16], header[18], header[52], header[54]) = (2, 62, 64, 56);
    let program = scratch("static", &header, 0o700);
    let script = format!("#!{}\n", program.display());
    let script = scratch("script", script.as_bytes(), 0o700);
    for named in [&program, &script] {
        assert_fails(
            hipri_run().arg(named),
            126,
            &format!(
                "{} is statically linked, so no library can be preloaded; \
                 use a dynamically linked build of it",
                program.display()
            ),
        );
    }
}

#[test]
fn a_missing_library_is_named() {
    assert_fails(
        hipri_run()
            .arg("true")
            .env("HIPRI_LIBRARY", "/no/such/libhipri.so"),
        125,
        "HIPRI_LIBRARY names /no/such/libhipri.so: no such file or directory",
    );
    let alone = scratch(
        "hipri-run",
        &fs::read(env!("CARGO_BIN_EXE_hipri-run")).unwrap(),
        0o700,
    );
    assert_fails(
        Command::new(&alone).arg("true").env_remove("HIPRI_LIBRARY"),
        125,
        &format!(
            "libhipri.so is neither beside {} nor in ../lib; set HIPRI_LIBRARY to its path",
            alone.display()
        ),
    );
}
