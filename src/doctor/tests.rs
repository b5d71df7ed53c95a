//! Dozens of machines that are not here: what is said of each, and nothing else.

use std::net::{IpAddr, Ipv4Addr};

use visage_engines::{Flavour, Sm, Version};
use visage_kernels::inventory::{CardState, Management, MemoryUser};

use super::machine::{Door, Library, Limits, Machine, Node, Port, Refusal, Relay, System, Told};
use super::{BEFORE_A_CARD, BEFORE_START, CHECKS, Finding, Target, Verdict, examine, examine_before_start};

const GB: u64 = 1_000_000_000;

pub(super) fn version(text: &str) -> Version {
    text.parse().expect("a version")
}

pub(super) fn library(path: &str, text: &str) -> Told<Library> {
    Told::Is(Library { path: path.to_owned(), version: version(text) })
}

fn card(name: &str, sm: Sm, memory_gb: u64) -> CardState {
    CardState {
        name: format!("NVIDIA {name}"),
        sm: Some(sm),
        memory_bytes: memory_gb * GB,
        memory_free_bytes: memory_gb * GB - GB,
        temperature_c: Some(45),
        power_limit_w: Some(450),
        power_default_w: Some(450),
        is_on_battery: Some(false),
        is_mig: None,
        ..CardState::default()
    }
}

/// A machine without a card on which everything is right.
fn bare() -> Machine {
    let mut machine = Machine { cores: 8, memory_free_bytes: Some(16 * GB), ..Machine::default() };
    machine.disk.folder = "/home/ann/.local/share/visage".into();
    machine.disk.free_bytes = Some(100 * GB);
    machine.limits =
        Limits { open_files: Some(1024), receive_buffer_bytes: Some(4 << 20), send_buffer_bytes: Some(4 << 20) };
    machine.door = Door {
        host: Some(IpAddr::from([127, 0, 0, 1])),
        max_sessions: 8,
        tcp: Port { number: 8010, refused: None },
        udp: Port { number: 8010, refused: None },
        ..Door::default()
    };
    machine.gpu.management = Management::NoLibrary;
    machine.gpu.cuda = Told::Absent("libcuda.so.1: cannot open shared object file".into());
    machine.libraries.tensorrt_wanted = Some(version("1.7"));
    machine.libraries.tensorrt = Told::Absent("the loader's path".into());
    machine.libraries.nvrtc = Told::Absent("the loader's path".into());
    machine
}

/// An RTX 4090 on which everything is right.
pub(super) fn ada() -> Machine {
    let mut machine = bare();
    let gpu = &mut machine.gpu;
    gpu.pci = vec!["0000:01:00.0 (10de:2684)".into()];
    gpu.modules = vec!["nvidia".into(), "nvidia_uvm".into()];
    gpu.kernel_driver = Some(version("580.95.05"));
    gpu.driver = gpu.kernel_driver;
    gpu.management = Management::Answered;
    gpu.nodes = ["/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-uvm"]
        .map(|path| Node { path: path.into(), refused: None })
        .into();
    gpu.cuda = Told::Is(version("13.0"));
    gpu.cuda_start_code = Some(0);
    gpu.cards = vec![card("GeForce RTX 4090", Sm::SM89, 24)];
    machine.libraries.built_for = Some(Flavour::Rtx);
    machine.libraries.tensorrt = library("/opt/trt/libtensorrt_rtx.so.1", "1.7.1");
    machine.libraries.nvrtc = library("libnvrtc.so.13", "13.0");
    machine
}

pub(super) fn with(mut machine: Machine, change: impl FnOnce(&mut Machine)) -> Machine {
    change(&mut machine);
    machine
}

fn driver(machine: &mut Machine, text: &str, cuda: &str) {
    machine.gpu.kernel_driver = Some(version(text));
    machine.gpu.driver = Some(version(text));
    machine.gpu.cuda = Told::Is(version(cuda));
}

pub(super) fn sole_card(machine: &mut Machine) -> &mut CardState {
    machine.gpu.cards.first_mut().expect("one card")
}

