// SPDX-License-Identifier: GPL-2.0-only

//! KCSAN's reports: which of them have to do with AIO.
//!
//! A kernel has hundreds of data races that its developers know and let be. Only a report with a
//! function of AIO, or of polled I/O, in one of its stacks is taken for a complaint.

use super::splat::kernel_message;

/// The first line of a report.
const REPORT: &str = "BUG: KCSAN:";

/// The line after its last.
const END: &str = "====";

/// What functions have in their names, mangled or not.
const OURS: [&str; 4] = ["aio", "iopoll", "bio_poll", "kiocb"];

/// The console without the first lines of reports that are not about AIO.
pub fn without_others(console: &str) -> String {
    let lines = console.lines().collect::<Vec<_>>();
    let is_others = |index: usize, line: &str| {
        line.contains(REPORT) && !is_ours(lines[index..].iter().copied())
    };
    let kept = lines
        .iter()
        .enumerate()
        .filter(|(index, line)| !is_others(*index, line))
        .map(|(_, line)| *line);
    kept.collect::<Vec<_>>().join("\n")
}

/// Whether the report that begins with the first of `lines` is about AIO.
fn is_ours<'a>(lines: impl Iterator<Item = &'a str>) -> bool {
    lines
        .filter_map(kernel_message)
        .take_while(|message| !message.starts_with(END))
        .any(|message| OURS.iter().any(|word| message.contains(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(function: &str) -> String {
        format!(
            "[    1.000000] BUG: KCSAN: data-race in {function} / b\n\
             [    1.000001] read to 0x1 of 8 bytes by task 7 on cpu 0:\n\
             [    1.000002]  {function}+0x1/0x2\n[    1.000003] =====\n[    1.000004] aio\n"
        )
    }

    #[test]
    fn what_names_aio_is_kept() {
        for function in ["aio_complete", "_RNvNtCs1_3aio4reap", "bio_poll"] {
            assert!(
                without_others(&report(function)).contains(REPORT),
                "{function}"
            );
        }
    }

    #[test]
    fn what_does_not_is_dropped_and_nothing_else() {
        let left = without_others(&report("tick_sched_do_timer"));
        assert!(!left.contains(REPORT));
        assert_eq!(left.lines().count(), 4);
        let other = "[    1.000000] BUG: KASAN: x\n";
        assert_eq!(without_others(other).trim_end(), other.trim_end());
    }
}
