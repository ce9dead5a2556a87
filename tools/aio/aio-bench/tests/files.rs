// SPDX-License-Identifier: GPL-2.0-only

//! Runs the program on a file, with the kernel that there is.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const BLOCK: u64 = 4096;
const BLOCKS: u64 = 256;

/// A file of its own for a test, removed with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(test: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
        File::create(&path)
            .and_then(|file| file.set_len(BLOCK * BLOCKS))
            .unwrap();
        Self(path)
    }

    fn bench(&self, options: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_aio-bench"))
            .args(["--json", "--warmup", "64"])
            .args(options.split_whitespace())
            .arg(&self.0)
            .output()
            .unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It lies among what cargo made; one that stays does no harm.
        let _ = fs::remove_file(&self.0);
    }
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The JSON of a run that succeeded; none, and a line that says why, if the kernel cannot do it.
fn json(output: &Output) -> Option<serde_json::Value> {
    match output.status.code() {
        Some(0) => Some(serde_json::from_slice(&output.stdout).unwrap()),
        Some(3) => {
            // Past libtest, which shows what a test prints only when it fails.
            let line = format!("not tested here: {}", complaint(output));
            io::stderr().write_all(line.as_bytes()).unwrap();
            None
        }
        _ => panic!("{}", complaint(output)),
    }
}

#[test]
fn every_engine_reads_back_what_it_wrote() {
    let scratch = Scratch::new("engines");
    for (engine, depth, batch) in [
        ("aio", 1, 1),
        ("aio", 16, 4),
        ("aio", 10, 3),
        ("io_uring", 16, 4),
        ("io_uring", 10, 10),
        ("preadv2", 1, 1),
    ] {
        let options = format!(
            "--engine {engine} --depth {depth} --batch {batch} --write --verify --ios 500 --latency"
        );
        let Some(result) = json(&scratch.bench(&options)) else {
            continue;
        };
        assert_eq!(result["engine"], engine);
        let ios = result["ios"].as_u64().unwrap();
        assert!((500..500 + batch).contains(&ios), "{ios}");
        assert!(result["latency_ns"]["p50"].as_f64().unwrap() > 0.0);
        assert!(result["irqs_per_io"].is_null());
    }
}

#[test]
fn threads_share_a_context_or_have_their_own() {
    let scratch = Scratch::new("threads");
    for options in [
        "--threads 4 --shared",
        "--threads 4 --contexts 3 --shared",
        "--threads 2 --contexts 3",
        "--threads 2 --shared --idle-threads 2",
        "--threads 2 --engine io_uring",
    ] {
        let options =
            format!("{options} --depth 8 --batch 2 --ios 400 --write --verify --sequential");
        if let Some(result) = json(&scratch.bench(&options)) {
            let threads = result["threads"].as_u64().unwrap();
            assert_eq!(result["ios"].as_u64().unwrap(), threads * 400, "{options}");
        }
    }
}

#[test]
fn wrong_content_is_found() {
    let scratch = Scratch::new("content");
    let write = format!("--write --sequential --ios {BLOCKS}");
    let read = format!("--verify --sequential --ios {BLOCKS}");
    json(&scratch.bench(&write)).unwrap();
    json(&scratch.bench(&read)).unwrap();
    assert_eq!(
        scratch.bench(&format!("{read} --seed 2")).status.code(),
        Some(1)
    );

    let file = File::options().write(true).open(&scratch.0).unwrap();
    file.write_all_at(b"x", 77 * BLOCK + 4095).unwrap();
    let output = scratch.bench(&read);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        complaint(&output).contains("block 77"),
        "{}",
        complaint(&output)
    );
}

#[test]
fn time_can_be_the_limit() {
    let scratch = Scratch::new("time");
    let result = json(&scratch.bench("--seconds 0.2 --depth 4 --batch 4")).unwrap();
    let ios = result["ios"].as_f64().unwrap();
    let seconds = ios * result["ns_per_io"].as_f64().unwrap() / 1e9;
    assert!((0.19..2.0).contains(&seconds), "{seconds}");
}

#[test]
fn failures_have_their_statuses() {
    let scratch = Scratch::new("statuses");
    assert_eq!(scratch.bench("--depth 1 --batch 2").status.code(), Some(2));
    let output = scratch.bench("/nowhere/at/all");
    assert_eq!(output.status.code(), Some(1));
    assert!(complaint(&output).contains("/nowhere/at/all"));
    let small = scratch.bench("--block-size 2097152");
    assert!(complaint(&small).contains("smaller than a block"));
}
