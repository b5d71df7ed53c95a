//! Facts from files: `/proc`, `/sys`, `/dev`, the data folder.
//!
//! Decides which files are read and how. Tests pass another root than `/`.

use std::fs::{self, File};
use std::path::Path;

use visage_engines::Version;

use crate::doctor::machine::{DeviceFile, Gpu, Limits, Machine, System};

/// Reads the facts from the files under `root`.
pub fn read(root: &Path) -> Machine {
    Machine {
        system: system(root),
        container: container(root),
        container_tools: container_tools(root),
        gpu: Gpu {
            pci: pci(root),
            modules: modules(root),
            kernel_driver: kernel_driver(&text(root, "proc/driver/nvidia/version")),
            device_files: device_files(root),
            ..Gpu::default()
        },
        limits: limits(root),
        ..Machine::default()
    }
}

fn text(root: &Path, path: &str) -> String {
    fs::read_to_string(root.join(path)).unwrap_or_default()
}

fn system(root: &Path) -> System {
    if cfg!(windows) {
        System::Windows
    } else if cfg!(target_os = "macos") {
        System::MacOs
    } else if text(root, "proc/sys/kernel/osrelease").to_lowercase().contains("microsoft") {
        System::Wsl
    } else {
        System::Linux
    }
}

fn container(root: &Path) -> Option<String> {
    let marks = [(".dockerenv", "docker"), ("run/.containerenv", "podman")];
    let marked = marks.iter().find(|(file, _)| root.join(file).exists()).map(|(_, kind)| (*kind).to_owned());
    let groups = text(root, "proc/1/cgroup");
    let grouped = [("kubepods", "kubernetes"), ("docker", "docker"), ("lxc", "lxc")];
    marked.or_else(|| grouped.iter().find(|(word, _)| groups.contains(word)).map(|(_, kind)| (*kind).to_owned()))
}

fn container_tools(root: &Path) -> Vec<String> {
    let known =
        ["usr/bin/nvidia-ctk", "usr/bin/nvidia-container-cli", "etc/cdi/nvidia.yaml", "var/run/cdi/nvidia.yaml"];
    known.iter().filter(|file| root.join(file).exists()).map(|file| format!("/{file}")).collect()
}

/// NVIDIA's PCI vendor id, and the PCI class prefix of display devices.
const NVIDIA: &str = "0x10de";
const DISPLAY: &str = "0x03";

fn pci(root: &Path) -> Vec<String> {
    let devices = fs::read_dir(root.join("sys/bus/pci/devices")).into_iter().flatten().flatten();
    let line = |entry: fs::DirEntry| {
        let answer = |name: &str| text(&entry.path(), name).trim().to_owned();
        let is_gpu = answer("vendor") == NVIDIA && answer("class").starts_with(DISPLAY);
        let slot = entry.file_name().to_string_lossy().into_owned();
        is_gpu.then(|| format!("{slot} (10de:{})", answer("device").trim_start_matches("0x")))
    };
    let mut devices: Vec<String> = devices.filter_map(line).collect();
    devices.sort_unstable();
    devices
}

fn modules(root: &Path) -> Vec<String> {
    let known = ["nvidia", "nvidia_uvm", "nouveau"];
    known.iter().filter(|name| root.join("sys/module").join(name).exists()).map(|name| (*name).to_owned()).collect()
}

/// The first word that is a version; a name and an architecture precede it.
fn kernel_driver(text: &str) -> Option<Version> {
    let mut words = text.lines().next()?.split_whitespace();
    words.find(|word| word.contains('.')).and_then(|word| word.parse().ok())
}

fn device_files(root: &Path) -> Vec<DeviceFile> {
    let entries = fs::read_dir(root.join("dev")).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| is_node(name));
    names.sort_unstable();
    let device_file = |name: &String| {
        let opened = File::options().read(true).write(true).open(root.join("dev").join(name));
        DeviceFile { path: format!("/dev/{name}"), error: opened.err().map(|error| error.to_string()) }
    };
    names.iter().map(device_file).collect()
}

fn is_node(name: &str) -> bool {
    let number = name.strip_prefix("nvidia");
    let is_gpu = number.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()));
    is_gpu || ["nvidiactl", "nvidia-uvm", "dxg"].contains(&name)
}

/// The system's limits for this process.
pub fn limits(root: &Path) -> Limits {
    let own = text(root, "proc/self/limits");
    let open_files = own.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = |rest: &str| match rest.split_whitespace().next()? {
        "unlimited" => Some(u64::MAX),
        number => number.parse().ok(),
    };
    let buffer = |name: &str| text(root, &format!("proc/sys/net/core/{name}")).trim().parse().ok();
    Limits {
        open_files: open_files.and_then(soft),
        receive_buffer_bytes: buffer("rmem_max"),
        send_buffer_bytes: buffer("wmem_max"),
    }
}

