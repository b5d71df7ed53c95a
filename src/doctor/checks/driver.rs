//! Checks of what stands between visage and a card: the driver, its files, the container, its CUDA library.

use visage_engines::Version;
use visage_kernels::nvml::Management;

use crate::doctor::compatibility::{
    CUDA_MAJOR, OLDEST_CUDA_MAJOR, SmRow, capability, least_driver, newest_major, written,
};
use crate::doctor::machine::{Gpu, System, Told};
use crate::doctor::{Judgement, Machine};

/// What depends on a card is not looked at without one.
pub const NO_CARD: &str = "no card";

/// Whether there is a card, by whoever sees one.
pub fn card(machine: &Machine) -> Judgement {
    let gpu = &machine.gpu;
    if !gpu.cards.is_empty() {
        return Judgement::ok(names(gpu));
    }
    if !gpu.pci.is_empty() {
        return Judgement::ok(format!("{} on the PCI bus, does not answer yet", gpu.pci.join(", ")));
    }
    if machine.has_card() {
        return Judgement::ok("a device file stands for one");
    }
    let none = Judgement::fail("no NVIDIA card");
    match machine.system {
        System::MacOs => none.because("macOS has no driver for NVIDIA cards").so("run faces on the CPU", CPU),
        System::Wsl => none
            .because("Windows gives WSL no card: there is no /dev/dxg")
            .so("update WSL and the Windows driver, then look again", &["wsl.exe --update"]),
        _ => none
            .because("there is none on the PCI bus, and no driver that knows of one")
            .so("run faces on the CPU, which needs none; or start this on a machine with an RTX card", CPU),
    }
}

const CPU: &[&str] = &["visage serve"];

fn names(gpu: &Gpu) -> String {
    let name = |card: &visage_kernels::nvml::GpuState| match card.sm {
        Some(sm) if card.memory_bytes == 0 => format!("{} (SM {sm})", card.name),
        Some(sm) => format!("{} (SM {sm}, {})", card.name, super::gigabytes(card.memory_bytes)),
        None => card.name.clone(),
    };
    gpu.cards.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// The driver in the kernel.
pub fn kernel(machine: &Machine) -> Judgement {
    let gpu = &machine.gpu;
    if !machine.has_card() {
        return Judgement::unknown(NO_CARD);
    }
    if let Some(silent) = silent(machine) {
        return silent;
    }
    if machine.system != System::Linux {
        return match gpu.driver {
            Some(driver) => Judgement::ok(format!("{}, of Windows", written(driver))),
            None => Judgement::unknown("the driver is that of Windows, and did not answer"),
        };
    }
    match (gpu.kernel_driver, gpu.modules.iter().any(|module| module == "nouveau")) {
        (Some(driver), _) => Judgement::ok(written(driver)),
        // Jetsons and some sandboxes have no such file: what answers is there.
        (None, _) if !gpu.cards.is_empty() => Judgement::ok(format!("{}, and the card answers", of(gpu.driver))),
        (None, true) => Judgement::fail("nouveau drives the card")
            .because("the free driver that Linux brings has no CUDA")
            .so(format!("install NVIDIA's driver{} and restart", on_the_host(machine)), INSTALL),
        (None, false) => Judgement::fail("no driver is loaded")
            .because("it is not installed, was not built for this kernel, or Secure Boot refused its signature")
            .so(
                format!(
                    "install the driver{} and restart; `sudo dmesg | grep -i nvidia` says why one was refused",
                    on_the_host(machine)
                ),
                INSTALL,
            ),
    }
}

/// A container has the driver of the machine that it runs on.
fn on_the_host(machine: &Machine) -> &'static str {
    if machine.container.is_some() { " on the host, outside of this container," } else { "" }
}

/// A driver that is loaded and yet tells nothing of its cards.
fn silent(machine: &Machine) -> Option<Judgement> {
    let gpu = &machine.gpu;
    let is_loaded = gpu.kernel_driver.is_some() || machine.system != System::Linux;
    match &gpu.management {
        Management::Mismatch => Some(
            Judgement::fail(format!("the kernel has {}, the libraries are of another version", of(gpu.kernel_driver)))
                .because("the driver was updated and the kernel still runs the old one")
                .so("restart the machine", &["sudo reboot"]),
        ),
        _ if !is_loaded => None,
        Management::NoLibrary if machine.container.is_none() => Some(
            Judgement::fail("loaded, without its management library (libnvidia-ml)")
                .because("only a part of the driver is installed")
                .so("install the rest of it", &["sudo apt-get install nvidia-utils-580 libnvidia-compute-580"]),
        ),
        Management::Refused if gpu.nodes.iter().all(|node| node.refused.is_none()) => Some(
            Judgement::fail("loaded, and refuses to answer")
                .because("this user, or this control group, has no right to it")
                .so("see what the administrator may", &["sudo nvidia-smi"]),
        ),
        Management::NoDriver => Some(lost("loaded, and it says that it is not")),
        Management::Failed(said) => Some(lost(&format!("loaded, and does not answer: {said}"))),
        Management::Answered if gpu.cards.is_empty() => Some(
            lost("loaded, and it knows no card")
                .because("the card fell off the bus, or it is of RTX 50xx and wants the driver with the open modules"),
        ),
        _ => None,
    }
}

