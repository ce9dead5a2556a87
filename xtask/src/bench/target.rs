// SPDX-License-Identifier: GPL-2.0-only

//! What the figures are meant to be, and whether they are.

use std::fmt;

use serde::Serialize;

use super::figures::Figures;
use super::plan::{DEEPEST, DEVICE_LOADS, LOADS, SHARED_LOAD};
use super::point::{Device, Engine, Load, Point};
use super::sample::Sample;
use crate::build::Flavour;

/// A figure of some samples: the median of what this takes from each.
type Value = fn(&Sample) -> Option<f64>;

/// A figure: a value of a point on a kernel.
#[derive(Clone, Copy)]
struct Figure {
    kernel: Flavour,
    point: Point,
    value: Value,
}

/// The bound of a figure, or of its ratio to another.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

/// A promise about a figure.
pub struct Target {
    what: &'static str,
    figure: Figure,
    relative_to: Option<Figure>,
    bound: Bound,
}

/// Whether a promise is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It is.
    Met,
    /// It is not.
    Missed,
    /// Nothing is known of the figure.
    Unmeasured,
}

/// A target, measured.
#[derive(Clone, Debug, Serialize)]
pub struct Judgement {
    /// What is promised.
    pub target: &'static str,
    /// The load it is promised for.
    pub load: String,
    /// The figure, or the ratio.
    pub measured: Option<f64>,
    /// Its bound, such as `<= 0.97`.
    pub bound: String,
    /// Whether the bound is kept.
    pub verdict: Verdict,
}

/// Less than this is none: a lone interrupt or switch may belong to somebody else.
const NONE: f64 = 0.001;

/// What an I/O may cost more with more I/Os in flight, or more contexts, and still be called flat.
const FLAT: f64 = 1.05;

/// What cannot be told from no difference at all: two medians repeat within this.
const NOTHING_MEASURABLE: f64 = 1.005;

impl Target {
    /// Compares the figures to it.
    pub fn judge(&self, figures: &Figures) -> Judgement {
        let median = |figure: Figure| {
            let found = figures.median(figure.kernel, figure.point, figure.value)?;
            Some(found.median)
        };
        let measured = match self.relative_to {
            None => median(self.figure),
            Some(other) => median(self.figure).zip(median(other)).map(|(a, b)| a / b),
        };
        Judgement {
            target: self.what,
            load: self.figure.point.load.to_string(),
            measured,
            bound: self.bound.to_string(),
            verdict: match measured {
                None => Verdict::Unmeasured,
                Some(value) if self.bound.holds(value) => Verdict::Met,
                Some(_) => Verdict::Missed,
            },
        }
    }
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Self::AtMost(bound) => value <= bound,
            Self::AtLeast(bound) => value >= bound,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(bound) => write!(f, "<= {bound:.3}"),
            Self::AtLeast(bound) => write!(f, ">= {bound:.3}"),
        }
    }
}

impl Judgement {
    /// The head of the table whose lines judgements print as.
    pub fn header(title: &str) -> String {
        format!(
            "{title:<52} {:>10} {:>9}  {:<9} verdict",
            "load", "measured", "target"
        )
    }
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let measured = match self.measured {
            Some(value) => format!("{value:.3}"),
            None => "-".to_owned(),
        };
        let verdict = match self.verdict {
            Verdict::Met => "met",
            Verdict::Missed => "missed",
            Verdict::Unmeasured => "unmeasured",
        };
        write!(
            f,
            "{:<52} {:>10} {measured:>9}  {:<9} {verdict}",
            self.target, self.load, self.bound
        )
    }
}

/// What is promised of the counted instructions, on null_blk.
pub fn of_instructions() -> Vec<Target> {
    let mut targets = Vec::new();
    let c_aio = (Flavour::C, Engine::Aio);
    let c_poll = (Flavour::C, Engine::UringPoll);
    let aio = (Flavour::Rust, Engine::Aio);
    let hipri = (Flavour::Rust, Engine::AioHipri);
    for (what, ours, theirs, bounds) in [
        (
            "without the flag / C fs/aio.c",
            aio,
            c_aio,
            [1.0, 0.97, 0.97, 0.97],
        ),
        (
            "with the flag / io_uring IOPOLL",
            hipri,
            c_poll,
            [0.97, 0.97, 0.95, 0.50],
        ),
        (
            "with the flag / C fs/aio.c",
            hipri,
            c_aio,
            [0.93, 0.83, 0.83, 0.85],
        ),
    ] {
        for (load, bound) in LOADS.into_iter().zip(bounds) {
            targets.push(Target {
                what,
                figure: instructions(ours, load),
                relative_to: Some(instructions(theirs, load)),
                bound: Bound::AtMost(bound),
            });
        }
    }
    for (what, ours) in [
        ("without the flag / itself at (128,32)", aio),
        ("with the flag / itself at (128,32)", hipri),
    ] {
        targets.push(Target {
            what,
            figure: instructions(ours, DEEPEST),
            relative_to: Some(instructions(ours, LOADS[2])),
            bound: Bound::AtMost(FLAT),
        });
    }
    targets.extend(of_sharing(
        [
            "without the flag, 256 contexts / 1",
            "with the flag, 256 contexts / 1",
        ],
        |point| Point {
            contexts: 256,
            ..point
        },
        Bound::AtMost(FLAT),
    ));
    targets.extend(of_sharing(
        [
            "without the flag, idle second thread / none",
            "with the flag, idle second thread / none",
        ],
        |point| Point {
            idle_threads: 1,
            ..point
        },
        Bound::AtMost(NOTHING_MEASURABLE),
    ));
    targets
}

