// SPDX-License-Identifier: GPL-2.0-only

//! Numbers in the environment, by which a user asks for more or for other things.

use std::env;

use anyhow::{Context, Result};

/// The number that an environment variable has, in decimal or behind `0x`.
pub fn number(name: &str, default: u64) -> Result<u64> {
    let text = env::var(name).unwrap_or_default();
    if text.is_empty() {
        return Ok(default);
    }
    parse(&text).with_context(|| format!("{name}={text} is not a number"))
}

fn parse(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_decimal_or_hexadecimal() {
        assert_eq!(parse("10000"), Some(10_000));
        assert_eq!(parse("0xff"), Some(255));
        assert_eq!(parse("many"), None);
    }
}
