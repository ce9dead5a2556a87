// SPDX-License-Identifier: GPL-2.0-only

//! `configs/budget.json`: what an I/O may cost at most, in instructions.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{ensure, Context, Result};
use serde::{Deserialize, Serialize};

use super::figures::Figures;
use super::plan::{DEEPEST, LOADS};
use super::point::{Device, Engine, Point};
use crate::build::{Flavour, Workspace};

/// What was recorded.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Budget {
    /// The compiler of the kernel that was measured.
    pub compiler: String,
    /// One of each point.
    pub lines: Vec<BudgetLine>,
}

/// What one I/O at a point may cost.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub struct BudgetLine {
    /// What is run, on our kernel.
    #[serde(flatten)]
    pub point: Point,
    /// Instructions per I/O.
    pub instr_per_io: f64,
}

/// More than the figures of one boot differ from those of the next.
const TOLERANCE: f64 = 1.02;

impl BudgetLine {
    /// Whether so many instructions are more than the budget allows.
    pub fn is_exceeded_by(&self, instructions: f64) -> bool {
        instructions > self.instr_per_io * TOLERANCE
    }

    /// What it is of, in few words.
    pub fn name(&self) -> String {
        format!("{} {}", self.point.engine.name(), self.point.load)
    }
}

impl Budget {
    /// The budget that figures are, if each of its points was measured.
    pub fn of(figures: &Figures, compiler: &str) -> Option<Self> {
        let line = |point| {
            let value = |sample: &super::sample::Sample| Some(sample.instructions());
            let found = figures.median(Flavour::Rust, point, value)?;
            Some(BudgetLine {
                point,
                instr_per_io: found.median.round(),
            })
        };
        Some(Self {
            compiler: compiler.to_owned(),
            lines: points().into_iter().map(line).collect::<Option<_>>()?,
        })
    }

    /// Reads the budget that the repository records.
    pub fn recorded(ws: &Workspace) -> Result<Self> {
        let path = recorded_path(ws);
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let budget: Self = serde_json::from_str(&text)
            .with_context(|| format!("cannot read {}", path.display()))?;
        ensure!(!budget.lines.is_empty(), "{} has no line", path.display());
        Ok(budget)
    }

    /// Writes it to `path`.
    pub fn write(&self, path: &Path) -> Result<()> {
        let json = serde_json::to_string_pretty(self)? + "\n";
        fs::write(path, json).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Where the recorded budget lies.
pub fn recorded_path(ws: &Workspace) -> PathBuf {
    ws.root.join("configs/budget.json")
}

/// What a budget is kept of.
fn points() -> Vec<Point> {
    let on = |engine| move |load| Point::new(engine, Device::NullBlk, load);
    let plain = LOADS.map(on(Engine::Aio));
    let polled = LOADS.into_iter().chain([DEEPEST]).map(on(Engine::AioHipri));
    plain.into_iter().chain(polled).collect()
}

#[cfg(test)]
mod tests {
    use super::super::figures::tests::sample;
    use super::super::plan::counted_points;
    use super::*;

    fn figures() -> Figures {
        let points = counted_points(Flavour::Rust);
        let mut figures = Figures::default();
        figures.add(Flavour::Rust, &points, &vec![sample(4000.4); points.len()]);
        figures
    }

    #[test]
    fn two_per_cent_more_is_tolerated() {
        let line = Budget::of(&figures(), "cc").unwrap().lines[0];
        assert_eq!(line.instr_per_io, 4000.0);
        assert!(!line.is_exceeded_by(4080.0));
        assert!(line.is_exceeded_by(4081.0));
    }

    #[test]
    fn a_budget_is_of_all_points_or_none() {
        assert_eq!(Budget::of(&figures(), "cc").unwrap().lines.len(), 9);
        assert!(Budget::of(&Figures::default(), "cc").is_none());
    }

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("budget.json");
        let budget = Budget::of(&figures(), "cc").unwrap();
        budget.write(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(serde_json::from_str::<Budget>(&text).unwrap(), budget);
    }
}
