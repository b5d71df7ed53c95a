//! Evidence on a machine that a cause is present or absent.
//!
//! Decides which findings count as evidence. A subject that a check covers uses the check's result.

use visage_engines::{Flavour, Sm};

use crate::doctor::checks::count;
use crate::doctor::compatibility::{Support, capability, format_driver};
use crate::doctor::{CHECKS, Hint, Machine, Target, Verdict};

/// Evidence for or against a cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// It is present, with the observation.
    Present(String),
    /// It is present; the hint fits better than that of the cause.
    PresentWithHint(String, Hint),
    /// It is absent, with the observation.
    Absent(String),
    /// The machine does not show it; how to find out.
    Unknown(&'static str),
}

/// Looks for evidence of one cause.
type Find = fn(&Machine) -> Evidence;

/// The names that `symptoms.toml` may use.
const NAMED: &[(&str, Find)] = &[
    ("driver-missing", driver_missing),
    ("driver-version", driver_version),
    ("driver-old", driver_old),
    ("driver-older-than-gpu", driver_older_than_gpu),
    ("device-files", device_files),
    ("container", container),
    ("hidden", hidden),
    ("cuda", cuda),
    ("nvrtc-older-than-gpu", nvrtc_older_than_gpu),
    ("gpu-memory", memory),
    ("mig", instances),
    ("ecc", faulty_memory),
    ("heat", heat),
    ("slow", slow),
    ("gpu-too-old", too_old),
    ("engines-for-another-gpu", engines_for_another_gpu),
    ("engines-of-another-version", engines_of_another_version),
    ("windows-driver", windows_driver),
    ("tensorrt", tensorrt),
    ("nvrtc", nvrtc),
    ("flavour", flavour),
    ("turing", turing),
];

/// The function of that name.
pub fn by_name(name: &str) -> Option<Find> {
    NAMED.iter().find(|(known, _)| *known == name).map(|(_, find)| *find)
}

/// All names.
pub fn names() -> Vec<&'static str> {
    NAMED.iter().map(|(name, _)| *name).collect()
}

fn tensorrt(machine: &Machine) -> Evidence {
    by_check(machine, "tensorrt", "`visage doctor --for gpu` searches for it")
}

fn nvrtc(machine: &Machine) -> Evidence {
    by_check(machine, "nvrtc", "`visage doctor --for gpu` searches for it")
}

fn flavour(machine: &Machine) -> Evidence {
    by_check(machine, "flavour", NO_GPU)
}

fn turing(machine: &Machine) -> Evidence {
    by_check(machine, "turing", NO_GPU)
}

/// The evidence of the check `id`: present if it fails or warns, absent if it is OK.
fn by_check(machine: &Machine, id: &str, how: &'static str) -> Evidence {
    let Some(check) = CHECKS.iter().find(|check| check.id == id) else { return Evidence::Unknown(how) };
    let finding = check.look(machine, Target::Gpu);
    let said = format!("{id}: {}", finding.finding);
    match finding.verdict {
        Verdict::Fail | Verdict::Warn => match finding.hint {
            Some(hint) => Evidence::PresentWithHint(said, hint),
            None => Evidence::Present(said),
        },
        Verdict::Ok => Evidence::Absent(said),
        Verdict::Unknown => Evidence::Unknown(how),
    }
}

const NO_GPU: &str =
    "no GPU on this machine: run this where the fault occurred, or pass its description with --machine";

fn driver_missing(machine: &Machine) -> Evidence {
    by_check(machine, "driver", "`nvidia-smi` shows whether a driver responds")
}

fn driver_version(machine: &Machine) -> Evidence {
    by_check(machine, "driver-version", "`nvidia-smi` shows the driver's version at the top")
}

/// A driver that is too old itself, not only older than the libraries prefer.
fn driver_old(machine: &Machine) -> Evidence {
    let how = "`nvidia-smi` shows the driver's version at the top";
    let fails = CHECKS
        .iter()
        .any(|check| check.id == "driver-version" && check.look(machine, Target::Gpu).verdict == Verdict::Fail);
    match driver_version(machine) {
        Evidence::Present(_) | Evidence::PresentWithHint(..) if !fails => Evidence::Unknown(how),
        evidence => evidence,
    }
}

/// A driver that is older than a GPU of this machine.
fn driver_older_than_gpu(machine: &Machine) -> Evidence {
    let Some(driver) = machine.gpu.driver.or(machine.gpu.kernel_driver) else { return Evidence::Unknown(NO_GPU) };
    let rows = machine.gpu.devices.iter().filter_map(|device| capability(device.sm?));
    match rows.clone().find(|row| driver < row.driver(machine.system)) {
        Some(row) => {
            let wanted = format_driver(row.driver(machine.system));
            Evidence::Present(format!("SM {} needs driver {wanted}, found {}", row.sm, format_driver(driver)))
        }
        None if rows.count() == 0 => Evidence::Unknown(NO_GPU),
        None => Evidence::Absent(format!("driver {} supports the GPU", format_driver(driver))),
    }
}

