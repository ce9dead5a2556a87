// SPDX-License-Identifier: GPL-2.0-only

//! The figures as pictures.

use std::path::Path;

use anyhow::{anyhow, Result};
use plotters::prelude::*;

use super::figures::{Figures, Series};
use super::plan::{curve_loads, DELAYED_DEVICES, DEVICE_LOADS};
use super::point::{Device, Engine, Load, Point};
use super::results::latency;
use crate::build::Flavour;

/// A line: its name, its colour, and where it goes.
struct Curve {
    name: String,
    color: RGBColor,
    points: Vec<(f64, f64)>,
}

const SIZE: (u32, u32) = (820, 460);
const FONT: &str = "sans-serif";

/// The lines of the plots: which engine on which kernel, in which colour.
const LINES: [(Flavour, Engine, RGBColor); 6] = [
    (Flavour::C, Engine::Aio, RGBColor(0x7f, 0x7f, 0x7f)),
    (Flavour::Rust, Engine::Aio, RGBColor(0x1f, 0x77, 0xb4)),
    (Flavour::Rust, Engine::AioHipri, RGBColor(0xd6, 0x27, 0x28)),
    (Flavour::C, Engine::Uring, RGBColor(0xbc, 0xbd, 0x22)),
    (Flavour::C, Engine::UringPoll, RGBColor(0x2c, 0xa0, 0x2c)),
    (
        Flavour::C,
        Engine::UringPollFixed,
        RGBColor(0x94, 0x67, 0xbd),
    ),
];

/// The bars that are nowhere but in the plot of the delayed disks.
const HYBRID_LINES: [(Flavour, Engine, RGBColor); 2] = [
    (
        Flavour::Rust,
        Engine::AioHipriHybrid,
        RGBColor(0xff, 0x7f, 0x0e),
    ),
    (
        Flavour::C,
        Engine::UringPollHybrid,
        RGBColor(0x98, 0xdf, 0x8a),
    ),
];

/// Draws the plots of what was measured into `folder` and returns their names.
pub fn draw(figures: &Figures, folder: &Path) -> Result<Vec<&'static str>> {
    let is_measured = |device| figures.series().iter().any(|s| s.point.device == device);
    let plots: [(&str, Device, Plot); 4] = [
        ("bench-depth.svg", Device::NullBlk, draw_depth),
        ("bench-latency.svg", Device::Nvme, draw_latency),
        ("bench-interrupts.svg", Device::Nvme, draw_interrupts),
        ("bench-delayed.svg", DELAYED_DEVICES[0], draw_delayed),
    ];
    let mut drawn = Vec::new();
    for (name, device, plot) in plots {
        if is_measured(device) {
            plot(figures, &folder.join(name)).map_err(|error| anyhow!("{name}: {error}"))?;
            drawn.push(name);
        }
    }
    Ok(drawn)
}

/// Draws one plot into a file.
type Plot = fn(&Figures, &Path) -> Drawn;

/// What plotters fails with has a different type for every backend.
type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

