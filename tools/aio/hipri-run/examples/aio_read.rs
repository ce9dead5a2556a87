// SPDX-License-Identifier: GPL-2.0-only

//! Reads a file through AIO and prints all that AIO said: what the tests run with and without
//! hipri-run and compare.
//!
//! `aio_read syscall FILE` makes the system calls itself, `aio_read libaio FILE` calls the functions
//! of a libaio that is in the process (see `LD_PRELOAD`). FILE has 12 KiB at least; with a third
//! argument, `direct`, it is read past the page cache.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::process::ExitCode;

use aio_abi::{Event, Iocb, FLAG_HIPRI, PREAD};
use libc::{c_int, c_long, c_ulong, c_void};

const BLOCK: usize = 4096;

/// A buffer for direct I/O.
#[derive(Clone)]
#[repr(align(4096))]
struct Block([u8; BLOCK]);

/// The AIO calls, all returning a count or a negated errno.
trait Aio {
    unsafe fn setup(&self, events: c_int, context: *mut c_ulong) -> c_long;
    unsafe fn submit(&self, context: c_ulong, nr: c_long, iocbs: *mut *mut Iocb) -> c_long;
    unsafe fn destroy(&self, context: c_ulong) -> c_long;
    fn check_errno(&self) -> Result<(), String>;
}

struct Syscalls;

fn negated(result: c_long) -> c_long {
    match result {
        -1 => -c_long::from(errno()),
        result => result,
    }
}

fn errno() -> i32 {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

impl Aio for Syscalls {
    unsafe fn setup(&self, events: c_int, context: *mut c_ulong) -> c_long {
        // SAFETY: the caller's.
        negated(unsafe { libc::syscall(libc::SYS_io_setup, events, context) })
    }

    unsafe fn submit(&self, context: c_ulong, nr: c_long, iocbs: *mut *mut Iocb) -> c_long {
        // SAFETY: the caller's.
        negated(unsafe { libc::syscall(libc::SYS_io_submit, context, nr, iocbs) })
    }

    unsafe fn destroy(&self, context: c_ulong) -> c_long {
        // SAFETY: the caller's.
        negated(unsafe { libc::syscall(libc::SYS_io_destroy, context) })
    }

    fn check_errno(&self) -> Result<(), String> {
        Ok(())
    }
}

type IoSetup = unsafe extern "C" fn(c_int, *mut c_ulong) -> c_int;
type IoSubmit = unsafe extern "C" fn(c_ulong, c_long, *mut *mut Iocb) -> c_int;
type IoDestroy = unsafe extern "C" fn(c_ulong) -> c_int;

struct Libaio {
    setup: IoSetup,
    submit: IoSubmit,
    destroy: IoDestroy,
}

impl Libaio {
    fn find() -> Result<Self, String> {
        let function = |name: &std::ffi::CStr| {
            // SAFETY: the name is a valid string.
            let function = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
            (!function.is_null()).then_some(function).ok_or(format!(
                "no {} in this process; preload libaio",
                name.to_string_lossy()
            ))
        };
        let setup = function(c"io_setup")?;
        let submit = function(c"io_submit")?;
        let destroy = function(c"io_destroy")?;
        // SAFETY: libaio's functions have these types.
        unsafe {
            Ok(Libaio {
                setup: std::mem::transmute::<*mut c_void, IoSetup>(setup),
                submit: std::mem::transmute::<*mut c_void, IoSubmit>(submit),
                destroy: std::mem::transmute::<*mut c_void, IoDestroy>(destroy),
            })
        }
    }
}

impl Aio for Libaio {
    unsafe fn setup(&self, events: c_int, context: *mut c_ulong) -> c_long {
        // SAFETY: the caller's.
        unsafe { (self.setup)(events, context) }.into()
    }

    unsafe fn submit(&self, context: c_ulong, nr: c_long, iocbs: *mut *mut Iocb) -> c_long {
        // SAFETY: the caller's.
        unsafe { (self.submit)(context, nr, iocbs) }.into()
    }

    unsafe fn destroy(&self, context: c_ulong) -> c_long {
        // SAFETY: the caller's.
        unsafe { (self.destroy)(context) }.into()
    }

    /// libaio reports errors in its return values only.
    fn check_errno(&self) -> Result<(), String> {
        match errno() {
            0 => Ok(()),
            errno => Err(format!("libaio set errno to {errno}")),
        }
    }
}

fn main() -> ExitCode {
    // As in a program in C: a write that nobody reads ends it.
    // SAFETY: the default action runs no code of this program.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("aio_read: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (interface, file, flags) = match arguments.as_slice() {
        [interface, file] => (interface, file, 0),
        [interface, file, how] if how == "direct" => (interface, file, libc::O_DIRECT),
        _ => return Err("usage: aio_read syscall|libaio FILE [direct]".into()),
    };
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(file);
    let file = opened.map_err(|error| format!("{file}: {error}"))?;
    match interface.as_str() {
        "syscall" => exercise(&Syscalls, &file),
        "libaio" => exercise(&Libaio::find()?, &file),
        other => Err(format!("{other} is neither syscall nor libaio")),
    }
}

fn exercise(aio: &impl Aio, file: &File) -> Result<(), String> {
    clear_errno();
    read_in_a_context(aio, file)?;
    check_errors(aio, file)?;
    aio.check_errno()?;
    read_in_a_child(aio, file)
}

fn clear_errno() {
    // SAFETY: the C library returns a valid pointer to this thread's errno.
    unsafe { *libc::__errno_location() = 0 };
}

