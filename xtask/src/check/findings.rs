// SPDX-License-Identifier: GPL-2.0-only

//! What compilers and checkers say about our files, picked out of all they say.

use std::path::Path;

/// Where the source tree is inside the build root.
const SOURCE: &str = "/src/";

/// The warnings and errors of rustc, clippy or rustdoc that point into a file of `ours`.
pub fn rust(text: &str, ours: &dyn Fn(&Path) -> bool) -> Vec<String> {
    let starts = |line: &str| {
        let level = line.split([':', '[']).next().unwrap_or_default();
        level == "warning" || level == "error"
    };
    let mut blocks: Vec<Vec<&str>> = Vec::new();
    let mut inside = false;
    for line in text.lines() {
        if starts(line) {
            blocks.push(vec![line]);
            inside = true;
        } else if line.is_empty() {
            inside = false;
        } else if let (true, Some(block)) = (inside, blocks.last_mut()) {
            block.push(line);
        }
    }
    let points_at_ours = |block: &Vec<&str>| {
        block
            .iter()
            .find_map(|line| line.trim_start().strip_prefix("--> "))
            .is_some_and(|place| ours(path_of(place)))
    };
    blocks
        .into_iter()
        .filter(points_at_ours)
        .map(|block| block.join("\n"))
        .collect()
}

/// The differences that rustfmt would make, once each: it follows modules from file to file.
pub fn rustfmt(text: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for block in text.split("\nDiff in ") {
        let block = block
            .trim_end()
            .trim_start_matches("Diff in ")
            .replace(SOURCE, "");
        if !block.is_empty() && !found.contains(&block) {
            found.push(block);
        }
    }
    found
}

/// The lines `PATH:LINE:COLUMN: warning: ...` of a C checker about a file of `ours`, once each.
pub fn c(text: &str, ours: &dyn Fn(&Path) -> bool) -> Vec<String> {
    let mut found = text
        .lines()
        .filter(|line| line.contains(": warning: ") || line.contains(": error: "))
        .filter(|line| ours(path_of(line)))
        .map(str::to_owned)
        .collect::<Vec<_>>();
    found.sort();
    found.dedup();
    found
}

/// The path in `PATH:LINE:COLUMN...`, relative to the source tree.
fn path_of(place: &str) -> &Path {
    let path = place.split(':').next().unwrap_or_default();
    let path = path.strip_prefix(SOURCE).unwrap_or(path);
    Path::new(path.trim_start_matches("../src/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(path: &Path) -> bool {
        path.starts_with("fs/aio")
    }

    #[test]
    fn rust_findings_are_those_in_our_files() {
        let text = "  CLIPPY L fs/aio/aio.o\n\
                    warning: unneeded return\n  --> /src/fs/aio/lib.rs:3:5\n   |\n3 | x\n\n\
                    warning: theirs\n --> /src/rust/kernel/a.rs:1:1\n\n\
                    error[E0308]: mismatched\n  --> fs/aio/op.rs:9:1\n\n\
                    warning: 2 warnings emitted\n\n";
        let found = rust(text, &ours);
        assert_eq!(found.len(), 2);
        assert_eq!(
            found[0],
            "warning: unneeded return\n  --> /src/fs/aio/lib.rs:3:5\n   |\n3 | x"
        );
        assert!(found[1].starts_with("error[E0308]"));
    }

    #[test]
    fn each_difference_of_format_counts_once() {
        let text = "Diff in /src/a.rs:1:\n-x\n+y\nDiff in /src/a.rs:1:\n-x\n+y\nDiff in /src/b.rs:2:\n+z\n";
        assert_eq!(rustfmt(text), ["a.rs:1:\n-x\n+y", "b.rs:2:\n+z"]);
        assert!(rustfmt("").is_empty());
    }

    #[test]
    fn c_findings_are_those_in_our_files_once() {
        let text = "/src/fs/aio/shim.c:1:2: warning: bad\n/src/fs/aio/shim.c:1:2: warning: bad\n\
                    ../src/fs/aio/b.c:1:2: error: bad\n/src/fs/open.c:1:1: warning: theirs\n\
                    \x20 CHECK   /src/fs/aio/shim.c\n";
        assert_eq!(
            c(text, &ours),
            [
                "../src/fs/aio/b.c:1:2: error: bad",
                "/src/fs/aio/shim.c:1:2: warning: bad"
            ]
        );
    }
}