/// What a change of the contexts and threads may add, without the flag and with it.
fn of_sharing(
    what: [&'static str; 2],
    change: impl Fn(Point) -> Point,
    bound: Bound,
) -> impl Iterator<Item = Target> {
    let engines = [Engine::Aio, Engine::AioHipri];
    what.into_iter().zip(engines).map(move |(what, engine)| {
        let usual = instructions((Flavour::Rust, engine), SHARED_LOAD);
        let point = change(usual.point);
        Target {
            what,
            figure: Figure { point, ..usual },
            relative_to: Some(usual),
            bound,
        }
    })
}

fn instructions((kernel, engine): (Flavour, Engine), load: Load) -> Figure {
    Figure {
        kernel,
        point: Point::new(engine, Device::NullBlk, load),
        value: |sample| Some(sample.instructions()),
    }
}

/// What is promised on the emulated NVMe namespace.
pub fn of_device() -> Vec<Target> {
    let figure = |kernel, engine, load, value| Figure {
        kernel,
        point: Point::new(engine, Device::Nvme, load),
        value,
    };
    let ours = |load, value| figure(Flavour::Rust, Engine::AioHipri, load, value);
    let theirs = |load, value| figure(Flavour::C, Engine::Aio, load, value);
    let against_c = |what, load, value, bound| Target {
        what,
        figure: ours(load, value),
        relative_to: Some(theirs(load, value)),
        bound,
    };
    let none_of = |what, load, value| Target {
        what,
        figure: ours(load, value),
        relative_to: None,
        bound: Bound::AtMost(NONE),
    };
    let mut targets = Vec::new();
    for load in DEVICE_LOADS {
        targets.extend([
            against_c(
                "IOPS with the flag / C fs/aio.c",
                load,
                |sample| Some(sample.iops),
                Bound::AtLeast(1.25),
            ),
            against_c(
                "CPU time per I/O with the flag / C fs/aio.c",
                load,
                |sample| Some(sample.cpu_ns()),
                Bound::AtMost(1.0),
            ),
            none_of("interrupts per I/O with the flag", load, |sample| {
                sample.irqs_per_io
            }),
            none_of("context switches per I/O with the flag", load, |sample| {
                Some(sample.ctxsw_per_io)
            }),
        ]);
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::sample;
    use super::*;

    fn figures(kernel: Flavour, engine: Engine, load: Load, instructions: &[f64]) -> Figures {
        let mut figures = Figures::default();
        for &count in instructions {
            let point = Point::new(engine, Device::NullBlk, load);
            figures.add(kernel, &[point], &[sample(count)]);
        }
        figures
    }

    #[test]
    fn a_ratio_of_medians_is_judged() {
        let target = &of_instructions()[1];
        let mut both = figures(Flavour::C, Engine::Aio, LOADS[1], &[990.0, 1000.0, 1900.0]);
        assert_eq!(target.judge(&both).verdict, Verdict::Unmeasured);
        let point = Point::new(Engine::Aio, Device::NullBlk, LOADS[1]);
        both.add(Flavour::Rust, &[point], &[sample(970.0)]);
        let judgement = target.judge(&both);
        assert_eq!(judgement.verdict, Verdict::Met);
        let text = judgement.to_string();
        assert!(
            text.contains("(16,16)") && text.ends_with("0.970  <= 0.970  met"),
            "{text}"
        );
        both.add(Flavour::Rust, &[point], &[sample(972.0)]);
        assert_eq!(target.judge(&both).verdict, Verdict::Missed);
    }

    #[test]
    fn a_bound_is_kept_on_its_side() {
        assert!(Bound::AtMost(1.0).holds(1.0) && !Bound::AtMost(1.0).holds(1.01));
        assert!(Bound::AtLeast(1.25).holds(1.25) && !Bound::AtLeast(1.25).holds(1.24));
    }

    #[test]
    fn what_is_not_known_is_not_none() {
        let targets = of_device();
        let interrupts = targets
            .iter()
            .find(|target| target.what.starts_with("interrupts"))
            .unwrap();
        let mut figures = Figures::default();
        figures.add(Flavour::Rust, &[interrupts.figure.point], &[sample(1.0)]);
        assert_eq!(interrupts.judge(&figures).verdict, Verdict::Unmeasured);
    }

    #[test]
    fn every_target_is_of_a_point_that_is_measured() {
        use super::super::plan::{counted_points, device_points};
        for (targets, points) in [
            (
                of_instructions(),
                counted_points as fn(Flavour) -> Vec<Point>,
            ),
            (of_device(), device_points),
        ] {
            for target in targets {
                for figure in [Some(target.figure), target.relative_to]
                    .into_iter()
                    .flatten()
                {
                    assert!(
                        points(figure.kernel).contains(&figure.point),
                        "{}",
                        target.what
                    );
                }
            }
        }
    }
}
