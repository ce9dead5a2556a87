// SPDX-License-Identifier: GPL-2.0-only

//! `make bench`: what an I/O costs, on the stock kernel and on ours.
//!
//! Three parts. Instructions are counted on a machine of one processor whose clocks count them, on
//! null_blk: a figure that does not depend on the host. Time, interrupts, context switches and
//! processor time are measured on an emulated NVMe namespace, which is noisy: both kernels take
//! turns, and only ratios and counts mean something. On disks with a delay the same shows what waiting
//! costs: by interrupt, by polling, and by polling after a sleep. A target that is missed is
//! told, not a failure; a measurement that failed is one.

mod budget;
mod environment;
mod figures;
mod measure;
mod median;
mod plan;
mod plot;
mod point;
mod results;
mod sample;
mod table;
mod target;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};

use crate::build::{self, Flavour, Workspace};
use crate::vm::{static_program, Host};
pub use budget::{recorded_path, Budget, BudgetLine};
use environment::{KernelFacts, MachineFacts};
use figures::Figures;
pub use measure::{measure, Measurement};
pub use median::Median;
use plan::{counted_points, delayed_points, device_points, DELAYED_DEVICES};
use point::Device;
pub use point::{Amount, Point};
use results::{Environment, Results};
use target::{Judgement, Target, Verdict};

/// The program that measures.
pub const PROGRAM: &str = "aio-bench";

/// How much a run does where instructions are counted: a multiple of all depths, for null_blk
/// completes everything in flight in one poll and a figure is an average over whole such turns.
pub const COUNTED: Amount = Amount::Ios {
    warmup: 8192,
    measured: 16384,
};

/// How much a run does on the emulated NVMe namespace.
const TIMED: Amount = Amount::Seconds {
    warmup: 4096,
    measured: 2.5,
};

/// How much a run does on a delayed disk: enough before to learn how long to sleep.
const DELAYED: Amount = Amount::Seconds {
    warmup: 256,
    measured: 2.0,
};

/// How long a machine may take for all its runs; they take a minute.
pub const TIMEOUT: Duration = Duration::from_secs(400);

/// What the environment asks for.
struct Options {
    /// How often each kernel is booted for a part, if not as often as usual.
    rounds: Option<u32>,
    parts: Vec<Part>,
    strict: bool,
}

/// A part of the measurement, with a machine of its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Part {
    Instructions,
    Device,
    Delayed,
}

const PARTS: [Part; 3] = [Part::Instructions, Part::Device, Part::Delayed];

/// A kernel to measure.
struct Contender {
    flavour: Flavour,
    image: PathBuf,
}

/// What all measurements have in common, and what they found.
struct Bench<'a> {
    ws: &'a Workspace,
    counting: Host<'a>,
    timing: Host<'a>,
    program: PathBuf,
    contenders: [Contender; 2],
    facts: BTreeMap<&'static str, KernelFacts>,
    figures: Figures,
}

/// Measures, prints tables and verdicts, and writes `bench.json` and the plots.
///
/// In the environment, `ROUNDS=N` is how often each kernel is booted for each part,
/// `PART=instructions`, `PART=device` or `PART=delayed` leaves out the others, and `STRICT=1` makes a
/// target that was missed a failure.
pub fn bench(ws: &Workspace) -> Result<ExitCode> {
    let options = Options::from_environment()?;
    let contenders = [contender(ws, Flavour::C)?, contender(ws, Flavour::Rust)?];
    let timing = Host::prepare(ws, &contenders[1].image)?;
    let mut bench = Bench {
        ws,
        counting: timing.with_instruction_clock(),
        program: static_program(ws, &timing.root, PROGRAM)?,
        timing,
        contenders,
        facts: BTreeMap::new(),
        figures: Figures::default(),
    };
    let start = Instant::now();
    let mut judgements = Vec::new();
    for part in &options.parts {
        bench.measure(*part, options.rounds.unwrap_or(part.rounds()))?;
        bench.print_tables(*part);
    }
    for part in options.parts {
        judgements.extend(bench.judge(part));
    }
    bench.write(&judgements)?;
    println!("measured in {} s", start.elapsed().as_secs());
    Ok(exit_code(&judgements, options.strict))
}

fn contender(ws: &Workspace, flavour: Flavour) -> Result<Contender> {
    let kernel = build::kernel(ws, flavour, &ws.fragments())?;
    Ok(Contender {
        flavour,
        image: kernel.image,
    })
}

