//! One measurement with a fixed number of sessions: connect, warm up, measure, close, analyse.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::BenchError;
use super::client::{Client, ClientPlan, Speech, VideoPayload};
use super::interference::Interference;
use super::measure::{ClientMetrics, Window, analyze};
use super::plan::BenchPlan;
use super::procfs::{Machine, of_process};
use super::recording::Recording;
use super::report::{BenchReport, Cost, MarkerCount, NetworkMetrics};
use super::server::Server;
use super::signed_percentiles::{signed, unsigned};
use super::speech_loop::SpeechLoop;
use crate::api_client::ApiError;
use crate::telemetry::{Footprint, Histogram, MachineCpu, Percentiles};
use crate::time::Wall;

/// Time after the measured interval in which its late frames and its last audio still arrive.
const TRAILING: Duration = Duration::from_millis(500);
/// Offsets of the video behind the audio, in milliseconds, that count as synchronous: stricter than EBU R37 (-60 to +40 ms).
const AV_OFFSET_MS: std::ops::RangeInclusive<f64> = -40.0..=20.0;

/// Measures `sessions` concurrent sessions on `server`.
///
/// All clients connect before the warm-up starts, so that no connection falls into the measured interval. Processor time is the
/// difference of two readings at its ends. The sessions' own statistics are read before the sessions end, and the packet logs
/// are analysed after that: analysis costs processor time that would disturb the measurement.
///
/// # Errors
/// If the server refuses, a call does not connect, the server ends a session, or a client receives no frame.
pub async fn measure_latency(
    server: &Server,
    speech: &Arc<SpeechLoop>,
    plan: &BenchPlan,
    sessions: usize,
) -> Result<BenchReport, BenchError> {
    let epoch = Wall.now();
    let idle = server.footprint().unwrap_or_default();
    let clients = connect(server, speech, plan, ClientCount { sessions, epoch }).await?;
    tokio::time::sleep(plan.warm_up).await;
    let usage = Usage::measure(server, plan.measured, epoch).await;
    tokio::time::sleep(TRAILING).await;
    let (stats, recordings) = close(server, clients).await?;
    let metrics: Result<Vec<_>, _> = recordings.iter().map(|one| analyze(one, speech, usage.window)).collect();
    let metrics = metrics?;
    if metrics.iter().any(|client| client.lateness.is_empty()) {
        return Err(BenchError::NoFrames { seconds: plan.measured.as_secs_f64() });
    }
    let mut report = summary(&metrics);
    report.seconds = usage.seconds();
    report.cost = usage.cost(idle, sessions);
    report.server = server.server_info().await?;
    add_server_stats(&mut report, &stats);
    report.warnings = usage.interference(&metrics).warnings();
    report.warnings.extend(plausibility_warnings(&report));
    Ok(report)
}

/// How many clients connect, and the origin of their times.
struct ClientCount {
    sessions: usize,
    epoch: std::time::Instant,
}

async fn connect(
    server: &Server,
    speech: &Arc<SpeechLoop>,
    plan: &BenchPlan,
    ClientCount { sessions, epoch }: ClientCount,
) -> Result<Vec<Client>, BenchError> {
    let mut clients = Vec::with_capacity(sessions);
    for number in 0..sessions {
        let client_plan = ClientPlan { number, video: VideoPayload::Count, speech: Speech::Loop, epoch };
        clients.push(Client::connect(server, Arc::clone(speech), client_plan, plan.avatar.as_deref()).await?);
    }
    Ok(clients)
}

/// Reads the statistics of all sessions, then ends them. A session that the server does not know any more has ended early.
async fn close(server: &Server, clients: Vec<Client>) -> Result<(Vec<Value>, Vec<Recording>), BenchError> {
    let sessions = clients.len();
    let (mut stats, mut recordings, mut ended) = (Vec::new(), Vec::new(), 0);
    for client in &clients {
        match server.session_stats(&client.id).await {
            Ok(found) => stats.push(found),
            Err(ApiError::Refused { status: 404, .. }) => ended += 1,
            // The clients' own metrics are valid without the server's.
            Err(_) => {}
        }
    }
    for client in clients {
        recordings.push(client.close(server).await);
    }
    if ended > 0 { Err(BenchError::SessionsEnded { ended, sessions }) } else { Ok((stats, recordings)) }
}

