// SPDX-License-Identifier: GPL-2.0-only

//! Whether the device under a file has poll queues, and how it gets them.

use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::parameter::Parameter;
use super::Finding;

/// Where the kernel shows its devices and modules.
const SYSFS: &str = "/sys";

/// What the kernel calls the ways to an NVMe controller that is no device of this machine.
const FABRICS: [&str; 4] = ["tcp", "rdma", "fc", "loop"];

/// What to do where poll queues are asked for as the controller is connected.
const REMEDY_FABRIC: &str =
    "disconnect it by `nvme disconnect`, and connect each path to it again, with \
     `nvme connect --nr-poll-queues=1` or more";

/// The same for the client of RDMA block devices, where the first device of a session decides.
const REMEDY_RNBD: &str =
    "unmap all devices of its session, and map them again with nr_poll_queues=1 or more";

/// What to do where the driver knows no polling.
const OTHER: &str = "use a device whose driver has poll queues, such as NVMe on PCI";

/// The device that a file is, or is on.
pub struct Device {
    sysfs: PathBuf,
    /// `MAJOR:MINOR`.
    number: String,
    /// Its folder in sysfs; `None` where there is none.
    folder: Option<PathBuf>,
    /// Nothing is polled where there is none.
    is_needed: bool,
}

/// The device that a file of this kind is, or is on.
pub fn of(metadata: &Metadata) -> Device {
    let number = if metadata.file_type().is_block_device() {
        metadata.rdev()
    } else {
        metadata.dev()
    };
    let (major, minor) = (libc::major(number), libc::minor(number));
    let device = Device::numbered(Path::new(SYSFS), &format!("{major}:{minor}"));
    // The library leaves block devices, and files that are on no single disk, to the kernel.
    if metadata.is_file() && major != 0 {
        device.needed()
    } else {
        device
    }
}

impl Device {
    fn numbered(sysfs: &Path, number: &str) -> Self {
        let folder = sysfs.join("dev/block").join(number).canonicalize().ok();
        // A partition is in the folder of its disk, which has the queue.
        let folder = folder.and_then(|folder| {
            let disk = folder
                .ancestors()
                .take(2)
                .find(|disk| disk.join("queue").exists());
            disk.map(Path::to_owned)
        });
        Device {
            sysfs: sysfs.to_owned(),
            number: number.to_owned(),
            folder,
            is_needed: false,
        }
    }

    /// The same, and nothing is polled unless sysfs has it.
    fn needed(self) -> Self {
        Device {
            is_needed: true,
            ..self
        }
    }

    /// Whether it has poll queues, and how it gets them.
    pub fn finding(&self) -> Finding {
        let Some(folder) = &self.folder else {
            if self.is_needed {
                return self.unknown();
            }
            return Finding::good("the file is not on a single disk: the read will tell");
        };
        let disk = Disk {
            sysfs: &self.sysfs,
            folder,
        };
        let shown = match disk.driver() {
            Some(driver) => format!("{} ({driver})", disk.name()),
            None => disk.name(),
        };
        if disk.polls() {
            return Finding::good(format!("{shown} has poll queues"));
        }
        Finding::bad(format!("{shown} has no poll queues"), disk.remedy())
    }

    fn unknown(&self) -> Finding {
        Finding::bad(
            format!(
                "{} does not tell whether the disk {} has poll queues",
                self.sysfs.display(),
                self.number
            ),
            "mount sysfs there, or run where it is readable",
        )
    }
}

/// A disk in sysfs.
struct Disk<'a> {
    sysfs: &'a Path,
    folder: &'a Path,
}

