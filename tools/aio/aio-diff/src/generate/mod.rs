// SPDX-License-Identifier: GPL-2.0-only

//! From a seed to a program.
//!
//! The same seed makes the same program for as long as this folder and [`crate::random`] do not
//! change.

mod calls;
mod files;
mod iocb;
mod nonsense;
mod scenario;
mod theme;

use crate::program::{Call, End, IocbPlace, Manner, Object, Program, Step};
use crate::random::{mix, Random};
use theme::{Kind, Theme};

/// What a program is compared with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// Itself on another kernel.
    Kernels,
    /// Itself with polled I/O, on the same kernel.
    Polling,
}

/// The seed of the program with this number in the run that `seed` names.
pub fn seed_of(seed: u64, number: u64) -> u64 {
    mix(seed ^ mix(number))
}

/// The program that `seed` names.
pub fn program(seed: u64, purpose: Purpose) -> Program {
    let mut random = Random::new(seed);
    let theme = match purpose {
        Purpose::Kernels => Theme::draw(&mut random),
        Purpose::Polling => Theme::Pollable,
    };
    let files = files::draw(&mut random, theme);
    let shared = files.len() as u8;
    let program = Program {
        seed,
        one_cpu: theme == Theme::Ring || random.chance(60),
        unprivileged: random.chance(6),
        pollable: purpose == Purpose::Polling,
        files,
        steps: Vec::new(),
        end: random.weighted(&[(6, End::Exit), (2, End::Kill), (4, End::Destroy)]),
    };
    let mut generator = Generator {
        random,
        theme,
        program,
        used: 0,
        iocbs: 0,
        polls: Vec::new(),
        names: 0,
        alive: Vec::new(),
        shared,
    };
    generator.fill();
    generator.program
}

/// A program in the making.
struct Generator {
    random: Random,
    theme: Theme,
    program: Program,
    /// Bytes of the data area that were given out.
    used: u32,
    /// Iocbs that were given a place.
    iocbs: u32,
    /// Where POLLs are that may wait.
    polls: Vec<IocbPlace>,
    /// Names of contexts that were used, from the first.
    names: u8,
    /// Those that stand for a context, as far as can be foreseen.
    alive: Vec<u8>,
    /// How many files any step may use; those behind them are for submissions that block.
    shared: u8,
}

impl Generator {
    fn fill(&mut self) {
        let wanted = self.random.between(4, 18) as usize;
        while self.program.steps.len() < wanted {
            if self.alive.is_empty() && self.random.chance(70) {
                self.plain_setup();
            }
            let kind = self.random.weighted(self.theme.kinds());
            self.add(kind);
        }
    }

    fn add(&mut self, kind: Kind) {
        match kind {
            Kind::WaitForEvents => self.wait_for_events(),
            Kind::TwoWaiters => self.two_waiters(),
            Kind::BlockedSubmit => self.blocked_submit(),
            Kind::Race => self.race(),
            Kind::PollAndWake => self.poll_and_wake(),
            _ => {
                if let Some(call) = self.call(kind) {
                    let thread = self.thread();
                    self.step(thread, Manner::Wait, call);
                }
            }
        }
    }

    /// A thread for a step that could be any one's: mostly the first.
    fn thread(&mut self) -> u8 {
        let others = if self.theme == Theme::Threads { 4 } else { 1 };
        self.random.weighted(&[(12, 0), (others, 1), (others, 2)])
    }

    /// The files that `wanted` holds for and that any step may use.
    fn files(&self, wanted: impl Fn(Object) -> bool) -> Vec<u8> {
        (0..self.shared)
            .filter(|&index| self.program.object(usize::from(index)).is_some_and(&wanted))
            .collect()
    }

    /// Any of the files that any step may use.
    fn any_file(&mut self) -> u8 {
        self.random.below(self.shared.into()) as u8
    }

