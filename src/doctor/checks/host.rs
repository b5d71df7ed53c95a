//! Checks that need no GPU: CPU, disk and limits.

use super::{count, gigabytes};
use crate::doctor::compatibility::{DATA_FOLDER_BYTES, ENGINES_BYTES};
use crate::doctor::{CheckResult, Machine};
use crate::rtc::BUFFER_BYTES;

/// The CPU cores, which render without a GPU.
pub fn cpu(machine: &Machine) -> CheckResult {
    match machine.cores {
        0 => CheckResult::unknown("the number of cores is not reported"),
        1 => CheckResult::warn("1 core: drawing, encoding and the network take turns")
            .cause("a session at 25 frames per second needs about an eighth of a core for drawing and as much for encoding")
            .hint("use a low resolution and one session", &["visage serve --resolution-px 256 --max-sessions 1"]),
        cores => CheckResult::ok(format!("{cores} cores: the built-in pack needs no GPU")),
    }
}

/// Whether the H.264 encoder uses SIMD assembly. On x86 its build omits it if `nasm` is missing.
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

/// Whether the data folder can be written.
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

/// Disk space for the data folder without engines.
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

/// Disk space for the engines of a large model.
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

/// Files that one client holds open: the page, its event stream, one or two requests.
const FILES_PER_CLIENT: u64 = 8;
/// Files that a server without clients holds open.
const FILES_OF_SERVER: u64 = 64;
/// Files that `render` holds open.
const FILES_OF_RENDER: u64 = 32;

/// The limit of open files.
pub fn open_files(machine: &Machine) -> CheckResult {
    let wanted = match machine.listen.host {
        Some(_) => FILES_OF_SERVER + FILES_PER_CLIENT * u64::from(machine.listen.max_sessions),
        None => FILES_OF_RENDER,
    };
    match machine.limits.open_files {
        None => CheckResult::unknown("not reported by this system"),
        Some(open) if open < wanted => CheckResult::fail(format!("wanted {wanted} open files, the limit is {open}"))
            .cause("the program and each session keep sockets and files open")
            .hint("raise the limit in this shell, or LimitNOFILE= in a service", &["ulimit -n 4096"]),
        Some(open) => CheckResult::ok(format!("{open} ({wanted} needed)")),
    }
}

/// The maximum size of socket buffers.
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
