// SPDX-License-Identifier: GPL-2.0-only

//! What the standard library would bring along.

#[link(name = "c")]
extern "C" {}

// Arithmetic of 64 bits.
#[cfg(target_arch = "x86")]
#[link(name = "gcc", kind = "static", modifiers = "-bundle")]
extern "C" {}

// Some builds of `core` are made for unwinding, and name the function that would steer it. Nothing
// unwinds here. It is hidden, so that a program's own stays in force.
core::arch::global_asm!(
    ".pushsection .text.rust_eh_personality, \"ax\", @progbits",
    ".hidden rust_eh_personality",
    ".globl rust_eh_personality",
    ".type rust_eh_personality, @function",
    "rust_eh_personality:",
    "ud2",
    ".size rust_eh_personality, . - rust_eh_personality",
    ".popsection",
);
