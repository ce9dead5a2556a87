// SPDX-License-Identifier: GPL-2.0-only

//! A throw-away git repository in which the series is committed, exported and applied again.
//!
//! It holds of the kernel only what the series changes: nothing else can matter to it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::identity::Identity;
use crate::build::command;
use crate::build::git::git;
use crate::build::overlay::{Overlay, Staged};
use crate::build::scratch::Scratch;

/// The branch that the series is on; its description is the cover letter.
const BRANCH: &str = "series";

/// The commit before the first patch.
const BASE: &str = "base";

/// The repository, removed when dropped.
pub struct Repository {
    folder: Scratch,
    /// What is in the branch on top of the base.
    committed: Overlay,
    /// When all of it was written, in git's words; now, if nothing is known.
    date: String,
}

impl Repository {
    /// A repository whose base has of `pristine` all that `overlay` changes; `place` is the folder
    /// whose `tmp` it is in.
    pub fn new(
        place: &Path,
        pristine: &Path,
        overlay: &Overlay,
        author: &Identity,
        date: Option<String>,
    ) -> Result<Self> {
        let repository = Self {
            folder: Scratch::new_in(place)?,
            committed: Overlay::default(),
            date: date.unwrap_or_else(|| "now".to_owned()),
        };
        let tree = repository.tree();
        fs::create_dir_all(&tree)?;
        let branch = format!("--initial-branch={BRANCH}");
        repository.git(&tree, &["init", "--quiet", &branch])?;
        repository.git(&tree, &["config", "user.name", &author.name])?;
        repository.git(&tree, &["config", "user.email", &author.email])?;
        for path in overlay
            .files
            .keys()
            .filter(|path| pristine.join(path).exists())
        {
            let target = tree.join(path);
            fs::create_dir_all(target.parent().context("a file has a folder")?)?;
            fs::copy(pristine.join(path), target)?;
        }
        repository.git(&tree, &["add", "--all", "--force"])?;
        repository.git(&tree, &["commit", "--quiet", "--allow-empty", "-m", BASE])?;
        repository.git(&tree, &["tag", BASE])?;
        Ok(repository)
    }

    /// Commits what `overlay` has and the commit before has not, signed off.
    pub fn commit(&mut self, overlay: &Overlay, message: &str) -> Result<()> {
        let tree = self.tree();
        let is_new =
            |(path, file): &(&PathBuf, &Staged)| self.committed.files.get(*path) != Some(*file);
        for (path, file) in overlay.files.iter().filter(is_new) {
            write(&tree, path, file)?;
        }
        self.git(&tree, &["add", "--all", "--force"])?;
        let text = self.folder.path().join("message");
        fs::write(&text, message)?;
        let mut command = self.command(&tree);
        command.args(["commit", "--quiet", "--signoff"]);
        command.arg(format!("--date={}", self.date));
        command.arg("-F").arg(&text);
        command::run(&mut command)?;
        self.committed = overlay.clone();
        Ok(())
    }

    /// Writes the patches, and a cover letter before them, to the folder `to`; returns the patches.
    pub fn export(&self, cover: &str, to: &Path) -> Result<Vec<PathBuf>> {
        let tree = self.tree();
        let description = format!("branch.{BRANCH}.description");
        self.git(&tree, &["config", &description, cover])?;
        let mut command = self.command(&tree);
        command.args([
            "format-patch",
            "--quiet",
            "--cover-letter",
            "--cover-from-description=subject",
            "--no-signature",
            "--zero-commit",
            "-o",
        ]);
        command.arg(to).arg(BASE);
        command::run(&mut command)?;
        let entries = fs::read_dir(to)?;
        let mut paths = entries
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<Vec<_>>>()?;
        paths.retain(|path| {
            let name = path.file_name().unwrap_or_default().as_encoded_bytes();
            name.ends_with(b".patch") && !name.starts_with(b"0000-")
        });
        paths.sort();
        Ok(paths)
    }

    /// Applies mails to the base, as a maintainer would, and returns the name of the tree.
    pub fn applied(&self, patches: &[PathBuf]) -> Result<String> {
        let tree = self.worktree("applied")?;
        let mut command = self.command(&tree);
        command.args(["am", "--quiet"]).args(patches);
        command::run(&mut command)?;
        self.git(&tree, &["rev-parse", "HEAD^{tree}"])
    }

    /// The name of the tree that has all of `overlay` on the base, whatever the patches are.
    pub fn overlaid(&self, overlay: &Overlay) -> Result<String> {
        let tree = self.worktree("overlaid")?;
        for (path, file) in &overlay.files {
            write(&tree, path, file)?;
        }
        self.git(&tree, &["add", "--all", "--force"])?;
        self.git(&tree, &["write-tree"])
    }

    /// How two trees differ, in a line for each file.
    pub fn difference(&self, one: &str, other: &str) -> Result<String> {
        self.git(&self.tree(), &["diff", "--stat", one, other])
    }

    /// Where the series is checked out.
    fn tree(&self) -> PathBuf {
        self.folder.path().join(BRANCH)
    }

