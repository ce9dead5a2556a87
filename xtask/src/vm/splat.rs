// SPDX-License-Identifier: GPL-2.0-only

//! What a kernel must not say.
//!
//! Some of it ends a machine at once, for whatever runs on would prove nothing; all of it turns a
//! green run red. Only the kernel's own messages count: they begin with a time stamp.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use super::races;

/// What is found in a kernel message, anywhere in it.
struct Sign {
    text: &'static str,
    fatal: bool,
}

const fn fatal_sign(text: &'static str) -> Sign {
    Sign { text, fatal: true }
}

const fn complaint(text: &'static str) -> Sign {
    Sign { text, fatal: false }
}

const SIGNS: &[Sign] = &[
    fatal_sign("Kernel panic"),
    fatal_sign("kernel BUG at"),
    fatal_sign("BUG: unable to handle"),
    fatal_sign("BUG: kernel NULL pointer dereference"),
    fatal_sign("Unable to handle kernel"),
    fatal_sign("BUG: soft lockup"),
    fatal_sign("BUG: workqueue lockup"),
    fatal_sign("hard LOCKUP"),
    fatal_sign("Oops:"),
    fatal_sign("Internal error:"),
    fatal_sign("general protection fault"),
    fatal_sign("double fault"),
    fatal_sign("rust_kernel: panicked at"),
    fatal_sign("self-detected stall on CPU"),
    fatal_sign("detected stalls on CPUs"),
    fatal_sign("detected expedited stalls"),
    fatal_sign("blocked for more than"),
    complaint("WARNING:"),
    complaint("BUG:"),
    complaint("BUG "),
    complaint("KASAN:"),
    complaint("KCSAN:"),
    complaint("UBSAN:"),
    complaint("ODEBUG:"),
    complaint("INFO: trying to register non-static key"),
    complaint("INFO: lockdep is turned off"),
    complaint("unreferenced object"),
    complaint("new suspected memory leaks"),
    complaint("Kernel memory leak detector disabled"),
    complaint("refcount_t:"),
    complaint("list_add corruption"),
    complaint("list_del corruption"),
    complaint("Bad page state"),
    complaint("bad: scheduling from"),
    complaint("scheduling while atomic"),
    complaint("sleeping function called from invalid context"),
    complaint("page allocation failure"),
    complaint("Out of memory: Killed"),
    complaint("I/O error"),
    complaint("EXT4-fs error"),
    complaint("EXT4-fs warning"),
    complaint("timeout, completion polled"),
    complaint("timeout, aborting"),
    complaint("timeout, reset controller"),
    complaint("timeout, disable controller"),
    complaint("controller is down"),
    complaint("null_blk: rq"),
    complaint("irq: nobody cared"),
    complaint("hung_task:"),
];

/// A complaint that is known and may pass until a day.
struct Allowance {
    /// What the message contains.
    text: &'static str,
    /// Why it may pass.
    reason: &'static str,
    /// The last day, as YYYY-MM-DD. After it the allowance itself is a complaint.
    last_day: &'static str,
}

/// What is known.
const ALLOWANCES: &[Allowance] = &[
    Allowance {
        text: "I/O error, dev aio",
        reason: "the self-tests make disks of such names fail",
        last_day: "2028-12-31",
    },
    Allowance {
        text: "KCSAN: data-race in __iomap_dio_read_simple / iomap_dio_simple_complete",
        reason: "for a tracepoint, iomap of 7.3 reads the position of a read that it has submitted",
        last_day: "2028-12-31",
    },
    Allowance {
        text: "KCSAN: data-race in osq_lock / osq_unlock",
        reason: "the lock's own, which mutexes spin on, whoever takes one",
        last_day: "2028-12-31",
    },
];

/// What a console line says of the kernel's end, if it does.
pub fn fatal(line: &str) -> Option<String> {
    let message = kernel_message(line)?;
    let fatal = |sign: &&Sign| sign.fatal && message.contains(sign.text);
    SIGNS.iter().find(fatal).map(|_| message.to_owned())
}

/// All complaints of a console, and the allowances that are past their last day.
///
/// What contains one of `provoked` was asked for.
pub fn search(console: &[u8], provoked: &[&str]) -> Result<Vec<String>> {
    let console = races::without_others(&String::from_utf8_lossy(console));
    let complaints = search_with(&console, ALLOWANCES, &today()?);
    let is_provoked = |message: &String| provoked.iter().any(|text| message.contains(text));
    Ok(complaints
        .into_iter()
        .filter(|message| !is_provoked(message))
        .collect())
}

fn search_with(console: &str, allowances: &[Allowance], today: &str) -> Vec<String> {
    let (current, expired): (Vec<_>, Vec<_>) = allowances
        .iter()
        .partition(|allowance| today <= allowance.last_day);
    let allowed = |message: &&str| !current.iter().any(|a| message.contains(a.text));
    let complaints = console
        .lines()
        .filter_map(kernel_message)
        .filter(|message| SIGNS.iter().any(|sign| message.contains(sign.text)))
        .filter(allowed)
        .map(str::to_owned);
    let expired = expired.iter().map(|allowance| {
        format!(
            "the allowance of \"{}\" ({}) ended on {}: mend its cause",
            allowance.text, allowance.reason, allowance.last_day
        )
    });
    expired.chain(complaints).collect()
}

/// The text of a kernel message on a console line: what follows its time stamp, indentation kept.
///
/// A message can begin in the middle of a line that a program left open.
pub fn kernel_message(line: &str) -> Option<&str> {
    line.match_indices('[').find_map(|(at, _)| {
        let (stamp, message) = line[at + 1..].split_once(']')?;
        let message = without_caller(message);
        is_time_stamp(stamp).then(|| message.strip_prefix(' ').unwrap_or(message).trim_end())
    })
}

