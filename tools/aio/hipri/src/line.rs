// SPDX-License-Identifier: GPL-2.0-only

//! A short text on the stack, as the library must not allocate.

use core::fmt;

/// Up to `CAPACITY` bytes; what goes beyond is cut off.
pub struct Line<const CAPACITY: usize> {
    text: [u8; CAPACITY],
    len: usize,
}

impl<const CAPACITY: usize> Default for Line<CAPACITY> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const CAPACITY: usize> Line<CAPACITY> {
    /// An empty text.
    pub fn new() -> Self {
        Line {
            text: [0; CAPACITY],
            len: 0,
        }
    }

    /// What was written.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text[..self.len]
    }
}

impl<const CAPACITY: usize> fmt::Write for Line<CAPACITY> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = &mut self.text[self.len..];
        let len = text.len().min(room.len());
        room[..len].copy_from_slice(&text.as_bytes()[..len]);
        self.len += len;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use super::*;

    #[test]
    fn a_line_is_cut_where_it_is_full() {
        let mut line = Line::<12>::new();
        for _ in 0..3 {
            write!(line, "12345678").unwrap();
        }
        assert_eq!(line.as_bytes(), b"123456781234");
    }
}
