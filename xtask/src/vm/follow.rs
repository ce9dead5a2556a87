// SPDX-License-Identifier: GPL-2.0-only

//! Reading a file while another process still writes it, by whole lines.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};

/// A reader of a growing file.
pub struct Follow {
    file: File,
    pending: Vec<u8>,
}

impl Follow {
    /// Empties `path`, or makes it, and follows it from its beginning.
    pub fn from_empty(path: &Path) -> Result<Self> {
        File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self {
            file,
            pending: Vec::new(),
        })
    }

    /// The lines completed since the last call, without their line ends.
    pub fn lines(&mut self) -> Result<Vec<String>> {
        self.file
            .read_to_end(&mut self.pending)
            .context("cannot follow a log")?;
        let complete = self
            .pending
            .iter()
            .rposition(|&byte| byte == b'\n')
            .map_or(0, |at| at + 1);
        let rest = self.pending.split_off(complete);
        let lines = text(&std::mem::replace(&mut self.pending, rest));
        Ok(lines)
    }

    /// What is left when nobody writes any more: the lines, and a last one without an end.
    pub fn last_lines(&mut self) -> Result<Vec<String>> {
        let mut lines = self.lines()?;
        lines.extend(text(&std::mem::take(&mut self.pending)));
        Ok(lines)
    }
}

fn text(bytes: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(bytes)
        .lines()
        .map(|line| line.trim_end_matches('\r').to_owned())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn lines_come_out_whole_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut follow = Follow::from_empty(&path).unwrap();
        let mut writer = File::options().append(true).open(&path).unwrap();

        writer.write_all(b"one\r\ntw").unwrap();
        assert_eq!(follow.lines().unwrap(), ["one"]);
        assert!(follow.lines().unwrap().is_empty());
        writer.write_all(b"o\nrest").unwrap();
        assert_eq!(follow.lines().unwrap(), ["two"]);
        assert_eq!(follow.last_lines().unwrap(), ["rest"]);
        assert!(follow.last_lines().unwrap().is_empty());
    }
}
