// SPDX-License-Identifier: GPL-2.0-only

//! The system calls that a container is refused.

use anyhow::{Context, Result};
use seccompiler::{SeccompAction, SeccompFilter, TargetArch};

/// What the default profile of Docker and containerd refuses to a process without capabilities, but
/// for what it decides by arguments (clone(2), personality(2), socket(2)).
///
/// The profile is a list of what is allowed; this is the rest of it that programs may know. io_uring
/// was taken off that list in 2023.
const REFUSED: &[libc::c_long] = &[
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // Processes, namespaces, keys
    libc::SYS_kcmp,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_request_key,
    libc::SYS_userfaultfd,
    // Placement of memory
    libc::SYS_get_mempolicy,
    libc::SYS_mbind,
    libc::SYS_move_pages,
    libc::SYS_set_mempolicy,
    // File systems
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_pivot_root,
    libc::SYS_quotactl,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_umount2,
    // The kernel and the machine
    libc::SYS_acct,
    libc::SYS_bpf,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_init_module,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_perf_event_open,
    libc::SYS_reboot,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_syslog,
    libc::SYS_vhangup,
];

/// A filter with which these fail with `EPERM` and others do what they do.
///
/// Fails on a processor that the filter's compiler does not know. Programs of another architecture
/// than this program's are killed.
pub fn filter() -> Result<SeccompFilter> {
    let processor = TargetArch::try_from(std::env::consts::ARCH)
        .context("there is no filter for this processor")?;
    let rules = REFUSED.iter().map(|&call| (call, Vec::new())).collect();
    SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM as u32),
        processor,
    )
    .context("the filter contradicts itself")
}

#[cfg(test)]
mod tests {
    use std::{io, thread};

    use seccompiler::BpfProgram;

    use super::*;

    #[test]
    fn a_system_call_is_refused_once() {
        let mut calls = REFUSED.to_vec();
        calls.sort_unstable();
        calls.dedup();
        assert_eq!(calls.len(), REFUSED.len());
    }

    /// The error of a system call without arguments, made in a thread under the filter.
    fn error_of(call: libc::c_long) -> Option<i32> {
        let confined = move || {
            let program = BpfProgram::try_from(filter().unwrap()).unwrap();
            seccompiler::apply_filter(&program).unwrap();
            // SAFETY: null pointers and zero sizes; the kernel checks them.
            unsafe { libc::syscall(call, 0, 0, 0, 0, 0, 0) };
            io::Error::last_os_error().raw_os_error()
        };
        thread::spawn(confined).join().unwrap()
    }

    #[test]
    fn io_uring_is_refused_and_aio_is_not() {
        assert_eq!(error_of(libc::SYS_io_uring_setup), Some(libc::EPERM));
        assert_eq!(error_of(libc::SYS_io_uring_enter), Some(libc::EPERM));
        assert_ne!(error_of(libc::SYS_io_setup), Some(libc::EPERM));
        assert_ne!(error_of(libc::SYS_io_submit), Some(libc::EPERM));
        assert_ne!(error_of(libc::SYS_io_getevents), Some(libc::EPERM));
        assert_ne!(error_of(libc::SYS_io_destroy), Some(libc::EPERM));
    }
}
