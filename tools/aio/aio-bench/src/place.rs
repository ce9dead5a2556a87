// SPDX-License-Identifier: GPL-2.0-only

//! Where I/Os go, and what lies there.

/// A block of one of the files.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Place {
    /// The index of the file.
    pub file: u32,
    /// The index of the block in it.
    pub block: u32,
}

impl Place {
    /// Both indices in one word.
    pub fn pack(self) -> u64 {
        (u64::from(self.file) << 32) | u64::from(self.block)
    }

    /// The reverse of [`Place::pack`].
    pub fn unpack(word: u64) -> Self {
        Self {
            file: (word >> 32) as u32,
            block: word as u32,
        }
    }
}

/// In which order blocks are used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Order {
    /// Any block at any time, from a generator with this state.
    Random(u64),
    /// One after the other; this one is next.
    Sequential(u32),
}

/// The endless row of places that one thread does I/O to: the files in turns.
#[derive(Clone, Debug)]
pub struct Places {
    files: u32,
    blocks: u32,
    file: u32,
    order: Order,
}

impl Places {
    /// Places in `files` files that have `blocks` blocks each; neither is 0.
    pub fn new(files: u32, blocks: u32, order: Order) -> Self {
        Self {
            files,
            blocks,
            file: 0,
            order,
        }
    }

    /// The next place.
    pub fn next(&mut self) -> Place {
        let file = self.file;
        self.file = if file + 1 == self.files { 0 } else { file + 1 };
        let block = match &mut self.order {
            Order::Random(state) => {
                let random = congruential(state) >> 32;
                ((random * u64::from(self.blocks)) >> 32) as u32
            }
            Order::Sequential(next) => {
                let block = *next;
                if self.file == 0 {
                    *next = if block + 1 == self.blocks {
                        0
                    } else {
                        block + 1
                    };
                }
                block
            }
        };
        Place { file, block }
    }
}

/// Knuth's linear congruential generator of 64 bits, whose upper half is random enough for places
/// and which costs next to nothing.
#[inline]
fn congruential(state: &mut u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *state
}

/// What the blocks of one run hold: words that depend on a seed, the place and their position.
#[derive(Clone, Copy, Debug)]
pub struct Content {
    seed: u64,
}

/// Odd, and its bits look random.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Content {
    /// The contents of a run with this seed.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Writes the content of `place` to `words`.
    pub fn lay_down(self, place: Place, words: &mut [u64]) {
        let mut word = self.first_word(place);
        for target in words {
            *target = word;
            word = word.wrapping_add(STEP);
        }
    }

    /// Whether `words` is the content of `place`.
    pub fn is_at(self, place: Place, words: &[u64]) -> bool {
        let mut word = self.first_word(place);
        words.iter().all(|found| {
            let expected = word;
            word = word.wrapping_add(STEP);
            *found == expected
        })
    }

    /// A one-to-one function of the place for each seed.
    fn first_word(self, place: Place) -> u64 {
        let mut word = (place.pack() ^ self.seed.rotate_left(32)).wrapping_mul(STEP);
        word ^= word >> 29;
        word.wrapping_mul(0xbf58_476d_1ce4_e5b9)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_places_are_in_range_and_repeat_by_seed() {
        let places = || Places::new(2, 10, Order::Random(7));
        let (mut once, mut again) = (places(), places());
        let mut seen = [0; 10];
        for turn in 0..1000 {
            let place = once.next();
            assert_eq!(place, again.next());
            assert_eq!(place.file, turn % 2);
            seen[place.block as usize] += 1;
        }
        assert!(seen.iter().all(|&count| count > 50), "{seen:?}");
    }

    #[test]
    fn sequential_places_cover_each_file_and_start_over() {
        let mut places = Places::new(2, 2, Order::Sequential(0));
        let row: Vec<_> = (0..5).map(|_| places.next()).collect();
        let place = |file, block| Place { file, block };
        let expected = [
            place(0, 0),
            place(1, 0),
            place(0, 1),
            place(1, 1),
            place(0, 0),
        ];
        assert_eq!(row, expected);
    }

    #[test]
    fn content_tells_places_and_seeds_apart() {
        let place = Place { file: 1, block: 5 };
        let mut words = [0; 64];
        Content::new(3).lay_down(place, &mut words);
        assert!(Content::new(3).is_at(place, &words));
        assert!(!Content::new(4).is_at(place, &words));
        for other in [Place { file: 0, ..place }, Place { block: 6, ..place }] {
            assert!(!Content::new(3).is_at(other, &words));
        }
        words[63] ^= 1;
        assert!(!Content::new(3).is_at(place, &words));
    }

    #[test]
    fn a_place_fits_a_word() {
        let place = Place {
            file: 3,
            block: u32::MAX,
        };
        assert_eq!(Place::unpack(place.pack()), place);
    }
}
