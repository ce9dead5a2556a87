// SPDX-License-Identifier: GPL-2.0-only

//! NVMe devices that something happens to.

/// A device beside the usual one. Its serial number is its [`Nvme::name`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Nvme {
    /// It sits in a slot that can be emptied: QEMU's monitor knows it by its name.
    Removable,
    /// Some of its sectors cannot be read.
    Unreadable,
}

/// Sectors of 512 bytes that [`Nvme::Unreadable`] has and cannot read: none in its first block.
const UNREADABLE_SECTORS: [u32; 4] = [8, 1000, 4099, 12_345];

/// The size of the namespaces; they are sparse on the host.
pub const BYTES: u64 = 64 << 20;

impl Nvme {
    /// Its name: that of its file too, with `.raw` after it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Removable => "removable",
            Self::Unreadable => "unreadable",
        }
    }

    /// What QEMU is told; the file lies in its current folder.
    pub fn arguments(self) -> Vec<String> {
        let name = self.name();
        match self {
            Self::Removable => vec![
                "-device".into(),
                "pcie-root-port,id=removable-port,chassis=1".into(),
                "-blockdev".into(),
                format!("raw,node-name={name}-disk,file.driver=file,file.filename={name}.raw"),
                "-device".into(),
                format!("nvme,id={name},serial={name},drive={name}-disk,bus={name}-port"),
            ],
            Self::Unreadable => vec![
                "-blockdev".into(),
                format!(
                    "blkdebug,node-name={name}-disk,image.driver=file,image.filename={name}.raw{}",
                    unreadable_sectors()
                ),
                "-device".into(),
                format!("nvme,id={name},serial={name},drive={name}-disk"),
            ],
        }
    }
}

/// A rule for each sector, of which a read fails every time.
fn unreadable_sectors() -> String {
    let rule = |(number, sector): (usize, &u32)| {
        let rule = format!(",inject-error.{number}");
        format!("{rule}.event=none{rule}.iotype=read{rule}.errno=5{rule}.sector={sector}")
    };
    UNREADABLE_SECTORS.iter().enumerate().map(rule).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_bad_sector_has_a_rule() {
        let arguments = Nvme::Unreadable.arguments().join(" ");
        assert_eq!(arguments.matches(".sector=").count(), 4);
        assert!(arguments.contains(
            ",inject-error.1.event=none,inject-error.1.iotype=read,inject-error.1.errno=5,\
             inject-error.1.sector=1000,"
        ));
        assert!(UNREADABLE_SECTORS.iter().all(|sector| *sector >= 8));
    }

    #[test]
    fn the_slot_comes_before_what_sits_in_it() {
        let arguments = Nvme::Removable.arguments();
        let at = |start: &str| arguments.iter().position(|word| word.starts_with(start));
        assert!(at("pcie-root-port") < at("nvme,"));
    }
}