/// The folder, or its nearest existing ancestor: both are on the same disk.
pub fn nearest(folder: &Path) -> &Path {
    let above = folder.ancestors().find(|path| path.is_dir());
    above.unwrap_or(if folder.is_absolute() { Path::new("/") } else { Path::new(".") })
}

/// Why the folder cannot be written, if so. Creates and removes a file to find out.
pub fn error(folder: &Path) -> Option<String> {
    let trial = nearest(folder).join(format!(".visage-doctor-{}", std::process::id()));
    let made = File::options().write(true).create_new(true).open(&trial);
    match made {
        Ok(_) => fs::remove_file(&trial).err().map(|error| error.to_string()),
        Err(error) => Some(error.to_string()),
    }
}

/// Stems of the engines in a folder.
pub fn engines(folder: &Path) -> Vec<String> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let engines = files.filter(|path| path.extension().is_some_and(|extension| extension == "engine"));
    let mut stems: Vec<String> =
        engines.filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned())).collect();
    stems.sort_unstable();
    stems
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let file = root.join(path);
        fs::create_dir_all(file.parent().expect("a folder")).expect("folders");
        fs::write(file, text).expect("a file");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_machine_is_read_from_files() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path();
        for (path, text) in [
            ("proc/sys/kernel/osrelease", "6.8.0-31-generic\n"),
            ("proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19\n"),
            (
                "proc/self/limits",
                "Limit  Soft  Hard  Units\nMax open files            1024                 524288  files\n",
            ),
            ("proc/sys/net/core/rmem_max", "212992\n"),
            ("proc/sys/net/core/wmem_max", "212992\n"),
            ("sys/bus/pci/devices/0000:01:00.0/vendor", "0x10de\n"),
            ("sys/bus/pci/devices/0000:01:00.0/class", "0x030000\n"),
            ("sys/bus/pci/devices/0000:01:00.0/device", "0x2684\n"),
            ("sys/bus/pci/devices/0000:01:00.1/vendor", "0x10de\n"),
            ("sys/bus/pci/devices/0000:01:00.1/class", "0x040300\n"),
            ("sys/module/nvidia/version", "535.104.05\n"),
            ("dev/nvidia0", ""),
            ("dev/nvidiactl", ""),
            ("dev/nvidia-caps", ""),
            ("run/.containerenv", ""),
        ] {
            write(root, path, text);
        }
        let machine = read(root);
        assert_eq!(machine.system, System::Linux);
        assert_eq!(machine.container.as_deref(), Some("podman"));
        assert_eq!(machine.gpu.pci, ["0000:01:00.0 (10de:2684)"], "its audio function is not a GPU");
        assert_eq!(machine.gpu.modules, ["nvidia"]);
        assert_eq!(machine.gpu.kernel_driver, "535.104.5".parse().ok());
        let device_files: Vec<_> = machine
            .gpu
            .device_files
            .iter()
            .map(|device_file| (device_file.path.as_str(), &device_file.error))
            .collect();
        assert_eq!(device_files, [("/dev/nvidia0", &None), ("/dev/nvidiactl", &None)]);
        assert_eq!(machine.limits.open_files, Some(1024));
        assert_eq!(machine.limits.receive_buffer_bytes, Some(212_992));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn wsl_is_recognised_by_the_kernel_name() {
        let root = tempfile::tempdir().expect("a folder");
        write(root.path(), "proc/sys/kernel/osrelease", "5.15.153.1-microsoft-standard-WSL2\n");
        write(root.path(), "dev/dxg", "");
        let machine = read(root.path());
        assert_eq!((machine.system, machine.gpu.device_files.len()), (System::Wsl, 1));
    }

    #[test]
    fn the_version_is_read_from_open_and_proprietary_kernel_modules() {
        let open = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  560.35.03  Release Build";
        assert_eq!(kernel_driver(open), "560.35.3".parse().ok());
        assert_eq!(kernel_driver(""), None);
    }

    #[test]
    fn a_missing_data_folder_is_checked_by_its_parent() {
        let root = tempfile::tempdir().expect("a folder");
        let later = root.path().join("visage/engines");
        assert_eq!(nearest(&later), root.path());
        assert_eq!(error(&later), None);
        assert_eq!(fs::read_dir(root.path()).expect("a folder").count(), 0, "nothing is left behind");
        assert!(engines(&later).is_empty());
    }
}
