// SPDX-License-Identifier: GPL-2.0-only

//! Content keys: the name of a cached thing is a hash of what it was made from.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use anyhow::{Context, Result};
use sha2::{Digest, Sha256};

use super::mirror;

/// A short key (16 hexadecimal digits) of `parts`, in which the bounds of the parts count.
pub fn of<T: AsRef<[u8]>>(parts: impl IntoIterator<Item = T>) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        let part = part.as_ref();
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hex(&hash.finalize())[..16].to_owned()
}

/// The parts of a key of all that is in `folder`: the path and the content of each file.
pub fn parts_of_folder(folder: &Path) -> Result<Vec<Vec<u8>>> {
    let mut parts = Vec::new();
    for path in mirror::everything(folder)? {
        parts.push(path.as_os_str().as_encoded_bytes().to_vec());
        parts.push(fs::read(folder.join(path))?);
    }
    Ok(parts)
}

/// The SHA-256 of a file, as `sha256sum` prints it.
pub fn file_sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut hash = Sha256::new();
    io::copy(&mut file, &mut hash)?;
    Ok(hex(&hash.finalize()))
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<Vec<_>>()
        .concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_of_parts_count() {
        assert_ne!(of(["ab", "c"]), of(["a", "bc"]));
        assert_eq!(of(["ab", "c"]), of(["ab", "c"]));
        assert_eq!(of(["ab"]).len(), 16);
    }

    #[test]
    fn a_folder_is_paths_and_files() {
        let folder = tempfile::tempdir().unwrap();
        let key = || of(parts_of_folder(folder.path()).unwrap());
        fs::write(folder.path().join("a"), "1").unwrap();
        let one = key();
        fs::write(folder.path().join("a"), "2").unwrap();
        let two = key();
        fs::rename(folder.path().join("a"), folder.path().join("b")).unwrap();
        let three = key();
        assert!(one != two && two != three && one != three);
    }

    #[test]
    fn file_hashes_are_sha256sums() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc");
        fs::write(&path, "abc").unwrap();
        assert_eq!(
            file_sha256(&path).unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }
}
