//! The checks, in the order in which one thing stands on the other.
//!
//! Decides which there are and their names. Each judges one thing, and leaves what is broken below it to the check below.

mod driver;
mod gpus;
mod host;
mod libraries;
mod ports;

pub(super) use driver::{INSTALL, update as driver_install};

use super::{Check, Judgement, Machine, Need};

const fn gpu(id: &'static str, looks_at: &'static str, judge: fn(&Machine) -> Judgement) -> Check {
    Check { id, looks_at, needed_by: Need::Gpu, judge }
}

const fn everyone(id: &'static str, looks_at: &'static str, judge: fn(&Machine) -> Judgement) -> Check {
    Check { id, looks_at, needed_by: Need::Everyone, judge }
}

/// All checks.
pub const CHECKS: &[Check] = &[
    everyone("cpu", "what draws without a card", host::cpu),
    everyone("data-folder", "whether what must be kept can be kept", host::data_folder),
    everyone("disk", "room for what must be kept", host::disk),
    everyone("open-files", "open files that the system allows", host::open_files),
    everyone("udp-buffers", "how much a socket may hold", host::udp_buffers),
    everyone("tcp-port", "the port of the page", ports::tcp_port),
    everyone("udp-port", "the port of all media", ports::udp_port),
    everyone("microphone", "whether browsers will give their microphone", ports::microphone),
    everyone("turn", "whether a STUN or TURN server answers", ports::turn),
    gpu("card", "an NVIDIA card in this machine", driver::card),
    gpu("driver", "its driver in the kernel", driver::kernel),
    gpu("container", "whether the container was given the card", driver::container),
    gpu("device-files", "the files through which the card is reached", driver::device_files),
    gpu("visible", "whether a setting hides the card", driver::visible),
    gpu("driver-version", "whether the driver is new enough", driver::version),
    gpu("cuda", "the driver's CUDA library", driver::cuda),
    gpu("capability", "what the card can do", gpus::capability),
    gpu("flavour", "which TensorRT runs on the card", gpus::flavour),
    gpu("encoder", "the card's video encoder", gpus::encoder),
    gpu("gpu-memory", "the card's free memory", gpus::memory),
    gpu("temperature", "how hot the card is", gpus::temperature),
    gpu("power", "what the card may draw", gpus::power),
    gpu("ecc", "errors of the card's memory", gpus::ecc),
    gpu("mig", "whether the card is cut into instances", gpus::mig),
    gpu("tensorrt", "the library that compiles and runs the graphs", libraries::tensorrt),
    gpu("nvrtc", "the library that compiles the kernels", libraries::nvrtc),
    gpu("engines-disk", "room for engines", host::engines_disk),
];

/// A number of things.
pub(super) fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// Bytes as people say them.
fn gigabytes(bytes: u64) -> String {
    format!("{:.1} GB", bytes as f64 / 1e9)
}
