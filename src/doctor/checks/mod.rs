//! The checks, in the order of their dependencies.
//!
//! Decides which checks exist and their names. Each covers one subject and leaves faults of its dependencies to their checks.

mod driver;
mod gpus;
mod host;
mod libraries;
mod ports;

pub(super) use driver::update as driver_install;

use super::{Check, CheckResult, Machine, Scope};

const fn gpu(id: &'static str, title: &'static str, run: fn(&Machine) -> CheckResult) -> Check {
    Check { id, title, scope: Scope::Gpu, run }
}

const fn all_targets(id: &'static str, title: &'static str, run: fn(&Machine) -> CheckResult) -> Check {
    Check { id, title, scope: Scope::All, run }
}

/// All checks.
pub const CHECKS: &[Check] = &[
    all_targets("cpu", "CPU cores", host::cpu),
    all_targets("h264", "SIMD assembly of the H.264 encoder", host::h264),
    all_targets("data-folder", "data folder", host::data_folder),
    all_targets("disk", "free disk space", host::disk),
    all_targets("open-files", "limit of open files", host::open_files),
    all_targets("udp-buffers", "UDP socket buffers", host::udp_buffers),
    all_targets("tcp-port", "TCP port of page and API", ports::tcp_port),
    all_targets("udp-port", "UDP port of all media", ports::udp_port),
    all_targets("microphone", "microphone access in browsers", ports::microphone),
    all_targets("turn", "STUN or TURN server", ports::turn),
    gpu("gpu", "NVIDIA GPU", driver::device),
    gpu("driver", "kernel driver", driver::kernel),
    gpu("container", "GPU access of the container", driver::container),
    gpu("device-files", "device files", driver::device_files),
    gpu("visible", "variables that hide the GPU", driver::visible),
    gpu("driver-version", "driver version", driver::version),
    gpu("cuda", "CUDA library of the driver", driver::cuda),
    gpu("capability", "compute capability", gpus::capability),
    gpu("flavour", "TensorRT flavour", gpus::flavour),
    gpu("turing", "TensorRT-RTX on SM 7.5", gpus::turing),
    gpu("encoder", "video encoder (NVENC)", gpus::encoder),
    gpu("gpu-memory", "free GPU memory", gpus::memory),
    gpu("temperature", "GPU temperature", gpus::temperature),
    gpu("power", "GPU power limit", gpus::power),
    gpu("ecc", "ECC errors", gpus::ecc),
    gpu("mig", "MIG mode", gpus::mig),
    gpu("tensorrt", "TensorRT library", libraries::tensorrt),
    gpu("nvrtc", "NVRTC library", libraries::nvrtc),
    gpu("engines-disk", "disk space for engines", host::engines_disk),
];

/// A number with its noun.
pub(super) fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// Bytes in GB, as printed.
fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}