fn lost(said: &str) -> Judgement {
    Judgement::fail(said).because("the card fell off the bus, or hangs").so(
        "see what the kernel says, then restart the machine",
        &["sudo dmesg | grep -i -e xid -e nvrm", "sudo reboot"],
    )
}

/// The driver with the open modules: the only one for RTX 50xx, and good for every card from SM 7.5 on.
pub const INSTALL: &[&str] = &["sudo apt-get install nvidia-driver-580-open", "sudo reboot"];

fn of(version: Option<Version>) -> String {
    version.map_or_else(|| "an unknown version".to_owned(), written)
}

/// Whether the container was given the card.
pub fn container(machine: &Machine) -> Judgement {
    let Some(kind) = &machine.container else {
        return Judgement::ok(match machine.container_tools.as_slice() {
            [] => "not in one".to_owned(),
            tools => format!("not in one; {} can give containers the card", tools.join(", ")),
        });
    };
    if !machine.has_card() {
        return Judgement::unknown(format!("in {kind}, and {NO_CARD}"));
    }
    let has_started = machine.gpu.cuda.answer().is_some() && machine.gpu.cuda_start_code == Some(0);
    if has_started && !machine.gpu.cards.is_empty() {
        return Judgement::ok(format!("in {kind}, with the card"));
    }
    let files = machine.gpu.nodes.iter().any(|node| node.path.starts_with("/dev/nvidia") || node.path == "/dev/dxg");
    let missing = if matches!(machine.gpu.cuda, Told::Absent(_)) {
        Some((CUDA, "compute"))
    } else {
        (machine.gpu.management == Management::NoLibrary).then_some(("libnvidia-ml", "utility"))
    };
    match (files, missing) {
        (true, None) => Judgement::ok(format!("in {kind}, with the card")),
        (false, _) => Judgement::fail(format!("in {kind}, without the card's files"))
            .because("the container was started without NVIDIA's runtime")
            .so("install nvidia-container-toolkit on the host and start the container with the card", START),
        (true, Some((library, part))) => {
            Judgement::fail(format!("in {kind}, with the card's files, without {library}"))
                .because(format!("NVIDIA_DRIVER_CAPABILITIES leaves out {part}"))
                .so("start the container with all of the driver", CAPABLE)
        }
    }
}

const CUDA: &str = visage_kernels::libraries::CUDA;
const START: &[&str] = &["docker run --gpus all ...", "podman run --device nvidia.com/gpu=all ..."];
const CAPABLE: &[&str] = &["docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility,video ..."];

/// The files through which the card is reached.
pub fn device_files(machine: &Machine) -> Judgement {
    let gpu = &machine.gpu;
    if machine.system == System::Wsl {
        return wsl_file(gpu);
    }
    if machine.system != System::Linux || gpu.kernel_driver.is_none() {
        return Judgement::unknown("no driver whose files there could be");
    }
    let refused: Vec<&str> =
        gpu.nodes.iter().filter(|node| node.refused.is_some()).map(|node| node.path.as_str()).collect();
    if !refused.is_empty() {
        return Judgement::fail(format!("{} may not be opened", refused.join(", ")))
            .because("this user has no right to the card")
            .so(
                "join the group of the files (ls -l /dev/nvidia*) and log in anew",
                &["sudo usermod -aG video,render $USER"],
            );
    }
    let missing: Vec<&str> =
        FILES.iter().filter(|file| !gpu.nodes.iter().any(|node| node.path == **file)).copied().collect();
    if missing.is_empty() {
        return Judgement::ok(format!("{} files, all of them open", gpu.nodes.len()));
    }
    if machine.container.is_some() {
        return Judgement::unknown("the container was not given them");
    }
    Judgement::fail(format!("{} not there", missing.join(", ")))
        .because("nothing has asked the driver to make them since the machine started")
        .so("make them", &["sudo nvidia-modprobe -c 0 -u"])
}

