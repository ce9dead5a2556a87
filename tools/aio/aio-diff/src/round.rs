// SPDX-License-Identifier: GPL-2.0-only

//! A round of a session: programs, and what came of them on two kernels.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write};
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result};

use crate::compare::{compare, Comparison, Outcomes};
use crate::program::Program;
use crate::record::{read_all, Record};

/// What came of programs, by their numbers.
pub type Records = BTreeMap<usize, Record>;

/// The programs of a round and what came of them.
pub struct Round {
    pub programs: Vec<Program>,
    /// What the reference kernel made of them.
    pub reference: Records,
    /// What the other kernel made of them.
    pub candidate: Records,
}

impl Round {
    /// Reads what is in a session's folder.
    pub fn read(folder: &Path) -> Result<Self> {
        Ok(Self {
            programs: read_programs(&folder.join("programs"))?,
            reference: read_records(&folder.join("reference"))?,
            candidate: read_records(&folder.join("candidate"))?,
        })
    }

    /// Compares what came of the program with this number.
    pub fn comparison(&self, number: usize) -> Comparison {
        compare(self.reference.get(&number), self.candidate.get(&number))
    }
}

/// All that came of the programs with these numbers.
pub fn outcomes(records: &Records, numbers: Range<usize>) -> Outcomes<'_> {
    records
        .range(numbers)
        .flat_map(|(_, record)| record.runs.iter().map(Vec::as_slice))
        .collect()
}

/// Reads programs, one a line.
pub fn read_programs(path: &Path) -> Result<Vec<Program>> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    text.lines()
        .map(|line| {
            serde_json::from_str(line)
                .with_context(|| format!("{} has a line that is no program", path.display()))
        })
        .collect()
}

/// Writes the programs that are to be run next.
pub fn write_programs(folder: &Path, programs: &[Program]) -> Result<()> {
    let mut file = create(&folder.join("programs"))?;
    for program in programs {
        serde_json::to_writer(&mut file, program)?;
        writeln!(file)?;
    }
    Ok(file.flush()?)
}

fn read_records(path: &Path) -> Result<Records> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(read_all(BufReader::new(file))?)
}

/// Makes a file, or names it in the error.
pub fn create(path: &Path) -> Result<BufWriter<File>> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(BufWriter::new(file))
}
