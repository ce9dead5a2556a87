// SPDX-License-Identifier: GPL-2.0-only

//! How one file of the kernel becomes the overlay's, change by change, each at its own patch.
//!
//! A *block* is a run of lines that are added or removed with no kept line between them. A block
//! in which only one patch claims something belongs to that patch as a whole. In a block that
//! several patches claim, a claimed line takes along the lines up to the next claimed one, and the
//! first also those before it. But what only opens a comment goes with what follows, as do empty
//! lines in a block that begins with one.

use anyhow::{bail, ensure, Result};
use diffy::{DiffOptions, Line};

/// The number of a patch in its series, from 1.
pub type Step = usize;

/// A patch's wish for changes of a file: those with one of `texts` in them, or all.
#[derive(Clone, Debug)]
pub struct Wish<'a> {
    /// Whose wish it is.
    pub step: Step,
    /// What a line must contain; every line does if there is nothing.
    pub texts: &'a [String],
}

/// A file's way from its old content to the new.
#[derive(Debug)]
pub struct Script<'a> {
    lines: Vec<Scripted<'a>>,
}

/// A line and when it is there.
#[derive(Clone, Copy, Debug)]
struct Scripted<'a> {
    text: &'a [u8],
    fate: Fate,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    Kept,
    /// There from this patch on.
    Added(Step),
    /// There until this patch.
    Removed(Step),
}

impl<'a> Script<'a> {
    /// Assigns every change between `old` and `new` to one of the patches that wish for it.
    ///
    /// Fails naming the lines where none does or several do, and where a text is in no change.
    pub fn new(old: &'a [u8], new: &'a [u8], wishes: &[Wish]) -> Result<Self> {
        let mut changes = changes(old, new);
        require_used_texts(&changes, wishes)?;
        empty_lines_first(&mut changes);
        let mut lines = Vec::new();
        for run in changes.chunk_by(|one, next| !one.is_kept() && !next.is_kept()) {
            match run {
                [line] if line.is_kept() => lines.push(Scripted {
                    text: line.text,
                    fate: Fate::Kept,
                }),
                block => lines.extend(assign(block, wishes)?),
            }
        }
        Ok(Self { lines })
    }

    /// The file after the patch `step`; after 0 it is the old one.
    pub fn content(&self, step: Step) -> Vec<u8> {
        let is_there = |line: &&Scripted| match line.fate {
            Fate::Kept => true,
            Fate::Added(since) => since <= step,
            Fate::Removed(until) => until > step,
        };
        let texts = self.lines.iter().filter(is_there).map(|line| line.text);
        texts.collect::<Vec<_>>().concat()
    }

    /// The first patch that changes it.
    pub fn first_step(&self) -> Option<Step> {
        self.lines
            .iter()
            .filter_map(|line| match line.fate {
                Fate::Kept => None,
                Fate::Added(step) | Fate::Removed(step) => Some(step),
            })
            .min()
    }
}

/// A line of the old file, the new one, or both.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Change<'a> {
    text: &'a [u8],
    kind: Kind,
}

impl Change<'_> {
    fn is_kept(&self) -> bool {
        self.kind == Kind::Kept
    }

    /// Whether the line is empty, that is, has nothing but its end.
    fn is_empty(&self) -> bool {
        self.text.trim_ascii().is_empty()
    }
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Kind {
    Kept,
    Added,
    Removed,
}

/// All lines of both files.
fn changes<'a>(mut old: &'a [u8], mut new: &'a [u8]) -> Vec<Change<'a>> {
    let (kind, text) = (Kind::Kept, old);
    if old == new {
        return vec![Change { text, kind }];
    }
    let mut options = DiffOptions::new();
    options.set_context_len(old.len());
    let patch = options.create_patch_bytes(old, new);
    let lines = patch.hunks().iter().flat_map(|hunk| hunk.lines());
    let change = |line: &Line<[u8]>| match line {
        Line::Context(text) => {
            take(&mut new, text.len());
            let text = take(&mut old, text.len());
            Change { text, kind }
        }
        Line::Delete(text) => Change {
            text: take(&mut old, text.len()),
            kind: Kind::Removed,
        },
        Line::Insert(text) => Change {
            text: take(&mut new, text.len()),
            kind: Kind::Added,
        },
    };
    lines.map(change).collect()
}

/// Where only lines are added, the last one is empty, and so is the one before them, counts that
/// one as added instead.
///
/// The file is the same, but the block is then made of paragraphs with the empty line first, each
/// of which can be left out.
fn empty_lines_first(changes: &mut [Change]) {
    let is_same_empty = |one: &Change, other: &Change| one.is_empty() && one.text == other.text;
    let mut begin = 0;
    while begin < changes.len() {
        let block = changes[begin..].iter().take_while(|line| !line.is_kept());
        let end = begin + block.clone().count();
        let only_adds = begin < end && block.clone().all(|line| line.kind == Kind::Added);
        if only_adds && begin > 0 && is_same_empty(&changes[begin - 1], &changes[end - 1]) {
            changes.swap(begin - 1, end - 1);
        }
        begin = end + 1;
    }
}

