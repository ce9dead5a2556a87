// SPDX-License-Identifier: GPL-2.0-only

//! The parameter that tells a driver how many poll queues to set up.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What most drivers call it.
const USUAL: &str = "poll_queues";

/// The drivers whose module or parameter has another name, with both.
const UNUSUAL: [(&str, &str, &str); 4] = [
    ("virtio_scsi", "virtio_scsi", "virtscsi_poll_queues"),
    (
        "hisi_sas_v3_hw",
        "hisi_sas_v3_hw",
        "experimental_iopoll_q_cnt",
    ),
    // The adapters of these are not called like their modules.
    ("ufshcd", "ufshcd_core", USUAL),
    ("LeapRAID", "leapraid", USUAL),
];

/// A parameter of a module.
pub struct Parameter {
    module: String,
    name: &'static str,
}

impl Parameter {
    /// That of a driver, whether there is one or not.
    pub fn of(driver: &str) -> Self {
        match UNUSUAL.iter().find(|(known, ..)| *known == driver) {
            Some((_, module, name)) => Parameter {
                module: (*module).to_owned(),
                name,
            },
            None => Parameter {
                module: driver.replace('-', "_"),
                name: USUAL,
            },
        }
    }

    /// What to do about the lack of poll queues of a device; `None` where there is no such parameter.
    pub fn remedy(&self, sysfs: &Path) -> Option<String> {
        let Parameter { module, name } = self;
        let file = sysfs
            .join("module")
            .join(module)
            .join("parameters")
            .join(name);
        let value = fs::read_to_string(&file).ok()?;
        Some(match value.trim() {
            "0" => self.remedy_where_unset(),
            value => format!(
                "{module}.{name} is {value}, but the device has none: {}",
                self.remedy_where_set(may_be_written(&file))
            ),
        })
    }

    /// How to set it.
    fn remedy_where_unset(&self) -> String {
        let Parameter { module, name } = self;
        format!(
            "boot with {module}.{name}=1 or more on the kernel's command line; where the driver is a \
             module, `options {module} {name}=1` in /etc/modprobe.d does as well, once it is loaded \
             anew (if / is on such a device, by update-initramfs -u and booting)"
        )
    }

    /// What else may be wrong. It may have been set `late`, which counts for the devices that are
    /// found from then on.
    fn remedy_where_set(&self, late: bool) -> String {
        let left_over = match self.module.as_str() {
            "null_blk" => "give the disk poll_queues and queue_mode=2",
            _ => "give the device more queues, or the module fewer of the other kinds",
        };
        if !late {
            return format!("none was left over, so {left_over}");
        }
        format!(
            "if it was set after the device was found, give it on the kernel's command line and boot \
             again, or load the module anew with it; if not, none was left over, so {left_over}"
        )
    }
}

/// Whether a parameter can have been set after its module was loaded.
fn may_be_written(file: &Path) -> bool {
    const WRITE: u32 = 0o222;
    fs::metadata(file).is_ok_and(|status| status.mode() & WRITE != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn most_drivers_call_it_the_same() {
        let named = |driver| {
            let Parameter { module, name } = Parameter::of(driver);
            format!("{module}.{name}")
        };
        assert_eq!(named("nvme"), "nvme.poll_queues");
        assert_eq!(named("megaraid_sas"), "megaraid_sas.poll_queues");
        assert_eq!(named("nvme-apple"), "nvme_apple.poll_queues");
        assert_eq!(named("virtio_scsi"), "virtio_scsi.virtscsi_poll_queues");
        assert_eq!(named("ufshcd"), "ufshcd_core.poll_queues");
    }
}
