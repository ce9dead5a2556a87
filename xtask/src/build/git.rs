// SPDX-License-Identifier: GPL-2.0-only

//! git, in the repository of a folder.

use std::path::Path;
use std::process::Command;

/// How git tells what it starts, such as a hook, which repository that is for.
const OF_OTHER_REPOSITORIES: [&str; 3] = ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"];

/// git as if started in `folder`, whichever repository this program was started for.
pub fn git(folder: &Path) -> Command {
    let mut git = Command::new("git");
    for name in OF_OTHER_REPOSITORIES {
        git.env_remove(name);
    }
    git.arg("-C").arg(folder);
    git
}
