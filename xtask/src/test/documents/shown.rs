// SPDX-License-Identifier: GPL-2.0-only

//! Whether a command prints what a document shows.
//!
//! Numbers may differ, as times and addresses do from run to run, but a zero has to be a zero, and a
//! whole number that is none must not become one. Blank lines and the width of blanks do not count. A
//! line `...` stands for any number of lines.

/// What is wrong with `printed`, where a document shows `shown`.
pub fn fault(shown: &[String], printed: &[String]) -> Option<String> {
    let shown = telling(shown);
    let printed = telling(printed);
    if agree(&shown, &printed) {
        return None;
    }
    let is_there = |line: &&String| printed.iter().any(|other| same_line(line, other));
    let missing = shown.iter().find(|line| **line != REST && !is_there(line));
    Some(match missing {
        Some(line) => format!("it does not print: {line}"),
        None => "it prints more, or in another order".to_owned(),
    })
}

const REST: &str = "...";

/// The lines that are not blank, each with single blanks.
fn telling(lines: &[String]) -> Vec<String> {
    let words = |line: &String| line.split_whitespace().collect::<Vec<_>>().join(" ");
    lines
        .iter()
        .map(words)
        .filter(|line| !line.is_empty())
        .collect()
}

fn agree(shown: &[String], printed: &[String]) -> bool {
    match shown.split_first() {
        None => printed.is_empty(),
        Some((first, rest)) if first == REST => {
            (0..=printed.len()).any(|skipped| agree(rest, &printed[skipped..]))
        }
        Some((first, rest)) => match printed.split_first() {
            Some((line, others)) => same_line(first, line) && agree(rest, others),
            None => false,
        },
    }
}

fn same_line(shown: &str, printed: &str) -> bool {
    let (shown, printed) = (tokens(shown), tokens(printed));
    let mut pairs = shown.iter().zip(&printed);
    shown.len() == printed.len() && pairs.all(|(shown, printed)| stands_for(shown, printed))
}

/// Whether `shown` is an example of what `printed` is.
fn stands_for(shown: &str, printed: &str) -> bool {
    let are_numbers = is_number(shown) && is_number(printed);
    let may_be_zero = shown.contains('.') && !is_zero(shown);
    shown == printed || are_numbers && (may_be_zero || is_zero(shown) == is_zero(printed))
}

/// Numbers, and what is between them.
fn tokens(line: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = line;
    while !rest.is_empty() {
        let length = match number_length(rest) {
            0 => rest.find(|character: char| character.is_ascii_digit()),
            length => Some(length),
        };
        let (token, after) = rest.split_at(length.unwrap_or(rest.len()));
        tokens.push(token);
        rest = after;
    }
    tokens
}

/// How long a number at the beginning of `text` is: decimal, with a fraction, or hexadecimal.
fn number_length(text: &str) -> usize {
    if let Some(digits) = text.strip_prefix("0x") {
        return 2 + length_of(digits, |character| character.is_ascii_hexdigit());
    }
    let whole = length_of(text, |character| character.is_ascii_digit());
    match text[whole..].strip_prefix('.') {
        Some(fraction) if whole > 0 => {
            match length_of(fraction, |character| character.is_ascii_digit()) {
                0 => whole,
                digits => whole + 1 + digits,
            }
        }
        _ => whole,
    }
}

fn length_of(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.find(|character| !belongs(character))
        .unwrap_or(text.len())
}

fn is_number(token: &str) -> bool {
    token.starts_with(|character: char| character.is_ascii_digit())
}

/// Whether a number is zero. One that is padded on its left is no amount but a name: that of the
/// first CPU, say.
fn is_zero(number: &str) -> bool {
    let digits = number.strip_prefix("0.").or(number.strip_prefix("0x"));
    match digits {
        Some(digits) => digits.bytes().all(|digit| digit == b'0'),
        None => number == "0",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    fn agrees(shown: &str, printed: &str) -> bool {
        fault(&lines(shown), &lines(printed)).is_none()
    }

    #[test]
    fn numbers_may_differ_but_for_zero() {
        assert!(agrees("took 12 us, 0 lost", "took 7.5 us, 0 lost"));
        assert!(!agrees("took 12 us, 0 lost", "took 12 us, 1 lost"));
        assert!(!agrees("per I/O: 0.0000", "per I/O: 0.0001"));
        assert!(!agrees("polled 1", "polled 0"));
        assert!(agrees("0.0003 s", "0.0000 s"));
        assert!(agrees("0.0 s", "0.000 s"));
        assert!(agrees("ctx 0x7f1c, x [000]", "ctx 0x12, x [001]"));
        assert!(!agrees("data 0x0", "data 0x1"));
    }

    #[test]
    fn words_may_not_differ() {
        assert!(agrees("a   b\n\n", "a b"));
        assert!(!agrees("a b", "a c"));
        assert!(!agrees("a", "a\nb"));
        assert!(!agrees("a\nb", "a"));
        assert!(!agrees("nvme0n1", "vda"));
    }

    #[test]
    fn three_dots_are_any_lines() {
        assert!(agrees("a\n...\nd", "a\nb\nc\nd"));
        assert!(agrees("a\n...", "a"));
        assert!(!agrees("a\n...\nd", "a\nb"));
    }

    #[test]
    fn a_fault_names_the_line() {
        let fault = fault(&lines("a\n...\nb"), &lines("a\nc"));
        assert_eq!(fault.as_deref(), Some("it does not print: b"));
    }
}
