// SPDX-License-Identifier: GPL-2.0-only

//! Smaller programs: what a difference does not need is in the way of understanding it.

use crate::program::{Call, Manner, Program};

/// No more variants of a program than this at a time.
const MOST_VARIANTS: usize = 60;

/// Programs with less in them, from those with the least.
pub fn variants(program: &Program) -> Vec<Program> {
    let mut variants = without_steps(program);
    variants.extend(without_entries(program));
    variants.extend(plainer(program));
    variants.truncate(MOST_VARIANTS);
    variants
}

/// How much there is in a program: less is better.
pub fn size(program: &Program) -> usize {
    let weight = |call: &Call| match call {
        Call::Submit { entries, .. } => {
            10 + entries
                .iter()
                .map(|entry| 3 + usize::from(entry.times > 1))
                .sum::<usize>()
        }
        Call::Fork(calls) => 10 + 5 * calls.len(),
        _ => 10,
    };
    let steps = &program.steps;
    let manners = steps.iter().filter(|step| step.manner != Manner::Wait);
    let threads = steps.iter().filter(|step| step.thread != 0);
    steps.iter().map(|step| weight(&step.call)).sum::<usize>()
        + manners.count()
        + threads.count()
        + usize::from(!program.one_cpu)
        + usize::from(program.unprivileged)
}

/// Variants without a run of steps: halves, quarters, and so on down to single steps.
fn without_steps(program: &Program) -> Vec<Program> {
    let count = program.steps.len();
    let mut variants = Vec::new();
    let mut length = count.div_ceil(2);
    while length > 0 {
        for start in (0..count).step_by(length) {
            let mut variant = program.clone();
            variant.steps.drain(start..(start + length).min(count));
            variants.push(variant);
        }
        length /= 2;
    }
    variants
}

/// Variants without an entry of a batch, or without a call of a child.
fn without_entries(program: &Program) -> Vec<Program> {
    let mut variants = Vec::new();
    for (at, step) in program.steps.iter().enumerate() {
        let count = match &step.call {
            Call::Submit { entries, .. } if entries.len() > 1 => entries.len(),
            Call::Fork(calls) if calls.len() > 1 => calls.len(),
            _ => 0,
        };
        for index in 0..count {
            let mut variant = program.clone();
            match &mut variant.steps[at].call {
                Call::Submit { entries, .. } => drop(entries.remove(index)),
                Call::Fork(calls) => drop(calls.remove(index)),
                _ => {}
            }
            variants.push(variant);
        }
    }
    variants
}

/// Variants with fewer threads and processors.
fn plainer(program: &Program) -> Vec<Program> {
    let mut variants = Vec::new();
    if !program.one_cpu {
        variants.push(Program {
            one_cpu: true,
            ..program.clone()
        });
    }
    if program.unprivileged {
        variants.push(Program {
            unprivileged: false,
            ..program.clone()
        });
    }
    for at in 0..program.steps.len() {
        let step = &program.steps[at];
        if step.manner == Manner::Wait && step.thread != 0 {
            let mut variant = program.clone();
            variant.steps[at].thread = 0;
            variants.push(variant);
        }
    }
    variants
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::{program, seed_of, Purpose};

    fn programs() -> impl Iterator<Item = Program> {
        (0..200).map(|number| program(seed_of(3, number), Purpose::Kernels))
    }

    #[test]
    fn all_variants_are_smaller() {
        for program in programs() {
            for variant in variants(&program) {
                assert!(size(&variant) < size(&program), "{variant:#?}");
            }
        }
    }

    #[test]
    fn each_step_is_left_out_once() {
        for program in programs().filter(|program| program.steps.len() < 12) {
            let variants = variants(&program);
            for at in 0..program.steps.len() {
                let mut without = program.clone();
                without.steps.remove(at);
                assert!(variants.contains(&without));
            }
        }
    }

    /// Shrinks a program as rounds do, by a test that says whether a difference is there.
    fn shrunk(mut program: Program, differs: impl Fn(&Program) -> bool) -> Program {
        assert!(differs(&program));
        loop {
            let smaller = variants(&program)
                .into_iter()
                .filter(|variant| differs(variant))
                .min_by_key(size);
            match smaller {
                Some(smaller) => program = smaller,
                None => return program,
            }
        }
    }

    #[test]
    fn what_is_not_needed_goes() {
        let has_destroy = |program: &Program| {
            let mut steps = program.steps.iter();
            steps.any(|step| matches!(step.call, Call::Destroy(_)))
        };
        let program = programs().find(has_destroy).unwrap();
        let least = shrunk(program, has_destroy);
        assert_eq!(least.steps.len(), 1);
        assert!(matches!(least.steps[0].call, Call::Destroy(_)));
        assert!(least.one_cpu);
    }
}
