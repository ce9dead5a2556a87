// SPDX-License-Identifier: GPL-2.0-only

//! Short names for long contents.

use std::fmt;

/// 32 bits that tell contents apart.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Digest(u32);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            let mut word = [0; 8];
            word.copy_from_slice(chunk);
            hash = step(hash, u64::from_le_bytes(word));
        }
        for byte in chunks.remainder() {
            hash = step(hash, u64::from(*byte) + 0x100);
        }
        hash = step(hash, bytes.len() as u64);
        Self((hash ^ (hash >> 32)) as u32)
    }
}

fn step(hash: u64, word: u64) -> u64 {
    let mixed = (hash ^ word).wrapping_mul(0x0000_0100_0000_01b3);
    mixed ^ (mixed >> 29)
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_changes_show() {
        let zeroes = [0; 4096];
        assert_eq!(Digest::of(&zeroes), Digest::of(&zeroes));
        for at in [0, 7, 8, 4095] {
            let mut other = zeroes;
            other[at] = 1;
            assert_ne!(Digest::of(&zeroes), Digest::of(&other));
        }
        assert_ne!(Digest::of(&zeroes), Digest::of(&zeroes[1..]));
        assert_ne!(Digest::of(b""), Digest::of(b"\0"));
    }
}
