// SPDX-License-Identifier: GPL-2.0-only

//! Who maintains what the series adds: who sends it.

use std::path::Path;

use anyhow::{Context, Result};

use super::identity::Identity;
use crate::build::overlay::Overlay;

/// The kernel's list.
const FILE: &str = "MAINTAINERS";

/// The entry of the series, which has no `M:` before somebody sends it.
const ENTRY: &str = "\nAIO [RUST]\n";

/// Enters the sender.
pub fn enter(overlay: &mut Overlay, sender: &Identity) -> Result<()> {
    let file = overlay.files.get_mut(Path::new(FILE));
    let content = &mut file
        .with_context(|| format!("the overlay has no {FILE}"))?
        .content;
    *content = entered(&String::from_utf8_lossy(content), sender)?.into_bytes();
    Ok(())
}

fn entered(text: &str, sender: &Identity) -> Result<String> {
    let (before, after) = text
        .split_once(ENTRY)
        .with_context(|| format!("{FILE} has no entry {}", ENTRY.trim()))?;
    let Identity { name, email } = sender;
    Ok(format!("{before}{ENTRY}M:\t{name} <{email}>\n{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sender_comes_first_in_the_entry() {
        let sender = Identity {
            name: "A B".to_owned(),
            email: "a@b.example".to_owned(),
        };
        let text = "AIO\nS:\tSupported\n\nAIO [RUST]\nL:\tl@example\nS:\tMaintained\n";
        let expected =
            "AIO\nS:\tSupported\n\nAIO [RUST]\nM:\tA B <a@b.example>\nL:\tl@example\nS:\tMaintained\n";
        assert_eq!(entered(text, &sender).unwrap(), expected);
        assert!(entered("AIO\n", &sender).is_err());
    }
}
