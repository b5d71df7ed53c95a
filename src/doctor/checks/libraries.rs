//! Checks of NVIDIA's libraries: TensorRT, which compiles and runs graphs, and NVRTC, which compiles kernels.

use visage_engines::{Flavour, Version};

use super::driver::NO_CARD;
use crate::doctor::compatibility::{CUDA_MAJOR, OLDEST_CUDA_MAJOR, capability, newest_major, toolkit, written};
use crate::doctor::machine::{Library, Told};
use crate::doctor::{Judgement, Machine};

/// TensorRT: there, and of the version that this program was built with.
pub fn tensorrt(machine: &Machine) -> Judgement {
    let libraries = &machine.libraries;
    let Some(built) = libraries.built_for else {
        return Judgement::unknown("this visage was built without TensorRT");
    };
    let wanted = libraries.tensorrt_wanted.map_or_else(|| built.to_string(), |version| format!("{built} {version}"));
    let missing = |finding: String, cause: String| {
        let says = format!("install {wanted}, or name its folder with --tensorrt-lib");
        Judgement::fail(finding).because(cause).so(says, &[install(machine, built)])
    };
    match &libraries.tensorrt {
        Told::NotAsked => Judgement::unknown("it was not looked for"),
        Told::Absent(searched) => {
            missing(format!("wanted {wanted}, found none"), format!("not installed, or elsewhere than in {searched}"))
        }
        Told::Failed(said) | Told::Hangs(said) => {
            missing(format!("wanted {wanted}, found {said}"), "another library has its name".to_owned())
        }
        Told::Is(Library { version, path }) => {
            let is_other = |wanted: Version| (wanted.major(), wanted.minor()) != (version.major(), version.minor());
            if libraries.tensorrt_wanted.is_some_and(is_other) {
                let cause = "tables of functions differ between minor versions";
                return missing(format!("wanted {wanted}, found {version}: {path}"), cause.to_owned());
            }
            Judgement::ok(format!("{version}: {path}"))
        }
    }
}

fn install(machine: &Machine, flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::Rtx if newest(machine) >= CUDA_MAJOR => "pip install tensorrt-rtx-cu13-libs==1.7.1.116",
        Flavour::Rtx => "pip install tensorrt-rtx-cu12-libs==1.7.1.116",
        Flavour::Classic => "sudo apt-get install tensorrt",
    }
}

/// NVRTC: there, of a CUDA that the driver runs, and new enough for the card. Only kernels need it, which the built-in pack
/// has none of.
pub fn nvrtc(machine: &Machine) -> Judgement {
    if !machine.has_card() {
        return Judgement::unknown(NO_CARD);
    }
    match &machine.libraries.nvrtc {
        Told::NotAsked => Judgement::unknown("it was not looked for"),
        Told::Absent(searched) => Judgement::warn("not found: visage's own kernels cannot be compiled here")
            .because(format!("not installed, or elsewhere than in {searched}"))
            .so("install it for the CUDA that the driver runs", &[package(newest(machine))]),
        Told::Failed(said) | Told::Hangs(said) => Judgement::warn(format!("NVRTC does not answer: {said}"))
            .because("another library has its name, or its own parts are missing")
            .so("install it anew", &[package(newest(machine))]),
        Told::Is(library) => fits(machine, library),
    }
}

/// The newest CUDA that the driver runs.
fn newest(machine: &Machine) -> u32 {
    let driver = machine.gpu.driver.or(machine.gpu.kernel_driver);
    driver.and_then(|driver| newest_major(driver, machine.system)).unwrap_or(CUDA_MAJOR)
}

fn package(cuda_major: u32) -> &'static str {
    if cuda_major >= CUDA_MAJOR { "pip install nvidia-cuda-nvrtc" } else { "pip install nvidia-cuda-nvrtc-cu12" }
}

fn fits(machine: &Machine, Library { path, version }: &Library) -> Judgement {
    let runs = newest(machine);
    if version.major() > runs {
        return Judgement::warn(format!("NVRTC {version}, and the driver runs CUDA {runs}: {path}"))
            .because("what one major version compiles, a driver of an older one does not load")
            .so("install that of the driver's major version, or a newer driver", &[package(runs)]);
    }
    if version.major() < OLDEST_CUDA_MAJOR {
        return Judgement::warn(format!("wanted NVRTC {OLDEST_CUDA_MAJOR} or newer, found {version}: {path}"))
            .because("an old toolkit is found first")
            .so("install a newer one", &[package(runs)]);
    }
    let rows = machine.gpu.judged().into_iter().filter_map(|(_, card)| capability(card.sm?));
    let card = rows.max_by_key(|row| row.least_cuda).filter(|row| row.least_cuda > *version);
    if let Some(row) = card {
        return Judgement::warn(format!("NVRTC {version} does not know SM {}: {path}", row.sm))
            .because(format!("{} need CUDA {} or newer", row.cards, row.least_cuda))
            .so("install a newer one", &[package(runs)]);
    }
    Judgement::ok(format!("{version}: {path}{}", minor_note(machine, *version)))
}

/// A toolkit that is newer than the driver within one major version runs: what it compiles for the card itself needs nothing
/// of the driver (minor-version compatibility).
fn minor_note(machine: &Machine, version: Version) -> String {
    let Some((row, driver)) = toolkit(version).zip(machine.gpu.driver) else { return String::new() };
    let whole = row.driver(machine.system).filter(|whole| driver < *whole);
    let advised = row.advised_driver(machine.system).filter(|advised| driver < *advised);
    let advised = advised.map_or_else(String::new, |advised| format!(", {} is advised", written(advised)));
    match whole {
        Some(whole) => format!(
            "; it came with driver {}{advised}; {} runs it by minor-version compatibility within CUDA {}",
            written(whole),
            written(driver),
            version.major()
        ),
        None if advised.is_empty() => String::new(),
        None => format!("; {} runs it{advised}", written(driver)),
    }
}
