//! Checks of the cards themselves: what they can do, and the state they are in.

use visage_engines::{Flavour, Sm};
use visage_kernels::nvml::GpuState;

use super::driver::NO_CARD;
use super::gigabytes;
use crate::doctor::compatibility::{self, GPU_MEMORY_BYTES, LEAST_GPU_MEMORY_BYTES, SmRow, Use, flavours};
use crate::doctor::{Judgement, Machine, Verdict};
use crate::gpu_load::{HOT_C, slowed_by};

/// What is judged of the card that faces are drawn on, or where that is not told, of the one that is best off. Among several
/// it is said which.
fn drawn(machine: &Machine, judge: impl Fn(&GpuState) -> Judgement) -> Judgement {
    let gpu = &machine.gpu;
    if gpu.cards.is_empty() {
        return Judgement::unknown(if machine.has_card() { "no card that answers" } else { NO_CARD });
    }
    let named = |(number, card): (usize, &GpuState)| match judge(card) {
        judged if gpu.cards.len() == 1 => judged,
        judged => Judgement { finding: format!("card {number}: {}", judged.finding), ..judged },
    };
    let mut all: Vec<Judgement> = gpu.judged().into_iter().map(named).collect();
    all.sort_by_key(|judgement| match judgement.verdict {
        Verdict::Ok => 0,
        Verdict::Warn => 1,
        Verdict::Unknown => 2,
        Verdict::Fail => 3,
    });
    all.swap_remove(0)
}

fn row(card: &GpuState) -> Result<&'static SmRow, Judgement> {
    let unknown = |sm: Sm| Judgement::unknown(format!("{}: SM {sm} is newer than this visage knows", card.name));
    let sm = card.sm.ok_or_else(|| Judgement::unknown(format!("{} does not tell its capability", card.name)))?;
    compatibility::capability(sm).ok_or_else(|| unknown(sm))
}

/// What the card can do.
pub fn capability(machine: &Machine) -> Judgement {
    drawn(machine, |card| {
        let row = match row(card) {
            Ok(row) => row,
            Err(unknown) => return unknown,
        };
        let said = format!("SM {}, {}", card.sm.unwrap_or(row.sm), row.note);
        match row.used {
            Use::Full => Judgement::ok(said),
            Use::Limited => {
                Judgement::warn(said).so("begin with a small picture", &["visage serve --resolution-px 256"])
            }
            Use::None => Judgement::fail(said)
                .because("wanted SM 7.5 or newer (RTX 20xx and later)")
                .so("run faces on the CPU, or on an RTX card", &["visage serve"]),
        }
    })
}

/// Which TensorRT runs on the card, and whether this program has it.
pub fn flavour(machine: &Machine) -> Judgement {
    drawn(machine, |card| {
        let Some(sm) = card.sm else {
            return Judgement::unknown(format!("{} does not tell its capability", card.name));
        };
        let runs = flavours(sm);
        let Some(best) = runs.first() else {
            return Judgement::unknown(format!("no TensorRT that this visage knows runs on SM {sm}"));
        };
        let names = runs.iter().map(|flavour| flavour.name()).collect::<Vec<_>>().join(" or ");
        match machine.libraries.built_for {
            Some(built) if runs.contains(&built) => Judgement::ok(format!("{built} runs on SM {sm}")),
            Some(built) => Judgement::fail(format!("SM {sm} wants {names}, this visage has {built}"))
                .because(format!("NVIDIA's documents do not list SM {sm} for {built}"))
                .so(format!("build it with {best}"), &[build_with(*best)]),
            None => Judgement::fail(format!("SM {sm} wants {names}, this visage was built without"))
                .because("the usual build draws on the CPU and needs nothing of NVIDIA")
                .so(format!("build it with {best}"), &[build_with(*best)]),
        }
    })
}

fn build_with(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::Rtx => "cargo build --release --features tensorrt-rtx",
        Flavour::Classic => "cargo build --release --features tensorrt",
    }
}

/// Whether there is a video encoder on the card.
pub fn encoder(machine: &Machine) -> Judgement {
    drawn(machine, |card| match row(card) {
        Ok(row) if row.has_encoder => Judgement::ok(format!("NVENC on SM {}; visage encodes on the CPU", row.sm)),
        Ok(row) => Judgement::warn(format!("no NVENC on {}", card.name))
            .because(format!("data-centre cards of SM {} have no video encoder", row.sm))
            .so("find out how many sessions the CPU encodes", &["visage bench --ramp"]),
        Err(unknown) => unknown,
    })
}

/// Whether the card has memory left.
pub fn memory(machine: &Machine) -> Judgement {
    drawn(machine, |card| {
        let (free, all) = (card.memory_free_bytes, card.memory_bytes);
        if all == 0 {
            return Judgement::unknown("the card does not tell its memory; that of some is the machine's own");
        }
        let (said, wanted) = (format!("{} of {} free", gigabytes(free), gigabytes(all)), gigabytes(GPU_MEMORY_BYTES));
        if free < LEAST_GPU_MEMORY_BYTES {
            let wanted = gigabytes(LEAST_GPU_MEMORY_BYTES);
            return Judgement::fail(format!("wanted {wanted} at least, found {said}"))
                .because(held_by(card))
                .so("end what holds it", &["nvidia-smi"]);
        }
        if free >= GPU_MEMORY_BYTES {
            return Judgement::ok(said);
        }
        let little = Judgement::warn(format!("{said}; a large model wants {wanted}"));
        if all < GPU_MEMORY_BYTES {
            return little
                .because("the card is small")
                .so("a small picture and one session", &["visage serve --resolution-px 256 --max-sessions 1"]);
        }
        little.because(held_by(card)).so("end what holds it", &["nvidia-smi"])
    })
}

