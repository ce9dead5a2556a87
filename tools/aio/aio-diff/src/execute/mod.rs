// SPDX-License-Identifier: GPL-2.0-only

//! Runs programs, each in a process of its own, and writes down what came of it.

mod arena;
mod calls;
mod contexts;
mod digest;
mod events;
mod files;
mod flights;
mod layout;
mod others;
mod places;
mod process;
mod ring;
mod sys;
mod thread;
mod transcript;
mod world;

use std::fs;
use std::io::Write;

use anyhow::{Context, Result};

pub use places::Places;

use crate::program::Program;
use crate::record::Record;
use arena::Arena;
use process::Process;
use transcript::Transcript;

/// How programs are run.
#[derive(Clone, Debug)]
pub struct Executor {
    /// Where their files are.
    pub places: Places,
    /// How often each is run.
    pub times: u32,
    /// Whether reads and writes are polled.
    pub hipri: bool,
}

impl Executor {
    /// Runs `programs` one after another and writes a record of each to `out`.
    pub fn run(&self, programs: &[Program], out: &mut impl Write) -> Result<()> {
        let arena = Arena::map()?;
        let transcript = Transcript::new()?;
        for (number, program) in programs.iter().enumerate() {
            let runs = (0..self.times.max(1))
                .map(|_| self.run_once(program, &arena, &transcript))
                .collect::<Result<Vec<_>>>()
                .with_context(|| format!("program {number}, seed {:#x}", program.seed))?;
            Record { number, runs }.write(out)?;
            out.flush()?;
        }
        Ok(())
    }

    /// Runs a program once. Returns the lines about it.
    fn run_once(
        &self,
        program: &Program,
        arena: &Arena,
        transcript: &Transcript,
    ) -> Result<Vec<String>> {
        self.places.prepare(program)?;
        let process = Process {
            program,
            arena,
            transcript,
            places: &self.places,
            hipri: self.hipri,
        };
        let end = process.run()?;
        let mut lines = transcript.take();
        lines.push(end);
        lines.extend(self.places.describe(program)?);
        lines.push(format!("aio-nr {}", aio_nr()?));
        self.places.clean(program)?;
        Ok(lines)
    }
}

/// How many events the contexts of all processes were set up for.
fn aio_nr() -> Result<u64> {
    const FILE: &str = "/proc/sys/fs/aio-nr";
    let text = fs::read_to_string(FILE).with_context(|| format!("cannot read {FILE}"))?;
    text.trim()
        .parse()
        .with_context(|| format!("{FILE} has no number"))
}
