// SPDX-License-Identifier: GPL-2.0-only

//! Kernel configuration from fragments, and whether what they ask for survived.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{ensure, Result};

use super::{Flavour, Workspace};

/// The fragments of a kernel, in the order in which they are merged.
pub fn fragments(ws: &Workspace, flavour: Flavour, extra: &[&str]) -> Result<Vec<PathBuf>> {
    let product = match flavour {
        Flavour::Rust => &["rust", "aio-rust"][..],
        // The same but for the one symbol that the pristine tree has not.
        Flavour::C => &["rust"],
    };
    let base = ["base", ws.architecture.fragment()];
    files(ws, base.iter().chain(product).chain(extra))
}

/// The files of the fragments called `names`.
pub fn files<'a>(ws: &Workspace, names: impl Iterator<Item = &'a &'a str>) -> Result<Vec<PathBuf>> {
    names
        .map(|name| {
            let path = ws.root.join("configs").join(format!("{name}.config"));
            ensure!(
                path.exists(),
                "there is no configuration fragment {}",
                path.display()
            );
            Ok(path)
        })
        .collect()
}

/// The lines of `fragments` that the resolved `config` does not honour.
///
/// Of two lines on one symbol the later counts. A symbol asked to be off or empty may also be absent.
pub fn lost(fragments: &[String], config: &str) -> Vec<String> {
    let mut wanted = BTreeMap::new();
    for line in fragments.iter().flat_map(|text| text.lines()) {
        if let Some(symbol) = symbol(line) {
            wanted.insert(symbol, line.trim());
        }
    }
    let resolved = config
        .lines()
        .filter_map(|line| Some((symbol(line)?, line.trim())))
        .collect::<BTreeMap<_, _>>();
    wanted
        .into_iter()
        .filter(|(symbol, line)| match resolved.get(symbol) {
            Some(found) => found != line,
            None => !is_nothing(line),
        })
        .map(|(_, line)| line.to_owned())
        .collect()
}

/// Whether a line asks for what a symbol that is not there has as well.
fn is_nothing(line: &str) -> bool {
    line.starts_with('#') || line.ends_with("=n") || line.ends_with("=\"\"")
}

/// The symbol that a line of a configuration sets or unsets.
fn symbol(line: &str) -> Option<&str> {
    let line = line.trim();
    let set = line.split_once('=').map(|(symbol, _)| symbol);
    let unset = || line.strip_prefix("# ")?.strip_suffix(" is not set");
    set.or_else(unset)
        .filter(|symbol| symbol.starts_with("CONFIG_") && !symbol.contains(' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_S=\"x=y\"\n";

    fn lost_of(fragments: &[&str]) -> Vec<String> {
        let fragments = fragments
            .iter()
            .map(|text| text.to_string())
            .collect::<Vec<_>>();
        lost(&fragments, CONFIG)
    }

    #[test]
    fn what_survived_is_not_lost() {
        let text = "# A comment, CONFIG_X=y in it\nCONFIG_A=y\nCONFIG_S=\"x=y\"\n";
        assert!(lost_of(&[text]).is_empty());
        assert!(lost_of(&["# CONFIG_B is not set\n# CONFIG_ABSENT is not set\n"]).is_empty());
        assert!(lost_of(&["CONFIG_ABSENT=n\n"]).is_empty());
        assert!(lost_of(&["CONFIG_ABSENT=\"\"\n"]).is_empty());
    }

    #[test]
    fn what_did_not_survive_is_named() {
        let lost = lost_of(&["CONFIG_A=m\nCONFIG_B=y\nCONFIG_ABSENT=y\n"]);
        assert_eq!(lost, ["CONFIG_A=m", "CONFIG_ABSENT=y", "CONFIG_B=y"]);
        assert_eq!(lost_of(&["CONFIG_S=\"\"\n"]), ["CONFIG_S=\"\""]);
        assert_eq!(
            lost_of(&["# CONFIG_A is not set\n"]),
            ["# CONFIG_A is not set"]
        );
    }

    #[test]
    fn a_later_fragment_counts() {
        assert!(lost_of(&["CONFIG_B=y\n", "# CONFIG_B is not set\n"]).is_empty());
        assert_eq!(lost_of(&["CONFIG_A=y\n", "CONFIG_A=m\n"]), ["CONFIG_A=m"]);
    }
}