impl Disk<'_> {
    fn name(&self) -> String {
        name_of(self.folder)
    }

    fn polls(&self) -> bool {
        let polls = fs::read_to_string(self.folder.join("queue/io_poll"));
        polls.is_ok_and(|polls| polls.trim() == "1")
    }

    /// The module that drives it, or what stands for one.
    fn driver(&self) -> Option<String> {
        for kind in ["dm", "md", "loop", "rnbd"] {
            if self.folder.join(kind).exists() {
                return Some(kind.to_owned());
            }
        }
        if let Some(fabric) = self.fabric() {
            return Some(format!("nvme-{fabric}"));
        }
        // Of a name space of NVMe, the device is the controller, whose device has the driver.
        let driver = ["device/driver", "device/device/driver"]
            .iter()
            .find_map(|link| self.folder.join(link).canonicalize().ok())
            .map(|driver| name_of(&driver));
        match driver.as_deref() {
            Some("sd") => self.scsi_driver().or(driver),
            None => self.driver_by_name(),
            _ => driver,
        }
    }

    /// How the controller of a name space of NVMe is connected, where it is by a fabric: its device
    /// has no driver then.
    fn fabric(&self) -> Option<String> {
        let device = self.folder.join("device");
        // With several paths, the device is the subsystem, which has a link to each controller.
        let links = fs::read_dir(&device).into_iter().flatten().flatten();
        let controllers = links.map(|link| link.path()).chain([device]);
        let mut transports = controllers
            .filter_map(|controller| fs::read_to_string(controller.join("transport")).ok())
            .map(|transport| transport.trim().to_owned());
        transports.find(|transport| FABRICS.contains(&transport.as_str()))
    }

    /// Of disks that sysfs shows no driver for: those without a device, and those of several.
    fn driver_by_name(&self) -> Option<String> {
        let known = [("nullb", "null_blk"), ("nvme", "nvme")];
        let name = self.name();
        let (_, driver) = known.iter().find(|(start, _)| name.starts_with(start))?;
        Some((*driver).to_owned())
    }

    /// The driver of the adapter that a SCSI disk is on.
    fn scsi_driver(&self) -> Option<String> {
        let device = self.folder.join("device").canonicalize().ok()?;
        let host = device
            .ancestors()
            .find(|folder| name_of(folder).starts_with("host"))?;
        let name = host.join("scsi_host").join(name_of(host)).join("proc_name");
        let name = fs::read_to_string(name).ok()?.trim().to_owned();
        if name != "(null)" {
            return Some(name);
        }
        // Not all adapters have one.
        let driver = host.parent()?.join("driver").canonicalize().ok()?;
        Some(name_of(&driver))
    }

    /// What to do about its lack of poll queues.
    fn remedy(&self) -> String {
        let Some(driver) = self.driver() else {
            return OTHER.to_owned();
        };
        match driver.as_str() {
            "dm" => self.remedy_below(),
            "md" => "software RAID does not poll; use the disks below it, or LVM".to_owned(),
            "loop" => "loop devices do not poll; use the file that is behind it".to_owned(),
            "nvme-tcp" | "nvme-rdma" => REMEDY_FABRIC.to_owned(),
            "rnbd" => REMEDY_RNBD.to_owned(),
            _ => Parameter::of(&driver)
                .remedy(self.sysfs)
                .unwrap_or_else(|| format!("the driver {driver} has none; {OTHER}")),
        }
    }

    /// A device of the device mapper polls if all below it do.
    fn remedy_below(&self) -> String {
        let below = fs::read_dir(self.folder.join("slaves"));
        let mut unpolled: Vec<String> = below
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|link| link.path().canonicalize().ok())
            .filter_map(|folder| {
                let parent = folder.parent()?.to_owned();
                let folder = if folder.join("queue").exists() {
                    folder
                } else {
                    parent
                };
                let (sysfs, folder) = (self.sysfs, folder.as_path());
                let disk = Disk { sysfs, folder };
                (!disk.polls()).then(|| disk.name())
            })
            .collect();
        unpolled.sort();
        if unpolled.is_empty() {
            return "this kind of mapping does not poll; use the disks below it".to_owned();
        }
        format!(
            "all disks below it must have some: run hipri-run --check /dev/{}",
            unpolled.join(" and /dev/")
        )
    }
}

