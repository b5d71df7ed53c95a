//! Checks of everything between visage and a GPU: the driver, its device files, the container, the CUDA library.

use visage_engines::Version;
use visage_kernels::nvml::Management;

use crate::doctor::compatibility::{
    CUDA_MAJOR, OLDEST_CUDA_MAJOR, SmRow, capability, format_driver, min_driver, newest_major,
};
use crate::doctor::machine::{Gpu, Probed, System};
use crate::doctor::{CheckResult, Machine};

/// The finding of GPU checks on a machine without a GPU.
pub const NO_GPU: &str = "no NVIDIA GPU";

/// Whether there is a GPU, by any evidence.
pub fn device(machine: &Machine) -> CheckResult {
    let gpu = &machine.gpu;
    if !gpu.devices.is_empty() {
        return CheckResult::ok(names(gpu));
    }
    if !gpu.pci.is_empty() {
        return CheckResult::ok(format!("{} on the PCI bus, does not answer yet", gpu.pci.join(", ")));
    }
    if machine.has_gpu() {
        return CheckResult::ok("only a device file was found");
    }
    let none = CheckResult::fail("no NVIDIA GPU");
    match machine.system {
        System::MacOs => none.cause("macOS has no driver for NVIDIA GPUs").hint("use the CPU backend", CPU),
        System::Wsl => none
            .cause("Windows exposes no GPU to WSL: /dev/dxg is missing")
            .hint("update WSL and the Windows driver, then run doctor again", &["wsl.exe --update"]),
        _ => none
            .cause("there is none on the PCI bus, and no driver reports one")
            .hint("use the CPU backend, which needs none, or a machine with an RTX GPU", CPU),
    }
}

const CPU: &[&str] = &["visage serve"];

fn names(gpu: &Gpu) -> String {
    let name = |device: &visage_kernels::nvml::GpuState| match device.sm {
        Some(sm) if device.memory_bytes == 0 => format!("{} (SM {sm})", device.name),
        Some(sm) => format!("{} (SM {sm}, {})", device.name, super::gigabytes(device.memory_bytes)),
        None => device.name.clone(),
    };
    gpu.devices.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// The driver in the kernel.
pub fn kernel(machine: &Machine) -> CheckResult {
    let gpu = &machine.gpu;
    if !machine.has_gpu() {
        return CheckResult::unknown(NO_GPU);
    }
    if let Some(silent) = silent(machine) {
        return silent;
    }
    if machine.system != System::Linux {
        return match gpu.driver {
            Some(driver) => CheckResult::ok(format!("{}, of Windows", format_driver(driver))),
            None => CheckResult::unknown("the driver is that of Windows, and did not answer"),
        };
    }
    match (gpu.kernel_driver, gpu.modules.iter().any(|module| module == "nouveau")) {
        (Some(driver), _) => CheckResult::ok(format_driver(driver)),
        // Jetsons and some sandboxes have no such file, but the GPU answers.
        (None, _) if !gpu.devices.is_empty() => CheckResult::ok(format!("{}, and the GPU responds", of(gpu.driver))),
        (None, true) => CheckResult::fail("nouveau is loaded")
            .cause("the driver that comes with Linux has no CUDA")
            .hint(format!("install NVIDIA's driver{} and restart", on_the_host(machine)), INSTALL),
        (None, false) => CheckResult::fail("no driver is loaded")
            .cause("it is not installed, was not built for this kernel, or Secure Boot refused its signature")
            .hint(
                format!(
                    "install the driver{} and restart; `sudo dmesg | grep -i nvidia` shows why one was refused",
                    on_the_host(machine)
                ),
                INSTALL,
            ),
    }
}

/// A container uses the driver of its host.
fn on_the_host(machine: &Machine) -> &'static str {
    if machine.container.is_some() { " on the host, outside of this container," } else { "" }
}

/// A driver that is loaded but reports no GPUs.
fn silent(machine: &Machine) -> Option<CheckResult> {
    let gpu = &machine.gpu;
    let is_loaded = gpu.kernel_driver.is_some() || machine.system != System::Linux;
    match &gpu.management {
        Management::Mismatch => Some(
            CheckResult::fail(format!(
                "the kernel has {}, the libraries are of another version",
                of(gpu.kernel_driver)
            ))
            .cause("the driver was updated and the kernel still runs the old one")
            .hint("restart the machine", &["sudo reboot"]),
        ),
        _ if !is_loaded => None,
        Management::NoLibrary if machine.container.is_none() => Some(
            CheckResult::fail("loaded, without its management library (libnvidia-ml)")
                .cause("only a part of the driver is installed")
                .hint("install the rest of it", &["sudo apt-get install nvidia-utils-580 libnvidia-compute-580"]),
        ),
        Management::Refused if gpu.device_files.iter().all(|device_file| device_file.error.is_none()) => Some(
            CheckResult::fail("loaded, and refuses to answer")
                .cause("this user, or this control group, may not access it")
                .hint("compare with what root can do", &["sudo nvidia-smi"]),
        ),
        Management::NoDriver => Some(lost("loaded, and its library reports that it is not")),
        Management::Failed(said) => Some(lost(&format!("loaded, and does not answer: {said}"))),
        Management::Answered if gpu.devices.is_empty() => Some(lost("loaded, and reports no GPU").cause(
            "the GPU fell off the bus, or it is an RTX 50xx, which needs the driver with the open kernel modules",
        )),
        _ => None,
    }
}

