// SPDX-License-Identifier: GPL-2.0-only

//! All that was measured: for each kernel and point a sample of every boot.

use super::median::Median;
use super::point::Point;
use super::sample::Sample;
use crate::build::Flavour;

/// The samples of one point on one kernel.
#[derive(Clone, Debug)]
pub struct Series {
    /// Which fs/aio the kernel has.
    pub kernel: Flavour,
    /// What was run.
    pub point: Point,
    /// One sample of each boot.
    pub samples: Vec<Sample>,
}

/// Series, in the order in which their points were first measured.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    series: Vec<Series>,
}

impl Figures {
    /// Adds the samples of one boot, one for each of `points`.
    pub fn add(&mut self, kernel: Flavour, points: &[Point], samples: &[Sample]) {
        for (point, sample) in points.iter().zip(samples) {
            let known = |series: &&mut Series| series.kernel == kernel && series.point == *point;
            match self.series.iter_mut().find(known) {
                Some(series) => series.samples.push(*sample),
                None => self.series.push(Series {
                    kernel,
                    point: *point,
                    samples: vec![*sample],
                }),
            }
        }
    }

    /// All series.
    pub fn series(&self) -> &[Series] {
        &self.series
    }

    /// The median of what `value` takes from the samples of a point; none if that was not measured.
    pub fn median(
        &self,
        kernel: Flavour,
        point: Point,
        value: impl Fn(&Sample) -> Option<f64>,
    ) -> Option<Median> {
        self.series
            .iter()
            .find(|series| series.kernel == kernel && series.point == point)?
            .median(value)
    }
}

impl Series {
    /// The median of what `value` takes from the samples.
    pub fn median(&self, value: impl Fn(&Sample) -> Option<f64>) -> Option<Median> {
        Median::of(self.samples.iter().filter_map(value))
    }
}

#[cfg(test)]
pub mod tests {
    use super::super::point::{Device, Engine, Load};
    use super::*;

    /// A sample of which only the number of instructions matters.
    pub fn sample(instructions: f64) -> Sample {
        Sample {
            iops: 1e9 / instructions,
            ns_per_io: 2.0 * instructions,
            ticks_per_io: 2.0 * instructions,
            user_ns_per_io: 0.0,
            system_ns_per_io: 2.0 * instructions,
            ctxsw_per_io: 0.0,
            irqs_per_io: None,
            latency_ns: None,
        }
    }

    #[test]
    fn samples_of_a_point_come_together() {
        let point = |depth| Point::new(Engine::Aio, Device::NullBlk, Load::new(depth, 1));
        let points = [point(1), point(2)];
        let mut figures = Figures::default();
        for boot in [1.0, 5.0, 3.0] {
            figures.add(Flavour::C, &points, &[sample(boot), sample(boot + 1.0)]);
        }
        figures.add(Flavour::Rust, &points[..1], &[sample(9.0)]);
        assert_eq!(figures.series().len(), 3);
        let instructions = |sample: &Sample| Some(sample.instructions());
        let median = |kernel, point| {
            figures
                .median(kernel, point, instructions)
                .map(|found| found.median)
        };
        assert_eq!(median(Flavour::C, points[1]), Some(4.0));
        assert_eq!(median(Flavour::Rust, points[0]), Some(9.0));
        assert_eq!(median(Flavour::Rust, points[1]), None);
    }
}
