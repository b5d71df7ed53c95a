//! Checks of NVIDIA's libraries: TensorRT, which compiles and runs graphs, and NVRTC, which compiles kernels.

use visage_engines::{Flavour, Version};

use super::driver::NO_GPU;
use crate::doctor::compatibility::{CUDA_MAJOR, OLDEST_CUDA_MAJOR, capability, format_driver, newest_major, toolkit};
use crate::doctor::machine::{Library, Probed};
use crate::doctor::{CheckResult, Machine};

/// TensorRT: present, and of the version that this program was built with.
pub fn tensorrt(machine: &Machine) -> CheckResult {
    let libraries = &machine.libraries;
    let Some(built) = libraries.built_for else {
        return CheckResult::unknown("this program was built without TensorRT");
    };
    let wanted = libraries.tensorrt_wanted.map_or_else(|| built.to_string(), |version| format!("{built} {version}"));
    let missing = |finding: String, cause: String| {
        let text = format!("install {wanted}, or name its folder with --tensorrt-lib");
        CheckResult::fail(finding).cause(cause).hint(text, &[install(machine, built)])
    };
    match &libraries.tensorrt {
        Probed::NotQueried => CheckResult::unknown("not searched for"),
        Probed::Missing(searched) => missing(
            format!("wanted {wanted}, found none"),
            format!("not installed, or outside the search path: {searched}"),
        ),
        Probed::Failed(said) | Probed::TimedOut(said) => {
            missing(format!("wanted {wanted}, found {said}"), "the file is another library".to_owned())
        }
        Probed::Found(Library { version, path }) => {
            let is_other = |wanted: Version| (wanted.major(), wanted.minor()) != (version.major(), version.minor());
            if libraries.tensorrt_wanted.is_some_and(is_other) {
                let cause = "the binary interface differs between minor versions";
                return missing(format!("wanted {wanted}, found {version}: {path}"), cause.to_owned());
            }
            CheckResult::ok(format!("{version}: {path}"))
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

/// NVRTC: present, supported by the driver, and new enough for the GPU. Only kernels need it; the built-in pack
/// has none.
pub fn nvrtc(machine: &Machine) -> CheckResult {
    if !machine.has_gpu() {
        return CheckResult::unknown(NO_GPU);
    }
    match &machine.libraries.nvrtc {
        Probed::NotQueried => CheckResult::unknown("not searched for"),
        Probed::Missing(searched) => {
            CheckResult::warn("not found: visage's CUDA kernels cannot be compiled on this machine")
                .cause(format!("not installed, or outside the search path: {searched}"))
                .hint("install it for the CUDA version that the driver supports", &[package(newest(machine))])
        }
        Probed::Failed(said) | Probed::TimedOut(said) => CheckResult::warn(format!("NVRTC does not answer: {said}"))
            .cause("the file is another library, or parts of NVRTC are missing")
            .hint("install it again", &[package(newest(machine))]),
        Probed::Found(library) => fits(machine, library),
    }
}

/// The newest major version of CUDA that the driver supports.
fn newest(machine: &Machine) -> u32 {
    let driver = machine.gpu.driver.or(machine.gpu.kernel_driver);
    driver.and_then(|driver| newest_major(driver, machine.system)).unwrap_or(CUDA_MAJOR)
}

fn package(cuda_major: u32) -> &'static str {
    if cuda_major >= CUDA_MAJOR { "pip install nvidia-cuda-nvrtc" } else { "pip install nvidia-cuda-nvrtc-cu12" }
}

fn fits(machine: &Machine, Library { path, version }: &Library) -> CheckResult {
    let runs = newest(machine);
    if version.major() > runs {
        return CheckResult::warn(format!("NVRTC {version}, the driver supports CUDA {runs}: {path}"))
            .cause("a driver cannot load what a newer major version compiled")
            .hint("install the driver's major version, or a newer driver", &[package(runs)]);
    }
    if version.major() < OLDEST_CUDA_MAJOR {
        return CheckResult::warn(format!("wanted NVRTC {OLDEST_CUDA_MAJOR} or newer, found {version}: {path}"))
            .cause("an old toolkit precedes it")
            .hint("install a newer one", &[package(runs)]);
    }
    let rows = machine.gpu.checked_devices().into_iter().filter_map(|(_, device)| capability(device.sm?));
    let device = rows.max_by_key(|row| row.min_cuda).filter(|row| row.min_cuda > *version);
    if let Some(row) = device {
        return CheckResult::warn(format!("NVRTC {version} does not support SM {}: {path}", row.sm))
            .cause(format!("{} need CUDA {} or newer", row.devices, row.min_cuda))
            .hint("install a newer one", &[package(runs)]);
    }
    CheckResult::ok(format!("{version}: {path}{}", minor_note(machine, *version)))
}

/// NVRTC may be newer than the driver within one major version (minor-version compatibility): cubins compiled for the GPU do
/// not need the driver's compiler.
fn minor_note(machine: &Machine, version: Version) -> String {
    let Some((row, driver)) = toolkit(version).zip(machine.gpu.driver) else { return String::new() };
    let whole = row.driver(machine.system).filter(|whole| driver < *whole);
    let recommended = row.recommended_driver(machine.system).filter(|recommended| driver < *recommended);
    let recommended =
        recommended.map_or_else(String::new, |recommended| format!(", {} is recommended", format_driver(recommended)));
    match whole {
        Some(whole) => format!(
            "; it came with driver {}{recommended}; {} supports it by minor-version compatibility within CUDA {}",
            format_driver(whole),
            format_driver(driver),
            version.major()
        ),
        None if recommended.is_empty() => String::new(),
        None => format!("; {} supports it{recommended}", format_driver(driver)),
    }
}