fn device_files(machine: &Machine) -> Evidence {
    by_check(machine, "device-files", "`ls -l /dev/nvidia*` shows their permissions")
}

fn container(machine: &Machine) -> Evidence {
    by_check(machine, "container", "`nvidia-smi` inside the container shows whether it has the GPU")
}

fn hidden(machine: &Machine) -> Evidence {
    by_check(machine, "visible", "`echo $CUDA_VISIBLE_DEVICES` shows which GPUs CUDA may use")
}

fn cuda(machine: &Machine) -> Evidence {
    by_check(machine, "cuda", NO_GPU)
}

/// NVRTC is older than a GPU of this machine.
fn nvrtc_older_than_gpu(machine: &Machine) -> Evidence {
    let Some(library) = machine.libraries.nvrtc.found() else { return Evidence::Unknown(NO_GPU) };
    let rows = machine.gpu.devices.iter().filter_map(|device| capability(device.sm?));
    match rows.clone().find(|row| library.version < row.min_cuda) {
        Some(row) => {
            Evidence::Present(format!("SM {} needs CUDA {}, found NVRTC {}", row.sm, row.min_cuda, library.version))
        }
        None if rows.count() == 0 => Evidence::Unknown(NO_GPU),
        None => Evidence::Absent(format!("NVRTC {} supports the GPU", library.version)),
    }
}

fn memory(machine: &Machine) -> Evidence {
    by_check(machine, "gpu-memory", "`nvidia-smi` lists the programs that use GPU memory")
}

fn instances(machine: &Machine) -> Evidence {
    by_check(machine, "mig", "`nvidia-smi -L` lists instances, if there are any")
}

fn faulty_memory(machine: &Machine) -> Evidence {
    by_check(machine, "ecc", "`nvidia-smi -q -d ECC` counts errors where the GPU supports it")
}

fn heat(machine: &Machine) -> Evidence {
    match by_check(machine, "temperature", "`nvidia-smi` shows degrees") {
        Evidence::Unknown(how) => match by_check(machine, "power", how) {
            Evidence::Absent(_) => Evidence::Unknown(how),
            answer => answer,
        },
        Evidence::Absent(cool) => match by_check(machine, "power", "") {
            Evidence::Absent(_) | Evidence::Unknown(_) => Evidence::Absent(cool),
            held_back => held_back,
        },
        hot => hot,
    }
}

fn slow(machine: &Machine) -> Evidence {
    let how = "`visage bench` shows how many frames are late";
    match by_check(machine, "power", how) {
        Evidence::Absent(_) => Evidence::Unknown(how),
        answer => answer,
    }
}

/// A GPU of a generation that current libraries do not support.
fn too_old(machine: &Machine) -> Evidence {
    let known = machine.gpu.devices.iter().filter_map(|device| Some((device.sm?, capability(device.sm?)?)));
    match known.clone().find(|(_, row)| row.support == Support::None) {
        Some((sm, row)) => Evidence::Present(format!("SM {sm}: {}", row.note)),
        None => match known.map(|(sm, _)| sm).next() {
            Some(sm) => Evidence::Absent(format!("SM {sm} is supported")),
            None => Evidence::Unknown(NO_GPU),
        },
    }
}

/// The cache has engines, but none for a GPU of this machine.
fn engines_for_another_gpu(machine: &Machine) -> Evidence {
    let sms: Vec<Sm> = machine.gpu.devices.iter().filter_map(|device| device.sm).collect();
    let engines = &machine.libraries.engines;
    if sms.is_empty() || engines.is_empty() {
        return Evidence::Unknown("`visage engines list` names the capability in each engine: it must be the GPU's");
    }
    let has = |part: &str| engines.iter().any(|engine| engine.split('.').any(|word| word == part));
    match sms.iter().find(|sm| has(&sm.tag())) {
        Some(sm) => Evidence::Absent(format!("there are engines for SM {sm}")),
        None => Evidence::Present(format!(
            "{}, none for SM {}",
            count(engines.len(), "engine"),
            visage_engines::listed(&sms)
        )),
    }
}

/// The cache has engines, but none of the installed library's version.
fn engines_of_another_version(machine: &Machine) -> Evidence {
    let libraries = &machine.libraries;
    let Some((library, built)) = libraries.tensorrt.found().zip(libraries.built_for) else {
        return Evidence::Unknown("`visage engines list` names the version in each engine: it must be the library's");
    };
    if libraries.engines.is_empty() {
        return Evidence::Unknown("there are no engines in this folder: check which file the error names");
    }
    let tag = format!(".{}{}", Flavour::tag(built), library.version);
    if libraries.engines.iter().any(|engine| engine.contains(&tag)) {
        return Evidence::Absent(format!("there are engines of {}", library.version));
    }
    Evidence::Present(format!("{}, none of {built} {}", count(libraries.engines.len(), "engine"), library.version))
}

fn windows_driver(machine: &Machine) -> Evidence {
    if machine.system.has_windows_driver() {
        return Evidence::Unknown("NVIDIA's app on Windows shows which kind of driver is installed");
    }
    Evidence::Absent("Linux has one kind of driver".to_owned())
}
