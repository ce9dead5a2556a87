// SPDX-License-Identifier: GPL-2.0-only

//! What variables of the environment say, by which a user asks for more or for other things.

use std::env;
use std::ops::RangeInclusive;

use anyhow::{bail, ensure, Context, Result};

/// The number that an environment variable has, in decimal or behind `0x`.
pub fn number(name: &str, default: u64) -> Result<u64> {
    let text = env::var(name).unwrap_or_default();
    if text.is_empty() {
        return Ok(default);
    }
    parse(&text).with_context(|| format!("{name}={text} is not a number"))
}

/// The same, of which only some are `allowed`.
pub fn number_within(name: &str, default: u64, allowed: RangeInclusive<u64>) -> Result<u64> {
    let number = number(name, default)?;
    require_within(name, number, &allowed)?;
    Ok(number)
}

fn require_within(name: &str, number: u64, allowed: &RangeInclusive<u64>) -> Result<()> {
    let (first, last) = (allowed.start(), allowed.end());
    ensure!(
        allowed.contains(&number),
        "{name}={number} is no number from {first} to {last}"
    );
    Ok(())
}

/// What the value of `CHECK` says, where it is set.
pub fn is_check_wanted(value: &str) -> Result<bool> {
    match value {
        "1" => Ok(true),
        "" | "0" => Ok(false),
        other => bail!("CHECK={other} is neither 0 nor 1"),
    }
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
    fn a_check_is_wanted_by_a_one() {
        assert!(is_check_wanted("1").unwrap());
        assert!(!is_check_wanted("").unwrap() && !is_check_wanted("0").unwrap());
        assert!(is_check_wanted("yes").is_err());
    }

    #[test]
    fn numbers_are_decimal_or_hexadecimal() {
        assert_eq!(parse("10000"), Some(10_000));
        assert_eq!(parse("0xff"), Some(255));
        assert_eq!(parse("many"), None);
    }

    #[test]
    fn a_number_that_is_not_allowed_is_told_what_is() {
        let refused = |number| require_within("MINUTES", number, &(1..=60)).err();
        assert!(refused(1).is_none() && refused(60).is_none());
        for number in [0, 61] {
            let sentence = refused(number).unwrap().to_string();
            assert_eq!(
                sentence,
                format!("MINUTES={number} is no number from 1 to 60")
            );
        }
    }
}
