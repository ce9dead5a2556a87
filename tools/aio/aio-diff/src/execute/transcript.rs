// SPDX-License-Identifier: GPL-2.0-only

//! What a program's processes say, in memory that outlives them.

use std::io;
use std::ptr;
use std::slice;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};

const BYTES: usize = 1 << 20;
/// Where the text starts, behind its length.
const TEXT: usize = size_of::<AtomicUsize>();

/// Lines of text, shared with all processes that are forked from here on.
///
/// One process writes at a time: who forks waits for the child.
pub struct Transcript {
    memory: *mut u8,
}

impl Transcript {
    /// An empty transcript.
    pub fn new() -> Result<Self> {
        // SAFETY: A new mapping at an address that the kernel chooses.
        let memory = unsafe {
            libc::mmap(
                ptr::null_mut(),
                BYTES,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(io::Error::last_os_error()).context("cannot map the transcript");
        }
        Ok(Self {
            memory: memory.cast(),
        })
    }

    fn length(&self) -> &AtomicUsize {
        // SAFETY: The mapping starts with the length and lives for ever.
        unsafe { &*self.memory.cast::<AtomicUsize>() }
    }

    /// Adds a line; what does not fit any more is lost.
    pub fn line(&self, text: &str) {
        let length = self.length().load(Ordering::Acquire);
        let room = BYTES - TEXT - length;
        if text.len() + 1 > room {
            return;
        }
        // SAFETY: `text` and a newline fit behind what is there, and nobody else writes.
        unsafe {
            let end = self.memory.add(TEXT + length);
            ptr::copy_nonoverlapping(text.as_ptr(), end, text.len());
            *end.add(text.len()) = b'\n';
        }
        self.length()
            .store(length + text.len() + 1, Ordering::Release);
    }

    /// Takes all lines out.
    pub fn take(&self) -> Vec<String> {
        let length = self.length().swap(0, Ordering::AcqRel);
        // SAFETY: That many bytes were written, and nobody writes now.
        let bytes = unsafe { slice::from_raw_parts(self.memory.add(TEXT), length) };
        String::from_utf8_lossy(bytes)
            .lines()
            .map(str::to_owned)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_once() {
        let transcript = Transcript::new().unwrap();
        transcript.line("one");
        transcript.line("two");
        assert_eq!(transcript.take(), ["one", "two"]);
        assert!(transcript.take().is_empty());
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let transcript = Transcript::new().unwrap();
        transcript.line(&"x".repeat(BYTES));
        transcript.line("y");
        assert_eq!(transcript.take(), ["y"]);
    }
}