/// Cuts the first `length` bytes off.
fn take<'a>(bytes: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (head, tail) = bytes.split_at(length);
    *bytes = tail;
    head
}

fn contains(line: &[u8], text: &str) -> bool {
    let text = text.as_bytes();
    line.windows(text.len()).any(|window| window == text)
}

/// Fails on a text that is in no change: it is a mistake, or what it meant has gone.
fn require_used_texts(changes: &[Change], wishes: &[Wish]) -> Result<()> {
    let is_used = |wanted: &String| {
        let mut changed = changes.iter().filter(|change| !change.is_kept());
        changed.any(|change| contains(change.text, wanted))
    };
    for wish in wishes {
        if let Some(unused) = wish.texts.iter().find(|wanted| !is_used(wanted)) {
            bail!(
                "no changed line has the text {unused:?} of patch {}",
                wish.step
            );
        }
    }
    Ok(())
}

/// The patch that claims a line, if one does; two are an error.
fn claimant(line: &[u8], wishes: &[Wish]) -> Result<Option<Step>> {
    let mut found = None;
    for wish in wishes {
        let claims = wish.texts.is_empty() || wish.texts.iter().any(|text| contains(line, text));
        match found {
            Some(other) if claims && other != wish.step => bail!(
                "the patches {other} and {} both take the line {:?}",
                wish.step,
                String::from_utf8_lossy(line.trim_ascii())
            ),
            _ if claims => found = Some(wish.step),
            _ => {}
        }
    }
    Ok(found)
}

/// Gives each line of a block its patch, and an order that is right after each patch.
fn assign<'a>(block: &[Change<'a>], wishes: &[Wish]) -> Result<Vec<Scripted<'a>>> {
    if block.is_empty() {
        return Ok(Vec::new());
    }
    let claims = block
        .iter()
        .map(|change| claimant(change.text, wishes))
        .collect::<Result<Vec<_>>>()?;
    ensure!(
        claims.iter().any(Option::is_some),
        "no patch takes the change:\n{}",
        shown(block)
    );
    interleave(block, &spread(block, &claims))
}

/// Extends claims to the lines beside them.
fn spread(block: &[Change], claims: &[Option<Step>]) -> Vec<Step> {
    let begins_empty = block.first().is_some_and(Change::is_empty);
    let goes_with_next = |line: &Change| {
        let opens_comment = matches!(line.text.trim_ascii(), b"/*" | b"/**");
        opens_comment || begins_empty && line.is_empty()
    };
    let mut last = claims.iter().flatten().next().copied().unwrap_or_default();
    let mut steps = Vec::new();
    for (index, claim) in claims.iter().enumerate() {
        last = claim.unwrap_or(last);
        let next = claims.get(index + 1).copied().flatten();
        steps.push(match (claim, next) {
            (None, Some(next)) if goes_with_next(&block[index]) => next,
            _ => last,
        });
    }
    steps
}

/// Puts each removed line where the lines begin that the same patch adds.
///
/// A diff has the removed lines of a block first, but what an earlier patch adds may belong before
/// what a later one replaces.
fn interleave<'a>(block: &[Change<'a>], steps: &[Step]) -> Result<Vec<Scripted<'a>>> {
    let scripted = |is_added: bool| {
        block.iter().zip(steps).filter_map(move |(line, step)| {
            let fate = match line.kind {
                Kind::Added if is_added => Fate::Added(*step),
                Kind::Removed if !is_added => Fate::Removed(*step),
                _ => return None,
            };
            let text = line.text;
            Some(Scripted { text, fate })
        })
    };
    let removed = scripted(false).collect::<Vec<_>>();
    let added = scripted(true).collect::<Vec<_>>();
    let anchor = |line: &Scripted| {
        let Fate::Removed(step) = line.fate else {
            return 0;
        };
        let is_replacement = |other: &Scripted| other.fate == Fate::Added(step);
        added.iter().position(is_replacement).unwrap_or(0)
    };
    ensure!(
        removed.is_sorted_by_key(anchor),
        "several patches replace lines here, but not in the order of the lines:\n{}",
        shown(block)
    );
    let mut removed = removed.into_iter().peekable();
    let mut lines = Vec::new();
    for (index, line) in added.iter().enumerate() {
        while let Some(earlier) = removed.next_if(|removed| anchor(removed) <= index) {
            lines.push(earlier);
        }
        lines.push(*line);
    }
    lines.extend(removed);
    Ok(lines)
}

