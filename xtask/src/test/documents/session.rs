// SPDX-License-Identifier: GPL-2.0-only

//! The commands that a document shows, and what it shows of their output.
//!
//! They stand in literal blocks that begin with a prompt, `$` or `#`. What follows a command, up to
//! the next prompt or the end of the block, is its output.

/// A command that a document shows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Command {
    /// The number of its line in the document, from 1.
    pub line: usize,
    /// For a shell.
    pub text: String,
    /// The lines of output that are shown, if any are; blank ones do not count.
    pub shown: Vec<String>,
}

/// What is in a block of a document whose first line, that of number `first`, has a prompt.
///
/// Nothing if it has none: then the block is no session.
fn commands_of<'a>(first: usize, block: impl Iterator<Item = &'a str>) -> Vec<Command> {
    let mut commands: Vec<Command> = Vec::new();
    for (index, line) in block.enumerate() {
        if let Some(last) = commands.last_mut().filter(|last| last.is_unfinished()) {
            last.text.push('\n');
            last.text.push_str(line);
        } else if let Some(text) = after_prompt(line) {
            commands.push(Command {
                line: first + index,
                text: text.to_owned(),
                shown: Vec::new(),
            });
        } else if line.trim().is_empty() {
            continue;
        } else if let Some(last) = commands.last_mut() {
            last.shown.push(line.to_owned());
        } else {
            break;
        }
    }
    commands
}

impl Command {
    /// Whether it goes on in the next line.
    fn is_unfinished(&self) -> bool {
        self.text.ends_with('\\')
    }
}

fn after_prompt(line: &str) -> Option<&str> {
    ["$ ", "# "]
        .iter()
        .find_map(|prompt| line.strip_prefix(prompt))
}

/// The commands in a document in which literal blocks are indented: reStructuredText or Markdown.
pub fn in_indented_blocks(text: &str) -> Vec<Command> {
    let lines = text.lines().collect::<Vec<_>>();
    let mut commands = Vec::new();
    let mut next = 0;
    while next < lines.len() {
        let begins = next > 0 && lines[next - 1].trim().is_empty();
        let indentation = indentation(lines[next]);
        if begins && !indentation.is_empty() {
            let block = lines[next..]
                .iter()
                .map_while(|line| outdented(line, indentation));
            commands.extend(commands_of(next + 1, block));
        }
        next += 1;
    }
    commands
}

fn indentation(line: &str) -> &str {
    &line[..line.len() - line.trim_start().len()]
}

/// The line without the indentation of its block; nothing if it is after the block.
fn outdented<'a>(line: &'a str, indentation: &str) -> Option<&'a str> {
    match line.strip_prefix(indentation) {
        None if line.trim().is_empty() => Some(""),
        line => line,
    }
}

/// The commands in a manual page, of which `plain` makes plain text.
pub fn in_manual_page(text: &str, plain: impl Fn(&str) -> String) -> Vec<Command> {
    let lines = text.lines().map(plain).collect::<Vec<_>>();
    let mut commands = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        if begins_literal(line) {
            let block = lines[index + 1..].iter().map(String::as_str);
            commands.extend(commands_of(
                index + 2,
                block.take_while(|line| !ends_literal(line)),
            ));
        }
    }
    commands
}

fn begins_literal(line: &str) -> bool {
    line == ".EX" || line.starts_with(".Bd -literal")
}

fn ends_literal(line: &str) -> bool {
    line == ".EE" || line == ".Ed"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(line: usize, text: &str, shown: &[&str]) -> Command {
        Command {
            line,
            text: text.to_owned(),
            shown: shown.iter().map(|&line| line.to_owned()).collect(),
        }
    }

    #[test]
    fn a_block_with_a_prompt_is_a_session() {
        let text =
            "# Heading\n\nText::\n\n    $ one \\\n        more\n    a\n\n    b\n    # two\n\n\
            Text.\n\n    no prompt\n    $ no\n";
        assert_eq!(
            in_indented_blocks(text),
            [
                command(5, "one \\\n    more", &["a", "b"]),
                command(10, "two", &[])
            ]
        );
    }

    #[test]
    fn a_block_may_be_deeper_and_end_with_its_item() {
        let text = "- Item\n\n  Text::\n\n\t$ one\n\ta\n\n  More.\n";
        assert_eq!(in_indented_blocks(text), [command(5, "one", &["a"])]);
    }

    #[test]
    fn comments_of_a_program_are_no_commands() {
        assert_eq!(in_indented_blocks("\n    x\n    # comment\n"), []);
        assert_eq!(in_indented_blocks("\n# heading\n"), []);
    }

    #[test]
    fn a_page_has_blocks_of_either_macro_set() {
        let text = ".EX\n# one\na\n.EE\n$ none\n.Bd -literal -offset indent\n$ two\n.Ed\n";
        assert_eq!(
            in_manual_page(text, str::to_owned),
            [command(2, "one", &["a"]), command(7, "two", &[])]
        );
    }
}
