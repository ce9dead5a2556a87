// SPDX-License-Identifier: GPL-2.0-only

//! The figures as tables for people.

use std::fmt;

use super::figures::{Figures, Series};
use super::median::Median;
use super::plan::{CONTEXTS, DEEPEST, LOADS, SHARED_LOAD, THREADS};
use super::point::{Device, Point};
use super::results::latency;

/// Lines of cells, the first being the head; columns are as wide as they must be.
pub struct Table {
    lines: Vec<Vec<String>>,
}

impl Table {
    fn new(title: &str, columns: impl IntoIterator<Item = String>) -> Self {
        let mut table = Self { lines: Vec::new() };
        table.add(title.to_owned(), columns);
        table
    }

    fn add(&mut self, name: String, cells: impl IntoIterator<Item = String>) {
        self.lines.push([name].into_iter().chain(cells).collect());
    }

    fn width(&self, column: usize) -> usize {
        let cells = self.lines.iter().filter_map(|line| line.get(column));
        cells.map(String::len).max().unwrap_or(0)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.lines {
            for (column, cell) in line.iter().enumerate() {
                let width = self.width(column);
                match column {
                    0 => write!(f, "{cell:<width$}")?,
                    _ => write!(f, "  {cell:>width$}")?,
                }
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// Instructions per I/O by load.
pub fn of_loads(figures: &Figures, device: Device) -> Table {
    let loads = LOADS.into_iter().chain([DEEPEST]);
    let columns = loads.clone().map(|load| load.to_string());
    let title = format!("instructions per I/O, {}", device.name());
    let change = move |point| loads.clone().map(move |load| Point { load, ..point });
    counted(figures, &title, columns, device, change)
}

/// Instructions per I/O by the number of contexts that a thread uses in turns.
pub fn of_contexts(figures: &Figures) -> Table {
    let change = |point| CONTEXTS.map(|contexts| Point { contexts, ..point });
    counted_under_sharing(figures, "contexts", &CONTEXTS, change)
}

/// Instructions per I/O by the number of threads on one context.
pub fn of_threads(figures: &Figures) -> Table {
    let change = |point| THREADS.map(|threads| Point { threads, ..point });
    counted_under_sharing(figures, "threads", &THREADS, change)
}

/// Instructions per I/O by the number of further threads that sleep.
pub fn of_idle_threads(figures: &Figures) -> Table {
    const IDLE: [u32; 2] = [0, 1];
    let change = |point| {
        IDLE.map(|idle_threads| Point {
            idle_threads,
            ..point
        })
    };
    counted_under_sharing(figures, "idle threads", &IDLE, change)
}

fn counted_under_sharing<const N: usize>(
    figures: &Figures,
    what: &str,
    values: &[u32; N],
    change: impl Fn(Point) -> [Point; N],
) -> Table {
    let title = format!("instructions per I/O, {SHARED_LOAD}, {what}");
    let columns = values.iter().map(u32::to_string);
    let change = |point: Point| {
        let load = SHARED_LOAD;
        change(Point { load, ..point })
    };
    counted(figures, &title, columns, Device::NullBlk, change)
}

/// A line for each engine of each kernel of which all the changed points were measured.
fn counted<P: IntoIterator<Item = Point>>(
    figures: &Figures,
    title: &str,
    columns: impl IntoIterator<Item = String>,
    device: Device,
    change: impl Fn(Point) -> P,
) -> Table {
    let columns = columns.into_iter().chain(["spread".to_owned()]);
    let mut table = Table::new(title, columns);
    for series in figures.series() {
        let first = Point::new(series.point.engine, device, LOADS[0]);
        if series.point != first {
            continue;
        }
        let median =
            |point| figures.median(series.kernel, point, |sample| Some(sample.instructions()));
        let medians: Option<Vec<_>> = change(first).into_iter().map(median).collect();
        if let Some(medians) = medians {
            let spread = medians.iter().map(Median::spread).fold(0.0, f64::max);
            let cells = medians.iter().map(|found| format!("{:.0}", found.median));
            table.add(name(series), cells.chain([percent(spread)]));
        }
    }
    table
}

/// What is measured of a device by the clock.
const DEVICE_COLUMNS: [&str; 11] = [
    "load", "IOPS", "spread", "p50 us", "p99 us", "p99.9 us", "irqs/IO", "ctxsw/IO", "user us",
    "sys us", "CPU",
];

/// All that is measured by the clock, a line for each engine and load.
pub fn of_device(figures: &Figures, device: Device) -> Table {
    let mut table = Table::new(device.name(), DEVICE_COLUMNS.map(str::to_owned));
    let on_device = |series: &&Series| series.point.device == device;
    for series in figures.series().iter().filter(on_device) {
        table.add(name(series), device_cells(series));
    }
    table
}

fn device_cells(series: &Series) -> [String; DEVICE_COLUMNS.len()] {
    let iops = series.median(|sample| Some(sample.iops));
    let latency = latency(series);
    let micros = |ns: Option<f64>| number(ns.map(|ns| ns / 1e3), 1);
    let middle = |found: Option<Median>| found.map(|found| found.median);
    [
        series.point.load.to_string(),
        number(middle(iops), 0),
        percent(iops.map_or(0.0, |iops| iops.spread())),
        micros(latency.map(|latency| latency.p50)),
        micros(latency.map(|latency| latency.p99)),
        micros(latency.map(|latency| latency.p999)),
        number(middle(series.median(|sample| sample.irqs_per_io)), 4),
        number(middle(series.median(|sample| Some(sample.ctxsw_per_io))), 4),
        micros(middle(series.median(|sample| Some(sample.user_ns_per_io)))),
        micros(middle(
            series.median(|sample| Some(sample.system_ns_per_io)),
        )),
        middle(series.median(|sample| Some(sample.cpu_share())))
            .map_or_else(|| "-".to_owned(), |share| format!("{:.0}%", 100.0 * share)),
    ]
}

fn name(series: &Series) -> String {
    format!("{:<4} {}", series.kernel.name(), series.point.engine.name())
}

fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.decimals$}"))
}

fn percent(share: f64) -> String {
    format!("{:.2}%", 100.0 * share)
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::sample;
    use super::super::plan::{counted_points, delayed_points, DELAYED_DEVICES};
    use super::super::sample::Sample;
    use super::*;
    use crate::build::Flavour;

    fn figures() -> Figures {
        let mut figures = Figures::default();
        for kernel in [Flavour::C, Flavour::Rust] {
            let points = counted_points(kernel);
            for boot in 0..2 {
                let count = |index| sample(f64::from(1000 + 100 * boot) + f64::from(index));
                let samples = (0..points.len() as u32).map(count).collect::<Vec<_>>();
                figures.add(kernel, &points, &samples);
            }
        }
        figures
    }

    #[test]
    fn a_line_for_each_engine_that_was_measured_so() {
        let figures = figures();
        let lines = |table: Table| table.to_string().lines().count();
        assert_eq!(lines(of_loads(&figures, Device::NullBlk)), 1 + 6);
        assert_eq!(lines(of_loads(&figures, Device::NullBlkDeep)), 1 + 6);
        for table in [of_contexts, of_threads, of_idle_threads] {
            assert_eq!(lines(table(&figures)), 1 + 3);
        }
        assert_eq!(lines(of_device(&figures, Device::Nvme)), 1);
    }

    #[test]
    fn each_device_has_a_table_of_its_own() {
        let mut figures = Figures::default();
        let points = delayed_points(Flavour::Rust);
        let busy_half_the_time = Sample {
            ns_per_io: 1e6,
            system_ns_per_io: 5e5,
            ..sample(1.0)
        };
        figures.add(
            Flavour::Rust,
            &points,
            &vec![busy_half_the_time; points.len()],
        );
        for device in DELAYED_DEVICES {
            let table = of_device(&figures, device).to_string();
            let lines = table.lines().collect::<Vec<_>>();
            assert_eq!(lines.len(), 4, "{table}");
            assert!(lines[0].starts_with(device.name()));
            assert!(lines[3].starts_with("rust aio-hipri-hybrid") && lines[3].ends_with(" 50%"));
        }
    }

    #[test]
    fn cells_are_medians_and_the_largest_spread() {
        let table = of_loads(&figures(), Device::NullBlk).to_string();
        let lines = table.lines().collect::<Vec<_>>();
        let head = lines[0];
        assert!(head.starts_with("instructions per I/O, null_blk") && head.contains("(4096,128)"));
        let words = lines[1].split_whitespace().collect::<Vec<_>>();
        assert_eq!(words[..3], ["c", "aio", "1050"]);
        assert_eq!(words.last(), Some(&"9.52%"));
        assert!(lines.iter().all(|line| line.len() == head.len()));
    }
}