/// An H200 with classic TensorRT.
pub(super) fn hopper() -> Machine {
    with(ada(), |machine| {
        machine.gpu.cards = vec![card("H200", Sm::SM90, 141)];
        sole_card(machine).ecc_errors = Some(0);
        sole_card(machine).is_mig = Some(false);
        machine.libraries.built_for = Some(Flavour::Classic);
        machine.libraries.tensorrt_wanted = Some(version("11.4"));
        machine.libraries.tensorrt = library("libnvinfer.so.11", "11.4.0");
    })
}

/// An RTX 4090 as WSL shows it.
fn wsl() -> Machine {
    with(ada(), |machine| {
        machine.system = System::Wsl;
        let gpu = &mut machine.gpu;
        (gpu.pci, gpu.modules, gpu.kernel_driver) = (Vec::new(), Vec::new(), None);
        gpu.nodes = vec![Node { path: "/dev/dxg".into(), refused: None }];
        gpu.driver = Some(version("581.15"));
    })
}

/// A card whose driver is not there.
pub(super) fn driverless() -> Machine {
    with(bare(), |machine| {
        machine.gpu.pci = vec!["0000:01:00.0 (10de:2684)".into()];
        machine.libraries.nvrtc = library("libnvrtc.so.13", "13.0");
    })
}

struct Case {
    name: &'static str,
    machine: fn() -> Machine,
    /// Exactly these fail when faces are drawn on a card.
    fails: &'static [&'static str],
    /// Exactly these could be better.
    warns: &'static [&'static str],
    /// One of them says this.
    says: &'static str,
}

const fn case(
    name: &'static str,
    machine: fn() -> Machine,
    fails: &'static [&'static str],
    warns: &'static [&'static str],
    says: &'static str,
) -> Case {
    Case { name, machine, fails, warns, says }
}

