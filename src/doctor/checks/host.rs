//! Checks that need no GPU: the processor, disk and limits.

use super::{count, gigabytes};
use crate::doctor::compatibility::{DATA_FOLDER_BYTES, ENGINES_BYTES};
use crate::doctor::{CheckResult, Machine};
use crate::rtc::BUFFER_BYTES;

/// What draws without a GPU.
pub fn cpu(machine: &Machine) -> CheckResult {
    match machine.cores {
        0 => CheckResult::unknown("the number of cores is not reported"),
        1 => CheckResult::warn("1 core: drawing, encoding and the network take turns")
            .cause("a session at 25 frames per second needs about an eighth of a core for drawing and as much for encoding")
            .hint("use a low resolution and one session", &["visage serve --resolution-px 256 --max-sessions 1"]),
        cores => CheckResult::ok(format!("{cores} cores: the built-in pack needs no GPU")),
    }
}

/// Whether the H.264 encoder uses SIMD assembly. On x86 its build leaves it out where there is no `nasm`.
pub fn h264(machine: &Machine) -> CheckResult {
    match machine.libraries.h264_assembly {
        None => CheckResult::unknown("not reported"),
        Some(true) => CheckResult::ok("used"),
        Some(false) => CheckResult::warn("not used: encoding takes three times as long")
            .cause("nasm was missing when the encoder was built; installing it later does not build the encoder again")
            .hint(
                "install nasm and build the encoder again",
                &[
                    "sudo apt-get install nasm",
                    "cargo clean --release -p openh264-sys2 -p visage",
                    "cargo build --release",
                ],
            ),
    }
}

/// Whether what must be kept can be kept.
pub fn data_folder(machine: &Machine) -> CheckResult {
    let disk = &machine.disk;
    match &disk.error {
        None if disk.folder.is_empty() => CheckResult::unknown("no folder was named"),
        None => CheckResult::ok(disk.folder.clone()),
        Some(said) => CheckResult::warn(format!("cannot be written: {}: {said}", disk.folder))
            .cause("certificates and engines are kept there")
            .hint(
                "name another one with --data-dir, or change its owner",
                &[&format!("sudo chown -R $USER {}", disk.folder)],
            ),
    }
}

/// Room for what every visage keeps.
pub fn disk(machine: &Machine) -> CheckResult {
    match machine.disk.free_bytes {
        None => CheckResult::unknown("not reported by this system"),
        Some(free) if free < DATA_FOLDER_BYTES => {
            CheckResult::fail(format!("{} free, wanted {}", gigabytes(free), gigabytes(DATA_FOLDER_BYTES)))
                .cause(format!("the disk of {} is full", machine.disk.folder))
                .hint("free some space", PRUNE)
        }
        Some(free) => CheckResult::ok(format!("{} free", gigabytes(free))),
    }
}

const PRUNE: &[&str] = &["visage engines prune --keep-gb 0"];

/// Room for the engines of a large model.
pub fn engines_disk(machine: &Machine) -> CheckResult {
    if !machine.has_gpu() {
        return CheckResult::unknown(super::driver::NO_GPU);
    }
    match machine.disk.free_bytes {
        None => CheckResult::unknown("not reported by this system"),
        Some(free) if free < ENGINES_BYTES && machine.libraries.engines.is_empty() => CheckResult::warn(format!(
            "{} free, the engines of a large model need {}",
            gigabytes(free),
            gigabytes(ENGINES_BYTES)
        ))
        .cause(format!("the disk of {} is small or full", machine.disk.folder))
        .hint("free some space, or name another folder with --data-dir", PRUNE),
        Some(free) => {
            let engines = count(machine.libraries.engines.len(), "engine");
            CheckResult::ok(format!("{} free, {engines}", gigabytes(free)))
        }
    }
}

/// Files that one caller holds open: the page, its event stream, a request or two.
const FILES_OF_A_CALLER: u64 = 8;
/// Those that a server holds open without callers.
const FILES_OF_A_SERVER: u64 = 64;
/// Those that the making of a film holds open.
const FILES_OF_A_FILM: u64 = 32;

/// Open files that the system allows.
pub fn open_files(machine: &Machine) -> CheckResult {
    let wanted = match machine.listen.host {
        Some(_) => FILES_OF_A_SERVER + FILES_OF_A_CALLER * u64::from(machine.listen.max_sessions),
        None => FILES_OF_A_FILM,
    };
    match machine.limits.open_files {
        None => CheckResult::unknown("not reported by this system"),
        Some(open) if open < wanted => CheckResult::fail(format!("wanted {wanted} open files, the limit is {open}"))
            .cause("the program and each session keep sockets and files open")
            .hint("raise the limit in this shell, or LimitNOFILE= in a service", &["ulimit -n 4096"]),
        Some(open) => CheckResult::ok(format!("{open} ({wanted} needed)")),
    }
}

/// How much a socket may hold.
pub fn udp_buffers(machine: &Machine) -> CheckResult {
    let limits = &machine.limits;
    let Some((receive, send)) = limits.receive_buffer_bytes.zip(limits.send_buffer_bytes) else {
        return CheckResult::unknown("not reported by this system");
    };
    let wanted = BUFFER_BYTES as u64;
    if receive.min(send) >= wanted {
        return CheckResult::ok(format!("{} bytes", receive.min(send)));
    }
    let set = format!("sudo sysctl -w net.core.rmem_max={wanted} net.core.wmem_max={wanted}");
    CheckResult::warn(format!("{} bytes, {wanted} recommended", receive.min(send)))
        .cause("with many sessions, bursts of packets are lost")
        .hint("raise the limit", &[&set])
}
