// SPDX-License-Identifier: GPL-2.0-only

//! Versions of the packages.
//!
//! Each has the version of what is packaged; the time of the last commit to it, so that dpkg takes a
//! later one for newer; and the beginning of a hash of its content, as not all is committed.

use std::path::Path;

use crate::build::git::git;

/// How much of a hash a version has.
const DIGITS: usize = 8;

/// When something was last committed to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LastChange {
    /// In digits, from the year to the second, in UTC.
    pub digits: String,
    /// As a changelog has it.
    pub date: String,
}

impl LastChange {
    /// The last change of `paths` in the clone, or of long ago where git does not know any.
    pub fn of<'a>(clone: &Path, paths: impl IntoIterator<Item = &'a Path>) -> Self {
        let mut git = git(clone);
        git.env("TZ", "UTC");
        git.args(["log", "-1", "--date=format-local:%Y%m%d%H%M%S"]);
        git.args(["--format=%cd%n%cD", "--"]).args(paths);
        let output = git.output().ok().filter(|output| output.status.success());
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        Self::parse(&text.unwrap_or_default()).unwrap_or(Self {
            digits: "0".to_owned(),
            date: "Thu, 01 Jan 1970 00:00:00 +0000".to_owned(),
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let (digits, date) = text.trim().split_once('\n')?;
        Some(Self {
            digits: digits.to_owned(),
            date: date.to_owned(),
        })
    }
}

/// The version of a package of what has the version `upstream` and the content of this key.
pub fn package_version(upstream: &str, change: &LastChange, key: &str) -> String {
    // What comes before a release sorts before it.
    let upstream = upstream.replace("-rc", "~rc");
    let content = key.get(..DIGITS).unwrap_or(key);
    format!("{upstream}+{}.{content}", change.digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0123456789abcdef";

    fn change(digits: &str) -> LastChange {
        LastChange {
            digits: digits.to_owned(),
            date: String::new(),
        }
    }

    #[test]
    fn a_version_has_what_it_is_and_when_and_which() {
        let version = |upstream| package_version(upstream, &change("20261124002200"), KEY);
        assert_eq!(version("7.3.4"), "7.3.4+20261124002200.01234567");
        assert_eq!(version("7.3-rc1"), "7.3~rc1+20261124002200.01234567");
    }

    #[test]
    fn git_says_the_time_twice() {
        let text = "20261124002200\nTue, 24 Nov 2026 00:22:00 +0000\n";
        let change = LastChange::parse(text).unwrap();
        assert_eq!(change.digits, "20261124002200");
        assert_eq!(change.date, "Tue, 24 Nov 2026 00:22:00 +0000");
        assert_eq!(LastChange::parse(""), None);
    }

    #[test]
    fn what_git_does_not_know_is_old() {
        let folder = tempfile::tempdir().unwrap();
        let change = LastChange::of(folder.path(), [Path::new("fs")]);
        assert_eq!(change.digits, "0");
    }
}