const FILES: &[&str] = &["/dev/nvidiactl", "/dev/nvidia-uvm"];

fn wsl_file(gpu: &Gpu) -> Judgement {
    match gpu.nodes.iter().find(|node| node.path == "/dev/dxg") {
        Some(node) if node.refused.is_none() => Judgement::ok("/dev/dxg, as WSL has it instead of /dev/nvidia*"),
        Some(_) => Judgement::fail("/dev/dxg may not be opened")
            .because("this user has no right to it")
            .so("give it the right", &["sudo chmod a+rw /dev/dxg"]),
        None => Judgement::unknown("no /dev/dxg"),
    }
}

/// Whether a setting hides the card.
pub fn visible(machine: &Machine) -> Judgement {
    match &machine.gpu.hidden_by {
        None => Judgement::ok("nothing hides it"),
        // It speaks to the runtime that starts containers, which may have given the card in another way.
        Some(setting) if setting.starts_with(OF_CONTAINERS) && !machine.gpu.nodes.is_empty() => {
            Judgement::ok(format!("{setting}, and the card's files are there all the same"))
        }
        Some(setting) if setting.starts_with(OF_CONTAINERS) => Judgement::fail(format!("{setting} hides every card"))
            .because("the container was started without one")
            .so("start it with the card", START),
        Some(setting) => {
            let name = setting.split('=').next().unwrap_or_default();
            Judgement::fail(format!("{setting} hides every card"))
                .because("CUDA sees only the cards that this variable names")
                .so("run without it", &[&format!("unset {name}")])
        }
    }
}

const OF_CONTAINERS: &str = "NVIDIA_VISIBLE_DEVICES";

/// Whether the driver is new enough for CUDA and for the cards.
pub fn version(machine: &Machine) -> Judgement {
    let gpu = &machine.gpu;
    let Some(driver) = gpu.driver.or(gpu.kernel_driver) else {
        return Judgement::unknown("no driver that tells its version");
    };
    let found = written(driver);
    let needs: Vec<_> = gpu.judged().into_iter().filter_map(|(_, card)| Some((card, capability(card.sm?)?))).collect();
    let wants = |row: &SmRow| row.driver(machine.system);
    let too_old = needs.iter().filter(|(_, row)| driver < wants(row)).max_by_key(|(_, row)| wants(row));
    if let Some((card, row)) = too_old {
        let wanted = written(row.driver(machine.system));
        return Judgement::fail(format!("wanted {wanted} or newer, found {found}"))
            .because(format!(
                "{} (SM {}) is served from CUDA {} and driver {wanted} on",
                card.name, row.sm, row.least_cuda
            ))
            .so(format!("install driver {wanted} or newer"), update(machine.system));
    }
    let newest = newest_major(driver, machine.system).unwrap_or(0);
    let least = |major| of(least_driver(major, machine.system));
    if newest < OLDEST_CUDA_MAJOR {
        return Judgement::fail(format!("wanted {} or newer, found {found}", least(CUDA_MAJOR)))
            .because(format!("it runs no CUDA {OLDEST_CUDA_MAJOR} or {CUDA_MAJOR}"))
            .so(format!("install driver {} or newer", least(CUDA_MAJOR)), update(machine.system));
    }
    let advised =
        needs.iter().filter_map(|(card, row)| Some((card, row, row.advised_driver.filter(|it| driver < *it)?)));
    if let Some((card, row, advised)) = advised.max_by_key(|(_, _, advised)| *advised) {
        let asked = written(row.driver(machine.system));
        return Judgement::warn(format!("{found} runs CUDA {newest}, {} or newer is advised", written(advised)))
            .because(format!("advised for fp8 on {} (SM {}); NVIDIA asks for {asked} only", card.name, row.sm))
            .so("update the driver; until then take the libraries for CUDA 12", LIBRARIES_12);
    }
    if newest < CUDA_MAJOR {
        return Judgement::warn(format!("{found} runs CUDA 12, not {CUDA_MAJOR}"))
            .because(format!("libraries made for CUDA {CUDA_MAJOR} want driver {} or newer", least(CUDA_MAJOR)))
            .so("update the driver, or take the libraries for CUDA 12", LIBRARIES_12);
    }
    Judgement::ok(format!("{found} runs CUDA {CUDA_MAJOR}"))
}

const LIBRARIES_12: &[&str] = &["pip install tensorrt-rtx-cu12-libs==1.7.1.116 nvidia-cuda-nvrtc-cu12"];

