//! Dozens of machines that are not here: what is said of each, and nothing else.

mod driver;
mod gpus;
mod host;

use std::net::IpAddr;

use visage_engines::{Flavour, Sm, Version};
use visage_kernels::nvml::{GpuState, Management};

use super::machine::{Door, Library, Limits, Machine, Node, Port, Refusal, System, Told};
use super::{BEFORE_A_CARD, BEFORE_START, CHECKS, Finding, Target, Verdict, examine, examine_before_start};

const GB: u64 = 1_000_000_000;

pub(super) fn version(text: &str) -> Version {
    text.parse().expect("a version")
}

pub(super) fn library(path: &str, text: &str) -> Told<Library> {
    Told::Is(Library { path: path.to_owned(), version: version(text) })
}

fn card(name: &str, sm: Sm, memory_gb: u64) -> GpuState {
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

pub(super) fn sole_card(machine: &mut Machine) -> &mut GpuState {
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
    [driver::OF_THE_DRIVER, gpus::OF_THE_CARD, host::OF_THE_HOUSE]
        .into_iter()
        .flatten()
        .map(|case| (case, (case.machine)()))
}

#[test]
fn each_machine_is_told_what_is_wrong_with_it_and_nothing_else() {
    assert!(all_cases().count() >= 70);
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
    let only_warn = [
        "cpu",
        "data-folder",
        "udp-buffers",
        "microphone",
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
fn the_cpu_minds_nothing_that_is_a_cards_business() {
    for (Case { name, fails, .. }, machine) in all_cases() {
        let findings = examine(&machine, Target::CpuBackend);
        let of_all = ["disk", "open-files", "tcp-port", "udp-port", "turn"];
        let stopped = findings.iter().any(Finding::stops);
        assert_eq!(stopped, fails.iter().any(|id| of_all.contains(id)), "{name}");
    }
}

#[test]
fn a_start_looks_at_what_it_needs_and_leaves_ports_to_whoever_binds_them() {
    let taken = with(bare(), |machine| machine.door.tcp.refused = Some(Refusal::InUse));
    assert!(!examine_before_start(&taken, Target::CpuBackend).iter().any(Finding::stops));
    let few = with(bare(), |machine| machine.limits.open_files = Some(16));
    assert!(examine_before_start(&few, Target::CpuBackend).iter().any(Finding::stops));
    let full = with(ada(), |machine| sole_card(machine).memory_free_bytes = GB);
    assert!(!examine_before_start(&full, Target::Gpu).iter().any(Finding::stops), "a small pack may fit all the same");
    let fuller = with(ada(), |machine| sole_card(machine).memory_free_bytes = GB / 5);
    assert!(examine_before_start(&fuller, Target::Gpu).iter().any(|it| it.stops() && it.id == "gpu-memory"));
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
