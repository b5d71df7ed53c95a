//! `/metrics`: which families there are.

use std::fs;

use super::state::AppState;
use crate::telemetry::MetricKind::{Counter, Gauge};
use crate::telemetry::{Distribution, Exposition};

/// Everything at this moment, in Prometheus' text format.
#[must_use]
pub fn text(state: &AppState) -> String {
    let mut page = Exposition::default();
    build(&mut page, state);
    sessions(&mut page, state);
    frames(&mut page, state);
    footprint(&mut page);
    page.finish()
}

fn build(page: &mut Exposition, state: &AppState) {
    let facts = &state.facts;
    let labels = [
        ("version", facts.version),
        ("pack", &facts.pack),
        ("backend", &facts.backend),
        ("codec", facts.codec),
        ("gpu", facts.gpu.as_deref().unwrap_or_default()),
    ];
    page.info("visage_build_info", "What runs.", &labels);
}

fn sessions(page: &mut Exposition, state: &AppState) {
    let ledger = state.ledger();
    page.one(Gauge, "visage_sessions", "Sessions now.", state.studio.sessions().len() as f64);
    page.one(Gauge, "visage_sessions_limit", "Places in all.", state.studio.config().max_sessions as f64);
    page.one(Counter, "visage_sessions_admitted_total", "Sessions opened.", ledger.admitted());
    let help = "Sessions not opened, by reason.";
    page.by(Counter, "visage_sessions_refused_total", help, ("reason", ledger.refused()));
    let help = "Answered HTTP requests by class of status.";
    page.by(Counter, "visage_http_responses_total", help, ("code", ledger.responses()));
}

fn frames(page: &mut Exposition, state: &AppState) {
    let totals = state.studio.totals();
    let frames = totals.frames;
    let outcomes =
        [("due", frames.due), ("on_time", frames.on_time), ("late", frames.late), ("dropped", frames.dropped)];
    let outcomes = outcomes.into_iter().map(|(outcome, count)| (outcome, count as f64));
    let help = "Frames by outcome; due is the rest and what is on its way.";
    page.by(Counter, "visage_frames_total", help, ("outcome", outcomes));
    let losses = totals.losses.iter().map(|(reason, count)| (*reason, *count as f64));
    page.by(Counter, "visage_losses_total", "What was dropped or replaced, by reason.", ("reason", losses));
    let buckets = &totals.buckets;
    let help = "From a packet of voice to the first frame that shows it.";
    whole(page, "visage_voice_to_frame_seconds", help, &buckets.voice_to_frame);
    let help = "The same without look-ahead and the wait for the frame's slot.";
    whole(page, "visage_server_share_seconds", help, &buckets.server_share);
    let stages = buckets.stages.iter().map(|(stage, measured)| (*stage, measured));
    page.histogram("visage_stage_seconds", "Time in each stage of the way of a frame.", "stage", stages);
    let stages = buckets.voice_stages.iter().map(|(stage, measured)| (*stage, measured));
    let help = "Time in each stage of the way of 20 ms of voice; queue is the wait for the picture of its moment.";
    page.histogram("visage_voice_stage_seconds", help, "stage", stages);
}

fn whole(page: &mut Exposition, name: &str, help: &str, measured: &Distribution) {
    page.histogram(name, help, "", std::iter::once(("", measured)));
}

/// Memory and threads by Linux's /proc; elsewhere absent.
fn footprint(page: &mut Exposition) {
    let Ok(status) = fs::read_to_string("/proc/self/status") else { return };
    let of = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    if let Some(kib) = of("VmRSS") {
        page.one(Gauge, "process_resident_memory_bytes", "Memory in use.", kib * 1024.0);
    }
    if let Some(kib) = of("VmSize") {
        page.one(Gauge, "process_virtual_memory_bytes", "Address space in use.", kib * 1024.0);
    }
    if let Some(threads) = of("Threads") {
        page.one(Gauge, "process_threads", "Threads.", threads);
    }
}
