// SPDX-License-Identifier: GPL-2.0-only

//! QEMU's monitor, in its machine protocol: a line of JSON for a command, one for the answer.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{bail, Context, Result};
use serde_json::{json, Value};

/// QEMU answers at once or never.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A connection to the monitor of a running machine.
pub struct Monitor {
    stream: BufReader<UnixStream>,
}

impl Monitor {
    /// Connects to the machine of a boot of this name, whose job asked for a monitor.
    pub fn of_boot(results: &Path, name: &str) -> Result<Self> {
        let cannot = || format!("cannot reach the monitor of boot {name}");
        // A socket's path is short; that of a clone need not be.
        let folder = File::open(results).with_context(cannot)?;
        let path = format!("/proc/self/fd/{}/{name}.monitor", folder.as_raw_fd());
        let stream = UnixStream::connect(path).with_context(cannot)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        let mut monitor = Self {
            stream: BufReader::new(stream),
        };
        monitor.line().with_context(cannot)?;
        monitor.execute("qmp_capabilities", json!({}))?;
        Ok(monitor)
    }

    /// Asks the guest to let go of a device.
    ///
    /// It is gone when the guest has; that is for the guest to say.
    pub fn remove_device(&mut self, id: &str) -> Result<()> {
        self.execute("device_del", json!({ "id": id }))
    }

    fn execute(&mut self, command: &str, arguments: Value) -> Result<()> {
        let line = json!({ "execute": command, "arguments": arguments });
        writeln!(self.stream.get_mut(), "{line}")?;
        loop {
            let answer = self.line()?;
            if let Some(error) = answer.get("error") {
                bail!("QEMU refuses {command}: {error}");
            }
            // Events come in between.
            if answer.get("return").is_some() {
                return Ok(());
            }
        }
    }

    fn line(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            bail!("QEMU closed its monitor");
        }
        Ok(serde_json::from_str(&line)?)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    /// A monitor that gives these answers to commands after the first, which it accepts.
    fn monitor(answers: &'static str) -> Result<()> {
        let folder = tempfile::tempdir()?;
        let listener = UnixListener::bind(folder.path().join("x.monitor"))?;
        let qemu = thread::spawn(move || -> Result<String> {
            let (mut stream, _) = listener.accept()?;
            let mut reader = BufReader::new(stream.try_clone()?);
            let mut line = String::new();
            writeln!(stream, "{{\"QMP\": {{}}}}")?;
            reader.read_line(&mut line)?;
            writeln!(stream, "{{\"return\": {{}}}}")?;
            line.clear();
            reader.read_line(&mut line)?;
            stream.write_all(answers.as_bytes())?;
            Ok(line)
        });
        let result = Monitor::of_boot(folder.path(), "x")?.remove_device("a");
        let asked: Value = serde_json::from_str(&qemu.join().unwrap()?)?;
        assert_eq!(asked["arguments"]["id"], "a");
        result
    }

    #[test]
    fn events_are_passed_over() {
        monitor("{\"event\": \"X\"}\n{\"return\": {}}\n").unwrap();
    }

    #[test]
    fn a_refusal_and_silence_are_errors() {
        assert!(monitor("{\"error\": {\"desc\": \"no\"}}\n").is_err());
        assert!(monitor("").is_err());
    }
}
