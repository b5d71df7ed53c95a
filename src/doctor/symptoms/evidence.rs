//! What on a machine speaks for or against a cause.
//!
//! Decides which finding counts as a sign. Where a check judges the same thing, the check is asked.

use visage_engines::{Flavour, Sm};

use super::Sign;
use crate::doctor::checks::count;
use crate::doctor::compatibility::{Use, capability, written};
use crate::doctor::{CHECKS, Machine, Target, Verdict};

/// The sign that the check called `id` gives: it fails or warns, or it is right.
pub fn by_check(machine: &Machine, id: &str, how: &'static str) -> Sign {
    let Some(check) = CHECKS.iter().find(|check| check.id == id) else { return Sign::Hidden(how) };
    let finding = check.look(machine, Target::Gpu);
    let said = format!("{id}: {}", finding.finding);
    match finding.verdict {
        Verdict::Fail | Verdict::Warn => match finding.remedy {
            Some(remedy) => Sign::Known(said, remedy),
            None => Sign::Seen(said),
        },
        Verdict::Ok => Sign::NotSeen(said),
        Verdict::Unknown => Sign::Hidden(how),
    }
}

const NO_CARD: &str =
    "no card answers on this machine: look on the one where it was seen, or give its description with --machine";

pub fn driver_missing(machine: &Machine) -> Sign {
    by_check(machine, "driver", "`nvidia-smi` says whether a driver answers")
}

pub fn driver_version(machine: &Machine) -> Sign {
    by_check(machine, "driver-version", "`nvidia-smi` shows the driver's version at the top")
}

/// An old driver, and not only one that would like other libraries.
pub fn driver_old(machine: &Machine) -> Sign {
    let how = "`nvidia-smi` shows the driver's version at the top";
    let fails = CHECKS
        .iter()
        .any(|check| check.id == "driver-version" && check.look(machine, Target::Gpu).verdict == Verdict::Fail);
    match driver_version(machine) {
        Sign::Seen(_) | Sign::Known(..) if !fails => Sign::Hidden(how),
        sign => sign,
    }
}

/// A driver that is older than a card that is here.
pub fn driver_older_than_card(machine: &Machine) -> Sign {
    let Some(driver) = machine.gpu.driver.or(machine.gpu.kernel_driver) else { return Sign::Hidden(NO_CARD) };
    let rows = machine.gpu.cards.iter().filter_map(|card| capability(card.sm?));
    match rows.clone().find(|row| driver < row.driver(machine.system)) {
        Some(row) => {
            let wanted = written(row.driver(machine.system));
            Sign::Seen(format!("SM {} wants driver {wanted}, this is {}", row.sm, written(driver)))
        }
        None if rows.count() == 0 => Sign::Hidden(NO_CARD),
        None => Sign::NotSeen(format!("driver {} knows the card", written(driver))),
    }
}

pub fn device_files(machine: &Machine) -> Sign {
    by_check(machine, "device-files", "`ls -l /dev/nvidia*` shows who may open them")
}

pub fn container(machine: &Machine) -> Sign {
    by_check(machine, "container", "`nvidia-smi` inside the container says whether it was given the card")
}

pub fn hidden(machine: &Machine) -> Sign {
    by_check(machine, "visible", "`echo $CUDA_VISIBLE_DEVICES` shows what CUDA may see")
}

pub fn cuda(machine: &Machine) -> Sign {
    by_check(machine, "cuda", NO_CARD)
}

/// A run-time compiler that does not know a card that is here.
pub fn nvrtc_older_than_card(machine: &Machine) -> Sign {
    let Some(library) = machine.libraries.nvrtc.answer() else { return Sign::Hidden(NO_CARD) };
    let rows = machine.gpu.cards.iter().filter_map(|card| capability(card.sm?));
    match rows.clone().find(|row| library.version < row.least_cuda) {
        Some(row) => {
            Sign::Seen(format!("SM {} wants CUDA {}, this is NVRTC {}", row.sm, row.least_cuda, library.version))
        }
        None if rows.count() == 0 => Sign::Hidden(NO_CARD),
        None => Sign::NotSeen(format!("NVRTC {} knows the card", library.version)),
    }
}