    fn step(&mut self, thread: u8, manner: Manner, call: Call) {
        self.program.steps.push(Step {
            thread,
            manner,
            call,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi;
    use crate::claim::{self, Claim, Pace};
    use crate::program::{Entry, Fd, Iocb, Memory, Spot};

    fn programs() -> impl Iterator<Item = Program> {
        (0..2000).map(|number| {
            let purpose = if number % 4 == 0 {
                Purpose::Polling
            } else {
                Purpose::Kernels
            };
            program(seed_of(1, number), purpose)
        })
    }

    fn batches(program: &Program) -> impl Iterator<Item = &Vec<Entry>> {
        program.steps.iter().filter_map(|step| match &step.call {
            Call::Submit { entries, .. } => Some(entries),
            _ => None,
        })
    }

    fn iocbs(program: &Program) -> impl Iterator<Item = &Iocb> {
        batches(program)
            .flatten()
            .filter_map(|entry| entry.iocb.as_ref())
    }

    #[test]
    fn a_seed_makes_one_program() {
        for seed in [0, 1, u64::MAX] {
            for purpose in [Purpose::Kernels, Purpose::Polling] {
                assert_eq!(program(seed, purpose), program(seed, purpose));
            }
        }
        assert_ne!(
            program(1, Purpose::Kernels).steps,
            program(2, Purpose::Kernels).steps
        );
    }

    /// Whoever changes this number changes what all seeds mean that were written down.
    #[test]
    fn seeds_go_on_to_mean_what_they_meant() {
        let text = programs()
            .take(200)
            .map(|program| serde_json::to_string(&program).unwrap())
            .collect::<String>();
        let hash = text
            .bytes()
            .fold(0, |hash, byte| mix(hash ^ u64::from(byte)));
        assert_eq!(hash, 0x09b8_e698_a355_f2bc, "{hash:#x}");
    }

    #[test]
    fn programs_survive_being_text() {
        for program in programs().take(100) {
            let text = serde_json::to_string(&program).unwrap();
            let back: Program = serde_json::from_str(&text).unwrap();
            assert_eq!(back, program);
        }
    }

    #[test]
    fn no_iocb_asks_for_what_kernels_may_differ_in() {
        for program in programs() {
            assert!(iocbs(&program).all(|iocb| iocb.flags & abi::FLAG_HIPRI == 0));
        }
    }

    #[test]
    fn every_opcode_comes_up() {
        let mut seen = [false; 16];
        for program in programs() {
            for iocb in iocbs(&program) {
                seen[usize::from(iocb.opcode.min(15))] = true;
            }
        }
        assert_eq!(seen[..9], [true; 9]);
        assert!(seen[15]);
    }

    #[test]
    fn what_is_in_flight_together_is_apart() {
        for program in programs() {
            for entries in batches(&program) {
                let iocbs = entries.iter().filter_map(|entry| entry.iocb.as_ref());
                let claims = iocbs
                    .filter(|iocb| claim::pace(&program, iocb) != Pace::Inline)
                    .map(|iocb| Claim::of(&program, iocb))
                    .collect::<Vec<_>>();
                for (index, one) in claims.iter().enumerate() {
                    let mut others = claims[..index].iter();
                    assert!(!others.any(|other| claim::conflict(one, other)));
                }
            }
        }
    }

    #[test]
    fn large_transfers_stay_where_they_do_no_harm() {
        for program in programs() {
            for iocb in iocbs(&program) {
                let segments = match &iocb.memory {
                    Memory::Buffer(segment) => vec![*segment],
                    Memory::Vectors { segments, .. } => segments.clone(),
                    Memory::Numbers { .. } => Vec::new(),
                };
                for segment in segments {
                    let in_data = matches!(segment.at, Spot::Data(_));
                    assert!(!in_data || segment.bytes <= iocb::LARGEST);
                }
            }
        }
    }

    #[test]
    fn only_repeatable_iocbs_are_repeated() {
        for program in programs() {
            for entry in batches(&program).flatten() {
                let repeatable =
                    |iocb: &Iocb| matches!(claim::pace(&program, iocb), Pace::Inline | Pace::Poll);
                assert!(entry.times <= 1 || entry.iocb.as_ref().is_some_and(repeatable));
            }
        }
    }

    #[test]
    fn files_that_block_are_left_to_threads_that_may() {
        for program in programs() {
            for step in &program.steps {
                let Call::Submit { entries, .. } = &step.call else {
                    continue;
                };
                let blocks = |fd: Fd| {
                    program.file(fd).is_some_and(|(index, file)| {
                        let talks = matches!(
                            program.object(index),
                            Some(
                                crate::program::Object::Pipe
                                    | crate::program::Object::Fifo
                                    | crate::program::Object::Sockets(_)
                                    | crate::program::Object::EventFd { .. }
                            )
                        );
                        talks && !file.flags.nonblock
                    })
                };
                let any = entries
                    .iter()
                    .filter_map(|entry| entry.iocb.as_ref())
                    .any(|iocb| blocks(iocb.fd) && abi::direction(iocb.opcode).is_some());
                assert!(!any || step.manner == Manner::Leave, "{program:#?}");
            }
        }
    }
}
