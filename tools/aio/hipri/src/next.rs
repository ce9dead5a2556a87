// SPDX-License-Identifier: GPL-2.0-only

//! The function behind the `syscall` that this library exports: the C library's, or another preload
//! library's.

use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

use libc::{c_long, c_void};

use crate::errno;

/// `long syscall(long number, ...)`, with all six arguments a system call can have.
pub type Syscall =
    unsafe extern "C" fn(c_long, c_long, c_long, c_long, c_long, c_long, c_long) -> c_long;

static SYSCALL: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());

/// Looks the function up: once, as the library is loaded.
pub fn resolve() {
    // SAFETY: the name is a valid string.
    let syscall = unsafe { libc::dlsym(libc::RTLD_NEXT, c"syscall".as_ptr()) };
    SYSCALL.store(syscall, Ordering::Relaxed);
}

/// The next `syscall`.
///
/// Until this library is initialised, it is one that goes to the kernel by itself: memory allocators
/// call it that early, and to look a symbol up may allocate.
pub fn syscall() -> Syscall {
    let syscall = SYSCALL.load(Ordering::Relaxed);
    if syscall.is_null() {
        return direct_syscall;
    }
    // SAFETY: it is what `resolve` found under that name. The C library's is variadic; on x86 a call
    // with integer arguments is the same for both.
    unsafe { core::mem::transmute::<*mut c_void, Syscall>(syscall) }
}

unsafe extern "C" fn direct_syscall(
    number: c_long,
    a1: c_long,
    a2: c_long,
    a3: c_long,
    a4: c_long,
    a5: c_long,
    a6: c_long,
) -> c_long {
    // SAFETY: the caller vouches for the system call.
    errno::from_kernel(unsafe { hipri_raw_syscall(number, a1, a2, a3, a4, a5, a6) })
}

extern "C" {
    /// The system call and nothing else; errors are negative.
    fn hipri_raw_syscall(
        number: c_long,
        a1: c_long,
        a2: c_long,
        a3: c_long,
        a4: c_long,
        a5: c_long,
        a6: c_long,
    ) -> c_long;
}

#[cfg(target_arch = "x86_64")]
core::arch::global_asm!(
    ".pushsection .text.hipri_raw_syscall, \"ax\", @progbits",
    ".hidden hipri_raw_syscall",
    ".globl hipri_raw_syscall",
    ".type hipri_raw_syscall, @function",
    "hipri_raw_syscall:",
    "mov rax, rdi",
    "mov rdi, rsi",
    "mov rsi, rdx",
    "mov rdx, rcx",
    "mov r10, r8",
    "mov r8, r9",
    "mov r9, [rsp + 8]",
    "syscall",
    "ret",
    ".size hipri_raw_syscall, . - hipri_raw_syscall",
    ".popsection",
);

#[cfg(target_arch = "x86")]
core::arch::global_asm!(
    ".pushsection .text.hipri_raw_syscall, \"ax\", @progbits",
    ".hidden hipri_raw_syscall",
    ".globl hipri_raw_syscall",
    ".type hipri_raw_syscall, @function",
    "hipri_raw_syscall:",
    "push ebp",
    "push ebx",
    "push esi",
    "push edi",
    "mov eax, [esp + 20]",
    "mov ebx, [esp + 24]",
    "mov ecx, [esp + 28]",
    "mov edx, [esp + 32]",
    "mov esi, [esp + 36]",
    "mov edi, [esp + 40]",
    "mov ebp, [esp + 44]",
    "int 0x80",
    "pop edi",
    "pop esi",
    "pop ebx",
    "pop ebp",
    "ret",
    ".size hipri_raw_syscall, . - hipri_raw_syscall",
    ".popsection",
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_calls_work_before_and_after_the_look_up() {
        let page = 4096;
        let map = |function: Syscall| {
            let protection = c_long::from(libc::PROT_READ);
            let flags = c_long::from(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            // SAFETY: a new mapping, which needs all six arguments; closing no descriptor does
            // nothing.
            unsafe {
                let mapped = function(libc::SYS_mmap, 0, page, protection, flags, -1, 0);
                function(libc::SYS_munmap, mapped, page, 0, 0, 0, 0);
                (mapped % page, function(libc::SYS_close, -1, 0, 0, 0, 0, 0))
            }
        };
        assert_eq!(map(direct_syscall), (0, -1));
        let error = std::io::Error::last_os_error();
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
        resolve();
        assert_ne!(syscall() as *const (), direct_syscall as *const ());
        assert_eq!(map(syscall()), (0, -1));
    }
}
