//! The graphics cards on the page of metrics: a family for each thing that cards tell, in the units that Prometheus wants.
//!
//! Decides names and units. Where no card is watched there are no families of them.

use std::time::Instant;

use crate::gpu_load::{Allowance, Change, DeviceCounts, GpuReading};
use crate::session::GpuSnapshot;
use crate::telemetry::Exposition;
use crate::telemetry::MetricKind::{Counter, Gauge};

/// What a card tells in a number: the family, what it is, and the value in its unit.
type Told = (&'static str, &'static str, fn(&GpuReading) -> Option<f64>);

const LOOP_STALLS: &str =
    "Calls in the loop that ask the driver for memory or wait for a whole stream: none, if all is well.";

const FAMILIES: [Told; 12] = [
    ("visage_gpu_temperature_celsius", "Temperature of the chip.", |card| card.temperature_c.map(f64::from)),
    ("visage_gpu_memory_bytes", "All memory of the card.", |card| bytes(card.memory_bytes)),
    ("visage_gpu_memory_used_bytes", "Memory that somebody holds.", |card| bytes(card.memory_used_bytes)),
    ("visage_gpu_memory_free_bytes", "Memory that nobody holds; the driver keeps some for itself.", |card| {
        bytes(card.memory_free_bytes)
    }),
    ("visage_gpu_utilization_ratio", "Share of time in which it computed, 0 to 1.", |card| {
        share(card.utilization_percent)
    }),
    ("visage_gpu_memory_utilization_ratio", "Share of time in which its memory was read or written, 0 to 1.", |card| {
        share(card.memory_utilization_percent)
    }),
    ("visage_gpu_encoder_utilization_ratio", "Share of time in which its video encoder worked, 0 to 1.", |card| {
        share(card.encoder_utilization_percent)
    }),
    ("visage_gpu_power_watts", "What it draws.", |card| card.power_w),
    ("visage_gpu_power_limit_watts", "What it may draw.", |card| card.power_limit_w),
    ("visage_gpu_sm_clock_hertz", "Clock of what computes.", |card| hertz(card.sm_clock_mhz)),
    ("visage_gpu_memory_clock_hertz", "Clock of its memory.", |card| hertz(card.memory_clock_mhz)),
    ("visage_gpu_encoder_sessions", "Sessions of its video encoder, anybody's.", |card| {
        card.encoder_sessions.map(f64::from)
    }),
];

/// Writes what the cards said last.
pub fn cards(page: &mut Exposition, seen: &GpuSnapshot, now: Instant) {
    let indices: Vec<String> = seen.readings.iter().map(|card| card.index.to_string()).collect();
    let cards = || indices.iter().map(String::as_str).zip(&seen.readings);
    let named = cards().map(|(gpu, card)| (vec![("gpu", gpu), ("name", card.name.as_str())], 1.0));
    page.rows(Gauge, "visage_gpu_info", "The cards of the machine.", named);
    let answers = cards().map(|(gpu, card)| (gpu, f64::from(u8::from(card.error.is_none()))));
    page.by(Gauge, "visage_gpu_up", "1 where the card answers, 0 where it is silent.", ("gpu", answers));
    for (name, help, value) in FAMILIES {
        page.by(Gauge, name, help, ("gpu", cards().filter_map(|(gpu, card)| Some((gpu, value(card)?)))));
    }
    let reasons = cards().flat_map(|(gpu, card)| {
        card.throttle_reasons.iter().map(move |reason| (vec![("gpu", gpu), ("reason", reason.as_str())], 1.0))
    });
    page.rows(Gauge, "visage_gpu_throttled", "1 for each reason for which its clocks are lowered now.", reasons);
    let age_s = now.saturating_duration_since(seen.read_at).as_secs_f64();
    page.one(Gauge, "visage_gpu_reading_age_seconds", "Since the cards were last read.", age_s);
    if let Some(allowance) = seen.allowance {
        admission(page, allowance, &seen.changes);
    }
}

fn admission(page: &mut Exposition, allowance: Allowance, changes: &[u64; Change::ALL.len()]) {
    let help = "Places that the temperature of the card leaves.";
    page.one(Gauge, "visage_gpu_capacity", help, allowance.capacity as f64);
    if let Some(fit) = allowance.additional_sessions {
        let help = "Sessions that fit into the card's memory besides those there are.";
        page.one(Gauge, "visage_gpu_additional_sessions", help, fit as f64);
    }
    let changes = Change::ALL.into_iter().map(|change| (change.name(), changes[change as usize] as f64));
    let help = "How often the card changed what is admitted, by what happened.";
    page.by(Counter, "visage_gpu_changes_total", help, ("change", changes));
}

/// Writes what was done on the card that faces are drawn on.
pub fn work(page: &mut Exposition, done: DeviceCounts) {
    for (name, help, count) in [
        ("visage_gpu_steps_total", "Steps of networks that were begun on the card.", done.steps),
        ("visage_gpu_runs_total", "Runs on the card; sessions may share one.", done.runs),
        ("visage_gpu_replays_total", "Runs that replayed a captured CUDA graph.", done.replays),
        ("visage_gpu_downloads_total", "Outputs that were copied back from the card.", done.downloads),
        ("visage_gpu_failures_total", "Steps that failed on the card.", done.failures),
        ("visage_gpu_context_resets_total", "How often the card was opened anew after a fault.", done.context_resets),
        ("visage_gpu_loop_stalls_total", LOOP_STALLS, done.loop_stalls),
    ] {
        page.one(Counter, name, help, count as f64);
    }
}

fn bytes(count: Option<u64>) -> Option<f64> {
    count.map(|count| count as f64)
}

fn share(percent: Option<u32>) -> Option<f64> {
    percent.map(|percent| f64::from(percent) / 100.0)
}

fn hertz(megahertz: Option<u32>) -> Option<f64> {
    megahertz.map(|megahertz| f64::from(megahertz) * 1e6)
}