fn set_up(aio: &impl Aio) -> Result<c_ulong, String> {
    let mut context = 0;
    // SAFETY: the pointer is that of a live variable.
    match unsafe { aio.setup(8, &mut context) } {
        0 => Ok(context),
        error => Err(format!("io_setup returned {error}")),
    }
}

fn tear_down(aio: &impl Aio, context: c_ulong) {
    // SAFETY: destroying a context affects no memory of ours: nothing is in flight.
    println!("destroy: {}", unsafe { aio.destroy(context) });
    // SAFETY: as above; there is no such context any more.
    println!("destroy again: {}", unsafe { aio.destroy(context) });
}

fn read_in_a_context(aio: &impl Aio, file: &File) -> Result<(), String> {
    let context = set_up(aio)?;
    let mut buffers = vec![Block([0; BLOCK]); 3];
    let mut iocbs: Vec<Iocb> = (0..)
        .zip(&mut buffers)
        .map(|(index, buffer)| read(file, index, buffer))
        .collect();
    let mut pointers: Vec<*mut Iocb> = iocbs.iter_mut().map(std::ptr::from_mut).collect();
    // SAFETY: iocbs and buffers live until all is read.
    let submitted = unsafe { aio.submit(context, 3, pointers.as_mut_ptr()) };
    println!("submit: {submitted}");
    let mut events = reap(context, 3)?;
    events.sort_by_key(|event| event.data);
    for (event, pointer) in events.iter().zip(&pointers) {
        let same = event.obj == *pointer as u64;
        println!(
            "event {}: res {}, obj matches: {same}",
            event.data, event.res
        );
    }
    for (iocb, buffer) in iocbs.iter().zip(&buffers) {
        let sum: u32 = buffer.0.iter().map(|byte| u32::from(*byte)).sum();
        // This one belongs to hipri under hipri-run, so it is not part of what is compared.
        let flags = iocb.flags & !FLAG_HIPRI;
        println!("iocb {}: flags {flags}, sum of data {sum}", iocb.data);
    }
    tear_down(aio, context);
    Ok(())
}

fn check_errors(aio: &impl Aio, file: &File) -> Result<(), String> {
    let context = set_up(aio)?;
    let mut buffer = Block([0; BLOCK]);
    let mut good = read(file, 0, &mut buffer);
    let mut bad_file = Iocb {
        fildes: u32::MAX,
        ..good
    };
    let mut bad_operation = Iocb { opcode: 99, ..good };
    let mut pointers = [&raw mut good, usize::MAX as *mut Iocb];
    let nowhere = usize::MAX as *mut *mut Iocb;
    // SAFETY: iocbs and buffer live until all is read; the rest are addresses for the kernel to
    // refuse.
    unsafe {
        println!("no context: {}", aio.submit(0, 1, pointers.as_mut_ptr()));
        println!(
            "no iocbs: {}",
            aio.submit(context, 0, pointers.as_mut_ptr())
        );
        println!(
            "less than none: {}",
            aio.submit(context, -1, pointers.as_mut_ptr())
        );
        println!("no array: {}", aio.submit(context, 1, nowhere));
        println!(
            "null iocb: {}",
            aio.submit(context, 1, &mut std::ptr::null_mut())
        );
        println!(
            "bad file: {}",
            aio.submit(context, 1, &mut &raw mut bad_file)
        );
        println!(
            "bad operation: {}",
            aio.submit(context, 1, &mut &raw mut bad_operation)
        );
        println!(
            "one of two: {}",
            aio.submit(context, 2, pointers.as_mut_ptr())
        );
        println!("no such events: {}", aio.setup(-1, &mut 0));
    }
    println!("events: {}", reap(context, 1)?.len());
    tear_down(aio, context);
    Ok(())
}

/// A child has none of its parent's contexts, and may get one of the same id.
fn read_in_a_child(aio: &impl Aio, file: &File) -> Result<(), String> {
    let parents = set_up(aio)?;
    // SAFETY: this process has one thread, so the child may do what it could.
    match unsafe { libc::fork() } {
        -1 => Err(format!("fork: errno {}", errno())),
        0 => {
            tear_down(aio, parents);
            let status = match read_in_a_context(aio, file) {
                Ok(()) => 0,
                Err(error) => {
                    eprintln!("aio_read: in a child: {error}");
                    1
                }
            };
            std::process::exit(status)
        }
        child => {
            let mut status = 0;
            // SAFETY: the pointer is that of a live variable.
            unsafe { libc::waitpid(child, &mut status, 0) };
            println!("child: {status}");
            tear_down(aio, parents);
            Ok(())
        }
    }
}

fn read(file: &File, index: u64, buffer: &mut Block) -> Iocb {
    Iocb {
        data: index,
        opcode: PREAD,
        fildes: file.as_raw_fd() as u32,
        buf: buffer.0.as_mut_ptr() as u64,
        nbytes: BLOCK as u64,
        offset: index as i64 * BLOCK as i64,
        ..Iocb::default()
    }
}

fn reap(context: c_ulong, count: usize) -> Result<Vec<Event>, String> {
    let mut events = vec![Event::default(); count];
    // Long enough for any device: what was never submitted fails instead of hanging.
    let mut timeout = libc::timespec {
        tv_sec: 30,
        tv_nsec: 0,
    };
    // SAFETY: there is room for `count` events.
    let reaped = unsafe {
        libc::syscall(
            libc::SYS_io_getevents,
            context,
            count as c_long,
            count as c_long,
            events.as_mut_ptr(),
            &mut timeout,
        )
    };
    match usize::try_from(reaped) {
        Ok(reaped) if reaped == count => Ok(events),
        _ => Err(format!("io_getevents returned {}", negated(reaped))),
    }
}
