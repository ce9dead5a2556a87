// SPDX-License-Identifier: GPL-2.0-only

//! Manual pages: their text without escapes, and the programs in them.

/// A program in a page.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Program {
    /// The name of its source, such as `example.c`.
    pub name: String,
    /// The source.
    pub source: String,
}

/// What stands for a character in the source of a page.
const ESCAPES: &[(&str, &str)] = &[
    ("\\-", "-"),
    ("\\[rs]", "\\"),
    ("\\e", "\\"),
    ("\\[aq]", "'"),
    ("\\[dq]", "\""),
    ("\\[ha]", "^"),
    ("\\[ti]", "~"),
    ("\\&", ""),
];

/// A line as a reader of the page sees it.
pub fn plain(line: &str) -> String {
    let mut plain = String::new();
    let mut rest = line;
    while let Some(character) = rest.chars().next() {
        let escape = ESCAPES.iter().find(|(escape, _)| rest.starts_with(escape));
        let length = match escape {
            Some((escape, means)) => {
                plain.push_str(means);
                escape.len()
            }
            None => {
                plain.push(character);
                character.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    plain
}

/// The programs in a page, which are marked as man-pages marks them:
/// `.\" SRC BEGIN (name.c)` before the block, `.\" SRC END` after it.
pub fn programs(text: &str) -> Vec<Program> {
    let mut programs = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(name) = source_name(line) {
            let source = lines
                .by_ref()
                .take_while(|line| *line != r#".\" SRC END"#)
                .filter(|line| *line != ".EX" && *line != ".EE")
                .map(|line| plain(line) + "\n")
                .collect();
            let name = name.to_owned();
            programs.push(Program { name, source });
        }
    }
    programs
}

fn source_name(line: &str) -> Option<&str> {
    line.strip_prefix(r#".\" SRC BEGIN ("#)?.strip_suffix(')')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_characters() {
        assert_eq!(plain(r"a \- b\[rs]n \[aq]x\[aq] \e"), r"a - b\n 'x' \");
        assert_eq!(plain(r"\&.x \[rs]\-"), r".x \-");
    }

    #[test]
    fn a_program_stands_between_its_marks() {
        let page =
            ".SS Source\n.\\\" SRC BEGIN (one.c)\n.EX\nint x = \\-1;\n\n.EE\n.\\\" SRC END\n\
            .EX\nno program\n.EE\n";
        assert_eq!(
            programs(page),
            [Program {
                name: "one.c".to_owned(),
                source: "int x = -1;\n\n".to_owned()
            }]
        );
    }
}
