//! GPU metrics: one family for each value of a reading, in base units.
//!
//! Decides names and units. Without a GPU monitor there are no GPU families.

use std::time::Instant;

use crate::gpu_load::{Allowance, Change, DeviceCounts, GpuReading};
use crate::session::GpuSnapshot;
use crate::telemetry::Exposition;
use crate::telemetry::MetricKind::{Counter, Gauge};

/// One value of a reading: family, help text, and the value in its unit.
type Family = (&'static str, &'static str, fn(&GpuReading) -> Option<f64>);

const LOOP_STALLS: &str = "Allocations and stream synchronisations in the inference loop; 0 is expected.";

const FAMILIES: [Family; 12] = [
    ("visage_gpu_temperature_celsius", "GPU temperature.", |card| card.temperature_c.map(f64::from)),
    ("visage_gpu_memory_bytes", "Total GPU memory.", |card| bytes(card.memory_bytes)),
    ("visage_gpu_memory_used_bytes", "GPU memory in use, by any process.", |card| bytes(card.memory_used_bytes)),
    ("visage_gpu_memory_free_bytes", "Free GPU memory; the driver reserves some of the rest.", |card| {
        bytes(card.memory_free_bytes)
    }),
    ("visage_gpu_utilization_ratio", "Share of time in which a kernel ran, 0 to 1.", |card| {
        share(card.utilization_percent)
    }),
    ("visage_gpu_memory_utilization_ratio", "Share of time in which memory was read or written, 0 to 1.", |card| {
        share(card.memory_utilization_percent)
    }),
    ("visage_gpu_encoder_utilization_ratio", "Share of time in which the video encoder ran, 0 to 1.", |card| {
        share(card.encoder_utilization_percent)
    }),
    ("visage_gpu_power_watts", "Power draw.", |card| card.power_w),
    ("visage_gpu_power_limit_watts", "Power limit.", |card| card.power_limit_w),
    ("visage_gpu_sm_clock_hertz", "SM clock.", |card| hertz(card.sm_clock_mhz)),
    ("visage_gpu_memory_clock_hertz", "Memory clock.", |card| hertz(card.memory_clock_mhz)),
    ("visage_gpu_encoder_sessions", "Open sessions of the video encoder, of any process.", |card| {
        card.encoder_sessions.map(f64::from)
    }),
];

/// Writes the last reading of each GPU.
pub fn cards(page: &mut Exposition, seen: &GpuSnapshot, now: Instant) {
    let indices: Vec<String> = seen.readings.iter().map(|card| card.index.to_string()).collect();
    let cards = || indices.iter().map(String::as_str).zip(&seen.readings);
    let named = cards().map(|(gpu, card)| (vec![("gpu", gpu), ("name", card.name.as_str())], 1.0));
    page.rows(Gauge, "visage_gpu_info", "GPUs of the machine.", named);
    let answers = cards().map(|(gpu, card)| (gpu, f64::from(u8::from(card.error.is_none()))));
    page.by(Gauge, "visage_gpu_up", "1 if the GPU answers, else 0.", ("gpu", answers));
    for (name, help, value) in FAMILIES {
        page.by(Gauge, name, help, ("gpu", cards().filter_map(|(gpu, card)| Some((gpu, value(card)?)))));
    }
    let reasons = cards().flat_map(|(gpu, card)| {
        card.throttle_reasons.iter().map(move |reason| (vec![("gpu", gpu), ("reason", reason.as_str())], 1.0))
    });
    page.rows(Gauge, "visage_gpu_throttled", "1 for each reason for which the clocks are lowered now.", reasons);
    let age_s = now.saturating_duration_since(seen.read_at).as_secs_f64();
    page.one(Gauge, "visage_gpu_reading_age_seconds", "Age of the last reading.", age_s);
    if let Some(allowance) = seen.allowance {
        admission(page, allowance, &seen.changes);
    }
}

fn admission(page: &mut Exposition, allowance: Allowance, changes: &[u64; Change::ALL.len()]) {
    let help = "Sessions that the GPU's temperature allows.";
    page.one(Gauge, "visage_gpu_capacity", help, allowance.capacity as f64);
    if let Some(fit) = allowance.additional_sessions {
        let help = "Further sessions that fit into free GPU memory.";
        page.one(Gauge, "visage_gpu_additional_sessions", help, fit as f64);
    }
    let changes = Change::ALL.into_iter().map(|change| (change.name(), changes[change as usize] as f64));
    let help = "Changes of GPU admission, by event.";
    page.by(Counter, "visage_gpu_changes_total", help, ("change", changes));
}

/// Writes the work counters of the GPU backend.
pub fn work(page: &mut Exposition, done: DeviceCounts) {
    for (name, help, count) in [
        ("visage_gpu_steps_total", "Inference steps started on the GPU.", done.steps),
        ("visage_gpu_runs_total", "Inference runs on the GPU; sessions may share one.", done.runs),
        ("visage_gpu_replays_total", "Runs that replayed a captured CUDA graph.", done.replays),
        ("visage_gpu_kernels_total", "Launches of visage's own kernels on the GPU.", done.kernels),
        ("visage_gpu_downloads_total", "Outputs downloaded from the GPU.", done.downloads),
        ("visage_gpu_failures_total", "Inference steps that failed on the GPU.", done.failures),
        ("visage_gpu_context_resets_total", "Re-creations of the CUDA context after a fault.", done.context_resets),
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
