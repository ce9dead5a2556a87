// SPDX-License-Identifier: GPL-2.0-only

//! What `hipri-run --check` says of files.

use crate::vm::report::Section;

/// What the names of its sections begin with; the file follows.
const PREFIX: &str = "check ";

/// The files of the guest's script, and a part of what shall be done about those where polling does
/// not work.
const FILES: &[(&str, Option<&str>)] = &[
    ("/dev/nvme0n1", None),
    (
        "/dev/vda",
        Some("boot with virtio_blk.poll_queues=1 or more"),
    ),
    ("/mnt/file", None),
    (
        "/dev/shm/file",
        Some("the file system does not support polling"),
    ),
    ("/no/such/file", Some("name an existing file")),
];

/// The sections that are to be there.
pub fn names() -> impl Iterator<Item = String> {
    FILES.iter().map(|(file, _)| format!("{PREFIX}{file}"))
}

/// What is wrong with a section, on a kernel that polls or does not.
pub fn faults_of(section: &Section, polls: bool) -> Vec<String> {
    let name = &section.name;
    let known = name.strip_prefix(PREFIX).and_then(|file| {
        let known = FILES.iter().find(|(known, _)| *known == file);
        known.map(|(_, remedy)| (file, *remedy))
    });
    let Some((file, remedy)) = known else {
        return vec![format!("nothing is known of {name}")];
    };
    let remedy = if polls {
        remedy
    } else {
        Some("CONFIG_AIO_RUST=y")
    };
    let verdict = match remedy {
        None => format!("Polled AIO works on {file}: "),
        Some(_) => format!("Polled AIO does not work on {file}."),
    };
    let mut faults = Vec::new();
    for expected in [Some(verdict.as_str()), remedy].into_iter().flatten() {
        if section.lines.iter().all(|line| !line.contains(expected)) {
            faults.push(format!("it does not say: {expected}"));
        }
    }
    let status = i32::from(remedy.is_some());
    if section.status != Some(status) {
        faults.push(format!("its status is {:?}, not {status}", section.status));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(lines: &[&str], status: i32, polls: bool) -> usize {
        let section = Section {
            name: "check /mnt/file".to_owned(),
            lines: lines.iter().map(|&line| line.to_owned()).collect(),
            status: Some(status),
        };
        faults_of(&section, polls).len()
    }

    #[test]
    fn a_check_is_right_in_verdict_remedy_and_status() {
        let works = ["ok    x", "Polled AIO works on /mnt/file: run it"];
        assert_eq!(faults(&works, 0, true), 0);
        assert_eq!(faults(&works, 1, true), 1);
        assert_eq!(faults(&works, 0, false), 3);
        let fails = [
            "boot a kernel with CONFIG_AIO_RUST=y",
            "Polled AIO does not work on /mnt/file.",
        ];
        assert_eq!(faults(&fails, 1, false), 0);
        assert_eq!(faults(&fails[1..], 1, false), 1);
        assert_eq!(faults(&fails, 1, true), 2);
    }

    #[test]
    fn a_section_that_nobody_knows_is_a_fault() {
        let section = Section {
            name: "check /else".to_owned(),
            ..Section::default()
        };
        assert_eq!(faults_of(&section, true).len(), 1);
    }
}
