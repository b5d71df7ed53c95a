//! `/metrics`: which families there are.

use std::fs;

use super::gpu::{cards, work};
use super::state::AppState;
use crate::rtc::NetworkStats;
use crate::telemetry::MetricKind::{Counter, Gauge};
use crate::telemetry::{Distribution, Exposition, Footprint};

/// Everything at this moment, in Prometheus' text format; `peers` is what the network says about each session.
#[must_use]
pub fn text(state: &AppState, peers: &[NetworkStats]) -> String {
    let mut page = Exposition::default();
    build(&mut page, state);
    sessions(&mut page, state);
    frames(&mut page, state);
    network(&mut page, state, peers);
    listening(&mut page, state);
    if let Some(seen) = state.studio.cards() {
        cards(&mut page, &seen, state.wall.now());
    }
    if let Some(done) = state.studio.card_work() {
        work(&mut page, done);
    }
    footprint(&mut page);
    page.finish()
}

fn build(page: &mut Exposition, state: &AppState) {
    let facts = &state.facts;
    let labels = [
        ("version", facts.version),
        ("pack", &facts.pack),
        ("backend", &facts.backend),
        ("video_codecs", facts.video_codecs),
        ("gpu", facts.gpu.as_deref().unwrap_or_default()),
    ];
    page.info("visage_build_info", "What runs.", &labels);
}

fn sessions(page: &mut Exposition, state: &AppState) {
    let ledger = state.ledger();
    page.one(Gauge, "visage_sessions", "Sessions now.", state.studio.sessions().len() as f64);
    page.one(
        Gauge,
        "visage_sessions_capacity",
        "Largest number of sessions at once.",
        state.studio.config().max_sessions as f64,
    );
    page.one(Counter, "visage_sessions_admitted_total", "Sessions opened.", ledger.admitted());
    let help = "Sessions not opened, by reason.";
    page.by(Counter, "visage_sessions_refused_total", help, ("reason", ledger.refused()));
    let ends = state.studio.ends().iter().map(|(reason, count)| (reason, count as f64));
    page.by(Counter, "visage_sessions_ended_total", "Sessions that ended, by reason.", ("reason", ends));
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
    whole(page, "visage_audio_to_frame_seconds", help, &buckets.audio_to_frame);
    let help = "The same without look-ahead and the wait for the frame's slot.";
    whole(page, "visage_processing_seconds", help, &buckets.processing);
    let stages = buckets.video_stages.iter().map(|(stage, measured)| (*stage, measured));
    page.histogram("visage_video_stage_seconds", "Time in each stage of the way of a frame.", "stage", stages);
    let stages = buckets.audio_stages.iter().map(|(stage, measured)| (*stage, measured));
    let help = "Time in each stage of the way of 20 ms of voice; queue is the wait for the picture of its moment.";
    page.histogram("visage_audio_stage_seconds", help, "stage", stages);
    if !buckets.gpu.is_empty() {
        let parts = buckets.gpu.iter().map(|(part, measured)| (*part, measured));
        let help = "Time on the card of the last step of the network before a frame, by the card's own clock.";
        page.histogram("visage_gpu_step_seconds", help, "part", parts);
    }
}

fn whole(page: &mut Exposition, name: &str, help: &str, measured: &Distribution) {
    page.histogram(name, help, "", std::iter::once(("", measured)));
}

/// Rates are in bytes, as Prometheus wants all of them.
fn network(page: &mut Exposition, state: &AppState, peers: &[NetworkStats]) {
    let traffic = state.studio.counters().traffic();
    let help = "Bytes of datagrams sent to peers, without headers of UDP and IP.";
    page.one(Counter, "visage_sent_bytes_total", help, traffic.sent_bytes as f64);
    let help = "Bytes of datagrams received, without headers of UDP and IP.";
    page.one(Counter, "visage_received_bytes_total", help, traffic.received_bytes as f64);
    let connected = || peers.iter().filter(|peer| peer.is_connected);
    let sent = connected().map(|peer| peer.sent_bps as f64 / 8.0);
    page.spread("visage_session_sent_bytes_per_second", "Sent to each session during the last second.", sent);
    let estimates = connected().filter_map(|peer| Some(peer.bandwidth_estimate_bps? as f64 / 8.0));
    let help = "What the way to each session is thought to carry.";
    page.spread("visage_session_bandwidth_estimate_bytes_per_second", help, estimates);
    let trips = connected().filter_map(|peer| Some(peer.rtt_ms? / 1000.0));
    page.spread("visage_session_rtt_seconds", "Round trip to each session.", trips);
    let losses = connected().filter_map(|peer| peer.egress_loss_ratio);
    let help = "Share of our packets that each session lost during the last second, 0 to 1.";
    page.spread("visage_session_egress_loss_ratio", help, losses);
}

fn listening(page: &mut Exposition, state: &AppState) {
    let states = state.studio.states();
    let targets = states.iter().map(|now| f64::from(now.quality.bitrate_bps) / 8.0);
    let help = "What the encoder of each session aims at.";
    page.spread("visage_session_encoder_target_bytes_per_second", help, targets);
    let losses = states.iter().map(|now| now.quality.audio_concealed_ratio);
    let help = "Share of each session's voice that was made up during the last ten seconds, 0 to 1.";
    page.spread("visage_session_audio_concealed_ratio", help, losses);
    let depths = states.iter().map(|now| now.jitter_buffer_ms / 1000.0);
    page.spread("visage_session_jitter_buffer_seconds", "Depth of each session's jitter buffer.", depths);
    let drifts = states.iter().map(|now| now.clock_drift_ppm / 1e6);
    let help = "How much faster each sender's clock runs than ours, as a share of 1.";
    page.spread("visage_session_clock_drift_ratio", help, drifts);
}

/// The customary families of every process, by Linux's /proc; elsewhere absent.
fn footprint(page: &mut Exposition) {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let Some(used) = Footprint::parse(&read("/proc/self/stat"), &read("/proc/self/status")) else { return };
    page.one(Counter, "process_cpu_seconds_total", "Processor time spent, in user and system mode.", used.cpu_s);
    if let Some(booted_s) = booted_s(&read("/proc/stat")) {
        let help = "When the process started, in seconds since 1970.";
        page.one(Gauge, "process_start_time_seconds", help, booted_s + used.started_s);
    }
    page.one(Gauge, "process_resident_memory_bytes", "Memory in RAM.", used.resident_bytes as f64);
    page.one(Gauge, "process_virtual_memory_bytes", "Address space in use.", used.virtual_bytes as f64);
    page.one(Gauge, "process_threads", "Threads.", used.threads as f64);
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        page.one(Gauge, "process_open_fds", "Open files and sockets.", open.count() as f64);
    }
}

/// When the machine was started, in seconds since 1970.
fn booted_s(stat: &str) -> Option<f64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}
