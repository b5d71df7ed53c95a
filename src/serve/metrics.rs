//! `GET /metrics`: the metric families and their help texts.

use std::fs;

use super::connections::RefusedConnections;
use super::gpu::{gpu_families, work};
use super::state::AppState;
use crate::rtc::NetworkStats;
use crate::telemetry::MetricKind::{Counter, Gauge};
use crate::telemetry::{Distribution, Exposition, Footprint};

/// All metrics now, in Prometheus' text format 0.0.4; `peers` holds the network statistics of each session.
#[must_use]
pub fn text(state: &AppState, peers: &[NetworkStats], refused: &RefusedConnections) -> String {
    let mut page = Exposition::default();
    build(&mut page, state);
    sessions(&mut page, state);
    let help = "TCP connections refused, by the limit that they exceeded.";
    page.by(Counter, "visage_connections_refused_total", help, ("reason", refused.by_reason().into_iter()));
    frames(&mut page, state);
    network(&mut page, state, peers);
    listening(&mut page, state);
    if let Some(seen) = state.sessions.gpu().latest() {
        gpu_families(&mut page, &seen, state.wall.now());
    }
    if let Some(done) = state.sessions.gpu().device_counts() {
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
    page.info("visage_build_info", "Version, pack and backend.", &labels);
}

fn sessions(page: &mut Exposition, state: &AppState) {
    let request_metrics = state.request_metrics();
    page.one(Gauge, "visage_sessions", "Open sessions.", state.sessions.registry().count() as f64);
    page.one(
        Gauge,
        "visage_sessions_capacity",
        "Largest number of sessions at once.",
        state.sessions.config().max_sessions as f64,
    );
    page.one(Counter, "visage_sessions_admitted_total", "Sessions admitted.", request_metrics.admitted());
    let help = "Sessions refused, by reason.";
    page.by(Counter, "visage_sessions_refused_total", help, ("reason", request_metrics.refused()));
    let ends = state.sessions.registry().ends().iter().map(|(reason, count)| (reason, count as f64));
    page.by(Counter, "visage_sessions_ended_total", "Sessions ended, by reason.", ("reason", ends));
    viewers(page, state);
    let help = "HTTP responses by status class.";
    page.by(Counter, "visage_http_responses_total", help, ("code", request_metrics.responses()));
}

/// A session's creator is its first viewer.
fn viewers(page: &mut Exposition, state: &AppState) {
    let registry = state.sessions.registry();
    let counts = registry.viewer_counts();
    page.one(Gauge, "visage_viewers", "Viewers now, in all sessions.", registry.viewers() as f64);
    let help = "Largest number of viewers of one session.";
    page.one(Gauge, "visage_viewers_per_session_limit", help, state.sessions.config().max_viewers as f64);
    page.one(Counter, "visage_viewers_joined_total", "Viewers that joined a session.", counts.joined() as f64);
    let refused = counts.refused().map(|(reason, count)| (reason, count as f64));
    let help = "Viewers that could not join, by reason.";
    page.by(Counter, "visage_viewers_refused_total", help, ("reason", refused));
    let left = counts.left().iter().map(|(reason, count)| (reason, count as f64));
    page.by(Counter, "visage_viewers_left_total", "Viewers that left, by reason.", ("reason", left));
}

fn frames(page: &mut Exposition, state: &AppState) {
    let totals = state.sessions.registry().totals();
    let frames = totals.frames;
    let outcomes =
        [("due", frames.due), ("on_time", frames.on_time), ("late", frames.late), ("dropped", frames.dropped)];
    let outcomes = outcomes.into_iter().map(|(outcome, count)| (outcome, count as f64));
    let help = "Frames by outcome; due counts all, including those in flight.";
    page.by(Counter, "visage_frames_total", help, ("outcome", outcomes));
    let losses = totals.losses.iter().map(|(reason, count)| (*reason, *count as f64));
    page.by(
        Counter,
        "visage_losses_total",
        "Packets, blocks and frames dropped or replaced, by reason.",
        ("reason", losses),
    );
    let buckets = &totals.buckets;
    let help = "From an audio packet received to the first frame that shows it sent.";
    whole(page, "visage_audio_to_frame_seconds", help, &buckets.audio_to_frame);
    let help = "The same without look-ahead and without the wait for the next frame time.";
    whole(page, "visage_processing_seconds", help, &buckets.processing);
    let stages = buckets.video_stages.iter().map(|(stage, measured)| (*stage, measured));
    page.histogram("visage_video_stage_seconds", "Time of each frame in each stage.", "stage", stages);
    let stages = buckets.audio_stages.iter().map(|(stage, measured)| (*stage, measured));
    let help = "Time of each 20 ms of audio in each stage; queue is the wait for the frame of the same instant.";
    page.histogram("visage_audio_stage_seconds", help, "stage", stages);
    if !buckets.gpu.is_empty() {
        let parts = buckets.gpu.iter().map(|(part, measured)| (*part, measured));
        let help = "GPU time of the last inference before a frame, by CUDA events.";
        page.histogram("visage_gpu_step_seconds", help, "part", parts);
    }
}

fn whole(page: &mut Exposition, name: &str, help: &str, measured: &Distribution) {
    page.histogram(name, help, "", std::iter::once(("", measured)));
}

/// Rates are in bytes per second: Prometheus uses base units.
fn network(page: &mut Exposition, state: &AppState, peers: &[NetworkStats]) {
    let traffic = state.sessions.registry().counters().traffic();
    let help = "UDP payload bytes sent to peers.";
    page.one(Counter, "visage_sent_bytes_total", help, traffic.sent_bytes as f64);
    let help = "UDP payload bytes received.";
    page.one(Counter, "visage_received_bytes_total", help, traffic.received_bytes as f64);
    let connected = || peers.iter().filter(|peer| peer.is_connected);
    let sent = connected().map(|peer| peer.sent_bps as f64 / 8.0);
    page.spread("visage_session_sent_bytes_per_second", "Rate sent to each session during the last second.", sent);
    let estimates = connected().filter_map(|peer| Some(peer.bandwidth_estimate_bps? as f64 / 8.0));
    let help = "Estimated bandwidth to each session.";
    page.spread("visage_session_bandwidth_estimate_bytes_per_second", help, estimates);
    let trips = connected().filter_map(|peer| Some(peer.rtt_ms? / 1000.0));
    page.spread("visage_session_rtt_seconds", "Round-trip time to each session.", trips);
    let losses = connected().filter_map(|peer| peer.egress_loss_ratio);
    let help = "Share of sent packets that each session lost during the last second, 0 to 1.";
    page.spread("visage_session_egress_loss_ratio", help, losses);
}

fn listening(page: &mut Exposition, state: &AppState) {
    let states = state.sessions.registry().states();
    let targets = states.iter().map(|now| f64::from(now.quality.bitrate_bps) / 8.0);
    let help = "Target bitrate of each session's video encoder.";
    page.spread("visage_session_encoder_target_bytes_per_second", help, targets);
    let losses = states.iter().map(|now| now.quality.audio_concealed_ratio);
    let help = "Share of each session's received audio that was concealed during the last ten seconds, 0 to 1.";
    page.spread("visage_session_audio_concealed_ratio", help, losses);
    let depths = states.iter().map(|now| now.jitter_buffer_ms / 1000.0);
    page.spread("visage_session_jitter_buffer_seconds", "Delay of each session's jitter buffer.", depths);
    let drifts = states.iter().map(|now| now.clock_drift_ppm / 1e6);
    let help = "How much faster each sender's clock runs than the clock of the server, as a share of 1.";
    page.spread("visage_session_clock_drift_ratio", help, drifts);
}

/// The usual `process_*` families, from Linux's /proc; absent on other systems.
fn footprint(page: &mut Exposition) {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let Some(used) = Footprint::parse(&read("/proc/self/stat"), &read("/proc/self/status")) else { return };
    page.one(Counter, "process_cpu_seconds_total", "CPU time in user and system mode.", used.cpu_s);
    if let Some(booted_s) = booted_s(&read("/proc/stat")) {
        let help = "Start time, in seconds since 1970.";
        page.one(Gauge, "process_start_time_seconds", help, booted_s + used.started_s);
    }
    page.one(Gauge, "process_resident_memory_bytes", "Resident memory.", used.resident_bytes as f64);
    page.one(Gauge, "process_virtual_memory_bytes", "Virtual memory.", used.virtual_bytes as f64);
    page.one(Gauge, "process_threads", "Threads.", used.threads as f64);
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        page.one(Gauge, "process_open_fds", "Open file descriptors.", open.count() as f64);
    }
}

/// Boot time of the machine, in seconds since 1970.
fn booted_s(stat: &str) -> Option<f64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}
