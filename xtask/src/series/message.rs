// SPDX-License-Identifier: GPL-2.0-only

//! The texts of `series/`: a commit message each, and what of the overlay the patch takes.
//!
//! ```text
//! # SPDX-License-Identifier: GPL-2.0-only
//! subsystem: what it does
//!
//! Why.
//! ---
//! rust/kernel/new.rs
//! fs/aio/
//! rust/helpers/helpers.c
//! <TAB>"new.c"
//! ```
//!
//! A path is taken whole, a path with a slash at its end with all that is below it. Of a path with
//! lines below it that begin with a tab the patch takes the changes that have one of these texts in
//! them; see [`script`](super::script) for how far such a change reaches.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure, Context, Result};

/// The name of the text that is the cover letter's.
const COVER: &str = "00-cover.txt";

/// What ends a commit message.
const END_OF_MESSAGE: &str = "---";

/// The texts of a whole series.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Series {
    /// The cover letter: its subject, an empty line, its text.
    pub cover: String,
    /// The patches in their order.
    pub patches: Vec<Patch>,
}

/// One patch: what it says and what it takes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Patch {
    /// The commit message without a sign-off.
    pub message: String,
    /// What of the overlay it takes.
    pub claims: Vec<Claim>,
}

/// What a patch takes of one path, or of all paths in a folder.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Claim {
    /// A path of the kernel tree; a folder ends with a slash.
    pub path: String,
    /// The texts of the changes it takes; all changes if there are none.
    pub texts: Vec<String>,
}

impl Series {
    /// Reads the texts in `folder`, whose names begin with 00 for the cover, then 01, 02 and so on.
    pub fn read(folder: &Path) -> Result<Self> {
        let cover = read_text(&folder.join(COVER))?;
        let mut patches = Vec::new();
        for (index, path) in numbered(folder)?.iter().enumerate() {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let number = format!("{:02}-", index + 1);
            ensure!(
                name.starts_with(&number),
                "series/{name} should begin with {number}"
            );
            let patch = Patch::parse(&read_text(path)?);
            patches.push(patch.with_context(|| format!("series/{name}"))?);
        }
        Ok(Self {
            cover: without_comment(&cover).to_owned(),
            patches,
        })
    }
}

impl Patch {
    fn parse(text: &str) -> Result<Self> {
        let (message, claims) = without_comment(text)
            .split_once(&format!("\n{END_OF_MESSAGE}\n"))
            .context("there is no line --- between the message and the paths")?;
        let mut lines = message.lines();
        let subject = lines.next().unwrap_or_default();
        ensure!(!subject.is_empty(), "the subject is missing");
        ensure!(
            lines.next().is_some_and(str::is_empty) && lines.next().is_some(),
            "an empty line and a text must follow the subject"
        );
        let claims = parse_claims(claims)?;
        ensure!(!claims.is_empty(), "no paths follow the line ---");
        Ok(Self {
            message: message.trim_end().to_owned(),
            claims,
        })
    }

    /// The first line of the message.
    pub fn subject(&self) -> &str {
        self.message.lines().next().unwrap_or_default()
    }
}

impl Claim {
    /// Whether it names `path`.
    pub fn covers(&self, path: &Path) -> bool {
        if self.path.ends_with('/') {
            path.starts_with(&self.path)
        } else {
            path == Path::new(&self.path)
        }
    }
}

fn parse_claims(text: &str) -> Result<Vec<Claim>> {
    let mut claims: Vec<Claim> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        match (line.strip_prefix('\t'), claims.last_mut()) {
            (Some(_), None) => bail!("the text {line:?} has no path before it"),
            (Some(_), Some(claim)) if claim.path.ends_with('/') => {
                bail!("{} is a folder and is taken whole", claim.path)
            }
            (Some(text), Some(claim)) => claim.texts.push(text.to_owned()),
            (None, _) => claims.push(Claim {
                path: line.trim_end().to_owned(),
                texts: Vec::new(),
            }),
        }
    }
    Ok(claims)
}

/// The texts of patches, which begin with a number, in order.
fn numbered(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("no {}", folder.display()))?;
    let mut paths = entries
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    paths.retain(|path| {
        let name = path.file_name().unwrap_or_default();
        name != COVER && name.as_encoded_bytes()[0].is_ascii_digit()
    });
    paths.sort();
    Ok(paths)
}

fn read_text(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The text after the lines at its top that begin with `#`.
fn without_comment(text: &str) -> &str {
    let mut rest = text;
    while rest.starts_with('#') {
        rest = rest.split_once('\n').map_or("", |(_, rest)| rest);
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# SPDX\nfs: a subject\n\nWhy.\n\nFixes: 1234\n---\nfs/a.c\nfs/aio/\n\
                        fs/b.c\n\tone text\n\t\tindented\n";

    #[test]
    fn a_text_is_a_message_and_claims() {
        let patch = Patch::parse(TEXT).unwrap();
        assert_eq!(patch.message, "fs: a subject\n\nWhy.\n\nFixes: 1234");
        assert_eq!(patch.subject(), "fs: a subject");
        let found = patch
            .claims
            .iter()
            .map(|claim| (claim.path.as_str(), claim.texts.len()))
            .collect::<Vec<_>>();
        assert_eq!(found, [("fs/a.c", 0), ("fs/aio/", 0), ("fs/b.c", 2)]);
        assert_eq!(patch.claims[2].texts, ["one text", "\tindented"]);
    }

    #[test]
    fn a_folder_covers_what_is_below_it() {
        let patch = Patch::parse(TEXT).unwrap();
        let covers = |claim: usize, path: &str| patch.claims[claim].covers(Path::new(path));
        assert!(covers(0, "fs/a.c") && !covers(0, "fs/a.c.c"));
        assert!(covers(1, "fs/aio/x/y.rs") && !covers(1, "fs/aio.c"));
    }

    #[test]
    fn an_incomplete_text_is_refused() {
        for (from, to) in [
            ("---\n", "--\n"),
            ("\n\nWhy.\n", "\nWhy.\n"),
            ("\nWhy.\n\nFixes: 1234\n", ""),
            ("fs/a.c\nfs/aio/\nfs/b.c\n\tone text\n\t\tindented\n", ""),
            ("fs/a.c\n", "\ttext of nothing\n"),
            ("fs/aio/\n", "fs/aio/\n\ttext\n"),
        ] {
            let text = TEXT.replace(from, to);
            assert_ne!(text, TEXT);
            assert!(Patch::parse(&text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_numbers_have_no_gap() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        write(COVER, "# SPDX\nA cover\n\nText.\n");
        write("01-one.txt", TEXT);
        write("checkpatch.txt", "no patch");
        let series = Series::read(folder.path()).unwrap();
        assert_eq!(series.cover, "A cover\n\nText.\n");
        assert_eq!(series.patches.len(), 1);
        write("03-three.txt", TEXT);
        let error = Series::read(folder.path()).unwrap_err().to_string();
        assert_eq!(error, "series/03-three.txt should begin with 02-");
    }
}