fn lost(said: &str) -> CheckResult {
    CheckResult::fail(said)
        .cause("the GPU fell off the bus, or hangs")
        .hint("read the kernel log, then restart the machine", &["sudo dmesg | grep -i -e xid -e nvrm", "sudo reboot"])
}

/// The driver with the open kernel modules: the only one for RTX 50xx, and suitable for every GPU from SM 7.5 on.
pub const INSTALL: &[&str] = &["sudo apt-get install nvidia-driver-580-open", "sudo reboot"];

fn of(version: Option<Version>) -> String {
    version.map_or_else(|| "an unknown version".to_owned(), format_driver)
}

/// Whether the container has access to the GPU.
pub fn container(machine: &Machine) -> CheckResult {
    let Some(kind) = &machine.container else {
        return CheckResult::ok(match machine.container_tools.as_slice() {
            [] => "not in a container".to_owned(),
            tools => format!("not in a container; {} can give containers the GPU", tools.join(", ")),
        });
    };
    if !machine.has_gpu() {
        return CheckResult::unknown(format!("in {kind}, and {NO_GPU}"));
    }
    let has_started = machine.gpu.cuda.found().is_some() && machine.gpu.cuda_start_code == Some(0);
    if has_started && !machine.gpu.devices.is_empty() {
        return CheckResult::ok(format!("in {kind}, with the GPU"));
    }
    let files = machine
        .gpu
        .device_files
        .iter()
        .any(|device_file| device_file.path.starts_with("/dev/nvidia") || device_file.path == "/dev/dxg");
    let missing = if matches!(machine.gpu.cuda, Probed::Missing(_)) {
        Some((CUDA, "compute"))
    } else {
        (machine.gpu.management == Management::NoLibrary).then_some(("libnvidia-ml", "utility"))
    };
    match (files, missing) {
        (true, None) => CheckResult::ok(format!("in {kind}, with the GPU")),
        (false, _) => CheckResult::fail(format!("in {kind}, without the GPU's files"))
            .cause("the container was started without NVIDIA's runtime")
            .hint("install nvidia-container-toolkit on the host and start the container with the GPU", START),
        (true, Some((library, part))) => {
            CheckResult::fail(format!("in {kind}, with the GPU's files, without {library}"))
                .cause(format!("NVIDIA_DRIVER_CAPABILITIES leaves out {part}"))
                .hint("start the container with all of the driver", CAPABLE)
        }
    }
}

const CUDA: &str = visage_kernels::libraries::CUDA;
const START: &[&str] = &["docker run --gpus all ...", "podman run --device nvidia.com/gpu=all ..."];
const CAPABLE: &[&str] = &["docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility,video ..."];

/// The device files of the GPU.
pub fn device_files(machine: &Machine) -> CheckResult {
    let gpu = &machine.gpu;
    if machine.system == System::Wsl {
        return wsl_file(gpu);
    }
    if machine.system != System::Linux || gpu.kernel_driver.is_none() {
        return CheckResult::unknown("no driver is loaded");
    }
    let error: Vec<&str> = gpu
        .device_files
        .iter()
        .filter(|device_file| device_file.error.is_some())
        .map(|device_file| device_file.path.as_str())
        .collect();
    if !error.is_empty() {
        return CheckResult::fail(format!("{} cannot be opened", error.join(", ")))
            .cause("this user may not access the GPU")
            .hint(
                "join the group of the files (ls -l /dev/nvidia*) and log in again",
                &["sudo usermod -aG video,render $USER"],
            );
    }
    let missing: Vec<&str> = FILES
        .iter()
        .filter(|file| !gpu.device_files.iter().any(|device_file| device_file.path == **file))
        .copied()
        .collect();
    if missing.is_empty() {
        return CheckResult::ok(format!("{} files, all accessible", gpu.device_files.len()));
    }
    if machine.container.is_some() {
        return CheckResult::unknown("the container was not given them");
    }
    CheckResult::fail(format!("{} missing", missing.join(", ")))
        .cause("no program has caused the driver to create them since boot")
        .hint("create them", &["sudo nvidia-modprobe -c 0 -u"])
}

