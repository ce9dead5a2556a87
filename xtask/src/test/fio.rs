// SPDX-License-Identifier: GPL-2.0-only

//! fio, plain and polled through libaio: a few rows of `make run`, as tests.

use std::time::Duration;

use anyhow::Result;

use super::case::{boot_cases, Case};
use super::Bench;
use crate::run::{measure, Engine, Measurement, Pattern, Plan, Row};

const TIMEOUT: Duration = Duration::from_secs(300);

/// Measures plain and polled libaio and checks what each row promises.
pub fn run(bench: &Bench) -> Result<Vec<Case>> {
    let plans = plans();
    let programs = bench.preload_programs()?;
    let measurement = Measurement {
        name: "fio",
        kernel: &bench.kernel.image,
        programs: &programs,
        plans: &plans,
        timeout: TIMEOUT,
    };
    let measured = measure(&bench.host, &measurement, &mut |row| println!("  {row}"))?;
    let mut cases = cases_of(&plans, &measured.rows);
    cases.extend(boot_cases(&measured.booted));
    Ok(cases)
}

fn plans() -> Vec<Plan> {
    let mut plans = Vec::new();
    for pattern in [Pattern::RandomRead, Pattern::RandomWrite] {
        for engine in [Engine::Libaio, Engine::LibaioPolled] {
            for depth in [1, 16] {
                plans.push(Plan::new(engine, pattern, depth));
            }
        }
    }
    plans
}

fn cases_of(plans: &[Plan], rows: &[Row]) -> Vec<Case> {
    let case = |(index, plan): (usize, &Plan)| match rows.get(index) {
        None => Case::failed(&plan.key(), &["it did not run".to_owned()]),
        Some(row) if row.is_unsupported() => {
            Case::skipped(&plan.key(), "this kernel has no polled AIO")
        }
        Some(row) => {
            let faults = row.fault(plan).into_iter().collect::<Vec<_>>();
            Case::without_faults(&plan.key(), &faults)
        }
    };
    plans.iter().enumerate().map(case).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_is_missing_or_cannot_be_is_told_apart() {
        let plans = plans();
        let polled = plans
            .iter()
            .position(|plan| plan.engine == Engine::LibaioPolled)
            .unwrap();
        let cases = cases_of(
            &plans[polled..=polled + 1],
            &[Row::unsupported(&plans[polled])],
        );
        assert_eq!(
            cases[0].to_string(),
            "ok libaio+hipri randread 1 # SKIP this kernel has no polled AIO"
        );
        assert_eq!(cases[1].to_string(), "not ok libaio+hipri randread 16");
    }
}
