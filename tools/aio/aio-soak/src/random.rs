// SPDX-License-Identifier: GPL-2.0-only

//! Random numbers, and the content of blocks.

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Random {
    state: u64,
}

/// Scatters the bits of `word`; different words have different images.
pub fn scatter(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

impl Random {
    /// The sequence that `seed` names.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// Any number.
    pub fn word(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        scatter(self.state)
    }

    /// A number of at least `low` and at most `high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.word() % (high - low + 1)
    }

    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.between(1, 100) <= percent
    }

    /// One of `choices`, of which there are some.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.between(0, choices.len() as u64 - 1) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_and_are_reached() {
        let mut random = Random::new(7);
        let seen = (0..1000).map(|_| random.between(5, 7)).collect::<Vec<_>>();
        assert!(seen.iter().all(|number| (5..=7).contains(number)));
        assert!((5..=7).all(|number| seen.contains(&number)));
        assert!(!random.chance(0) && random.chance(100));
    }
}