/// What stands between visage and the card.
const OF_THE_DRIVER: &[Case] = &[
    case("no card at all", bare, &["card"], &[], "visage doctor --for cpu"),
    case("all is right", ada, &[], &[], "580.95.05 runs CUDA 13"),
    case("a card and no driver", driverless, &["driver"], &[], "Secure Boot"),
    case(
        "nouveau drives the card",
        || with(driverless(), |machine| machine.gpu.modules = vec!["nouveau".into()]),
        &["driver"],
        &[],
        "nouveau",
    ),
    case(
        "driver updated, not restarted",
        || {
            with(ada(), |machine| {
                machine.gpu.management = Management::Mismatch;
                (machine.gpu.driver, machine.gpu.cards) = (None, Vec::new());
                machine.gpu.cuda_start_code = Some(803);
            })
        },
        &["driver", "cuda"],
        &[],
        "sudo reboot",
    ),
    case(
        "driver of 2022",
        || {
            with(ada(), |machine| {
                driver(machine, "515.105.01", "11.7");
                machine.libraries.nvrtc = library("libnvrtc.so.11.2", "11.8");
                machine.gpu.cards = vec![card("GeForce RTX 3090", Sm::SM86, 24)];
            })
        },
        &["driver-version", "nvrtc"],
        &[],
        "wanted 525.60 or newer, found 515.105.01",
    ),
    case(
        "RTX 4090 with driver 530",
        || {
            with(ada(), |machine| {
                driver(machine, "530.30.02", "12.1");
                machine.libraries.nvrtc = library("libnvrtc.so.12", "12.1");
            })
        },
        &["driver-version"],
        &[],
        "wanted 535 or newer, found 530.30.02",
    ),
    case(
        "driver 535.104, which is newer than 535.54",
        || {
            with(ada(), |machine| {
                driver(machine, "535.104.05", "12.2");
                machine.libraries.nvrtc = library("libnvrtc.so.12", "12.1");
            })
        },
        &[],
        &["driver-version"],
        "libnvrtc.so.12",
    ),
    case(
        "toolkit newer than the driver within one major version",
        || {
            with(ada(), |machine| {
                driver(machine, "550.54.14", "12.4");
                machine.libraries.nvrtc = library("libnvrtc.so.12", "12.9");
            })
        },
        &[],
        &["driver-version"],
        "minor-version compatibility within CUDA 12",
    ),
    case(
        "NVRTC of the wrong major version",
        || with(ada(), |machine| driver(machine, "570.124.06", "12.8")),
        &["nvrtc"],
        &["driver-version"],
        "pip install nvidia-cuda-nvrtc-cu12",
    ),
    case(
        "RTX 5090 with driver 565",
        || {
            with(ada(), |machine| {
                driver(machine, "565.57.01", "12.7");
                machine.gpu.cards = vec![card("GeForce RTX 5090", Sm::SM120, 32)];
                machine.libraries.nvrtc = library("libnvrtc.so.12", "12.8");
            })
        },
        &["driver-version"],
        &[],
        "wanted 570.26 or newer, found 565.57.01",
    ),
    case(
        "RTX 5090 with NVRTC 12.4",
        || {
            with(ada(), |machine| {
                machine.gpu.cards = vec![card("GeForce RTX 5090", Sm::SM120, 32)];
                machine.libraries.nvrtc = library("libnvrtc.so.12", "12.4");
            })
        },
        &["nvrtc"],
        &[],
        "RTX 50xx need CUDA 12.8 or newer",
    ),
    case(
        "CUDA does not start after a suspend",
        || with(ada(), |machine| machine.gpu.cuda_start_code = Some(999)),
        &["cuda"],
        &[],
        "sudo rmmod nvidia_uvm",
    ),
    case(
        "a compatibility library on a GeForce",
        || {
            with(ada(), |machine| {
                driver(machine, "550.54.14", "13.0");
                machine.gpu.cuda_start_code = Some(804);
                machine.libraries.nvrtc = library("libnvrtc.so.12", "12.4");
            })
        },
        &["cuda"],
        &["driver-version"],
        "cuda-compat",
    ),
    case(
        "a compatibility library that starts",
        || {
            with(hopper(), |machine| {
                driver(machine, "550.54.14", "13.0");
                machine.libraries.nvrtc = library("libnvrtc.so.12", "12.4");
            })
        },
        &[],
        &["cuda", "driver-version", "encoder"],
        "before the driver's own",
    ),
    case(
        "CUDA's library left out",
        || with(ada(), |machine| machine.gpu.cuda = Told::Absent("not found".into())),
        &["cuda"],
        &[],
        "libnvidia-compute",
    ),
    case(
        "device files may not be opened",
        || {
            with(ada(), |machine| {
                machine.gpu.nodes[0].refused = Some("Permission denied (os error 13)".into());
                machine.gpu.management = Management::Refused;
                machine.gpu.cards.clear();
                machine.gpu.cuda_start_code = Some(100);
            })
        },
        &["device-files", "cuda"],
        &[],
        "sudo usermod -aG video,render $USER",
    ),
    case(
        "device files not made yet",
        || with(ada(), |machine| machine.gpu.nodes.truncate(2)),
        &["device-files"],
        &[],
        "sudo nvidia-modprobe -c 0 -u",
    ),
    case(
        "hidden by a setting",
        || {
            with(ada(), |machine| {
                machine.gpu.hidden_by = Some("CUDA_VISIBLE_DEVICES=-1".into());
                machine.gpu.cuda_start_code = Some(100);
            })
        },
        &["visible", "cuda"],
        &[],
        "unset CUDA_VISIBLE_DEVICES",
    ),
    case("WSL as it should be", wsl, &[], &[], "instead of /dev/nvidia*"),
    case(
        "WSL without the card",
        || with(bare(), |machine| machine.system = System::Wsl),
        &["card"],
        &[],
        "wsl.exe --update",
    ),
    case(
        "WSL with an old driver of Windows",
        || {
            with(wsl(), |machine| {
                machine.gpu.driver = Some(version("522.30"));
                machine.gpu.cuda = Told::Is(version("11.8"));
                machine.libraries.nvrtc = library("libnvrtc.so.12", "12.1");
            })
        },
        &["driver-version", "nvrtc"],
        &[],
        "start https://www.nvidia.com/drivers",
    ),
    case(
        "WSL whose loader does not look in /usr/lib/wsl",
        || with(wsl(), |machine| machine.gpu.cuda = Told::Absent("not found".into())),
        &["cuda"],
        &[],
        "/usr/lib/wsl/lib",
    ),
    case(
        "container without the runtime",
        || {
            with(ada(), |machine| {
                machine.container = Some("docker".into());
                let gpu = &mut machine.gpu;
                (gpu.nodes, gpu.cards, gpu.driver) = (Vec::new(), Vec::new(), None);
                gpu.management = Management::NoLibrary;
                gpu.cuda = Told::Absent("not found".into());
            })
        },
        &["container"],
        &[],
        "docker run --gpus all",
    ),
    case(
        "container without compute",
        || {
            with(ada(), |machine| {
                machine.container = Some("kubernetes".into());
                machine.gpu.cuda = Told::Absent("not found".into());
            })
        },
        &["container"],
        &[],
        "NVIDIA_DRIVER_CAPABILITIES=compute",
    ),
    case(
        "container without utility",
        || {
            with(ada(), |machine| {
                machine.container = Some("docker".into());
                machine.gpu.management = Management::NoLibrary;
                machine.gpu.cards.clear();
            })
        },
        &["container"],
        &[],
        "leaves out utility",
    ),
    case(
        "half of a driver",
        || {
            with(ada(), |machine| {
                machine.gpu.management = Management::NoLibrary;
                machine.gpu.cards.clear();
            })
        },
        &["driver"],
        &[],
        "nvidia-utils-580",
    ),
    case(
        "a card that fell off the bus",
        || {
            with(ada(), |machine| {
                machine.gpu.management = Management::Failed("GPU is lost".into());
                machine.gpu.cards.clear();
                machine.gpu.cuda_start_code = Some(100);
            })
        },
        &["driver", "cuda"],
        &[],
        "loaded, and GPU is lost",
    ),
    case(
        "container as it should be",
        || with(ada(), |machine| machine.container = Some("podman".into())),
        &[],
        &[],
        "in podman, with the card",
    ),
    case("macOS", || with(bare(), |machine| machine.system = System::MacOs), &["card"], &[], "macOS has no driver"),
];

