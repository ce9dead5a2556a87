// SPDX-License-Identifier: GPL-2.0-only

//! Who sends the series, and so signs it off.

use std::env;
use std::path::Path;

use anyhow::{Context, Result};

use crate::build::git::git;

/// The variable that names somebody else than git's configuration does.
const VARIABLE: &str = "SIGNED_OFF_BY";

/// A name and an address, as in a sign-off.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// The name.
    pub name: String,
    /// The address, without its brackets.
    pub email: String,
}

impl Identity {
    /// `SIGNED_OFF_BY` of the environment, or else what git is configured to in `folder`.
    pub fn wanted(folder: &Path) -> Result<Self> {
        if let Some(text) = env::var(VARIABLE).ok().filter(|text| !text.is_empty()) {
            return Self::parse(&text)
                .with_context(|| format!("{VARIABLE}={text} is not \"Name <address>\""));
        }
        Self::configured(folder).with_context(|| {
            format!(
                "who signs the patches off? Set git's user.name and user.email, or \
                 {VARIABLE}=\"Name <address>\""
            )
        })
    }

    /// What git is configured to in `folder`.
    pub fn configured(folder: &Path) -> Option<Self> {
        Some(Self {
            name: configured(folder, "user.name")?,
            email: configured(folder, "user.email")?,
        })
    }

    fn parse(text: &str) -> Option<Self> {
        let (name, rest) = text.split_once('<')?;
        let email = rest.trim_end().strip_suffix('>')?;
        let (name, email) = (name.trim().to_owned(), email.trim().to_owned());
        (!name.is_empty() && email.contains('@')).then_some(Self { name, email })
    }
}

fn configured(folder: &Path, name: &str) -> Option<String> {
    let mut git = git(folder);
    git.args(["config", "--get", name]);
    let output = git.output().ok().filter(|output| output.status.success())?;
    let value = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    Some(value).filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_an_address_are_needed() {
        let found = Identity::parse("A. Name <a@example.org>").unwrap();
        assert_eq!(found.name, "A. Name");
        assert_eq!(found.email, "a@example.org");
        for text in [
            "a@example.org",
            "<a@example.org>",
            "A. Name <a>",
            "A <a@b",
            "",
        ] {
            assert_eq!(Identity::parse(text), None, "{text}");
        }
    }
}