const FILES: &[&str] = &["/dev/nvidiactl", "/dev/nvidia-uvm"];

fn wsl_file(gpu: &Gpu) -> CheckResult {
    match gpu.device_files.iter().find(|device_file| device_file.path == "/dev/dxg") {
        Some(device_file) if device_file.error.is_none() => {
            CheckResult::ok("/dev/dxg, which WSL has instead of /dev/nvidia*")
        }
        Some(_) => CheckResult::fail("/dev/dxg cannot be opened")
            .cause("this user may not access it")
            .hint("grant access", &["sudo chmod a+rw /dev/dxg"]),
        None => CheckResult::unknown("no /dev/dxg"),
    }
}

/// Whether an environment variable hides the GPU.
pub fn visible(machine: &Machine) -> CheckResult {
    match &machine.gpu.hidden_by_variable {
        None => CheckResult::ok("CUDA_VISIBLE_DEVICES unset or not empty"),
        // The variable is for the container runtime, which may have passed the GPU in another way.
        Some(setting) if setting.starts_with(OF_CONTAINERS) && !machine.gpu.device_files.is_empty() => {
            CheckResult::ok(format!("{setting}, but the GPU's device files exist"))
        }
        Some(setting) if setting.starts_with(OF_CONTAINERS) => CheckResult::fail(format!("{setting} hides every GPU"))
            .cause("the container was started without one")
            .hint("start it with the GPU", START),
        Some(setting) => {
            let name = setting.split('=').next().unwrap_or_default();
            CheckResult::fail(format!("{setting} hides every GPU"))
                .cause("CUDA sees only the GPUs that this variable names")
                .hint("run without it", &[&format!("unset {name}")])
        }
    }
}

const OF_CONTAINERS: &str = "NVIDIA_VISIBLE_DEVICES";

/// Whether the driver is new enough for CUDA and for the GPUs.
pub fn version(machine: &Machine) -> CheckResult {
    let gpu = &machine.gpu;
    let Some(driver) = gpu.driver.or(gpu.kernel_driver) else {
        return CheckResult::unknown("no driver reports its version");
    };
    let found = format_driver(driver);
    let needs: Vec<_> =
        gpu.checked_devices().into_iter().filter_map(|(_, device)| Some((device, capability(device.sm?)?))).collect();
    let wants = |row: &SmRow| row.driver(machine.system);
    let too_old = needs.iter().filter(|(_, row)| driver < wants(row)).max_by_key(|(_, row)| wants(row));
    if let Some((device, row)) = too_old {
        let wanted = format_driver(row.driver(machine.system));
        return CheckResult::fail(format!("wanted {wanted} or newer, found {found}"))
            .cause(format!("{} (SM {}) needs CUDA {} and driver {wanted} or newer", device.name, row.sm, row.min_cuda))
            .hint(format!("install driver {wanted} or newer"), update(machine.system));
    }
    let newest = newest_major(driver, machine.system).unwrap_or(0);
    let least = |major| of(min_driver(major, machine.system));
    if newest < OLDEST_CUDA_MAJOR {
        return CheckResult::fail(format!("wanted {} or newer, found {found}", least(CUDA_MAJOR)))
            .cause(format!("it supports neither CUDA {OLDEST_CUDA_MAJOR} nor {CUDA_MAJOR}"))
            .hint(format!("install driver {} or newer", least(CUDA_MAJOR)), update(machine.system));
    }
    let recommended =
        needs.iter().filter_map(|(device, row)| Some((device, row, row.recommended_driver.filter(|it| driver < *it)?)));
    if let Some((device, row, recommended)) = recommended.max_by_key(|(_, _, recommended)| *recommended) {
        let options = format_driver(row.driver(machine.system));
        return CheckResult::warn(format!(
            "{found} supports CUDA {newest}, {} or newer is recommended",
            format_driver(recommended)
        ))
        .cause(format!("recommended for fp8 on {} (SM {}); NVIDIA requires only {options}", device.name, row.sm))
        .hint("update the driver; until then use the libraries for CUDA 12", LIBRARIES_12);
    }
    if newest < CUDA_MAJOR {
        return CheckResult::warn(format!("{found} supports CUDA 12, not {CUDA_MAJOR}"))
            .cause(format!("libraries for CUDA {CUDA_MAJOR} need driver {} or newer", least(CUDA_MAJOR)))
            .hint("update the driver, or use the libraries for CUDA 12", LIBRARIES_12);
    }
    CheckResult::ok(format!("{found} supports CUDA {CUDA_MAJOR}"))
}

const LIBRARIES_12: &[&str] = &["pip install tensorrt-rtx-cu12-libs==1.7.1.116 nvidia-cuda-nvrtc-cu12"];

