// SPDX-License-Identifier: GPL-2.0-only

//! What the kernel's checkpatch says, and what of it is known to be said for a reason.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{bail, Context, Result};

/// The list of exceptions, in the folder of the series' texts.
const EXCEPTIONS: &str = "checkpatch.txt";

/// What stands for anything at the beginning of an exception's path.
const ANYTHING: char = '*';

/// The options with which checkpatch prints what [`Finding::parse`] reads.
pub const OPTIONS: [&str; 4] = ["--strict", "--terse", "--show-types", "--no-summary"];

/// A message of checkpatch.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// A file and a line of it; or whatever checkpatch points at.
    pub place: String,
    /// The name that checkpatch has for what it found.
    pub kind: String,
    /// Its words.
    pub text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.place, self.kind, self.text)
    }
}

impl Finding {
    /// Reads `PLACE: LEVEL:KIND: TEXT`; `None` for a line that is not of this form.
    pub fn parse(line: &str) -> Option<Self> {
        let (place, rest) = line.split_once(": ")?;
        let (kind, text) = rest.split_once(": ")?;
        let (level, kind) = kind.split_once(':')?;
        let is_level = ["ERROR", "WARNING", "CHECK"].contains(&level);
        is_level.then(|| Self {
            place: place.to_owned(),
            kind: kind.to_owned(),
            text: text.to_owned(),
        })
    }
}

/// A kind of finding that stays, in a file or anywhere.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Exception {
    pub kind: String,
    pub path: String,
    pub reason: String,
}

impl Exception {
    pub fn explains(&self, finding: &Finding) -> bool {
        let path = finding.place.split(':').next().unwrap_or_default();
        let is_there = match self.path.strip_prefix(ANYTHING) {
            Some(end) => path.ends_with(end),
            None => path == self.path,
        };
        self.kind == finding.kind && is_there
    }
}

/// What is known to be said for a reason.
pub struct Exceptions(pub Vec<Exception>);

impl Exceptions {
    /// Reads the list. `texts` is the folder of the series' texts.
    pub fn read(texts: &Path) -> Result<Self> {
        let path = texts.join(EXCEPTIONS);
        let list = fs::read_to_string(&path);
        Self::parse(&list.with_context(|| format!("cannot read {}", path.display()))?)
    }

    /// Reads lines `KIND PATH REASON`; a reason goes on in lines that are indented.
    pub fn parse(text: &str) -> Result<Self> {
        let mut exceptions: Vec<Exception> = Vec::new();
        let is_content = |line: &&str| !line.starts_with('#') && !line.trim().is_empty();
        for line in text.lines().filter(is_content) {
            if line.starts_with(char::is_whitespace) {
                let known = exceptions.last_mut();
                let known =
                    known.with_context(|| format!("{EXCEPTIONS}: {line} belongs to nothing"))?;
                known.reason.push(' ');
                known.reason.push_str(line.trim());
                continue;
            }
            let mut words = line.splitn(3, ' ').map(|word| word.trim().to_owned());
            let (Some(kind), Some(path), Some(reason)) = (words.next(), words.next(), words.next())
            else {
                bail!("{EXCEPTIONS}: {line} is not KIND PATH REASON");
            };
            exceptions.push(Exception { kind, path, reason });
        }
        Ok(Self(exceptions))
    }

    /// Why a finding stays, if it does.
    pub fn of(&self, finding: &Finding) -> Option<&Exception> {
        self.0.iter().find(|known| known.explains(finding))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "# words\nFILE_PATH_CHANGES * covered once,\n\tby a later patch\n\
                        LONG_LINE fs/a.c a table\nLONG_LINE *.rs a comment\n";

    #[test]
    fn findings_are_read() {
        let found = Finding::parse("fs/a.c:5: WARNING:LONG_LINE: line: of 200 columns").unwrap();
        assert_eq!(found.place, "fs/a.c:5");
        assert_eq!(found.kind, "LONG_LINE");
        assert_eq!(found.text, "line: of 200 columns");
        assert_eq!(Finding::parse("Perl is broken: LINE: x"), None);
    }

    #[test]
    fn an_exception_explains_its_kind_at_its_place() {
        let known = Exceptions::parse(LIST).unwrap();
        assert_eq!(known.0[0].reason, "covered once, by a later patch");
        let explained = |line: &str| known.of(&Finding::parse(line).unwrap()).is_some();
        assert!(explained("fs/b.c:5: WARNING:FILE_PATH_CHANGES: x"));
        assert!(explained("fs/a.c:5: WARNING:LONG_LINE: x"));
        assert!(explained("fs/b.rs:5: WARNING:LONG_LINE: x"));
        assert!(!explained("fs/b.c:5: WARNING:LONG_LINE: x"));
        assert!(!explained("fs/a.c:5: WARNING:LONG_LINE_COMMENT: x"));
        assert!(Exceptions::parse("LONG_LINE fs/a.c\n").is_err());
    }
}
