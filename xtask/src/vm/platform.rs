// SPDX-License-Identifier: GPL-2.0-only

//! What a machine of an architecture is in QEMU, and what its kernel calls the parts.

use crate::build::Architecture;

/// A kind of machine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Platform {
    /// The QEMU program.
    pub program: &'static str,
    /// QEMU's name for it.
    pub machine: &'static str,
    /// Kernel parameters that say what the two serial ports are called. `REPORT` is not the
    /// kernel's: it hands the variable to process 1, which would take the second port of a PC.
    pub parameters: &'static str,
}

const PC: Platform = Platform {
    program: "qemu-system-x86_64",
    machine: "q35",
    parameters: "console=ttyS0",
};

/// Interrupts of PCI devices are memory writes to its controller of version 3, as in servers.
const VIRT: Platform = Platform {
    program: "qemu-system-aarch64",
    machine: "virt,gic-version=3",
    parameters: "console=ttyAMA0 REPORT=ttyAMA1",
};

impl Platform {
    /// The machine that kernels of an architecture are booted in.
    pub fn of(architecture: Architecture) -> Self {
        match architecture {
            Architecture::X86 => PC,
            Architecture::Arm64 => VIRT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_1_is_told_of_a_second_port_that_is_no_pc_s() {
        let init = include_str!("../../../guest/init");
        assert!(init.contains("/dev/${REPORT:-ttyS1}"));
        assert!(!PC.parameters.contains("REPORT="));
        assert!(VIRT.parameters.ends_with(" REPORT=ttyAMA1"));
    }
}
