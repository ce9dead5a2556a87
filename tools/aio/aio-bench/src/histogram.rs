// SPDX-License-Identifier: GPL-2.0-only

//! A histogram of times over the whole range of 64 bits, exact to three per cent.

/// Each power of two is cut into this many buckets.
const PARTS: u64 = 32;
const PART_BITS: u32 = PARTS.trailing_zeros();
const BUCKETS: usize = ((64 - PART_BITS + 1) as usize) << PART_BITS;

/// How often each time occurred.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Box<[u64]>,
    total: u64,
    sum: u128,
    max: u64,
}

impl Histogram {
    /// An empty one.
    pub fn new() -> Self {
        Self {
            counts: vec![0; BUCKETS].into(),
            total: 0,
            sum: 0,
            max: 0,
        }
    }

    /// Counts one time.
    #[inline]
    pub fn record(&mut self, time: u64) {
        self.counts[bucket(time)] += 1;
        self.total += 1;
        self.sum += u128::from(time);
        self.max = self.max.max(time);
    }

    /// Counts all that `other` has counted.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.total += other.total;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
    }

    /// The time that `share` (0 to 1) of all times do not exceed; none if there are none.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let rank = ((self.total as f64 * share).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        let reached = |count: &u64| {
            seen += count;
            seen >= rank
        };
        let index = self.counts.iter().position(reached)?;
        Some(last_of(index).min(self.max))
    }

    /// The longest time.
    pub fn max(&self) -> Option<u64> {
        (self.total > 0).then_some(self.max)
    }

    /// The arithmetic mean.
    pub fn mean(&self) -> Option<f64> {
        (self.total > 0).then(|| self.sum as f64 / self.total as f64)
    }
}

fn bucket(time: u64) -> usize {
    if time < PARTS {
        return time as usize;
    }
    let power = time.ilog2() - PART_BITS;
    let part = (time >> power) & (PARTS - 1);
    (u64::from(power + 1) << PART_BITS) as usize + part as usize
}

/// The longest time that falls into a bucket.
fn last_of(index: usize) -> u64 {
    let index = index as u64;
    if index < PARTS {
        return index;
    }
    let power = (index >> PART_BITS) - 1;
    let first = (PARTS + (index & (PARTS - 1))) << power;
    first + ((1 << power) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_without_a_gap() {
        for index in 0..BUCKETS - 1 {
            let last = last_of(index);
            assert_eq!(bucket(last), index);
            assert_eq!(bucket(last + 1), index + 1);
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        assert_eq!(last_of(BUCKETS - 1), u64::MAX);
    }

    #[test]
    fn quantiles_are_exact_to_three_per_cent() {
        let mut histogram = Histogram::new();
        for time in 1..=100_000 {
            histogram.record(time);
        }
        for (share, expected) in [(0.5, 50_000.0), (0.99, 99_000.0), (0.999, 99_900.0)] {
            let found = histogram.quantile(share).unwrap() as f64;
            assert!((found / expected - 1.0).abs() < 0.033, "{share}: {found}");
        }
        assert_eq!(histogram.quantile(1.0), Some(100_000));
        assert_eq!(histogram.quantile(0.0), Some(1));
        assert_eq!(histogram.max(), Some(100_000));
        assert_eq!(histogram.mean(), Some(50_000.5));
    }

    #[test]
    fn an_empty_one_knows_nothing() {
        let histogram = Histogram::new();
        assert_eq!((histogram.quantile(0.5), histogram.max()), (None, None));
    }

    #[test]
    fn histograms_add_up() {
        let (mut one, mut other) = (Histogram::new(), Histogram::new());
        one.record(10);
        other.record(20);
        other.record(20);
        one.add(&other);
        assert_eq!(one.quantile(0.5), Some(20));
        assert_eq!(one.quantile(0.3), Some(10));
        assert_eq!(one.max(), Some(20));
    }
}