/// Whether `stamp` is seconds since boot, such as `   12.345678`.
fn is_time_stamp(stamp: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    stamp
        .trim_start()
        .split_once('.')
        .is_some_and(|(seconds, micros)| digits(seconds) && digits(micros) && micros.len() == 6)
}

/// Drops the thread or processor that some kernels name after the time stamp.
fn without_caller(message: &str) -> &str {
    match message
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        Some((_, rest)) => rest,
        None => message,
    }
}

/// The day in UTC, as YYYY-MM-DD.
fn today() -> Result<String> {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("the clock is before 1970")?;
    Ok(date_of_day(since.as_secs() / 86_400))
}

/// The date of a day counted from 1970-01-01.
fn date_of_day(mut day: u64) -> String {
    let is_leap = |year: u64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let mut year = 1970;
    while day >= 365 + u64::from(is_leap(year)) {
        day -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for days in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < days {
            break;
        }
        day -= days;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", day + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_follows_its_time_stamp() {
        assert_eq!(
            kernel_message("[    1.078866] Run /init"),
            Some("Run /init")
        );
        assert_eq!(kernel_message("[   12.000001][  T42] hello"), Some("hello"));
        assert_eq!(
            kernel_message("[   12.000001]     ok 1 x"),
            Some("    ok 1 x")
        );
        assert_eq!(
            kernel_message("half a line[    3.000001] BUG: x"),
            Some("BUG: x")
        );
        assert_eq!(kernel_message("a [1] b [    3.000001] c"), Some("c"));
        assert_eq!(kernel_message("BUG: said a program"), None);
        assert_eq!(kernel_message("[1.5] not the kernel"), None);
    }

    #[test]
    fn only_what_ends_a_kernel_is_fatal() {
        assert!(fatal("[    1.000000] Kernel panic - not syncing: x").is_some());
        assert!(
            fatal("[    1.000000] INFO: task fio:7 blocked for more than 61 seconds.").is_some()
        );
        assert!(
            fatal("[    1.000000] rcu: INFO: rcu_preempt self-detected stall on CPU").is_some()
        );
        assert!(
            fatal("[    1.000000] watchdog: BUG: soft lockup - CPU#1 stuck for 26s!").is_some()
        );
        assert!(
            fatal("[    1.000000] Internal error: Oops - BUG: 00000000f2000800 [#1]  SMP")
                .is_some()
        );
        assert!(
            fatal("[    1.000000] Unable to handle kernel paging request at virtual").is_some()
        );
        assert!(fatal("[    1.000000] WARNING: fs/aio.c:1 at f+0x1/0x2").is_none());
        assert!(fatal("fio: Kernel panic, said a program").is_none());
    }

    #[test]
    fn a_clean_console_has_no_complaint() {
        let console = "[    1.000000] Run /init as init process\nBUG: a program's words\n";
        assert!(search_with(console, ALLOWANCES, "2026-01-01").is_empty());
    }

    #[test]
    fn complaints_are_found() {
        for message in [
            "WARNING: CPU: 0 PID: 1 at fs/aio.c:1 f+0x1/0x2",
            "BUG: KASAN: slab-use-after-free in f",
            "nvme nvme0: I/O tag 1 (1001) QID 3 timeout, completion polled",
            "BUG aio_kiocb (Not tainted): Objects remaining",
            "WARNING: possible circular locking dependency detected",
            "INFO: trying to register non-static key.",
            "kmemleak: unreferenced object 0xffff888003c4b480 (size 64):",
            "kmemleak: 2 new suspected memory leaks (see /sys/kernel/debug/kmemleak)",
            "UBSAN: array-index-out-of-bounds in fs/x.c:1:2",
            "ODEBUG: free active (active state 0) object: 00000000 object type: work_struct",
        ] {
            let console = format!("[    1.000000] {message}\n");
            assert_eq!(search_with(&console, ALLOWANCES, "2026-01-01"), [message]);
        }
    }

    #[test]
    fn what_was_provoked_is_no_complaint() {
        let console = b"[    1.000000] blk: I/O error, dev x\n[    2.000000] WARNING: y\n";
        assert_eq!(search(console, &[]).unwrap().len(), 2);
        assert_eq!(search(console, &["I/O error"]).unwrap(), ["WARNING: y"]);
    }

    #[test]
    fn a_detector_that_says_it_is_there_does_not_complain() {
        for message in [
            "kmemleak: Kernel memory leak detector initialized (mem pool available: 15692)",
            "kasan: KernelAddressSanitizer initialized (generic)",
            "kcsan: enabled early",
            "Running RCU synchronous self tests",
        ] {
            let console = format!("[    1.000000] {message}\n");
            assert!(search_with(&console, ALLOWANCES, "2026-01-01").is_empty());
        }
    }

    #[test]
    fn an_allowance_holds_until_its_last_day() {
        let allowances = [Allowance {
            text: "known",
            reason: "why",
            last_day: "2026-06-30",
        }];
        let console = "[    1.000000] WARNING: known\n[    2.000000] WARNING: new\n";
        assert_eq!(
            search_with(console, &allowances, "2026-06-30"),
            ["WARNING: new"]
        );
        assert_eq!(search_with(console, &allowances, "2026-07-01").len(), 3);
        assert_eq!(search_with("", &allowances, "2026-07-01").len(), 1);
    }

    #[test]
    fn days_are_dates() {
        assert_eq!(date_of_day(0), "1970-01-01");
        assert_eq!(date_of_day(11_016), "2000-02-29");
        assert_eq!(date_of_day(20_453), "2025-12-31");
        assert_eq!(date_of_day(20_454), "2026-01-01");
    }
}