/// The cards themselves and NVIDIA's libraries.
const OF_THE_CARD: &[Case] = &[
    case(
        "GTX 1080",
        || {
            with(ada(), |machine| {
                machine.gpu.cards = vec![card("GeForce GTX 1080", Sm::new(6, 1), 8)];
            })
        },
        &["capability"],
        &[],
        "no tensor cores",
    ),
    case(
        "RTX 2080 Ti",
        || {
            with(ada(), |machine| {
                machine.gpu.cards = vec![card("GeForce RTX 2080 Ti", Sm::SM75, 11)];
            })
        },
        &[],
        &["capability"],
        "mixed precision",
    ),
    case(
        "A100 with TensorRT for RTX, without NVENC",
        || with(ada(), |machine| machine.gpu.cards = vec![card("A100-SXM4-80GB", Sm::SM80, 80)]),
        &[],
        &["encoder"],
        "no NVENC on NVIDIA A100-SXM4-80GB",
    ),
    case("H200 with classic TensorRT", hopper, &[], &["encoder"], "TensorRT runs on SM 9.0"),
    case(
        "H100 with TensorRT for RTX",
        || {
            with(hopper(), |machine| {
                machine.libraries.built_for = Some(Flavour::Rtx);
                machine.libraries.tensorrt_wanted = Some(version("1.7"));
                machine.libraries.tensorrt = library("libtensorrt_rtx.so.1", "1.7.1");
            })
        },
        &["flavour"],
        &["encoder"],
        "cargo build --release --features tensorrt",
    ),
    case(
        "an RTX card and the usual build",
        || with(ada(), |machine| machine.libraries.built_for = None),
        &["flavour"],
        &[],
        "cargo build --release --features tensorrt-rtx",
    ),
    case(
        "an old card beside a good one",
        || with(ada(), |machine| machine.gpu.cards.insert(0, card("GeForce GTX 1080", Sm::new(6, 1), 8))),
        &[],
        &[],
        "GTX 1080",
    ),
    case(
        "a card of tomorrow",
        || with(ada(), |machine| machine.gpu.cards = vec![card("GeForce RTX 7090", Sm::new(14, 0), 48)]),
        &[],
        &[],
        "newer than this visage knows",
    ),
    case(
        "TensorRT missing",
        || with(ada(), |machine| machine.libraries.tensorrt = Told::Absent("/opt/trt (not there)".into())),
        &["tensorrt"],
        &[],
        "pip install tensorrt-rtx-cu13-libs",
    ),
    case(
        "TensorRT of another version",
        || with(ada(), |machine| machine.libraries.tensorrt = library("libtensorrt_rtx.so.1", "1.4.0")),
        &["tensorrt"],
        &[],
        "wanted TensorRT-RTX 1.7, found 1.4.0",
    ),
    case(
        "something else under TensorRT's name",
        || with(ada(), |machine| machine.libraries.tensorrt = Told::Failed("a library without f: libx".into())),
        &["tensorrt"],
        &[],
        "another library has its name",
    ),
    case(
        "NVRTC missing",
        || with(ada(), |machine| machine.libraries.nvrtc = Told::Absent("the loader's path".into())),
        &["nvrtc"],
        &[],
        "pip install nvidia-cuda-nvrtc",
    ),
    case(
        "cut into instances",
        || with(hopper(), |machine| sole_card(machine).is_mig = Some(true)),
        &[],
        &["mig", "encoder"],
        "sudo nvidia-smi -mig 0",
    ),
    case(
        "errors of memory",
        || with(hopper(), |machine| sole_card(machine).ecc_errors = Some(3)),
        &["ecc"],
        &["encoder"],
        "3 that could not be corrected",
    ),
    case(
        "laptop on its battery",
        || {
            with(ada(), |machine| {
                machine.gpu.cards = vec![card("GeForce RTX 4070 Laptop GPU", Sm::SM89, 8)];
                sole_card(machine).is_on_battery = Some(true);
            })
        },
        &[],
        &["power"],
        "plug it in",
    ),
    case(
        "laptop with a quiet profile",
        || {
            with(ada(), |machine| {
                machine.gpu.cards = vec![card("GeForce RTX 4070 Laptop GPU", Sm::SM89, 8)];
                sole_card(machine).power_limit_w = Some(55);
                sole_card(machine).power_default_w = Some(115);
            })
        },
        &[],
        &["power"],
        "the laptop's profile",
    ),
    case(
        "too hot",
        || {
            with(ada(), |machine| {
                sole_card(machine).temperature_c = Some(88);
                sole_card(machine).slowed_by = vec!["hw_thermal_slowdown".into()];
            })
        },
        &[],
        &["temperature", "power"],
        "slowed by hw_thermal_slowdown",
    ),
    case(
        "memory held by another process",
        || {
            with(ada(), |machine| {
                sole_card(machine).memory_free_bytes = GB;
                let name = "/usr/bin/python3".to_owned();
                sole_card(machine).memory_users = vec![MemoryUser { pid: 4242, name, bytes: Some(21 * GB) }];
            })
        },
        &["gpu-memory"],
        &[],
        "held by /usr/bin/python3 (pid 4242): 21.0 GB",
    ),
    case(
        "a card with 4 GB",
        || with(ada(), |machine| machine.gpu.cards = vec![card("GeForce RTX 3050", Sm::SM86, 4)]),
        &[],
        &["gpu-memory"],
        "--max-sessions 1",
    ),
    case(
        "no room for engines",
        || with(ada(), |machine| machine.disk.free_bytes = Some(2 * GB)),
        &["engines-disk"],
        &[],
        "visage engines prune",
    ),
];

