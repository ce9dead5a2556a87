// SPDX-License-Identifier: GPL-2.0-only

//! The overlay as it is after each patch of the series.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{bail, ensure, Context, Result};

use super::message::{Claim, Patch};
use super::script::{Script, Step, Wish};
use crate::build::overlay::{Origin, Overlay, Staged};

/// Splits `overlay`, which is one of the tree `pristine`, into what it is after each patch.
///
/// The last one is the overlay. Fails where something of it is claimed by no patch or by several,
/// and where a patch claims what is not there, or nothing.
pub fn split(overlay: &Overlay, pristine: &Path, patches: &[Patch]) -> Result<Vec<Overlay>> {
    for (step, patch) in steps(patches) {
        for claim in &patch.claims {
            let is_there = overlay.files.keys().any(|path| claim.covers(path));
            ensure!(is_there, "patch {step} takes {}: no such path", claim.path);
        }
    }
    let mut stages = vec![Overlay::default(); patches.len()];
    for (path, file) in &overlay.files {
        let old = match file.origin {
            Origin::Added => Vec::new(),
            Origin::Patched => fs::read(pristine.join(path))
                .with_context(|| format!("cannot read the kernel's {}", path.display()))?,
        };
        let contents = contents(path, file, &old, patches)
            .with_context(|| format!("{} cannot be split", path.display()))?;
        for (step, staged) in contents {
            stages[step - 1].files.insert(path.clone(), staged);
        }
    }
    refuse_empty(&stages, patches)?;
    ensure!(
        stages.last() == Some(overlay),
        "the last patch does not lead to the overlay: this is a bug"
    );
    Ok(stages)
}

/// A file of the overlay after each patch from the first on that takes something of it.
fn contents(
    path: &Path,
    file: &Staged,
    old: &[u8],
    patches: &[Patch],
) -> Result<BTreeMap<Step, Staged>> {
    let wishes = wishes(path, patches)?;
    let script = Script::new(old, &file.content, &wishes)?;
    let first = match (wishes.as_slice(), script.first_step()) {
        (_, Some(step)) => step,
        // An empty file has no lines that could be claimed.
        ([wish], None) => wish.step,
        _ => bail!("it changes nothing"),
    };
    let staged = |step| Staged {
        content: script.content(step),
        ..file.clone()
    };
    Ok((first..=patches.len())
        .map(|step| (step, staged(step)))
        .collect())
}

/// What the patches want of a path.
fn wishes<'a>(path: &Path, patches: &'a [Patch]) -> Result<Vec<Wish<'a>>> {
    let wish = |step: Step, claim: &'a Claim| Wish {
        step,
        texts: &claim.texts,
    };
    let wishes = steps(patches)
        .flat_map(|(step, patch)| patch.claims.iter().map(move |claim| (step, claim)))
        .filter(|(_, claim)| claim.covers(path))
        .map(|(step, claim)| wish(step, claim))
        .collect::<Vec<_>>();
    ensure!(!wishes.is_empty(), "no patch takes it");
    let whole = wishes.iter().filter(|wish| wish.texts.is_empty()).count();
    ensure!(
        whole == 0 || wishes.len() == 1,
        "the patches {:?} take it, of which one takes it whole",
        wishes.iter().map(|wish| wish.step).collect::<Vec<_>>()
    );
    Ok(wishes)
}

fn steps(patches: &[Patch]) -> impl Iterator<Item = (Step, &Patch)> {
    (1..).zip(patches)
}

fn refuse_empty(stages: &[Overlay], patches: &[Patch]) -> Result<()> {
    let mut before = &Overlay::default();
    for (stage, (step, patch)) in stages.iter().zip(steps(patches)) {
        ensure!(
            stage != before,
            "patch {step}, \"{}\", changes nothing",
            patch.subject()
        );
        before = stage;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "a\nb\n";

    fn patch(claims: &[(&str, &[&str])]) -> Patch {
        let claim = |(path, texts): &(&str, &[&str])| Claim {
            path: path.to_string(),
            texts: texts.iter().map(|text| text.to_string()).collect(),
        };
        Patch {
            message: "subject\n\nText.".to_owned(),
            claims: claims.iter().map(claim).collect(),
        }
    }

    fn overlay() -> Overlay {
        let staged = |text: &str, origin| Staged {
            content: text.into(),
            mode: 0o644,
            origin,
        };
        let files = [
            ("fs/Makefile", staged("a\none\nb\ntwo\n", Origin::Patched)),
            ("fs/one.c", staged("1\n", Origin::Added)),
            ("fs/two/a.c", staged("2\n", Origin::Added)),
            ("fs/two/empty", staged("", Origin::Added)),
        ];
        let files = files.map(|(path, file)| (path.into(), file));
        Overlay {
            files: files.into(),
        }
    }

    fn split_by(patches: &[Patch]) -> Result<Vec<Overlay>> {
        let pristine = tempfile::tempdir().unwrap();
        fs::create_dir(pristine.path().join("fs")).unwrap();
        fs::write(pristine.path().join("fs/Makefile"), OLD).unwrap();
        split(&overlay(), pristine.path(), patches)
    }

    #[test]
    fn each_patch_adds_what_it_claims() {
        let stages = split_by(&[
            patch(&[("fs/one.c", &[]), ("fs/Makefile", &["one"])]),
            patch(&[("fs/two/", &[]), ("fs/Makefile", &["two"])]),
        ])
        .unwrap();
        assert_eq!(stages.len(), 2);
        let names = stages[0].files.keys().map(|path| path.to_str().unwrap());
        assert_eq!(names.collect::<Vec<_>>(), ["fs/Makefile", "fs/one.c"]);
        let makefile = &stages[0].files[Path::new("fs/Makefile")];
        assert_eq!(makefile.content, b"a\none\nb\n");
        assert_eq!(stages[1], overlay());
    }

    #[test]
    fn everything_is_claimed_once_by_a_patch_that_does_something() {
        let all = || patch(&[("fs/", &[])]);
        assert!(split_by(&[all()]).is_ok());
        for (patches, words) in [
            (vec![patch(&[("fs/one.c", &[])])], "no patch takes it"),
            (vec![all(), patch(&[("fs/one.c", &[])])], "[1, 2] take it"),
            (vec![all(), patch(&[("fs/three.c", &[])])], "no such path"),
            (vec![all(), patch(&[])], "changes nothing"),
        ] {
            let error = format!("{:#}", split_by(&patches).unwrap_err());
            assert!(error.contains(words), "{error}");
        }
    }
}