/// Processor time and memory at one instant.
#[derive(Clone, Copy, Default)]
struct Snapshot {
    server: Option<Footprint>,
    clients: Option<Footprint>,
    machine: Option<MachineCpu>,
}

impl Snapshot {
    fn take(server: &Server) -> Self {
        Self { server: server.footprint(), clients: of_process(std::process::id()), machine: MachineCpu::read() }
    }
}

/// The measured interval and what was used in it.
struct Usage {
    before: Snapshot,
    after: Snapshot,
    window: Window,
}

impl Usage {
    /// Waits for `duration` between two snapshots.
    async fn measure(server: &Server, duration: Duration, epoch: std::time::Instant) -> Self {
        let before = Snapshot::take(server);
        let from = Wall.now().saturating_duration_since(epoch);
        tokio::time::sleep(duration).await;
        let window = Window { from, to: Wall.now().saturating_duration_since(epoch) };
        Self { before, after: Snapshot::take(server), window }
    }

    fn seconds(&self) -> f64 {
        (self.window.to - self.window.from).as_secs_f64()
    }

    fn server_cpu_s(&self) -> f64 {
        cpu_seconds(self.before.server, self.after.server)
    }

    fn client_cpu_s(&self) -> f64 {
        cpu_seconds(self.before.clients, self.after.clients)
    }

    fn cost(&self, idle: Footprint, sessions: usize) -> Cost {
        let loaded = self.after.server.unwrap_or_default();
        Cost {
            server_cores: self.server_cpu_s() / self.seconds(),
            client_cores: self.client_cpu_s() / self.seconds(),
            idle_mb: idle.resident_mb(),
            per_session_mb: (loaded.resident_mb() - idle.resident_mb()) / sessions as f64,
            threads: loaded.threads,
        }
    }

    fn interference(&self, metrics: &[ClientMetrics]) -> Interference {
        let own_s = self.server_cpu_s() + self.client_cpu_s();
        let wall = self.window.to - self.window.from;
        let machine = self.before.machine.zip(self.after.machine);
        let found = machine
            .map_or_else(Interference::default, |(before, after)| Interference::between(before, after, own_s, wall));
        Interference { halves_ms: median_of_halves(metrics), ..found }
    }
}

fn cpu_seconds(before: Option<Footprint>, after: Option<Footprint>) -> f64 {
    before.zip(after).map_or(0.0, |(before, after)| after.cpu_s - before.cpu_s)
}

/// Median latency in the first and in the second half of the measured interval.
fn median_of_halves(metrics: &[ClientMetrics]) -> (f64, f64) {
    let halves = metrics.iter().map(|client| client.voice_to_frame.split_at(client.voice_to_frame.len() / 2));
    let (first, second): (Vec<&[f64]>, Vec<&[f64]>) = halves.unzip();
    let median = |parts: Vec<&[f64]>| unsigned(parts.into_iter().flatten().copied()).p50;
    (median(first), median(second))
}

/// Warnings about values that contradict each other.
fn plausibility_warnings(report: &BenchReport) -> Vec<String> {
    let mut warnings = Vec::new();
    if report.markers.found * 10 < report.markers.sent * 9 {
        warnings.push(format!("only {} of {} markers were detected", report.markers.found, report.markers.sent));
    }
    if let Some(skew) = report.report_skew_ms.filter(|ms| ms.abs() > 10.0) {
        warnings.push(format!("the sender reports place video and audio {skew:.1} ms apart"));
    }
    if report.network.client_lateness_ms.p95 > 5.0 {
        warnings.push(format!("the clients sent late: p95 {:.1} ms", report.network.client_lateness_ms.p95));
    }
    warnings
}