const LAN: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 20));

/// What every target needs.
const OF_THE_HOUSE: &[Case] = &[
    case(
        "disk full",
        || with(ada(), |machine| machine.disk.free_bytes = Some(1_000_000)),
        &["disk", "engines-disk"],
        &[],
        "is full",
    ),
    case(
        "data folder of somebody else",
        || with(ada(), |machine| machine.disk.refused = Some("Permission denied (os error 13)".into())),
        &[],
        &["data-folder"],
        "--data-dir",
    ),
    case(
        "too few open files",
        || with(ada(), |machine| (machine.limits.open_files, machine.door.max_sessions) = (Some(256), 64)),
        &["open-files"],
        &[],
        "wanted 576 open files, allowed are 256",
    ),
    case(
        "small buffers",
        || with(ada(), |machine| machine.limits.receive_buffer_bytes = Some(212_992)),
        &[],
        &["udp-buffers"],
        "sudo sysctl -w net.core.rmem_max=2097152",
    ),
    case("one core", || with(ada(), |machine| machine.cores = 1), &[], &["cpu"], "take turns"),
    case(
        "port taken",
        || with(ada(), |machine| machine.door.tcp.refused = Some(Refusal::InUse)),
        &["tcp-port"],
        &[],
        "ss -lpn --tcp 'sport = :8010'",
    ),
    case(
        "UDP port taken",
        || with(ada(), |machine| machine.door.udp.refused = Some(Refusal::InUse)),
        &["udp-port"],
        &[],
        "visage serve --udp-port 0",
    ),
    case(
        "a port below 1024",
        || {
            with(ada(), |machine| {
                machine.door.tcp = Port { number: 443, refused: Some(Refusal::Forbidden) };
            })
        },
        &["tcp-port"],
        &[],
        "the administrator's",
    ),
    case(
        "the router's address",
        || {
            with(ada(), |machine| {
                machine.door.host = Some(IpAddr::from([203, 0, 113, 7]));
                machine.door.is_https = true;
                machine.door.tcp.refused = Some(Refusal::NotOurs);
            })
        },
        &["tcp-port"],
        &[],
        "--public-ip 203.0.113.7",
    ),
    case(
        "http on a LAN",
        || with(ada(), |machine| machine.door.host = Some(LAN)),
        &[],
        &["microphone"],
        "visage serve --host 192.168.1.20 --tls self-signed",
    ),
    case(
        "https on a LAN",
        || with(ada(), |machine| (machine.door.host, machine.door.is_https) = (Some(LAN), true)),
        &[],
        &[],
        "https",
    ),
    case(
        "TURN out of reach",
        || {
            with(ada(), |machine| {
                let seen = Told::Failed("nothing after 3s and 3 requests".into());
                machine.door.relay = Some(Relay { address: "turn:10.0.0.1".into(), seen, ..Relay::default() });
            })
        },
        &["turn"],
        &[],
        "a firewall drops UDP",
    ),
    case(
        "TURN that wants a password",
        || {
            with(ada(), |machine| {
                let error_code = Some(401);
                machine.door.relay = Some(Relay { address: "turn:10.0.0.1".into(), error_code, ..Relay::default() });
            })
        },
        &[],
        &[],
        "it wants a password first",
    ),
];

