// SPDX-License-Identifier: GPL-2.0-only

//! hipri-run and the library together, on whatever kernel this is.

use std::env;
use std::ffi::{CString, OsStr};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{chown, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
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

/// Says that this test did not run, in the form that `make test` counts; to standard error itself, as
/// what a passing test prints is dropped, and at once, as others print as well.
fn skip(reason: std::fmt::Arguments<'_>) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let line = format!("SKIPPED: {test}: {reason}\n");
    let _ = io::stderr().write_all(line.as_bytes());
}

/// Whether io_setup works here: a sandbox may forbid it.
fn has_aio() -> bool {
    let mut context: libc::c_ulong = 0;
    // SAFETY: the context is a live variable, and destroyed unused.
    unsafe {
        if libc::syscall(libc::SYS_io_setup, 1, &mut context) != 0 {
            let error = io::Error::last_os_error();
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
    assert!(said.contains("I/O is not polled: "), "{said}");
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

/// What aio_read submits, by the number of the context: three reads; what must fail; a read in front
/// of a bad address; and three reads in the child.
const POLLED: &str = "\
to 1 HHH: 3
to 0 -: -1
to 2 : -1
to 2 H: -1
to 2 -: -1
to 2 H: 1
to 2 : -1
to 4 HHH: 3";

/// What hipri says of it.
const POLLED_SAID: &str = "\
3 polled, 0 not polled
1 polled, 0 not polled
3 polled, 0 not polled
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
        let first: Vec<&str> = submitted.lines().take(3).collect();
        assert_eq!(first, ["to 1 HHH: -1", "to 1 -: 1", "to 1 --: 2"]);
        let (notice, rest) = said.split_once('\n').unwrap();
        assert!(
            notice.starts_with("some I/O is not polled: the kernel refuses"),
            "{said}"
        );
        let counts = |count| format!("0 polled, {count} not polled: {count} refused by the kernel");
        let expected = [&counts(3), &counts(1), &counts(3), "nothing submitted"];
        assert_eq!(rest.lines().collect::<Vec<_>>(), expected);
    }
}

#[test]
fn a_file_on_a_device_without_poll_queues_is_plain_from_the_start() {
    if let Some([submitted, said]) = run_direct("no-queues", "syscall", "", "no-queues") {
        let expected = POLLED.replace("HHH", "---").replace("2 H: 1", "2 -: 1");
        assert_eq!(submitted, expected);
        let notice = said.lines().next().unwrap();
        assert!(
            notice.starts_with("some I/O is not polled: the device has no poll queues"),
            "{said}"
        );
    }
}

/// Compiles the C program of these tests.
fn mixed_io() -> PathBuf {
    static COMPILED: OnceLock<PathBuf> = OnceLock::new();
    let compile = || {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mixed_io.c");
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("mixed_io");
        let mut compiler = Command::new("cc");
        compiler.args(["-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-o"]);
        compiler.arg(&program).arg(source);
        assert!(compiler.status().unwrap().success(), "compiling failed");
        program
    };
    COMPILED.get_or_init(compile).clone()
}

/// Runs mixed_io by itself and under hipri-run before a kernel that plays `part`, and demands the
/// same of both. Returns what was said on standard error under hipri-run.
fn mix(part: &str) -> Option<String> {
    let file = input(&format!("mixed-{part}"));
    if !has_aio() || !has_direct_io(&file) {
        return None;
    }
    // A failure must not leave a process behind.
    let limited = |command: &mut Command| {
        output(
            command
                .args(["60"])
                .arg(mixed_io())
                .arg(&file)
                .arg("direct"),
        )
    };
    let alone = limited(&mut Command::new("timeout"));
    assert!(alone.status.success(), "{}", stdout(&alone));
    let mixed = limited(
        hipri_run()
            .args(["--stats", "timeout"])
            .env("LD_PRELOAD", polling_kernel())
            .env("POLLING_KERNEL", part),
    );
    assert_eq!(stdout(&mixed), stdout(&alone));
    assert!(mixed.status.success(), "{}", stderr(&mixed));
    Some(stderr(&mixed))
}

#[test]
fn mixed_io_is_unchanged_and_what_can_be_is_polled() {
    let Some(said) = mix("quiet") else { return };
    let counts = said
        .lines()
        .filter_map(|line| line.split_once(": process ")?.1.split_once(": "));
    let counts: Vec<&str> = counts.map(|(_, counts)| counts).collect();
    assert_eq!(counts[0], "3 polled, 2 not polled: 2 not a read or write");
    assert!(
        counts.contains(&"2 polled, 2 not polled: 2 not O_DIRECT"),
        "{said}"
    );
    assert!(
        counts.contains(&"1 polled, 1 not polled: 1 eventfd"),
        "{said}"
    );
}

#[test]
fn mixed_io_is_unchanged_where_nothing_can_be_polled() {
    for part in ["refuse", "no-queues"] {
        if let Some(said) = mix(part) {
            assert!(!said.contains("H: 1"), "{said}");
        }
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
    let with = |text: &str| contexts.iter().filter(|line| line.contains(text)).count();
    assert_eq!(with(": 0 polled, 3 not polled: 3 "), 2, "{said}");
    assert_eq!(with(": 0 polled, 1 not polled: 1 "), 1, "{said}");
}

#[test]
fn the_manual_says_what_to_do_about_every_reason() {
    let library = include_str!("../../hipri/src/eligibility.rs");
    let (_, labels) = library.split_once("fn label(").unwrap();
    let (labels, _) = labels.split_once("\n    }\n").unwrap();
    let labels: Vec<&str> = labels.split('"').skip(1).step_by(2).collect();
    assert!(labels.contains(&"not O_DIRECT"), "{labels:?}");
    let manual = include_str!("../../man/hipri-run.1");
    for label in labels {
        assert!(manual.contains(&format!(".It \"{label}\"\n")), "{label}");
    }
}

#[test]
fn a_program_outlives_those_who_read_its_standard_error() {
    if !has_aio() {
        return;
    }
    let (reader, unread) = UnixStream::pair().unwrap();
    drop(reader);
    let mut command = hipri_run();
    command.arg("--stats").arg(aio_read()).arg("syscall");
    command.arg(input("unread")).stderr(OwnedFd::from(unread));
    let status = output(&mut command).status;
    assert!(status.success(), "{status}");
}

#[test]
fn arguments_and_status_are_those_of_the_program() {
    let output = output(hipri_run().args(["sh", "-c", "echo \"$0 $1\"; exit 7", "a b", "--stats"]));
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(stdout(&output), "a b --stats\n");
    assert_eq!(stderr(&output), "");
}

#[test]
fn what_is_inherited_for_sigpipe_is_handed_down() {
    let program = hipri_run().get_program().to_owned();
    for (action, pattern) in [("", "[02468ace]...$"), ("trap '' PIPE; ", "[13579bdf]...$")] {
        // The mask of ignored signals, of which SIGPIPE is the lowest bit of the fourth digit.
        let script = format!("{action}exec \"$0\" grep '^SigIgn:.*{pattern}' /proc/self/status");
        let mut shell = Command::new("sh");
        let output = output(shell.args(["-c", &script]).arg(&program));
        assert!(output.status.success(), "{action}{output:?}");
    }
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
fn a_program_that_only_others_may_execute_does_not_end_the_search() {
    let folders = ["others", "all"].map(|name| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&folder).unwrap();
        folder
    });
    let script = b"#!/bin/sh\nexit 7\n";
    let others = scratch("others/hipri-test", script, 0o611);
    scratch("all/hipri-test", script, 0o755);
    let mut search = hipri_run();
    search.arg("hipri-test");
    search.env("PATH", env::join_paths(folders).unwrap());
    // Root may execute what anybody may.
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        if !nobody_can_run() {
            return;
        }
        chown(others, Some(NOBODY), None).unwrap();
        search.uid(NOBODY);
    }
    let output = output(&mut search);
    assert_eq!(output.status.code(), Some(7), "{}", stderr(&output));
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

/// Gives a file the capability to bind to low ports.
fn give_capability(file: &Path) -> io::Result<()> {
    // As the kernel stores it: revision 2, then permitted and inheritable, the lower halves first.
    let value: [u32; 5] = [0x0200_0000, 1 << 10, 0, 0, 0].map(u32::to_le);
    let file = CString::new(file.as_os_str().as_bytes()).unwrap();
    let name = c"security.capability".as_ptr();
    // SAFETY: both names are valid strings, and the value is alive.
    let set = unsafe {
        libc::setxattr(
            file.as_ptr(),
            name,
            value.as_ptr().cast(),
            size_of_val(&value),
            0,
        )
    };
    match set {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A user who is not root.
const NOBODY: u32 = 65534;

/// Whether hipri-run can be run as another user.
fn nobody_can_run() -> bool {
    let ran = hipri_run().arg("--version").uid(NOBODY).output();
    if let Err(error) = &ran {
        skip(format_args!(
            "another user cannot run hipri-run here: {error}"
        ));
    }
    ran.is_ok()
}

#[test]
fn a_program_with_capabilities_is_refused_to_all_but_root() {
    let program = scratch("capable", &fs::read("/bin/true").unwrap(), 0o755);
    if let Err(error) = give_capability(&program) {
        skip(format_args!(
            "a file cannot be given capabilities here: {error}"
        ));
        return;
    }
    let status = output(hipri_run().arg(&program)).status;
    assert_eq!(status.code(), Some(0));
    if !nobody_can_run() {
        return;
    }
    assert_fails(
        hipri_run().arg(&program).uid(NOBODY),
        126,
        &format!(
            "{} has file capabilities, so the system ignores preloaded libraries; \
             run hipri-run as root, or a copy of the program without them",
            program.display()
        ),
    );
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
    assert_fails(
        hipri_run().arg("true").env("HIPRI_LIBRARY", "/etc/passwd"),
        125,
        "/etc/passwd is no shared library",
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
            "there is no libhipri.so for 64-bit x86 programs beside {} or in ../lib, \
             ../lib/i386-linux-gnu, ../lib/x86_64-linux-gnu, ../lib32, ../lib64; \
             set HIPRI_LIBRARY to its path",
            alone.display()
        ),
    );
}

/// On whatever kernel this is: it does not poll, or the file is not on a disk that does.
#[test]
fn a_check_tells_what_is_missing_and_what_to_do() {
    let output = output(hipri_run().args(["--check", "/proc/self/status"]));
    let said = stdout(&output);
    let fact = "FAIL  /proc/self/status does not open with O_DIRECT: ";
    let (_, remedy) = said.split_once(fact).expect(&said);
    assert!(remedy
        .lines()
        .nth(1)
        .unwrap()
        .starts_with("      put the file on"));
    let verdict = said.lines().last().unwrap();
    assert_eq!(verdict, "Polled AIO does not work on /proc/self/status.");
    assert_eq!(output.status.code(), Some(1));
}

/// In a shell that hipri-run runs, say. The library would make do with a kernel that refuses.
#[test]
fn a_check_says_the_same_where_the_library_is_preloaded() {
    if !has_aio() {
        return;
    }
    let arguments = [OsStr::new("--check"), input("checked").as_os_str()].map(OsStr::to_owned);
    let alone = output(hipri_run().args(&arguments));
    let program = hipri_run().get_program().to_owned();
    let preloaded = output(
        hipri_run()
            .arg("--stats")
            .arg(program)
            .args(&arguments)
            .env("LD_PRELOAD", polling_kernel())
            .env("POLLING_KERNEL", "refuse"),
    );
    assert_eq!(stderr(&preloaded), "");
    assert_eq!(stdout(&preloaded), stdout(&alone));
    assert_eq!(preloaded.status, alone.status);
}