    /// Checks the base out once more.
    fn worktree(&self, name: &str) -> Result<PathBuf> {
        let path = self.folder.path().join(name);
        let mut command = self.command(&self.tree());
        command.args(["worktree", "add", "--quiet", "--detach"]);
        command.arg(&path).arg(BASE);
        command::run(&mut command)?;
        Ok(path)
    }

    fn git(&self, folder: &Path, arguments: &[&str]) -> Result<String> {
        command::read(self.command(folder).args(arguments))
    }

    /// git, in a folder of this repository and in no other, with nothing of the user's.
    fn command(&self, folder: &Path) -> Command {
        let mut git = git(folder);
        git.env("GIT_CONFIG_GLOBAL", "/dev/null");
        git.env("GIT_CONFIG_NOSYSTEM", "1");
        git
    }
}

fn write(tree: &Path, path: &Path, file: &Staged) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let target = tree.join(path);
    fs::create_dir_all(target.parent().context("a file has a folder")?)?;
    fs::write(&target, &file.content)?;
    fs::set_permissions(&target, fs::Permissions::from_mode(file.mode))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::overlay::Origin;

    struct Fixture {
        _folder: tempfile::TempDir,
        out: PathBuf,
        repository: Repository,
        steps: [Overlay; 2],
    }

    /// A kernel of one file, which the first patch changes, and the second adds one.
    fn fixture() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let (pristine, out) = (folder.path().join("linux"), folder.path().join("out"));
        fs::create_dir_all(pristine.join("fs")).unwrap();
        fs::write(pristine.join("fs/Makefile"), "a\n").unwrap();
        fs::write(pristine.join("fs/other"), "").unwrap();
        let staged = |text: &str, mode, origin| Staged {
            content: text.into(),
            mode,
            origin,
        };
        let mut one = Overlay::default();
        let makefile = staged("a\nb\n", 0o644, Origin::Patched);
        one.files.insert("fs/Makefile".into(), makefile);
        let mut two = one.clone();
        let script = staged("new\n", 0o755, Origin::Added);
        two.files.insert("tools/.gitignore".into(), script);
        let author = Identity {
            name: "A. Name".to_owned(),
            email: "a@example.org".to_owned(),
        };
        let date = Some("2026-01-02T03:04:05+00:00".to_owned());
        let repository = Repository::new(folder.path(), &pristine, &two, &author, date).unwrap();
        Fixture {
            _folder: folder,
            out,
            repository,
            steps: [one, two],
        }
    }

    fn export(fixture: &mut Fixture) -> Vec<PathBuf> {
        let [one, two] = &fixture.steps;
        let repository = &mut fixture.repository;
        repository
            .commit(one, "fs: one\n\nWhy.\n\nFixes: 1")
            .unwrap();
        repository.commit(two, "fs: two\n\nWhy.").unwrap();
        repository
            .export("A cover\n\nIts text.\n", &fixture.out)
            .unwrap()
    }

    #[test]
    fn mails_are_numbered_signed_off_and_dated() {
        let mut fixture = fixture();
        let patches = export(&mut fixture);
        let names = patches
            .iter()
            .map(|path| path.file_name().unwrap().to_str().unwrap());
        assert_eq!(
            names.collect::<Vec<_>>(),
            ["0001-fs-one.patch", "0002-fs-two.patch"]
        );
        let mail = fs::read_to_string(&patches[0]).unwrap();
        for line in [
            "From: \"A. Name\" <a@example.org>",
            "Date: Fri, 2 Jan 2026 03:04:05 +0000",
            "Subject: [PATCH 1/2] fs: one",
            "Fixes: 1",
            "Signed-off-by: A. Name <a@example.org>",
        ] {
            assert!(mail.lines().any(|found| found == line), "{line} in {mail}");
        }
        let cover = fs::read_to_string(fixture.out.join("0000-cover-letter.patch")).unwrap();
        assert!(cover.contains("Subject: [PATCH 0/2] A cover\n"), "{cover}");
        assert!(cover.contains("\nIts text.\n"), "{cover}");
    }

    #[test]
    fn applied_mails_give_the_tree_of_the_overlay() {
        let mut fixture = fixture();
        let patches = export(&mut fixture);
        let repository = &fixture.repository;
        let applied = repository.applied(&patches).unwrap();
        let overlaid = repository.overlaid(&fixture.steps[1]).unwrap();
        assert_eq!(applied, overlaid);
    }

    #[test]
    fn a_patch_that_was_tampered_with_gives_another_tree() {
        let mut fixture = fixture();
        let patches = export(&mut fixture);
        let mail = fs::read_to_string(&patches[0]).unwrap();
        fs::write(&patches[0], mail.replace("\n+b\n", "\n+c\n")).unwrap();
        let repository = &fixture.repository;
        let applied = repository.applied(&patches).unwrap();
        let overlaid = repository.overlaid(&fixture.steps[1]).unwrap();
        assert_ne!(applied, overlaid);
        let difference = repository.difference(&overlaid, &applied).unwrap();
        assert!(difference.contains("fs/Makefile"), "{difference}");
    }
}
