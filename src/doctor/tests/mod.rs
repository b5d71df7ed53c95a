//! Descriptions of dozens of machines, with exactly the findings that each must give.

mod driver;
mod gpus;
mod host;

use std::net::IpAddr;

use visage_engines::{Flavour, Sm, Version};
use visage_kernels::nvml::{GpuState, Management};

use super::machine::{BindError, DeviceFile, Library, Limits, ListenSettings, Machine, Port, Probed, System};
use super::{
    CHECKS, Finding, REQUIRED_BEFORE_GPU, REQUIRED_BEFORE_START, Target, Verdict, examine, examine_before_start,
};

const GB: u64 = 1_000_000_000;

pub(super) fn version(text: &str) -> Version {
    text.parse().expect("a version")
}

pub(super) fn library(path: &str, text: &str) -> Probed<Library> {
    Probed::Found(Library { path: path.to_owned(), version: version(text) })
}

fn device(name: &str, sm: Sm, memory_gb: u64) -> GpuState {
    GpuState {
        name: format!("NVIDIA {name}"),
        sm: Some(sm),
        memory_bytes: memory_gb * GB,
        memory_free_bytes: memory_gb * GB - GB,
        temperature_c: Some(45),
        power_limit_w: Some(450),
        power_default_w: Some(450),
        is_on_battery: Some(false),
        is_mig: None,
        ..GpuState::default()
    }
}

/// A machine without a GPU and without faults.
fn bare() -> Machine {
    let mut machine = Machine { cores: 8, memory_free_bytes: Some(16 * GB), ..Machine::default() };
    machine.disk.folder = "/home/ann/.local/share/visage".into();
    machine.disk.free_bytes = Some(100 * GB);
    machine.libraries.h264_assembly = Some(true);
    machine.limits =
        Limits { open_files: Some(1024), receive_buffer_bytes: Some(4 << 20), send_buffer_bytes: Some(4 << 20) };
    machine.listen = ListenSettings {
        host: Some(IpAddr::from([127, 0, 0, 1])),
        max_sessions: 8,
        tcp: Port { number: 8010, error: None },
        udp: Port { number: 8010, error: None },
        ..ListenSettings::default()
    };
    machine.gpu.management = Management::NoLibrary;
    machine.gpu.cuda = Probed::Missing("libcuda.so.1: cannot open shared object file".into());
    machine.libraries.tensorrt_wanted = Some(version("1.7"));
    machine.libraries.tensorrt = Probed::Missing("the library search path".into());
    machine.libraries.nvrtc = Probed::Missing("the library search path".into());
    machine
}

/// A machine with an RTX 4090 and without faults.
pub(super) fn ada() -> Machine {
    let mut machine = bare();
    let gpu = &mut machine.gpu;
    gpu.pci = vec!["0000:01:00.0 (10de:2684)".into()];
    gpu.modules = vec!["nvidia".into(), "nvidia_uvm".into()];
    gpu.kernel_driver = Some(version("580.95.05"));
    gpu.driver = gpu.kernel_driver;
    gpu.management = Management::Answered;
    gpu.device_files = ["/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-uvm"]
        .map(|path| DeviceFile { path: path.into(), error: None })
        .into();
    gpu.cuda = Probed::Found(version("13.0"));
    gpu.cuda_start_code = Some(0);
    gpu.devices = vec![device("GeForce RTX 4090", Sm::SM89, 24)];
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
    machine.gpu.cuda = Probed::Found(version(cuda));
}

pub(super) fn only_device(machine: &mut Machine) -> &mut GpuState {
    machine.gpu.devices.first_mut().expect("one GPU")
}

/// An H200 with classic TensorRT.
pub(super) fn hopper() -> Machine {
    with(ada(), |machine| {
        machine.gpu.devices = vec![device("H200", Sm::SM90, 141)];
        only_device(machine).ecc_errors = Some(0);
        only_device(machine).is_mig = Some(false);
        machine.libraries.built_for = Some(Flavour::Classic);
        machine.libraries.tensorrt_wanted = Some(version("11.4"));
        machine.libraries.tensorrt = library("libnvinfer.so.11", "11.4.0");
    })
}

/// An RTX 4090 under WSL.
fn wsl() -> Machine {
    with(ada(), |machine| {
        machine.system = System::Wsl;
        let gpu = &mut machine.gpu;
        (gpu.pci, gpu.modules, gpu.kernel_driver) = (Vec::new(), Vec::new(), None);
        gpu.device_files = vec![DeviceFile { path: "/dev/dxg".into(), error: None }];
        gpu.driver = Some(version("581.15"));
    })
}

/// A GPU without a driver.
pub(super) fn driverless() -> Machine {
    with(bare(), |machine| {
        machine.gpu.pci = vec!["0000:01:00.0 (10de:2684)".into()];
        machine.libraries.nvrtc = library("libnvrtc.so.13", "13.0");
    })
}

struct Case {
    name: &'static str,
    machine: fn() -> Machine,
    /// The checks that fail for the GPU backend.
    fails: &'static [&'static str],
    /// The checks that warn.
    warns: &'static [&'static str],
    /// A text that one of them contains.
    text: &'static str,
}

