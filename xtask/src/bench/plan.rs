// SPDX-License-Identifier: GPL-2.0-only

//! Which points `make bench` measures.

use super::point::{Device, Engine, Load, Point};
use crate::build::Flavour;

/// Where targets are set.
pub const LOADS: [Load; 4] = [
    Load::new(1, 1),
    Load::new(16, 16),
    Load::new(128, 32),
    Load::new(1024, 128),
];

/// Where it shows whether an I/O costs more with many in flight.
pub const DEEPEST: Load = Load::new(4096, 128);

/// The load on contexts that are many, or used by many threads.
pub const SHARED_LOAD: Load = Load::new(16, 16);

/// The loads on the emulated NVMe namespace.
pub const DEVICE_LOADS: [Load; 2] = [Load::new(1, 1), Load::new(16, 16)];

/// The delayed disks, the faster first.
pub const DELAYED_DEVICES: [Device; 2] = [Device::Delayed200us, Device::Delayed1000us];

/// Depths of the plot over depth, in batches of [`CURVE_BATCH`] at most.
const CURVE_DEPTHS: [u32; 10] = [1, 4, 16, 32, 64, 128, 256, 512, 1024, 4096];
const CURVE_BATCH: u32 = 32;

/// How many contexts one thread uses in turns.
pub const CONTEXTS: [u32; 5] = [1, 4, 16, 64, 256];

/// How many threads use one context.
pub const THREADS: [u32; 4] = [1, 2, 3, 4];

/// The load at a depth of the plot.
pub fn curve_loads() -> impl Iterator<Item = Load> {
    CURVE_DEPTHS
        .iter()
        .map(|&depth| Load::new(depth, depth.min(CURVE_BATCH)))
}

/// What instructions are counted of on a kernel: each point once.
pub fn counted_points(kernel: Flavour) -> Vec<Point> {
    let mut points = Vec::new();
    let mut add = |point| {
        if !points.contains(&point) {
            points.push(point);
        }
    };
    for &engine in counted_engines(kernel) {
        let on = |device| move |load| Point::new(engine, device, load);
        let loads = LOADS.into_iter().chain([DEEPEST]);
        loads.clone().map(on(Device::NullBlk)).for_each(&mut add);
        curve_loads().map(on(Device::NullBlk)).for_each(&mut add);
        loads.map(on(Device::NullBlkDeep)).for_each(&mut add);
        if is_aio(engine) {
            shared_points(engine).for_each(&mut add);
        }
    }
    add(Point::new(Engine::Preadv2, Device::NullBlk, LOADS[0]));
    points
}

/// Many contexts, many threads, and a second thread that does nothing.
fn shared_points(engine: Engine) -> impl Iterator<Item = Point> {
    let point = Point::new(engine, Device::NullBlk, SHARED_LOAD);
    let contexts = CONTEXTS.map(|contexts| Point { contexts, ..point });
    let threads = THREADS.map(|threads| Point { threads, ..point });
    let idle = [Point {
        idle_threads: 1,
        ..point
    }];
    contexts.into_iter().chain(threads).chain(idle)
}

/// What is measured on the emulated NVMe namespace.
pub fn device_points(kernel: Flavour) -> Vec<Point> {
    let engines = match kernel {
        Flavour::C => &[Engine::Aio, Engine::UringPoll][..],
        Flavour::Rust => &[Engine::Aio, Engine::AioHipri],
    };
    let loads = |engine| move |load| Point::new(engine, Device::Nvme, load);
    engines
        .iter()
        .flat_map(|&engine| DEVICE_LOADS.map(loads(engine)))
        .collect()
}

/// What is measured on the delayed disks, one I/O after the other: by interrupt, polled, and polled
/// after a sleep.
pub fn delayed_points(kernel: Flavour) -> Vec<Point> {
    let engines = match kernel {
        Flavour::C => [Engine::Aio, Engine::UringPoll, Engine::UringPollHybrid],
        Flavour::Rust => [Engine::Aio, Engine::AioHipri, Engine::AioHipriHybrid],
    };
    let on = |device| engines.map(|engine| Point::new(engine, device, DEVICE_LOADS[0]));
    DELAYED_DEVICES.into_iter().flat_map(on).collect()
}

/// io_uring is the same code in both kernels; what ours is compared to is measured on the stock one.
fn counted_engines(kernel: Flavour) -> &'static [Engine] {
    match kernel {
        Flavour::C => &[
            Engine::Aio,
            Engine::Uring,
            Engine::UringPoll,
            Engine::UringPollFixed,
        ],
        Flavour::Rust => &[Engine::Aio, Engine::AioHipri],
    }
}

fn is_aio(engine: Engine) -> bool {
    matches!(engine, Engine::Aio | Engine::AioHipri)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_is_measured_once() {
        for kernel in [Flavour::C, Flavour::Rust] {
            let points = counted_points(kernel);
            let mut unique = points.clone();
            unique.sort();
            unique.dedup();
            assert_eq!(unique.len(), points.len());
        }
    }

    #[test]
    fn only_our_kernel_is_asked_to_poll_aio() {
        let is_polled =
            |point: &Point| matches!(point.engine, Engine::AioHipri | Engine::AioHipriHybrid);
        for points in [counted_points, device_points, delayed_points] {
            assert!(!points(Flavour::C).iter().any(is_polled));
            assert!(points(Flavour::Rust).iter().any(is_polled));
        }
    }
}