pub fn memory(machine: &Machine) -> Sign {
    by_check(machine, "gpu-memory", "`nvidia-smi` lists who holds the card's memory")
}

pub fn instances(machine: &Machine) -> Sign {
    by_check(machine, "mig", "`nvidia-smi -L` lists instances, if there are any")
}

pub fn broken_memory(machine: &Machine) -> Sign {
    by_check(machine, "ecc", "`nvidia-smi -q -d ECC` counts errors where the card can")
}

pub fn heat(machine: &Machine) -> Sign {
    match by_check(machine, "temperature", "`nvidia-smi` shows degrees") {
        Sign::Hidden(how) => match by_check(machine, "power", how) {
            Sign::NotSeen(_) => Sign::Hidden(how),
            told => told,
        },
        Sign::NotSeen(cool) => match by_check(machine, "power", "") {
            Sign::NotSeen(_) | Sign::Hidden(_) => Sign::NotSeen(cool),
            held_back => held_back,
        },
        hot => hot,
    }
}

pub fn slow(machine: &Machine) -> Sign {
    let how = "`visage bench` says how many pictures come late";
    match by_check(machine, "power", how) {
        Sign::NotSeen(_) => Sign::Hidden(how),
        told => told,
    }
}

/// A card of a generation that nothing compiles for any more.
pub fn too_old(machine: &Machine) -> Sign {
    let known = machine.gpu.cards.iter().filter_map(|card| Some((card.sm?, capability(card.sm?)?)));
    match known.clone().find(|(_, row)| row.used == Use::None) {
        Some((sm, row)) => Sign::Seen(format!("SM {sm}: {}", row.note)),
        None => match known.map(|(sm, _)| sm).next() {
            Some(sm) => Sign::NotSeen(format!("SM {sm} is served")),
            None => Sign::Hidden(NO_CARD),
        },
    }
}

/// Engines in the cache, none of them for a card that is here.
pub fn engines_of_another_card(machine: &Machine) -> Sign {
    let sms: Vec<Sm> = machine.gpu.cards.iter().filter_map(|card| card.sm).collect();
    let engines = &machine.libraries.engines;
    if sms.is_empty() || engines.is_empty() {
        return Sign::Hidden("`visage engines list` names the capability in each engine: it must be the card's");
    }
    let has = |part: &str| engines.iter().any(|engine| engine.split('.').any(|word| word == part));
    match sms.iter().find(|sm| has(&sm.tag())) {
        Some(sm) => Sign::NotSeen(format!("there are engines for SM {sm}")),
        None => Sign::Seen(format!("{}, none for SM {}", count(engines.len(), "engine"), visage_engines::listed(&sms))),
    }
}

/// Engines in the cache, none of them of the library that is here.
pub fn engines_of_another_version(machine: &Machine) -> Sign {
    let libraries = &machine.libraries;
    let Some((library, built)) = libraries.tensorrt.answer().zip(libraries.built_for) else {
        return Sign::Hidden("`visage engines list` names the version in each engine: it must be the library's");
    };
    if libraries.engines.is_empty() {
        return Sign::Hidden("there are no engines in this folder: see which file the error names");
    }
    let tag = format!(".{}{}", Flavour::tag(built), library.version);
    if libraries.engines.iter().any(|engine| engine.contains(&tag)) {
        return Sign::NotSeen(format!("there are engines of {}", library.version));
    }
    Sign::Seen(format!("{}, none of {built} {}", count(libraries.engines.len(), "engine"), library.version))
}

pub fn windows_driver(machine: &Machine) -> Sign {
    if machine.system.has_windows_driver() {
        return Sign::Hidden("NVIDIA's program on Windows says which kind of driver is installed");
    }
    Sign::NotSeen("there is one kind of driver on Linux".to_owned())
}