/// What installs a newer driver.
pub fn update(system: System) -> &'static [&'static str] {
    if system.has_windows_driver() { &["start https://www.nvidia.com/drivers"] } else { INSTALL }
}

/// The driver's CUDA library: there, of the driver's version, and willing to start.
pub fn cuda(machine: &Machine) -> Judgement {
    let gpu = &machine.gpu;
    match &gpu.cuda {
        Told::NotAsked => Judgement::unknown("it was not asked"),
        Told::Absent(_) if !machine.has_card() => Judgement::unknown(NO_CARD),
        Told::Absent(_) if machine.container.is_some() => Judgement::unknown("the container was not given it"),
        Told::Absent(_) if gpu.kernel_driver.is_none() && machine.system == System::Linux => {
            Judgement::unknown("no driver that it could belong to")
        }
        Told::Absent(said) => Judgement::fail(format!("no {CUDA}: {said}"))
            .because("the driver's CUDA part is not installed, or the loader does not look where it is")
            .so("install it, or name its folder", library(machine.system)),
        Told::Failed(said) => Judgement::fail(format!("{CUDA} is not the driver's: {said}"))
            .because("a stub or a library of something else is found first")
            .so("take its folder out of the loader's path", &["ldconfig -p | grep libcuda", "echo $LD_LIBRARY_PATH"]),
        Told::Hangs(said) => lost(&format!("{CUDA} does not start: {said}")),
        Told::Is(version) => started(gpu, *version, machine.system),
    }
}

fn library(system: System) -> &'static [&'static str] {
    if system == System::Wsl {
        &["export LD_LIBRARY_PATH=/usr/lib/wsl/lib:$LD_LIBRARY_PATH"]
    } else {
        &["sudo apt-get install libnvidia-compute-580"]
    }
}

/// What `cuInit` answers where something is wrong, why, and what to do (CUDA Driver API, `CUresult`).
const START_CODES: &[(i32, &str, &str, &[&str])] = &[
    (2, "the card's memory is full", "end what holds it", &["nvidia-smi"]),
    (34, "a stub library was loaded", "take the toolkit's stubs out of the loader's path", &["echo $LD_LIBRARY_PATH"]),
    (
        46,
        "another program has the card for itself, or it is being reset",
        "end that program, or let programs share the card",
        &["nvidia-smi", "sudo nvidia-smi -c 0"],
    ),
    (
        100,
        "the driver sees no card",
        "see whether the card is still on the bus",
        &["nvidia-smi", "sudo dmesg | grep -i xid"],
    ),
    (
        304,
        "the system does not let this program open the driver's files, /dev/nvidia-uvm among them",
        "make them, and see who may open them",
        &["sudo nvidia-modprobe -c 0 -u", "ls -l /dev/nvidia*"],
    ),
    (
        802,
        "the fabric manager of this machine does not run",
        "start it",
        &["sudo systemctl enable --now nvidia-fabricmanager"],
    ),
    (803, "driver and library are of different versions", "restart the machine", &["sudo reboot"]),
    (
        804,
        "a compatibility library is used on a card that it is not for",
        "remove it",
        &["sudo apt-get remove 'cuda-compat-*'"],
    ),
    (
        805,
        "the multi-process service (MPS) is asked for and does not run",
        "start it, or run without it",
        &["sudo nvidia-cuda-mps-control -d", "unset CUDA_MPS_PIPE_DIRECTORY"],
    ),
    (
        999,
        "the driver's memory module is stuck, often after a suspend",
        "load it anew",
        &["sudo rmmod nvidia_uvm", "sudo modprobe nvidia_uvm"],
    ),
];

fn started(gpu: &Gpu, version: Version, system: System) -> Judgement {
    let code = gpu.cuda_start_code.unwrap_or(0);
    if let Some((_, cause, says, types)) = START_CODES.iter().find(|row| row.0 == code) {
        return Judgement::fail(format!("CUDA {version} does not start: error {code}"))
            .because(*cause)
            .so(*says, types);
    }
    if code != 0 {
        return Judgement::fail(format!("CUDA {version} does not start: error {code}"))
            .so("see what the kernel says", &["sudo dmesg | grep -i nvidia"]);
    }
    let runs = gpu.driver.and_then(|driver| newest_major(driver, system));
    if runs.is_some_and(|runs| runs < version.major()) {
        return Judgement::warn(format!("CUDA {version} over driver {}", of(gpu.driver)))
            .because("a compatibility library (cuda-compat) stands before the driver's own")
            .so("remove it where the driver is new enough", &["sudo apt-get remove 'cuda-compat-*'"]);
    }
    Judgement::ok(format!("CUDA {version}"))
}
