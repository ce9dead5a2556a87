// SPDX-License-Identifier: GPL-2.0-only

//! The figures as pictures.

use std::path::Path;

use anyhow::{anyhow, Result};
use plotters::prelude::*;

use super::figures::{Figures, Series};
use super::plan::{curve_loads, DEVICE_LOADS};
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

/// Draws the plots of what was measured into `folder` and returns their names.
pub fn draw(figures: &Figures, folder: &Path) -> Result<Vec<&'static str>> {
    let is_measured = |device| figures.series().iter().any(|s| s.point.device == device);
    let plots: [(&str, Device, Plot); 3] = [
        ("bench-depth.svg", Device::NullBlk, draw_depth),
        ("bench-latency.svg", Device::Nvme, draw_latency),
        ("bench-interrupts.svg", Device::Nvme, draw_interrupts),
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
    Linear,
    /// In powers of ten, from the first one.
    Logarithmic,
}

impl Scale {
    fn height(self, length: f64) -> f64 {
        match self {
            Self::Linear => length,
            Self::Logarithmic => length.log10().max(1.0),
        }
    }

    /// The range that shows lengths up to `longest` and leaves room for the names above.
    fn range(self, longest: f64) -> std::ops::Range<f64> {
        match self {
            Self::Linear => 0.0..1.4 * longest.max(1e-3),
            Self::Logarithmic => 1.0..1.0 + 1.4 * (self.height(longest) - 1.0).max(1.0),
        }
    }

    fn label(self, height: f64) -> String {
        match self {
            Self::Linear => format!("{height:.2}"),
            Self::Logarithmic => format!("{:.0}", 10f64.powf(height)),
        }
    }
}

/// Groups of bars, in a diagram for each load of the device.
struct BarPlot {
    title: &'static str,
    groups: &'static [&'static str],
    scale: Scale,
    /// The lengths of a series' bars, one for each group; none if they were not measured.
    lengths: fn(&Series) -> Option<Vec<f64>>,
}

/// The percentiles of latency at each load of the device.
fn draw_latency(figures: &Figures, path: &Path) -> Drawn {
    let plot = BarPlot {
        title: "Latency in microseconds, emulated NVMe",
        groups: &["50%", "90%", "99%", "99.9%"],
        scale: Scale::Logarithmic,
        lengths: |series| {
            let found = latency(series)?;
            let percentiles = [found.p50, found.p90, found.p99, found.p999];
            Some(percentiles.map(|ns| ns / 1e3).to_vec())
        },
    };
    plot.draw(figures, path)
}

/// Interrupts of the device's queues per I/O.
fn draw_interrupts(figures: &Figures, path: &Path) -> Drawn {
    let plot = BarPlot {
        title: "Interrupts per I/O, emulated NVMe",
        groups: &[""],
        scale: Scale::Linear,
        lengths: |series| Some(vec![series.median(|sample| sample.irqs_per_io)?.median]),
    };
    plot.draw(figures, path)
}

/// Where a diagram goes.
type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

impl BarPlot {
    fn draw(&self, figures: &Figures, path: &Path) -> Drawn {
        let area = SVGBackend::new(path, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let titled = area.titled(self.title, (FONT, 18))?;
        let halves = titled.split_evenly((1, DEVICE_LOADS.len()));
        for (half, load) in halves.iter().zip(DEVICE_LOADS) {
            self.draw_load(figures, load, half)?;
        }
        Ok(area.present()?)
    }

    fn draw_load(&self, figures: &Figures, load: Load, area: &Area) -> Drawn {
        let bars: Vec<_> = device_series(figures, load)
            .filter_map(|series| Some((series, (self.lengths)(series)?)))
            .collect();
        let longest = bars.iter().flat_map(|(_, lengths)| lengths);
        let range = self.scale.range(longest.copied().fold(0.0, f64::max));
        let bottom = range.start;
        let caption = format!("depth {}, batches of {}", load.depth, load.batch);
        let mut chart = ChartBuilder::on(area)
            .caption(caption, (FONT, 14))
            .margin(10)
            .x_label_area_size(30)
            .y_label_area_size(50)
            .build_cartesian_2d(0f64..self.groups.len() as f64, range)?;
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(WHITE)
            .x_labels(2 * self.groups.len() + 1)
            .x_label_formatter(&|&at| group_label(self.groups, at))
            .y_label_formatter(&|&height| self.scale.label(height))
            .draw()?;
        let width = 0.8 / bars.len() as f64;
        for (index, (series, lengths)) in bars.iter().enumerate() {
            let (name, color) = named(series);
            let bar = |(group, &length): (usize, &f64)| {
                let left = group as f64 + 0.1 + width * index as f64;
                let height = self.scale.height(length);
                Rectangle::new(
                    [(left, bottom), (left + 0.9 * width, height)],
                    color.filled(),
                )
            };
            chart
                .draw_series(lengths.iter().enumerate().map(bar))?
                .label(name)
                .legend(move |(x, y)| {
                    Rectangle::new([(x, y - 5), (x + 12, y + 5)], color.filled())
                });
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperRight)
            .background_style(WHITE.mix(0.9))
            .border_style(BLACK.mix(0.3))
            .draw()?;
        Ok(())
    }
}

/// The name of a group at its middle, and nothing elsewhere.
fn group_label(groups: &[&str], at: f64) -> String {
    let is_middle = (at.fract() - 0.5).abs() < 1e-6;
    let group = groups.get(at as usize).filter(|_| is_middle);
    group.unwrap_or(&"").to_string()
}

fn device_series(figures: &Figures, load: Load) -> impl Iterator<Item = &Series> {
    figures
        .series()
        .iter()
        .filter(move |series| series.point.device == Device::Nvme && series.point.load == load)
}

fn named(series: &Series) -> (String, RGBColor) {
    let (kernel, engine) = (series.kernel, series.point.engine);
    let line = LINES
        .iter()
        .find(|line| (line.0, line.1) == (kernel, engine));
    (line_name(kernel, engine), line.map_or(BLACK, |line| line.2))
}

fn line_name(kernel: Flavour, engine: Engine) -> String {
    match (kernel, engine) {
        (Flavour::C, Engine::Aio) => "AIO, C".to_owned(),
        (Flavour::Rust, Engine::Aio) => "AIO, Rust".to_owned(),
        (Flavour::Rust, Engine::AioHipri) => "AIO, Rust, polled".to_owned(),
        (_, Engine::UringPoll) => "io_uring, polled".to_owned(),
        (_, Engine::UringPollFixed) => "io_uring, polled, registered".to_owned(),
        (_, engine) => engine.name().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::sample;
    use super::super::plan::{counted_points, device_points};
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
        for scale in [Scale::Linear, Scale::Logarithmic] {
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
        assert_eq!(group_label(&["a", "b"], 1.5), "b");
        assert_eq!(group_label(&["a", "b"], 1.0), "");
        assert_eq!(group_label(&["a", "b"], 2.5), "");
    }
}
