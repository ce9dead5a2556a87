// SPDX-License-Identifier: GPL-2.0-only

//! One life of a machine: started, watched, ended, and its console searched for splats.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};

use super::follow::Follow;
use super::platform::Platform;
use super::qemu::{Console, Machine};
use super::report::Line;
use super::{nvme, splat, Host, Job, Lost};
use crate::build::command;
use crate::build::scratch::Scratch;

/// What to boot.
pub struct Boot<'a> {
    /// Names the logs in `build/results`.
    pub name: &'a str,
    /// The kernel's image.
    pub kernel: &'a Path,
    /// What to do there.
    pub job: &'a Job,
    /// Kernel parameters on top of the usual ones.
    pub parameters: &'a str,
    /// A machine that takes longer is lost; for kernels that watch themselves it is stretched.
    pub timeout: Duration,
}

/// A machine that lived to say how its job ended.
#[must_use = "a console may have splats"]
#[derive(Debug)]
pub struct Booted {
    /// The job's exit status.
    pub status: i32,
    /// What the kernel complained of.
    pub splats: Vec<String>,
    /// The whole console.
    pub console: PathBuf,
}

/// How often the logs are looked at.
const TICK: Duration = Duration::from_millis(50);

/// How long the kernel may go on to say what it died of.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How much of what QEMU says of a lost machine is shown.
const LAST_LINES: usize = 5;

/// How long a machine may take to power off after its job, at the product's pace.
const POWER_OFF: Duration = Duration::from_secs(20);

/// The size of the emulated NVMe namespace; it is sparse on the host.
const NVME_BYTES: u64 = 1 << 30;

impl Booted {
    /// Fails on a job that failed and on any splat.
    pub fn require_clean(&self) -> Result<()> {
        if let Some(first) = self.splats.first() {
            bail!(
                "the kernel complained {} times, first: {first}; its console is {}",
                self.splats.len(),
                self.console.display()
            );
        }
        if self.status != 0 {
            bail!(
                "the job failed with {}; the console is {}",
                self.status,
                self.console.display()
            );
        }
        Ok(())
    }
}

impl Host<'_> {
    /// Boots a machine and sees its job through; each line of the report goes to `seen` at once.
    ///
    /// Fails with [`Lost`] when the machine is.
    pub fn boot(&self, boot: &Boot, seen: &mut dyn FnMut(&str)) -> Result<Booted> {
        let results = self.results();
        let scratch = self.scratch(boot.job)?;
        fs::create_dir_all(&results)?;
        let machine = self.machine(boot, scratch.path(), &results, Console::Log);
        let life = Life {
            name: boot.name,
            results: &results,
            provokes: boot.job.provokes,
            timeout: self.pace.stretch(boot.timeout),
            power_off: self.pace.stretch(POWER_OFF),
        };
        life.live(machine.command(&self.root)?, seen)
    }

    /// Boots a machine whose console is the user's terminal, and waits for its end.
    pub fn boot_on_terminal(&self, boot: &Boot) -> Result<ExitStatus> {
        let results = self.results();
        let scratch = self.scratch(boot.job)?;
        fs::create_dir_all(&results)?;
        let machine = self.machine(boot, scratch.path(), &results, Console::Terminal);
        let mut qemu = machine.command(&self.root)?;
        command::announce(&qemu);
        qemu.status().context("cannot start bwrap")
    }

    /// A folder with the job and empty NVMe namespaces.
    fn scratch(&self, job: &Job) -> Result<Scratch> {
        let scratch = Scratch::new_in(&self.ws.build)?;
        job.write_archive(&scratch.path().join("job.tar"))?;
        File::create(scratch.path().join("nvme.raw"))?.set_len(NVME_BYTES)?;
        for nvme in &job.nvmes {
            let path = scratch.path().join(format!("{}.raw", nvme.name()));
            File::create(path)?.set_len(nvme::BYTES)?;
        }
        Ok(scratch)
    }

    fn machine<'b>(
        &'b self,
        boot: &Boot<'b>,
        scratch: &'b Path,
        results: &'b Path,
        console: Console,
    ) -> Machine<'b> {
        Machine {
            platform: Platform::of(self.ws.architecture),
            kernel: boot.kernel,
            image: &self.guest.image,
            scratch,
            results,
            name: boot.name,
            nvmes: &boot.job.nvmes,
            delayed: &boot.job.delayed,
            monitor: boot.job.monitor,
            parameters: boot.parameters,
            accelerator: self.accelerator,
            pace: self.pace,
            console,
        }
    }
}

/// A machine's life, whatever the machine is.
pub struct Life<'a> {
    /// Names the logs.
    pub name: &'a str,
    /// Where the logs are: QEMU writes two of them.
    pub results: &'a Path,
    /// Complaints that are asked for: what they contain.
    pub provokes: &'a [&'a str],
    /// A machine that takes longer is lost.
    pub timeout: Duration,
    /// So is one that takes longer to power off after its job.
    pub power_off: Duration,
}