fn ids(findings: &[Finding], verdict: Verdict) -> Vec<&'static str> {
    let mut ids: Vec<_> =
        findings.iter().filter(|finding| finding.verdict == verdict).map(|finding| finding.id).collect();
    ids.sort_unstable();
    ids
}

fn sorted(ids: &[&'static str]) -> Vec<&'static str> {
    let mut ids = ids.to_vec();
    ids.sort_unstable();
    ids
}

/// All cases, with their machines.
fn all_cases() -> impl Iterator<Item = (&'static Case, Machine)> {
    [OF_THE_DRIVER, OF_THE_CARD, OF_THE_HOUSE].into_iter().flatten().map(|case| (case, (case.machine)()))
}

#[test]
fn each_machine_is_told_what_is_wrong_with_it_and_nothing_else() {
    assert!(all_cases().count() >= 30);
    let mut wrong = Vec::new();
    for (Case { name, fails, warns, says, .. }, machine) in all_cases() {
        let findings = examine(&machine, Target::Gpu);
        let (found_fails, found_warns) = (ids(&findings, Verdict::Fail), ids(&findings, Verdict::Warn));
        if (&found_fails, &found_warns) != (&sorted(fails), &sorted(warns)) {
            wrong.push(format!("{name}: wanted {fails:?} and {warns:?}, found {found_fails:?} and {found_warns:?}"));
        }
        let said = serde_json::to_string(&findings).expect("JSON");
        if !said.contains(says) {
            wrong.push(format!("{name}: wanted \"{says}\" in {said}"));
        }
        assert_eq!(findings.iter().any(Finding::stops), !found_fails.is_empty(), "{name}");
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn whatever_is_wrong_has_a_cause_or_a_remedy_and_whatever_fails_has_both() {
    let mut failed = Vec::new();
    for (Case { name, .. }, machine) in all_cases() {
        for finding in examine(&machine, Target::Gpu) {
            let (has_cause, has_remedy) = (finding.cause.is_some(), finding.remedy.is_some());
            match finding.verdict {
                Verdict::Fail => assert!(has_cause && has_remedy, "{name}: {finding:#?}"),
                Verdict::Warn => assert!(has_remedy, "{name}: {finding:#?}"),
                Verdict::Ok | Verdict::Unknown => assert!(!has_cause && !has_remedy, "{name}: {finding:#?}"),
            }
            if finding.verdict == Verdict::Fail {
                failed.push(finding.id);
            }
        }
    }
    let never: Vec<_> = CHECKS.iter().map(|check| check.id).filter(|id| !failed.contains(id)).collect();
    let only_warn = ["cpu", "data-folder", "udp-buffers", "microphone", "encoder", "temperature", "power", "mig"];
    assert_eq!(never, only_warn, "every check that can fail does so on some machine");
}

#[test]
fn the_cpu_minds_nothing_that_is_a_cards_business() {
    for (Case { name, fails, .. }, machine) in all_cases() {
        let findings = examine(&machine, Target::Cpu);
        let of_all = ["disk", "open-files", "tcp-port", "udp-port", "turn"];
        let stopped = findings.iter().any(Finding::stops);
        assert_eq!(stopped, fails.iter().any(|id| of_all.contains(id)), "{name}");
    }
}

#[test]
fn a_start_looks_at_what_it_needs_and_leaves_ports_to_whoever_binds_them() {
    let taken = with(bare(), |machine| machine.door.tcp.refused = Some(Refusal::InUse));
    assert!(!examine_before_start(&taken, Target::Cpu).iter().any(Finding::stops));
    let few = with(bare(), |machine| machine.limits.open_files = Some(16));
    assert!(examine_before_start(&few, Target::Cpu).iter().any(Finding::stops));
    let full = with(ada(), |machine| sole_card(machine).memory_free_bytes = GB);
    assert!(!examine_before_start(&full, Target::Gpu).iter().any(Finding::stops), "a small pack may fit all the same");
    let first = examine_before_start(&bare(), Target::Gpu).into_iter().find(Finding::stops);
    assert_eq!(first.map(|finding| finding.id), Some("card"));
    assert!(!examine_before_start(&ada(), Target::Gpu).iter().any(Finding::stops));
}

#[test]
fn no_machine_is_fine_for_a_card_on_which_none_answers() {
    let silences = [
        Management::NoLibrary,
        Management::NoDriver,
        Management::Mismatch,
        Management::Refused,
        Management::Failed("no data".into()),
        Management::Answered,
    ];
    for (base, management) in
        [ada, wsl, driverless, bare].into_iter().flat_map(|base| silences.iter().map(move |way| (base, way)))
    {
        for container in [None, Some("docker".to_owned())] {
            let mut machine = base();
            machine.container = container;
            machine.gpu.management = management.clone();
            machine.gpu.cards.clear();
            assert!(examine(&machine, Target::Gpu).iter().any(Finding::stops), "{machine:#?}");
        }
    }
}

#[test]
fn a_described_machine_comes_back_as_it_was() {
    for (Case { name, .. }, machine) in all_cases() {
        let text = serde_json::to_string(&machine).expect("JSON");
        assert_eq!(serde_json::from_str::<Machine>(&text).expect(name), machine, "{name}");
    }
    assert!(serde_json::from_str::<Machine>(r#"{"gpus": []}"#).is_err(), "unknown fields are refused");
}

#[test]
fn a_start_names_checks_that_there_are() {
    for id in BEFORE_START.iter().chain(BEFORE_A_CARD) {
        assert!(CHECKS.iter().any(|check| check.id == *id), "{id}");
    }
}

#[test]
fn checks_have_names_of_their_own() {
    let mut ids: Vec<_> = CHECKS.iter().map(|check| check.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), CHECKS.len());
}