impl Bench<'_> {
    /// Boots the kernels in turns for one part.
    fn measure(&mut self, part: Part, rounds: u32) -> Result<()> {
        let (host, amount) = match part {
            Part::Instructions => (&self.counting, COUNTED),
            Part::Device => (&self.timing, TIMED),
            Part::Delayed => (&self.timing, DELAYED),
        };
        for round in 1..=rounds {
            for contender in &self.contenders {
                let kernel = contender.flavour.name();
                let points = part.points(contender.flavour);
                println!(
                    "{}, round {round} of {rounds}, kernel {kernel}",
                    part.name()
                );
                let measured = measure(
                    host,
                    &Measurement {
                        name: &format!("bench-{}-{kernel}", part.name()),
                        kernel: &contender.image,
                        program: &self.program,
                        points: &points,
                        amount,
                        timeout: TIMEOUT,
                    },
                )?;
                self.figures
                    .add(contender.flavour, &points, &measured.samples);
                let facts = KernelFacts::of(&measured.kernel_version, &contender.image)?;
                self.facts.insert(kernel, facts);
            }
        }
        Ok(())
    }

    fn print_tables(&self, part: Part) {
        let figures = &self.figures;
        let tables = match part {
            Part::Instructions => vec![
                table::of_loads(figures, Device::NullBlk),
                table::of_loads(figures, Device::NullBlkDeep),
                table::of_contexts(figures),
                table::of_threads(figures),
                table::of_idle_threads(figures),
            ],
            Part::Device => vec![table::of_device(figures, Device::Nvme)],
            Part::Delayed => DELAYED_DEVICES
                .map(|device| table::of_device(figures, device))
                .into(),
        };
        for table in tables {
            print!("\n{table}");
        }
        println!();
    }

    /// Prints and returns how the targets of a part were met, if it has any.
    fn judge(&self, part: Part) -> Vec<Judgement> {
        let judge = |target: &Target| target.judge(&self.figures);
        let judgements: Vec<_> = part.targets().iter().map(judge).collect();
        if !judgements.is_empty() {
            println!("{}", Judgement::header(part.title()));
        }
        for judgement in &judgements {
            println!("{judgement}");
        }
        println!();
        judgements
    }

    /// Writes the figures, the plots, and the budget that they would be.
    fn write(&self, judgements: &[Judgement]) -> Result<()> {
        let folder = self.timing.results();
        let results = Results {
            environment: Environment {
                kernels: self.facts.clone(),
                machines: &MachineFacts::of(&self.counting, &self.timing)?,
            },
            rows: results::rows(&self.figures),
            targets: judgements,
        };
        let path = folder.join("bench.json");
        let json = serde_json::to_string_pretty(&results)? + "\n";
        fs::write(&path, json).with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}", path.display());
        for plot in plot::draw(&self.figures, &folder)? {
            let (drawn, shown) = (folder.join(plot), self.ws.root.join("figures"));
            println!(
                "to show a plot in the README: cp {} {}",
                drawn.display(),
                shown.display()
            );
        }
        self.write_budget()
    }

    fn write_budget(&self) -> Result<()> {
        let Some(facts) = self.facts.get(Flavour::Rust.name()) else {
            return Ok(());
        };
        let Some(budget) = Budget::of(&self.figures, &facts.compiler) else {
            return Ok(());
        };
        let path = self.timing.results().join("budget.json");
        budget.write(&path)?;
        println!(
            "to make these figures the budget of `make test`: cp {} {}",
            path.display(),
            recorded_path(self.ws).display()
        );
        Ok(())
    }
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Instructions => "instructions",
            Self::Device => "device",
            Self::Delayed => "delayed",
        }
    }

    /// How often each kernel is booted: time needs more medians than counts.
    fn rounds(self) -> u32 {
        match self {
            Self::Instructions | Self::Delayed => 5,
            Self::Device => 9,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Instructions => "instructions per I/O, null_blk",
            Self::Device => "emulated NVMe",
            Self::Delayed => "delayed disks",
        }
    }

    fn points(self, kernel: Flavour) -> Vec<Point> {
        match self {
            Self::Instructions => counted_points(kernel),
            Self::Device => device_points(kernel),
            Self::Delayed => delayed_points(kernel),
        }
    }

    fn targets(self) -> Vec<Target> {
        match self {
            Self::Instructions => target::of_instructions(),
            Self::Device => target::of_device(),
            Self::Delayed => Vec::new(),
        }
    }
}

impl Options {
    fn from_environment() -> Result<Self> {
        let variable = |name| env::var(name).unwrap_or_default();
        Self::parse(&variable("ROUNDS"), &variable("PART"), &variable("STRICT"))
    }

    /// From the values of the variables, empty where unset.
    fn parse(rounds: &str, part: &str, strict: &str) -> Result<Self> {
        Ok(Self {
            rounds: match rounds {
                "" => None,
                number => match number.parse() {
                    Ok(rounds) if rounds > 0 => Some(rounds),
                    _ => bail!("ROUNDS={number} is no number of rounds"),
                },
            },
            parts: match part {
                "" => PARTS.to_vec(),
                name => match PARTS.into_iter().find(|part| part.name() == name) {
                    Some(part) => vec![part],
                    None => bail!("PART={name} is neither instructions nor device nor delayed"),
                },
            },
            strict: match strict {
                "" | "0" => false,
                "1" => true,
                other => bail!("STRICT={other} is neither 0 nor 1"),
            },
        })
    }
}

fn exit_code(judgements: &[Judgement], strict: bool) -> ExitCode {
    let verdicts = judgements.iter().map(|judgement| judgement.verdict);
    let count = |wanted| {
        verdicts
            .clone()
            .filter(|verdict| *verdict == wanted)
            .count()
    };
    let (met, missed) = (count(Verdict::Met), count(Verdict::Missed));
    let unmeasured = count(Verdict::Unmeasured);
    println!("{met} targets met, {missed} missed, {unmeasured} unmeasured");
    if strict && met < judgements.len() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_choose_rounds_parts_and_strictness() {
        let options = Options::parse("", "", "").unwrap();
        assert_eq!((options.rounds, options.parts.len()), (None, 3));
        assert!(!options.strict);
        let options = Options::parse("3", "device", "1").unwrap();
        assert_eq!(
            (options.rounds, options.parts),
            (Some(3), vec![Part::Device])
        );
        assert!(options.strict);
        for (rounds, part, strict) in [
            ("0", "", ""),
            ("x", "", ""),
            ("", "all", ""),
            ("", "", "yes"),
        ] {
            assert!(Options::parse(rounds, part, strict).is_err());
        }
    }

    #[test]
    fn a_missed_target_fails_only_when_asked_to() {
        let missed = target::of_instructions()[0].judge(&Figures::default());
        let code = |strict| format!("{:?}", exit_code(std::slice::from_ref(&missed), strict));
        assert_eq!(code(false), format!("{:?}", ExitCode::SUCCESS));
        assert_eq!(code(true), format!("{:?}", ExitCode::FAILURE));
    }
}
