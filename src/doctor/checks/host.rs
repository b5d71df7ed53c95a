//! Checks that need no card: the processor, disk and limits.

use super::{count, gigabytes};
use crate::doctor::compatibility::{ENGINES_BYTES, KEPT_BYTES};
use crate::doctor::{Judgement, Machine};
use crate::rtc::BUFFER_BYTES;

/// What draws without a card.
pub fn cpu(machine: &Machine) -> Judgement {
    match machine.cores {
        0 => Judgement::unknown("the system does not tell how many cores there are"),
        1 => Judgement::warn("1 core: drawing, encoding and the network take turns")
            .because("a face at 25 frames a second takes about an eighth of a core, a second caller as much again")
            .so("a small picture and one session", &["visage serve --resolution-px 256 --max-sessions 1"]),
        cores => Judgement::ok(format!("{cores} cores: the built-in pack needs no card")),
    }
}

/// Whether what must be kept can be kept.
pub fn data_folder(machine: &Machine) -> Judgement {
    let disk = &machine.disk;
    match &disk.refused {
        None if disk.folder.is_empty() => Judgement::unknown("no folder was named"),
        None => Judgement::ok(disk.folder.clone()),
        Some(said) => Judgement::warn(format!("cannot be written: {}: {said}", disk.folder))
            .because("certificates and engines are kept there")
            .so(
                "name another one with --data-dir, or take it over",
                &[&format!("sudo chown -R $USER {}", disk.folder)],
            ),
    }
}

/// Room for what every visage keeps.
pub fn disk(machine: &Machine) -> Judgement {
    match machine.disk.free_bytes {
        None => Judgement::unknown("the system does not tell"),
        Some(free) if free < KEPT_BYTES => {
            Judgement::fail(format!("{} free, wanted {}", gigabytes(free), gigabytes(KEPT_BYTES)))
                .because(format!("the disk of {} is full", machine.disk.folder))
                .so("make room", PRUNE)
        }
        Some(free) => Judgement::ok(format!("{} free", gigabytes(free))),
    }
}

const PRUNE: &[&str] = &["visage engines prune --keep-gb 0"];

/// Room for the engines of a large model.
pub fn engines_disk(machine: &Machine) -> Judgement {
    if !machine.has_card() {
        return Judgement::unknown(super::driver::NO_CARD);
    }
    match machine.disk.free_bytes {
        None => Judgement::unknown("the system does not tell"),
        Some(free) if free < ENGINES_BYTES && machine.libraries.engines.is_empty() => Judgement::warn(format!(
            "{} free, a large model's engines take {}",
            gigabytes(free),
            gigabytes(ENGINES_BYTES)
        ))
        .because(format!("the disk of {} is small or full", machine.disk.folder))
        .so("make room, or name another folder with --data-dir", PRUNE),
        Some(free) => {
            let engines = count(machine.libraries.engines.len(), "engine");
            Judgement::ok(format!("{} free, {engines} there", gigabytes(free)))
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
pub fn open_files(machine: &Machine) -> Judgement {
    let wanted = match machine.door.host {
        Some(_) => FILES_OF_A_SERVER + FILES_OF_A_CALLER * u64::from(machine.door.max_sessions),
        None => FILES_OF_A_FILM,
    };
    match machine.limits.open_files {
        None => Judgement::unknown("the system does not tell"),
        Some(open) if open < wanted => Judgement::fail(format!("wanted {wanted} open files, allowed are {open}"))
            .because("sockets and files are held by the program itself, and by each caller")
            .so("raise the limit in this shell, or LimitNOFILE= in a service", &["ulimit -n 4096"]),
        Some(open) => Judgement::ok(format!("{open}, {wanted} are needed")),
    }
}

/// How much a socket may hold.
pub fn udp_buffers(machine: &Machine) -> Judgement {
    let limits = &machine.limits;
    let Some((receive, send)) = limits.receive_buffer_bytes.zip(limits.send_buffer_bytes) else {
        return Judgement::unknown("the system does not tell");
    };
    let wanted = BUFFER_BYTES as u64;
    if receive.min(send) >= wanted {
        return Judgement::ok(format!("{} bytes", receive.min(send)));
    }
    let set = format!("sudo sysctl -w net.core.rmem_max={wanted} net.core.wmem_max={wanted}");
    Judgement::warn(format!("{} bytes of {wanted} wished for", receive.min(send)))
        .because("with many callers, packets that come at once are lost")
        .so("raise the limit", &[&set])
}
