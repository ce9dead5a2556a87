// SPDX-License-Identifier: GPL-2.0-only

//! What a machine needs when its kernel watches itself: more time, more memory, more patience.

use std::time::Duration;

/// How kernels of a mode run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Pace {
    /// Everything may take this many times what it takes on the product's kernel.
    slowdown: u32,
    /// The machine's memory, in QEMU's words.
    pub memory: &'static str,
    /// Kernel parameters. `TIME_SCALE` is not the kernel's: it hands the variable to process 1,
    /// whose jobs stretch their time limits by it.
    pub parameters: &'static str,
}

const PRODUCT: Pace = Pace {
    slowdown: 1,
    memory: "2G",
    parameters: "",
};

/// The first report of KASAN must not be the last, and a leak is to be told with its stack. What
/// is freed late, or polled for long, is no stall on an emulated processor that does five times
/// the work.
const DEBUG: Pace = Pace {
    slowdown: 6,
    memory: "4G",
    parameters: "TIME_SCALE=6 kasan_multi_shot kmemleak.verbose=1 watchdog_thresh=30 \
        rcupdate.rcu_cpu_stall_timeout=100 sysctl.kernel.hung_task_timeout_secs=240",
};

const KCSAN: Pace = Pace {
    slowdown: 6,
    memory: "4G",
    parameters: "TIME_SCALE=6 watchdog_thresh=30 rcupdate.rcu_cpu_stall_timeout=100 \
        sysctl.kernel.hung_task_timeout_secs=240",
};

impl Pace {
    /// The pace of the kernels that `MODE` asks for.
    pub fn of(mode: Option<&str>) -> Self {
        match mode {
            Some("debug") => DEBUG,
            Some("kcsan") => KCSAN,
            _ => PRODUCT,
        }
    }

    /// What takes `time` on the product's kernel may take this long.
    pub fn stretch(&self, time: Duration) -> Duration {
        time.saturating_mul(self.slowdown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_kernels_that_watch_themselves_are_slow() {
        let minute = Duration::from_secs(60);
        assert_eq!(Pace::of(None).stretch(minute), minute);
        assert_eq!(Pace::of(Some("other")), PRODUCT);
        assert_eq!(Pace::of(Some("debug")).stretch(minute), 6 * minute);
        assert_eq!(DEBUG.stretch(Duration::MAX), Duration::MAX);
    }

    #[test]
    fn the_guest_is_told_by_how_much() {
        for pace in [DEBUG, KCSAN] {
            let told = format!("TIME_SCALE={} ", pace.slowdown);
            assert!(pace.parameters.starts_with(&told), "{pace:?}");
        }
    }
}