impl Life<'_> {
    /// Starts the machine and sees its job through; each line of the report goes to `seen` at once.
    pub fn live(&self, mut qemu: Command, seen: &mut dyn FnMut(&str)) -> Result<Booted> {
        let log = |of: &str| self.results.join(format!("{}.{of}.log", self.name));
        let console = log("console");
        let mut watch = Watch {
            console: Follow::from_empty(&console)?,
            report: Follow::from_empty(&log("report"))?,
            power_off: self.power_off,
            begun: false,
            status: None,
            fatal: None,
        };
        command::announce(&qemu);
        // A device that is made to fail has QEMU say so each time.
        let words = log("qemu");
        let child = qemu
            .stdin(Stdio::null())
            .stderr(File::create(&words)?)
            .spawn()
            .context("cannot start bwrap")?;
        let end = watch.until_the_end(child, self.timeout, seen)?;
        let lost = |reason| Lost {
            boot: self.name.to_owned(),
            reason,
            kernel_failed: watch.fatal.is_some(),
            console: console.clone(),
        };
        let verdict = watch.verdict(&end);
        if verdict.is_err() {
            eprint!("{}", last_words(&words)?);
        }
        let status = verdict.map_err(lost)?;
        let splats = splat::search(&fs::read(&console)?, self.provokes)?;
        Ok(Booted {
            status,
            splats,
            console,
        })
    }
}

/// What QEMU itself said last, a few lines at most.
fn last_words(log: &Path) -> Result<String> {
    let text = fs::read(log)?;
    let text = String::from_utf8_lossy(&text);
    let lines = text.lines().rev().take(LAST_LINES).collect::<Vec<_>>();
    Ok(lines.iter().rev().flat_map(|line| [line, "\n"]).collect())
}

/// How the QEMU process came to its end.
enum End {
    /// By itself.
    Exited(ExitStatus),
    /// Killed, for the kernel had said something fatal.
    Killed,
    /// Killed, for it took this long.
    TimedOut(Duration),
    /// Killed, for its job had ended and it stayed on.
    DidNotPowerOff,
}

/// What is known of a running machine.
struct Watch {
    console: Follow,
    report: Follow,
    /// How long the machine may take to power off after its job.
    power_off: Duration,
    begun: bool,
    /// The job's exit status and when it came.
    status: Option<(i32, Instant)>,
    /// What the kernel died of and when it said so.
    fatal: Option<(String, Instant)>,
}

impl Watch {
    /// Follows the logs until the machine is gone, which it is in the end.
    fn until_the_end(
        &mut self,
        mut child: Child,
        timeout: Duration,
        seen: &mut dyn FnMut(&str),
    ) -> Result<End> {
        let start = Instant::now();
        loop {
            let exited = child.try_wait()?;
            self.look(exited.is_some(), seen)?;
            if let Some(status) = exited {
                return Ok(End::Exited(status));
            }
            if let Some(end) = self.overdue(start, timeout) {
                child.kill()?;
                child.wait()?;
                self.look(true, seen)?;
                return Ok(end);
            }
            thread::sleep(TICK);
        }
    }

    /// Whether the machine has to be killed, and why.
    fn overdue(&self, start: Instant, timeout: Duration) -> Option<End> {
        let passed = |since: &Instant, limit| since.elapsed() > limit;
        if matches!(&self.fatal, Some((_, since)) if passed(since, LAST_WORDS)) {
            Some(End::Killed)
        } else if matches!(&self.status, Some((_, since)) if passed(since, self.power_off)) {
            Some(End::DidNotPowerOff)
        } else if passed(&start, timeout) {
            Some(End::TimedOut(timeout))
        } else {
            None
        }
    }

    /// Takes in what the logs have gained.
    fn look(&mut self, last: bool, seen: &mut dyn FnMut(&str)) -> Result<()> {
        let lines = |follow: &mut Follow| {
            if last {
                follow.last_lines()
            } else {
                follow.lines()
            }
        };
        for line in lines(&mut self.console)? {
            if self.fatal.is_none() {
                self.fatal = splat::fatal(&line).map(|what| (what, Instant::now()));
            }
        }
        for line in lines(&mut self.report)? {
            match Line::of(&line) {
                Line::Begin => self.begun = true,
                Line::End(status) => self.status = Some((status, Instant::now())),
                _ => seen(&line),
            }
        }
        Ok(())
    }

    /// The job's exit status, or why the machine counts as lost.
    fn verdict(&self, end: &End) -> std::result::Result<i32, String> {
        if let Some((what, _)) = &self.fatal {
            return Err(format!("the kernel said \"{what}\""));
        }
        match end {
            End::TimedOut(limit) => return Err(format!("no end within {} s", limit.as_secs())),
            End::DidNotPowerOff => return Err("it did not power off".to_owned()),
            End::Exited(status) if !status.success() => {
                return Err(format!("QEMU failed: {status}"))
            }
            End::Exited(_) | End::Killed => {}
        }
        match (self.status, self.begun) {
            (Some((status, _)), _) => Ok(status),
            (None, true) => Err("it went away in the middle of its job".to_owned()),
            (None, false) => Err("it never got to its job".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_are_few_and_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let said = "0\n1\n2\n3\n4\n5\n6\n7\n8\n";
        fs::write(&log, said).unwrap();
        assert_eq!(last_words(&log).unwrap(), "4\n5\n6\n7\n8\n");
        fs::write(&log, "").unwrap();
        assert_eq!(last_words(&log).unwrap(), "");
    }
}