fn add_server_stats(report: &mut BenchReport, stats: &[Value]) {
    report.server_share_ms = merged(stats.iter().map(|stats| &stats["processing_ms"]));
    report.stages = stages(stats, "video_stages");
    report.voice_stages = stages(stats, "audio_stages");
    report.gpu = stages(stats, "gpu");
}

/// All clients as one report.
fn summary(metrics: &[ClientMetrics]) -> BenchReport {
    let all = |pick: fn(&ClientMetrics) -> &Vec<f64>| metrics.iter().flat_map(pick).copied();
    let mut report = BenchReport { machine: Machine::here(), sessions: metrics.len(), ..BenchReport::default() };
    for client in metrics {
        report.frames.add(client.frames);
        let (sent, found) = client.markers;
        report.markers = MarkerCount { sent: report.markers.sent + sent, found: report.markers.found + found };
        report.delay_changes += client.delay_changes;
    }
    report.freezes = all(|n| &n.freezes).count() as u64;
    report.frozen_ms = all(|n| &n.freezes).sum();
    report.voice_to_frame_ms = unsigned(all(|n| &n.voice_to_frame));
    report.lateness_ms = unsigned(all(|n| &n.lateness));
    report.av_offset_ms = signed(all(|n| &n.av_offset));
    let within = all(|n| &n.av_offset).filter(|ms| AV_OFFSET_MS.contains(ms)).count();
    report.av_within_ratio = within as f64 / report.av_offset_ms.n.max(1) as f64;
    report.report_skew_ms = metrics.iter().filter_map(|n| n.report_skew_ms).max_by(|a, b| a.abs().total_cmp(&b.abs()));
    report.network = network(metrics);
    report
}

fn network(metrics: &[ClientMetrics]) -> NetworkMetrics {
    let mean = |pick: fn(&ClientMetrics) -> f64| metrics.iter().map(pick).sum::<f64>() / metrics.len() as f64;
    let mut client_lateness = Histogram::default();
    metrics.iter().for_each(|client| client_lateness.merge(&client.send_lateness));
    NetworkMetrics {
        audio_jitter_ms: mean(|n| n.audio_jitter_ms),
        frame_jitter_ms: mean(|n| n.frame_jitter_ms),
        video_bps: mean(|n| n.video_bps),
        client_lateness_ms: client_lateness.percentiles(),
    }
}

/// Percentiles over several sessions. Exact for one session; otherwise the means weighted by `n`, and the largest maximum.
fn merged<'a>(values: impl Iterator<Item = &'a Value>) -> Percentiles {
    let parts: Vec<Percentiles> = values.filter_map(|value| serde_json::from_value(value.clone()).ok()).collect();
    let n: u64 = parts.iter().map(|part| part.n).sum();
    let mean =
        |pick: fn(&Percentiles) -> f64| parts.iter().map(|p| pick(p) * p.n as f64).sum::<f64>() / n.max(1) as f64;
    Percentiles {
        n,
        p50: mean(|p| p.p50),
        p90: mean(|p| p.p90),
        p95: mean(|p| p.p95),
        p99: mean(|p| p.p99),
        max: parts.iter().map(|p| p.max).fold(0.0, f64::max),
        ..Percentiles::default()
    }
}

/// The stages under `key` of all sessions' statistics, merged by name.
fn stages(stats: &[Value], key: &str) -> BTreeMap<String, Percentiles> {
    let names: BTreeSet<&String> =
        stats.iter().filter_map(|stats| stats[key].as_object()).flat_map(|stages| stages.keys()).collect();
    let of = |name: &String| merged(stats.iter().map(|stats| &stats[key][name]));
    names.into_iter().map(|name| (format!("{}_ms", name.trim_end_matches("_ms")), of(name))).collect()
}
