// SPDX-License-Identifier: GPL-2.0-only

//! Why the program was not run, and the exit status a shell would give for it.

use std::io;

/// A failure before the program runs.
#[derive(Debug, PartialEq, Eq)]
pub struct Failure {
    /// Exit status.
    pub status: u8,
    /// What is wrong and what to do, in a sentence without its full stop.
    pub sentence: String,
}

impl Failure {
    /// hipri-run itself was called wrongly or is installed wrongly.
    pub fn own(sentence: String) -> Self {
        Failure {
            status: 125,
            sentence,
        }
    }

    /// The program exists, and cannot be run.
    pub fn cannot_run(sentence: String) -> Self {
        Failure {
            status: 126,
            sentence,
        }
    }

    /// There is no such program.
    pub fn not_found(sentence: String) -> Self {
        Failure {
            status: 127,
            sentence,
        }
    }
}

/// The system's words for `error`, without the number that `io::Error` adds, in lower case.
pub fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    text.to_lowercase()
}