const fn case(
    name: &'static str,
    machine: fn() -> Machine,
    fails: &'static [&'static str],
    warns: &'static [&'static str],
    text: &'static str,
) -> Case {
    Case { name, machine, fails, warns, text }
}

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
    [driver::DRIVER_CASES, gpus::GPU_CASES, host::HOST_CASES].into_iter().flatten().map(|case| (case, (case.machine)()))
}

#[test]
fn each_machine_gets_exactly_its_findings() {
    assert!(all_cases().count() >= 70);
    let mut wrong = Vec::new();
    for (Case { name, fails, warns, text, .. }, machine) in all_cases() {
        let findings = examine(&machine, Target::Gpu);
        let (found_fails, found_warns) = (ids(&findings, Verdict::Fail), ids(&findings, Verdict::Warn));
        if (&found_fails, &found_warns) != (&sorted(fails), &sorted(warns)) {
            wrong.push(format!("{name}: wanted {fails:?} and {warns:?}, found {found_fails:?} and {found_warns:?}"));
        }
        let said = serde_json::to_string(&findings).expect("JSON");
        if !said.contains(text) {
            wrong.push(format!("{name}: wanted \"{text}\" in {said}"));
        }
        assert_eq!(findings.iter().any(Finding::stops), !found_fails.is_empty(), "{name}");
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn each_warning_has_a_hint_and_each_failure_a_hint_and_a_cause() {
    let mut failed = Vec::new();
    for (Case { name, .. }, machine) in all_cases() {
        for finding in examine(&machine, Target::Gpu) {
            let (has_cause, has_hint) = (finding.cause.is_some(), finding.hint.is_some());
            match finding.verdict {
                Verdict::Fail => assert!(has_cause && has_hint, "{name}: {finding:#?}"),
                Verdict::Warn => assert!(has_hint, "{name}: {finding:#?}"),
                Verdict::Ok | Verdict::Unknown => assert!(!has_cause && !has_hint, "{name}: {finding:#?}"),
            }
            if finding.verdict == Verdict::Fail {
                failed.push(finding.id);
            }
        }
    }
    let never: Vec<_> = CHECKS.iter().map(|check| check.id).filter(|id| !failed.contains(id)).collect();
    let only_warn = [
        "cpu",
        "h264",
        "data-folder",
        "udp-buffers",
        "microphone",
        "turing",
        "encoder",
        "temperature",
        "power",
        "mig",
        "nvrtc",
        "engines-disk",
    ];
    assert_eq!(never, only_warn, "every check that can fail does so on some machine");
}

#[test]
fn gpu_faults_do_not_affect_the_cpu_target() {
    for (Case { name, fails, .. }, machine) in all_cases() {
        let findings = examine(&machine, Target::Cpu);
        let of_all = ["disk", "open-files", "tcp-port", "udp-port", "turn"];
        let stopped = findings.iter().any(Finding::stops);
        assert_eq!(stopped, fails.iter().any(|id| of_all.contains(id)), "{name}");
    }
}

#[test]
fn the_checks_before_a_start_cover_files_and_gpu_memory_but_no_ports() {
    let taken = with(bare(), |machine| machine.listen.tcp.error = Some(BindError::InUse));
    assert!(!examine_before_start(&taken, Target::Cpu).iter().any(Finding::stops));
    let few = with(bare(), |machine| machine.limits.open_files = Some(16));
    assert!(examine_before_start(&few, Target::Cpu).iter().any(Finding::stops));
    let full = with(ada(), |machine| only_device(machine).memory_free_bytes = GB);
    assert!(!examine_before_start(&full, Target::Gpu).iter().any(Finding::stops), "a small pack may fit");
    let fuller = with(ada(), |machine| only_device(machine).memory_free_bytes = GB / 5);
    assert!(examine_before_start(&fuller, Target::Gpu).iter().any(|it| it.stops() && it.id == "gpu-memory"));
    let first = examine_before_start(&bare(), Target::Gpu).into_iter().find(Finding::stops);
    assert_eq!(first.map(|finding| finding.id), Some("gpu"));
    assert!(!examine_before_start(&ada(), Target::Gpu).iter().any(Finding::stops));
}

#[test]
fn a_machine_without_a_responding_gpu_fails_for_the_gpu_target() {
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
            machine.gpu.devices.clear();
            assert!(examine(&machine, Target::Gpu).iter().any(Finding::stops), "{machine:#?}");
        }
    }
}

#[test]
fn a_machine_survives_a_round_trip_through_json() {
    for (Case { name, .. }, machine) in all_cases() {
        let text = serde_json::to_string(&machine).expect("JSON");
        assert_eq!(serde_json::from_str::<Machine>(&text).expect(name), machine, "{name}");
    }
    assert!(serde_json::from_str::<Machine>(r#"{"gpus": []}"#).is_err(), "unknown fields are refused");
}

#[test]
fn the_lists_of_checks_before_a_start_name_existing_checks() {
    for id in REQUIRED_BEFORE_START.iter().chain(REQUIRED_BEFORE_GPU) {
        assert!(CHECKS.iter().any(|check| check.id == *id), "{id}");
    }
}

#[test]
fn check_names_are_unique() {
    let mut ids: Vec<_> = CHECKS.iter().map(|check| check.id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), CHECKS.len());
}