fn name_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{symlink, PermissionsExt};

    use super::*;

    /// A sysfs with nothing in it but what a test adds.
    struct Sysfs(PathBuf);

    impl Sysfs {
        fn new(name: &str) -> Self {
            let root = std::env::temp_dir().join(format!("sysfs-{name}-{}", std::process::id()));
            fs::create_dir_all(&root).unwrap();
            Sysfs(root.canonicalize().unwrap())
        }

        fn file(&self, path: &str, content: &str) {
            let path = self.0.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }

        /// Makes a file one that nobody may write.
        fn protect(&self, path: &str) {
            fs::set_permissions(self.0.join(path), Permissions::from_mode(0o444)).unwrap();
        }

        fn link(&self, link: &str, to: &str) {
            let (link, to) = (self.0.join(link), self.0.join(to));
            fs::create_dir_all(link.parent().unwrap()).unwrap();
            fs::create_dir_all(&to).unwrap();
            symlink(to, link).unwrap();
        }

        /// A disk under `devices/` with this number and driver, and whether it polls.
        fn disk(&self, path: &str, number: &str, driver: Option<&str>, polls: &str) {
            self.file(&format!("devices/{path}/queue/io_poll"), polls);
            self.link(&format!("dev/block/{number}"), &format!("devices/{path}"));
            if let Some(driver) = driver {
                let device = format!("devices/{path}/device/driver");
                self.link(&device, &format!("bus/drivers/{driver}"));
            }
        }

        /// A SCSI disk on an adapter of this name and driver.
        fn scsi_disk(&self, adapter: &str, driver: &str) {
            let target = "devices/pci/host3/target3/3:0:0:0";
            self.disk("sda", "8:0", None, "0\n");
            self.link("devices/sda/device", target);
            self.link(&format!("{target}/driver"), "bus/drivers/sd");
            self.link("devices/pci/driver", &format!("bus/drivers/{driver}"));
            let name = "devices/pci/host3/scsi_host/host3/proc_name";
            self.file(name, &format!("{adapter}\n"));
        }

        fn finding(&self, number: &str) -> Finding {
            Device::numbered(&self.0, number).finding()
        }
    }

    impl Drop for Sysfs {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_disk_that_polls_is_fine_and_so_is_its_partition() {
        let sysfs = Sysfs::new("polls");
        sysfs.disk("nvme0n1", "259:0", None, "1\n");
        sysfs.link("devices/nvme0n1/device/device/driver", "bus/drivers/nvme");
        sysfs.link("dev/block/259:1", "devices/nvme0n1/nvme0n1p1");
        for number in ["259:0", "259:1"] {
            let expected = Finding::good("nvme0n1 (nvme) has poll queues");
            assert_eq!(sysfs.finding(number), expected);
        }
    }

    #[test]
    fn a_parameter_that_is_zero_is_to_be_set() {
        let sysfs = Sysfs::new("zero");
        sysfs.disk("vda", "254:0", Some("virtio_blk"), "0\n");
        sysfs.file("module/virtio_blk/parameters/poll_queues", "0\n");
        let finding = sysfs.finding("254:0");
        assert_eq!(finding.fact, "vda (virtio_blk) has no poll queues");
        let remedy = finding.remedy.unwrap();
        assert!(
            remedy.starts_with("boot with virtio_blk.poll_queues=1"),
            "{remedy}"
        );
        assert!(remedy.contains("update-initramfs"), "{remedy}");
    }

    #[test]
    fn a_parameter_that_did_not_help_is_told() {
        let sysfs = Sysfs::new("left");
        sysfs.disk("nullb0", "251:0", None, "0\n");
        let parameter = "module/null_blk/parameters/poll_queues";
        sysfs.file(parameter, "2\n");
        sysfs.protect(parameter);
        let remedy = sysfs.finding("251:0").remedy.unwrap();
        let expected = "null_blk.poll_queues is 2, but the device has none: none was left over";
        assert!(remedy.starts_with(expected), "{remedy}");
    }

    #[test]
    fn a_parameter_that_can_be_set_late_may_have_been() {
        let sysfs = Sysfs::new("late");
        sysfs.disk("vda", "254:0", Some("virtio_blk"), "0\n");
        sysfs.file("module/virtio_blk/parameters/poll_queues", "2\n");
        let remedy = sysfs.finding("254:0").remedy.unwrap();
        let (_, causes) = remedy.split_once("the device has none: ").unwrap();
        let (late, left_over) = causes.split_once("; if not, ").unwrap();
        assert!(late.starts_with("if it was set after the device was found, "));
        assert!(left_over.starts_with("none was left over, so give the device more"));
    }

    #[test]
    fn a_driver_without_the_parameter_has_no_poll_queues() {
        let sysfs = Sysfs::new("none");
        sysfs.disk("mmcblk0", "179:0", Some("mmcblk"), "0\n");
        let remedy = sysfs.finding("179:0").remedy.unwrap();
        assert!(remedy.starts_with("the driver mmcblk has none"), "{remedy}");
    }

    #[test]
    fn of_a_scsi_disk_the_adapter_counts() {
        let sysfs = Sysfs::new("scsi");
        sysfs.scsi_disk("scsi_debug", "pseudo");
        sysfs.file("module/scsi_debug/parameters/poll_queues", "0\n");
        let finding = sysfs.finding("8:0");
        assert_eq!(finding.fact, "sda (scsi_debug) has no poll queues");
        let remedy = finding.remedy.unwrap();
        assert!(remedy.contains("scsi_debug.poll_queues=1"), "{remedy}");
    }

    #[test]
    fn a_parameter_of_another_name_is_found() {
        for (name, adapter, driver, parameter) in [
            (
                "virtio",
                "virtio_scsi",
                "virtio_scsi",
                "virtio_scsi.virtscsi_poll_queues",
            ),
            ("ufs", "ufshcd", "ufshcd", "ufshcd_core.poll_queues"),
            (
                "hisi",
                "(null)",
                "hisi_sas_v3_hw",
                "hisi_sas_v3_hw.experimental_iopoll_q_cnt",
            ),
        ] {
            let sysfs = Sysfs::new(name);
            sysfs.scsi_disk(adapter, driver);
            let file = parameter.replace('.', "/parameters/");
            sysfs.file(&format!("module/{file}"), "0\n");
            let finding = sysfs.finding("8:0");
            assert_eq!(finding.fact, format!("sda ({driver}) has no poll queues"));
            let remedy = finding.remedy.unwrap();
            let expected = format!("boot with {parameter}=1");
            assert!(remedy.starts_with(&expected), "{remedy}");
        }
    }

    #[test]
    fn a_disk_of_rnbd_gets_its_queues_as_it_is_mapped() {
        let sysfs = Sysfs::new("rnbd");
        sysfs.disk("rnbd0", "250:0", None, "0\n");
        sysfs.file("devices/rnbd0/rnbd/nr_poll_queues", "0\n");
        let remedy = sysfs.finding("250:0").remedy.unwrap();
        assert!(remedy.contains("with nr_poll_queues=1"), "{remedy}");
    }

    #[test]
    fn nvme_over_a_fabric_gets_its_queues_as_it_is_connected() {
        let sysfs = Sysfs::new("fabric");
        let controller = "devices/virtual/nvme-fabrics/ctl/nvme0";
        sysfs.disk("nvme0n1", "259:0", None, "0\n");
        sysfs.link("devices/nvme0n1/device", controller);
        sysfs.file("module/nvme/parameters/poll_queues", "0\n");
        for transport in ["tcp", "rdma"] {
            sysfs.file(
                &format!("{controller}/transport"),
                &format!("{transport}\n"),
            );
            let finding = sysfs.finding("259:0");
            let fact = format!("nvme0n1 (nvme-{transport}) has no poll queues");
            assert_eq!(finding.fact, fact);
            let remedy = finding.remedy.unwrap();
            assert!(
                remedy.contains("`nvme connect --nr-poll-queues=1`"),
                "{remedy}"
            );
        }
        sysfs.file(&format!("{controller}/transport"), "fc\n");
        let remedy = sysfs.finding("259:0").remedy.unwrap();
        assert!(
            remedy.starts_with("the driver nvme-fc has none"),
            "{remedy}"
        );
    }

    #[test]
    fn of_nvme_with_several_paths_the_controllers_count() {
        let sysfs = Sysfs::new("paths");
        let subsystem = "devices/virtual/nvme-subsystem/nvme-subsys0";
        sysfs.disk("nvme0n1", "259:0", None, "0\n");
        sysfs.link("devices/nvme0n1/device", subsystem);
        sysfs.file(&format!("{subsystem}/nvme0n1/size"), "8\n");
        sysfs.file("module/nvme/parameters/poll_queues", "0\n");
        for (transport, said) in [("pcie", "nvme.poll_queues=1"), ("tcp", "nvme connect")] {
            let controller = format!("devices/{transport}/nvme0");
            sysfs.file(&format!("{controller}/transport"), transport);
            sysfs.link(&format!("{subsystem}/{transport}"), &controller);
            let remedy = sysfs.finding("259:0").remedy.unwrap();
            assert!(remedy.contains(said), "{remedy}");
        }
    }

    #[test]
    fn a_mapping_needs_the_disks_below_it() {
        let sysfs = Sysfs::new("dm");
        sysfs.disk("dm-0", "253:0", None, "0\n");
        sysfs.file("devices/dm-0/dm/name", "data\n");
        sysfs.disk("nvme0n1", "259:0", None, "0\n");
        sysfs.disk("nvme1n1", "259:5", None, "1\n");
        sysfs.link("devices/dm-0/slaves/nvme0n1p1", "devices/nvme0n1/nvme0n1p1");
        sysfs.link("devices/dm-0/slaves/nvme1n1", "devices/nvme1n1");
        let remedy = sysfs.finding("253:0").remedy.unwrap();
        assert!(
            remedy.ends_with("run hipri-run --check /dev/nvme0n1"),
            "{remedy}"
        );
    }

    #[test]
    fn loops_and_raids_do_not_poll() {
        let sysfs = Sysfs::new("stacked");
        for (name, number) in [("loop", "7:0"), ("md", "9:0")] {
            sysfs.disk(name, number, None, "0\n");
            sysfs.file(&format!("devices/{name}/{name}/x"), "");
            let remedy = sysfs.finding(number).remedy.unwrap();
            assert!(remedy.contains("not poll; use the"), "{remedy}");
        }
    }

    #[test]
    fn a_file_on_no_disk_is_for_the_read_to_tell() {
        let sysfs = Sysfs::new("anonymous");
        assert!(sysfs.finding("0:42").is_good());
    }

    #[test]
    fn a_file_on_a_disk_that_cannot_be_seen_is_not_polled() {
        let sysfs = Sysfs::new("unseen");
        let device = Device::numbered(&sysfs.0, "8:1").needed();
        let fact = device.finding().fact;
        assert!(
            fact.ends_with("whether the disk 8:1 has poll queues"),
            "{fact}"
        );
    }
}