fn shown(block: &[Change]) -> String {
    let line = |change: &Change| {
        let sign = match change.kind {
            Kind::Kept => ' ',
            Kind::Removed => '-',
            Kind::Added => '+',
        };
        format!("{sign}{}", String::from_utf8_lossy(change.text))
    };
    block.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The contents after each patch, given what each of them takes.
    fn contents(old: &str, new: &str, claims: &[(Step, &[&str])]) -> Result<Vec<String>> {
        let texts = claims
            .iter()
            .map(|(step, texts)| (*step, texts.iter().map(|text| text.to_string()).collect()))
            .collect::<Vec<(Step, Vec<String>)>>();
        let wishes = texts
            .iter()
            .map(|(step, texts)| Wish { step: *step, texts })
            .collect::<Vec<_>>();
        let script = Script::new(old.as_bytes(), new.as_bytes(), &wishes)?;
        let last = claims.iter().map(|(step, _)| *step).max().unwrap_or(0);
        let content = |step| String::from_utf8(script.content(step)).unwrap();
        assert_eq!(content(0), old);
        assert_eq!(content(last), new);
        Ok((0..=last).map(content).collect())
    }

    fn fault(old: &str, new: &str, claims: &[(Step, &[&str])]) -> String {
        contents(old, new, claims).unwrap_err().to_string()
    }

    #[test]
    fn a_file_can_be_taken_whole() {
        let found = contents("a\nb\n", "x\nb\ny\n", &[(2, &[])]).unwrap();
        assert_eq!(found, ["a\nb\n", "a\nb\n", "x\nb\ny\n"]);
        let found = contents("", "x\n", &[(1, &[])]).unwrap();
        assert_eq!(found, ["", "x\n"]);
    }

    #[test]
    fn changes_are_taken_by_their_text() {
        let found = contents(
            "a\nb\n",
            "a\none\nb\ntwo\n",
            &[(1, &["two"]), (2, &["one"])],
        );
        assert_eq!(found.unwrap()[1], "a\nb\ntwo\n");
    }

    #[test]
    fn lines_side_by_side_can_be_of_several_patches() {
        let new = "a\nconfig ONE\n\thelp\n\nconfig TWO\n\thelp\n\nb\n";
        let found = contents("a\nb\n", new, &[(1, &["config TWO"]), (2, &["config ONE"])]);
        assert_eq!(found.unwrap()[1], "a\nconfig TWO\n\thelp\n\nb\n");
    }

    #[test]
    fn no_empty_line_is_left_at_the_end_of_a_file() {
        let claims: [(Step, &[&str]); 2] = [(1, &["one"]), (2, &["two"])];
        let found = contents("a\n", "a\n\none\n\ntwo\n", &claims).unwrap();
        assert_eq!(found[1], "a\n\none\n");
    }

    #[test]
    fn paragraphs_between_paragraphs_stay_apart() {
        let claims: [(Step, &[&str]); 2] = [(1, &["one"]), (2, &["two"])];
        let found = contents("a\n\nb\n", "a\n\none\ntwo\n\nb\n", &claims).unwrap();
        assert_eq!(found[1], "a\n\none\n\nb\n");
    }

    #[test]
    fn the_beginning_of_a_block_goes_with_its_first_claim() {
        let found = contents(
            "",
            "/*\n * one\n */\none()\ntwo()\n",
            &[(1, &["one()"]), (2, &["two"])],
        );
        assert_eq!(found.unwrap()[1], "/*\n * one\n */\none()\n");
    }

    #[test]
    fn a_block_with_one_claim_is_taken_whole() {
        let found = contents("a\n", "b\nc\n", &[(1, &["b"])]).unwrap();
        assert_eq!(found[1], "b\nc\n");
    }

    #[test]
    fn an_early_line_can_stand_before_a_line_that_is_replaced_later() {
        let old = "{\n\tif (status) {\n}\n";
        let new = "{\n\tclear();\n\t/*\n\t * Why.\n\t */\n\tif (status && other) {\n}\n";
        let claims: [(Step, &[&str]); 2] = [(1, &["clear();"]), (2, &["Why.", "if (status"])];
        let found = contents(old, new, &claims).unwrap();
        assert_eq!(found[1], "{\n\tclear();\n\tif (status) {\n}\n");
    }

    #[test]
    fn what_nobody_takes_is_named() {
        let fault = fault("a\nb\n", "one\na\ntwo\nb\n", &[(1, &["one"])]);
        assert_eq!(fault, "no patch takes the change:\n+two\n");
    }

    #[test]
    fn what_two_take_is_named() {
        let fault = fault("a\n", "a\none two\n", &[(1, &["one"]), (2, &["two"])]);
        assert_eq!(fault, "the patches 1 and 2 both take the line \"one two\"");
    }

    #[test]
    fn a_text_that_is_nowhere_is_named() {
        let fault = fault("a\n", "a\none\n", &[(1, &["one"]), (2, &["a"])]);
        assert_eq!(fault, "no changed line has the text \"a\" of patch 2");
    }

    #[test]
    fn replacements_that_cross_are_refused() {
        let claims: [(Step, &[&str]); 2] = [(1, &["one", "1"]), (2, &["two", "2"])];
        assert!(fault("one\ntwo\n", "2\n1\n", &claims).starts_with("several patches replace"));
    }
}
