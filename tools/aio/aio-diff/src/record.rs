// SPDX-License-Identifier: GPL-2.0-only

//! Records: what came of a program, as text that survives a serial line.
//!
//! Every line of a record starts with a bar, so that whatever else is said there is told apart.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Write};

/// What came of a program.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// The number of the program in its run.
    pub number: usize,
    /// The lines of each time that it was run.
    pub runs: Vec<Vec<String>>,
}

const START: &str = "program ";
const AGAIN: &str = "again";
const DONE: &str = "done";

impl Record {
    /// Writes the record. Runs that are the same as the first one are left out.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "|{START}{}", self.number)?;
        let first = self.runs.first();
        for (index, run) in self.runs.iter().enumerate() {
            if index > 0 {
                if Some(run) == first {
                    continue;
                }
                writeln!(out, "|{AGAIN}")?;
            }
            for line in run {
                writeln!(out, "|{line}")?;
            }
        }
        writeln!(out, "|{DONE}")
    }
}

/// Reads all complete records, by number.
pub fn read_all(text: impl BufRead) -> io::Result<BTreeMap<usize, Record>> {
    let mut records = BTreeMap::new();
    let mut open: Option<Record> = None;
    for line in text.split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        let Some((_, line)) = line.split_once('|') else {
            continue;
        };
        let line = line.trim_end();
        if let Some(number) = line.strip_prefix(START).and_then(|text| text.parse().ok()) {
            open = Some(Record {
                number,
                runs: vec![Vec::new()],
            });
        } else if let Some(record) = &mut open {
            match line {
                DONE => records.extend(open.take().map(|record| (record.number, record))),
                AGAIN => record.runs.push(Vec::new()),
                _ => record.runs.last_mut().into_iter().for_each(|run| {
                    run.push(line.to_owned());
                }),
            }
        }
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(number: usize, runs: &[&[&str]]) -> Record {
        let lines = |run: &&[&str]| run.iter().map(|&line| line.to_owned()).collect();
        Record {
            number,
            runs: runs.iter().map(lines).collect(),
        }
    }

    fn text(records: &[Record]) -> Vec<u8> {
        let mut text = Vec::new();
        for record in records {
            record.write(&mut text).unwrap();
        }
        text
    }

    #[test]
    fn records_survive_being_text() {
        let records = [
            record(0, &[&["0 setup = 0", "exits with 0"]]),
            record(7, &[&["a"], &["b"]]),
        ];
        let read = read_all(text(&records).as_slice()).unwrap();
        assert_eq!(read.into_values().collect::<Vec<_>>(), records);
    }

    #[test]
    fn what_is_the_same_twice_is_there_once() {
        let twice = record(1, &[&["a"], &["a"]]);
        let read = read_all(text(&[twice]).as_slice()).unwrap();
        assert_eq!(read[&1], record(1, &[&["a"]]));
    }

    #[test]
    fn other_lines_and_unfinished_records_do_not_count() {
        let text = b"noise\n|program 1\n[ 1.0] kernel\n|a\r\n|done\n|program 2\n|b\n";
        let read = read_all(text.as_slice()).unwrap();
        assert_eq!(
            read.into_values().collect::<Vec<_>>(),
            [record(1, &[&["a"]])]
        );
    }
}