/// Instructions per I/O over the I/Os in flight.
fn draw_depth(figures: &Figures, path: &Path) -> Drawn {
    let curves = depth_curves(figures);
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(
            "Instructions per I/O, null_blk of 64 tags, 4 KiB random reads",
            (FONT, 18),
        )
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d((1f64..4096f64).log_scale().base(2.0), 0f64..top(&curves))?;
    chart
        .configure_mesh()
        .x_desc("I/Os in flight, in batches of 32 at most")
        .y_desc("instructions")
        .x_label_formatter(&|depth| format!("{depth:.0}"))
        .y_label_formatter(&|instructions| format!("{instructions:.0}"))
        .light_line_style(WHITE)
        .draw()?;
    for curve in &curves {
        let color = curve.color;
        chart
            .draw_series(LineSeries::new(curve.points.clone(), color.stroke_width(2)))?
            .label(&curve.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
        let dots = curve.points.iter();
        chart.draw_series(dots.map(|&at| Circle::new(at, 3, color.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.mix(0.9))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    Ok(area.present()?)
}

fn depth_curves(figures: &Figures) -> Vec<Curve> {
    let curve = |(kernel, engine, color): (Flavour, Engine, RGBColor)| {
        let point = |load: Load| {
            let point = Point::new(engine, Device::NullBlk, load);
            let found = figures.median(kernel, point, |sample| Some(sample.instructions()))?;
            Some((f64::from(load.depth), found.median))
        };
        Curve {
            name: line_name(kernel, engine),
            color,
            points: curve_loads().filter_map(point).collect(),
        }
    };
    LINES.into_iter().map(curve).collect()
}

/// The top of an axis on which all curves fit.
fn top(curves: &[Curve]) -> f64 {
    let values = curves.iter().flat_map(|curve| &curve.points);
    1.08 * values.map(|point| point.1).fold(1.0, f64::max)
}

/// How lengths become heights.
#[derive(Clone, Copy)]
enum Scale {
    /// The axis names lengths with so many decimals.
    Linear { decimals: usize },
    /// In powers of ten, from the first one.
    Logarithmic,
}

impl Scale {
    fn height(self, length: f64) -> f64 {
        match self {
            Self::Linear { .. } => length,
            Self::Logarithmic => length.log10().max(1.0),
        }
    }

    /// The range that shows lengths up to `longest` and leaves room for the names above.
    fn range(self, longest: f64) -> std::ops::Range<f64> {
        match self {
            Self::Linear { .. } => 0.0..1.4 * longest.max(1e-3),
            Self::Logarithmic => 1.0..1.0 + 1.4 * (self.height(longest) - 1.0).max(1.0),
        }
    }

    fn label(self, height: f64) -> String {
        match self {
            Self::Linear { decimals } => format!("{height:.decimals$}"),
            Self::Logarithmic => format!("{:.0}", 10f64.powf(height)),
        }
    }
}

/// Lengths of a series' bars, one for each group; none if they were not measured.
type Lengths = fn(&Series) -> Option<Vec<f64>>;

/// The percentiles of latency at each load of the device.
fn draw_latency(figures: &Figures, path: &Path) -> Drawn {
    let lengths: Lengths = |series| {
        let found = latency(series)?;
        let percentiles = [found.p50, found.p90, found.p99, found.p999];
        Some(percentiles.map(micros).to_vec())
    };
    let groups = ["50%", "90%", "99%", "99.9%"].map(str::to_owned).to_vec();
    draw_side_by_side(
        "Latency in microseconds, emulated NVMe",
        &load_diagrams(figures, &groups, Scale::Logarithmic, lengths),
        path,
    )
}

/// Interrupts of the device's queues per I/O.
fn draw_interrupts(figures: &Figures, path: &Path) -> Drawn {
    let lengths: Lengths = |series| Some(vec![series.median(|sample| sample.irqs_per_io)?.median]);
    draw_side_by_side(
        "Interrupts per I/O, emulated NVMe",
        &load_diagrams(
            figures,
            &[String::new()],
            Scale::Linear { decimals: 2 },
            lengths,
        ),
        path,
    )
}

/// Processor time and latency on the delayed disks.
fn draw_delayed(figures: &Figures, path: &Path) -> Drawn {
    let processor_time: Lengths = |series| {
        Some(vec![micros(
            series.median(|sample| Some(sample.cpu_ns()))?.median,
        )])
    };
    let latencies: Lengths = |series| {
        let found = latency(series)?;
        Some(vec![micros(found.p50), micros(found.p90)])
    };
    let diagram = |caption: &str, percentiles: &[&str], lengths| Diagram {
        caption: caption.to_owned(),
        groups: DELAYED_DISKS
            .iter()
            .flat_map(|(_, delay)| {
                percentiles
                    .iter()
                    .map(move |share| format!("{share}{delay}"))
            })
            .collect(),
        scale: Scale::Linear { decimals: 0 },
        bars: delayed_bars(figures, lengths),
        legend: SeriesLabelPosition::UpperLeft,
    };
    draw_side_by_side(
        "Microseconds per I/O, disks of a delay, one I/O after the other",
        &[
            diagram("processor time", &[""], processor_time),
            diagram("latency", &["50%, ", "90%, "], latencies),
        ],
        path,
    )
}

/// The delayed disks, and how long their I/O takes.
const DELAYED_DISKS: [(Device, &str); 2] =
    [(DELAYED_DEVICES[0], "200 us"), (DELAYED_DEVICES[1], "1 ms")];

/// The bars of each engine, those of one disk after those of the other.
fn delayed_bars(figures: &Figures, lengths: Lengths) -> Vec<Bars> {
    let on = |device| {
        figures
            .series()
            .iter()
            .filter(move |s| s.point.device == device)
    };
    let bars = |first: &Series| {
        let is_same = |other: &&Series| {
            (other.kernel, other.point.engine) == (first.kernel, first.point.engine)
        };
        let of_disk = |(device, _)| on(device).find(is_same).and_then(lengths);
        let all = DELAYED_DISKS
            .map(of_disk)
            .into_iter()
            .collect::<Option<Vec<_>>>()?;
        Some(Bars::of(first, all.concat()))
    };
    on(DELAYED_DISKS[0].0).filter_map(bars).collect()
}

fn micros(ns: f64) -> f64 {
    ns / 1e3
}

/// Groups of bars.
struct Diagram {
    caption: String,
    groups: Vec<String>,
    scale: Scale,
    bars: Vec<Bars>,
    legend: SeriesLabelPosition,
}

/// The bars of one colour, one in each group.
struct Bars {
    name: String,
    color: RGBColor,
    lengths: Vec<f64>,
}

impl Bars {
    fn of(series: &Series, lengths: Vec<f64>) -> Self {
        let (kernel, engine) = (series.kernel, series.point.engine);
        let mut lines = LINES.iter().chain(&HYBRID_LINES);
        let line = lines.find(|line| (line.0, line.1) == (kernel, engine));
        Self {
            name: line_name(kernel, engine),
            color: line.map_or(BLACK, |line| line.2),
            lengths,
        }
    }
}

/// A diagram for each load of the device.
fn load_diagrams(
    figures: &Figures,
    groups: &[String],
    scale: Scale,
    lengths: Lengths,
) -> [Diagram; DEVICE_LOADS.len()] {
    DEVICE_LOADS.map(|load| Diagram {
        caption: format!("depth {}, batches of {}", load.depth, load.batch),
        groups: groups.to_vec(),
        scale,
        bars: device_series(figures, load)
            .filter_map(|series| Some(Bars::of(series, lengths(series)?)))
            .collect(),
        legend: SeriesLabelPosition::UpperRight,
    })
}

/// Where a diagram goes.
type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

fn draw_side_by_side(title: &str, diagrams: &[Diagram], path: &Path) -> Drawn {
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let titled = area.titled(title, (FONT, 18))?;
    let parts = titled.split_evenly((1, diagrams.len()));
    for (part, diagram) in parts.iter().zip(diagrams) {
        diagram.draw(part)?;
    }
    Ok(area.present()?)
}

impl Diagram {
    fn draw(&self, area: &Area) -> Drawn {
        let all = self.bars.iter().flat_map(|bars| &bars.lengths);
        let range = self.scale.range(all.copied().fold(0.0, f64::max));
        let bottom = range.start;
        let mut chart = ChartBuilder::on(area)
            .caption(&self.caption, (FONT, 14))
            .margin(10)
            .x_label_area_size(30)
            .y_label_area_size(50)
            .build_cartesian_2d(0f64..self.groups.len() as f64, range)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(WHITE)
            .x_labels(2 * self.groups.len() + 1)
            .x_label_formatter(&|&at| group_label(&self.groups, at))
            .y_label_formatter(&|&height| self.scale.label(height))
            .draw()?;
        let width = 0.8 / self.bars.len() as f64;
        for (index, bars) in self.bars.iter().enumerate() {
            let color = bars.color;
            let bar = |(group, &length): (usize, &f64)| {
                let left = group as f64 + 0.1 + width * index as f64;
                let height = self.scale.height(length);
                Rectangle::new(
                    [(left, bottom), (left + 0.9 * width, height)],
                    color.filled(),
                )
            };
            chart
                .draw_series(bars.lengths.iter().enumerate().map(bar))?
                .label(&bars.name)
                .legend(move |(x, y)| {
                    Rectangle::new([(x, y - 5), (x + 12, y + 5)], color.filled())
                });
        }
        chart
            .configure_series_labels()
            .position(self.legend.clone())
            .background_style(WHITE.mix(0.9))
            .border_style(BLACK.mix(0.3))
            .draw()?;
        Ok(())
    }
}

/// The name of a group at its middle, and nothing elsewhere.
fn group_label(groups: &[String], at: f64) -> String {
    let is_middle = (at.fract() - 0.5).abs() < 1e-6;
    let group = groups.get(at as usize).filter(|_| is_middle);
    group.cloned().unwrap_or_default()
}

fn device_series(figures: &Figures, load: Load) -> impl Iterator<Item = &Series> {
    figures
        .series()
        .iter()
        .filter(move |series| series.point.device == Device::Nvme && series.point.load == load)
}

fn line_name(kernel: Flavour, engine: Engine) -> String {
    match (kernel, engine) {
        (Flavour::C, Engine::Aio) => "AIO, C".to_owned(),
        (Flavour::Rust, Engine::Aio) => "AIO, Rust".to_owned(),
        (Flavour::Rust, Engine::AioHipri) => "AIO, Rust, polled".to_owned(),
        (Flavour::Rust, Engine::AioHipriHybrid) => "AIO, Rust, hybrid".to_owned(),
        (_, Engine::UringPollHybrid) => "io_uring, hybrid".to_owned(),
        (_, Engine::UringPoll) => "io_uring, polled".to_owned(),
        (_, Engine::UringPollFixed) => "io_uring, polled, registered".to_owned(),
        (_, engine) => engine.name().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::sample;
    use super::super::plan::{counted_points, delayed_points, device_points};
    use super::super::sample::{Latency, Sample};
    use super::*;

    fn figures() -> Figures {
        let mut figures = Figures::default();
        for kernel in [Flavour::C, Flavour::Rust] {
            let points = counted_points(kernel);
            figures.add(kernel, &points, &vec![sample(4000.0); points.len()]);
            let latency = Latency {
                mean: 6e4,
                p50: 5e4,
                p90: 7e4,
                p99: 8e4,
                p999: 9e4,
                max: 1e6,
            };
            let timed = Sample {
                irqs_per_io: Some(0.5),
                latency_ns: Some(latency),
                ..sample(4000.0)
            };
            let points = device_points(kernel);
            figures.add(kernel, &points, &vec![timed; points.len()]);
            let points = delayed_points(kernel);
            figures.add(kernel, &points, &vec![timed; points.len()]);
        }
        figures
    }

    #[test]
    fn plots_show_every_line_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let names = draw(&figures(), folder.path()).unwrap();
        let text = |name| std::fs::read_to_string(folder.path().join(name)).unwrap();
        for (kernel, engine, _) in LINES {
            assert!(text(names[0]).contains(&line_name(kernel, engine)));
        }
        for (kernel, engine, _) in HYBRID_LINES {
            assert!(text(names[3]).contains(&line_name(kernel, engine)));
        }
        assert!(text(names[3]).contains("90%, 1 ms"));
        for name in &names[1..] {
            assert!(text(name).contains("AIO, Rust, polled"));
            assert!(text(name).contains("AIO, C"));
        }
        assert!(text(names[1]).contains("99.9%"));
    }

    #[test]
    fn only_what_was_measured_is_drawn() {
        let folder = tempfile::tempdir().unwrap();
        let drawn = |figures: &Figures| draw(figures, folder.path()).unwrap();
        assert!(drawn(&Figures::default()).is_empty());
        let mut figures = Figures::default();
        let points = device_points(Flavour::C);
        figures.add(Flavour::C, &points[..1], &[sample(4000.0)]);
        assert_eq!(
            drawn(&figures),
            ["bench-latency.svg", "bench-interrupts.svg"]
        );
    }

    #[test]
    fn bars_have_a_height_and_room_above() {
        for scale in [Scale::Linear { decimals: 2 }, Scale::Logarithmic] {
            for longest in [0.0, 0.5, 5.0, 9000.0] {
                let range = scale.range(longest);
                assert!(scale.height(longest) >= range.start);
                assert!(scale.height(longest) < range.end);
            }
        }
        assert_eq!(
            Scale::Logarithmic.label(Scale::Logarithmic.height(250.0)),
            "250"
        );
    }

    #[test]
    fn a_group_is_named_at_its_middle() {
        let groups = ["a", "b"].map(str::to_owned);
        assert_eq!(group_label(&groups, 1.5), "b");
        assert_eq!(group_label(&groups, 1.0), "");
        assert_eq!(group_label(&groups, 2.5), "");
    }
}
