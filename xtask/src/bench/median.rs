// SPDX-License-Identifier: GPL-2.0-only

//! The median of a few measurements, and how far they lie apart.

use serde::Serialize;

/// A median and the extremes around it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Median {
    /// As many values lie above as below.
    pub median: f64,
    /// The least value.
    pub low: f64,
    /// The greatest value.
    pub high: f64,
}

impl Median {
    /// The median of `values`; none if there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values = values.into_iter().collect::<Vec<_>>();
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let upper = *values.get(middle)?;
        let lower = values[(values.len() - 1) / 2];
        Some(Self {
            median: (lower + upper) / 2.0,
            low: *values.first()?,
            high: *values.last()?,
        })
    }

    /// The distance of the extremes as a share of the median; 0 if that is 0.
    pub fn spread(&self) -> f64 {
        if self.median == 0.0 {
            return 0.0;
        }
        (self.high - self.low) / self.median
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_odd_and_even_numbers_of_values() {
        let odd = Median::of([3.0, 1.0, 2.0]).unwrap();
        assert_eq!((odd.median, odd.low, odd.high), (2.0, 1.0, 3.0));
        assert_eq!(odd.spread(), 1.0);
        assert_eq!(Median::of([4.0, 1.0, 2.0, 3.0]).unwrap().median, 2.5);
        assert_eq!(Median::of([7.0]).unwrap().spread(), 0.0);
        assert_eq!(Median::of([]), None);
    }

    #[test]
    fn one_outlier_does_not_move_it() {
        let median = Median::of([100.0, 101.0, 900.0, 99.0, 100.0]).unwrap();
        assert_eq!(median.median, 100.0);
        assert_eq!(median.high, 900.0);
    }
}