fn held_by(card: &GpuState) -> String {
    let held = |bytes: Option<u64>| bytes.map_or_else(|| "some".to_owned(), gigabytes);
    let mut users: Vec<_> = card.memory_users.iter().collect();
    users.sort_by_key(|user| std::cmp::Reverse(user.bytes));
    let told = users.iter().take(3).map(|user| format!("{} (pid {}): {}", user.name, user.pid, held(user.bytes)));
    let told = told.collect::<Vec<_>>().join(", ");
    if told.is_empty() {
        "somebody outside of this container or user holds it".to_owned()
    } else {
        format!("held by {told}")
    }
}

/// How hot the card is.
pub fn temperature(machine: &Machine) -> Judgement {
    drawn(machine, |card| match card.temperature_c {
        None => Judgement::unknown("it does not tell"),
        Some(degrees) if degrees > HOT_C => Judgement::warn(format!("{degrees} C, {HOT_C} C at most for long runs"))
            .because("hot cards lower their clocks, and faces come late")
            .so("see to air and dust, or let it draw less", &[&cooler(machine, card)]),
        Some(degrees) => Judgement::ok(format!("{degrees} C")),
    })
}

/// Four fifths of what it may draw cool a card by several degrees and cost it a few hundredths of its speed. A laptop's limit
/// is its profile's, and what runs inside Windows may set none.
fn cooler(machine: &Machine, card: &GpuState) -> String {
    let limit = card.power_limit_w.filter(|_| !is_laptop(card) && !machine.system.has_windows_driver());
    limit.map_or_else(
        || "nvidia-smi -q -d TEMPERATURE,POWER".to_owned(),
        |watts| format!("sudo nvidia-smi -pl {}", watts * 4 / 5),
    )
}

/// A card that may draw less than this share of what it was made for is held back.
const HELD_BACK: f64 = 0.8;

/// What the card may draw: laptops on battery, limits, brakes.
pub fn power(machine: &Machine) -> Judgement {
    drawn(machine, |card| {
        if card.is_on_battery == Some(true) {
            return Judgement::warn("on battery")
                .because("a laptop's card draws a fraction of its power then")
                .so("plug it in and choose the full-power profile", full_power(machine));
        }
        if !card.slowed_by.is_empty() {
            return Judgement::warn(format!("slowed by {}", slowed_by(&card.slowed_by)))
                .because("the card reached a limit of power or heat")
                .so("see what limits it", &["nvidia-smi -q -d PERFORMANCE,POWER"]);
        }
        match card.power_limit_w.zip(card.power_default_w) {
            Some((limit, default)) if f64::from(limit) < HELD_BACK * f64::from(default) => {
                let held = Judgement::warn(format!("{limit} W of {default} W"));
                if is_laptop(card) {
                    return held
                        .because("the laptop's profile holds it back")
                        .so("choose the full-power profile", full_power(machine));
                }
                held.because("somebody set a lower limit")
                    .so("raise the limit again", &[&format!("sudo nvidia-smi -pl {default}")])
            }
            Some((limit, _)) => Judgement::ok(format!("{limit} W")),
            None => Judgement::unknown("it does not tell"),
        }
    })
}

fn full_power(machine: &Machine) -> &'static [&'static str] {
    // Of Windows' own names for its plans this is the one that saves the least.
    if machine.system.has_windows_driver() {
        &["powercfg.exe /setactive SCHEME_MIN"]
    } else {
        &["powerprofilesctl set performance"]
    }
}

fn is_laptop(card: &GpuState) -> bool {
    card.name.contains("Laptop") || card.name.contains("Max-Q") || card.name.contains("Mobile")
}

/// Errors of the card's memory.
pub fn ecc(machine: &Machine) -> Judgement {
    drawn(machine, |card| match card.ecc_errors {
        None => Judgement::ok("not counted on this card"),
        Some(0) => Judgement::ok("none since the driver was loaded"),
        Some(errors) => Judgement::fail(format!("{errors} that could not be corrected"))
            .because("cells of the card's memory are broken, or it was run too fast")
            .so(
                "reset the card; if they come again, have it replaced",
                &["sudo nvidia-smi -r", "nvidia-smi -q -d ECC"],
            ),
    })
}

/// Whether the card is cut into instances.
pub fn mig(machine: &Machine) -> Judgement {
    drawn(machine, |card| match card.is_mig {
        Some(true) => Judgement::warn("cut into instances (MIG)")
            .because("visage sees one instance only, with its share of memory")
            .so("name the instance, or make the card whole", &["nvidia-smi -L", "sudo nvidia-smi -mig 0"]),
        Some(false) => Judgement::ok("whole"),
        None => Judgement::ok("whole; this card cannot be cut"),
    })
}