/// What installs a newer driver.
pub fn update(system: System) -> &'static [&'static str] {
    if system.has_windows_driver() { &["start https://www.nvidia.com/drivers"] } else { INSTALL }
}

/// The driver's CUDA library: present, of the driver's version, and able to initialise.
pub fn cuda(machine: &Machine) -> CheckResult {
    let gpu = &machine.gpu;
    match &gpu.cuda {
        Probed::NotQueried => CheckResult::unknown("not queried"),
        Probed::Missing(_) if !machine.has_gpu() => CheckResult::unknown(NO_GPU),
        Probed::Missing(_) if machine.container.is_some() => CheckResult::unknown("the container was not given it"),
        Probed::Missing(_) if gpu.kernel_driver.is_none() && machine.system == System::Linux => {
            CheckResult::unknown("no driver is loaded")
        }
        Probed::Missing(said) => CheckResult::fail(format!("no {CUDA}: {said}"))
            .cause("the driver's CUDA part is not installed, or its folder is not in the library search path")
            .hint("install it, or add its folder to the search path", library(machine.system)),
        Probed::Failed(said) => CheckResult::fail(format!("{CUDA} is not the driver's: {said}"))
            .cause("a stub or another library is found first")
            .hint("remove it from the library search path", &["ldconfig -p | grep libcuda", "echo $LD_LIBRARY_PATH"]),
        Probed::TimedOut(said) => lost(&format!("{CUDA} does not start: {said}")),
        Probed::Found(version) => started(gpu, *version, machine.system),
    }
}

fn library(system: System) -> &'static [&'static str] {
    if system == System::Wsl {
        &["export LD_LIBRARY_PATH=/usr/lib/wsl/lib:$LD_LIBRARY_PATH"]
    } else {
        &["sudo apt-get install libnvidia-compute-580"]
    }
}

/// Errors of `cuInit` with cause, hint and commands (CUDA Driver API, `CUresult`).
const START_CODES: &[(i32, &str, &str, &[&str])] = &[
    (2, "the GPU's memory is full", "end the programs that use it", &["nvidia-smi"]),
    (34, "a stub library was loaded", "remove the stubs from the library search path", &["echo $LD_LIBRARY_PATH"]),
    (
        46,
        "another program uses the GPU exclusively, or it is being reset",
        "end that program, or allow sharing",
        &["nvidia-smi", "sudo nvidia-smi -c 0"],
    ),
    (
        100,
        "the driver reports no GPU",
        "check whether the GPU is still on the bus",
        &["nvidia-smi", "sudo dmesg | grep -i xid"],
    ),
    (
        304,
        "the system refuses access to the driver's device files, including /dev/nvidia-uvm",
        "create them, and check their permissions",
        &["sudo nvidia-modprobe -c 0 -u", "ls -l /dev/nvidia*"],
    ),
    (802, "the fabric manager is not running", "start it", &["sudo systemctl enable --now nvidia-fabricmanager"]),
    (803, "driver and library are of different versions", "restart the machine", &["sudo reboot"]),
    (
        804,
        "a compatibility library (cuda-compat) is used on a GPU that it does not support",
        "remove it",
        &["sudo apt-get remove 'cuda-compat-*'"],
    ),
    (
        805,
        "the multi-process service (MPS) is configured and not running",
        "start it, or run without it",
        &["sudo nvidia-cuda-mps-control -d", "unset CUDA_MPS_PIPE_DIRECTORY"],
    ),
    (
        999,
        "the driver's memory module is stuck, often after a suspend",
        "reload it",
        &["sudo rmmod nvidia_uvm", "sudo modprobe nvidia_uvm"],
    ),
];

fn started(gpu: &Gpu, version: Version, system: System) -> CheckResult {
    let code = gpu.cuda_start_code.unwrap_or(0);
    if let Some((_, cause, text, commands)) = START_CODES.iter().find(|row| row.0 == code) {
        return CheckResult::fail(format!("CUDA {version} does not start: error {code}"))
            .cause(*cause)
            .hint(*text, commands);
    }
    if code != 0 {
        return CheckResult::fail(format!("CUDA {version} does not start: error {code}"))
            .hint("read the kernel log", &["sudo dmesg | grep -i nvidia"]);
    }
    let runs = gpu.driver.and_then(|driver| newest_major(driver, system));
    if runs.is_some_and(|runs| runs < version.major()) {
        return CheckResult::warn(format!("CUDA {version} over driver {}", of(gpu.driver)))
            .cause("a compatibility library (cuda-compat) precedes the driver's library")
            .hint("remove it where the driver is new enough", &["sudo apt-get remove 'cuda-compat-*'"]);
    }
    CheckResult::ok(format!("CUDA {version}"))
}
