//! One run with a number of callers: they call, warm up, are measured, hang up; then their tapes are judged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::BenchError;
use super::client::{Client, ClientPlan, Pictures, Speech};
use super::interference::Interference;
use super::measure::{CallNumbers, Window, judge};
use super::plan::BenchPlan;
use super::procfs::{Machine, MachineUse, of_process};
use super::report::{BenchReport, Cost, MarkerCount, Wire};
use super::server::Server;
use super::signed_percentiles::{plain, signed};
use super::speech_loop::VoiceLoop;
use crate::telemetry::{Footprint, Histogram, Percentiles};
use crate::time::Wall;

/// Runs `sessions` callers against `server`.
///
/// # Errors
/// If the server refuses, a call does not stand, or no frame comes.
pub async fn latency(
    server: &Server,
    voice: &Arc<VoiceLoop>,
    plan: &BenchPlan,
    sessions: usize,
) -> Result<BenchReport, BenchError> {
    let epoch = Wall.now();
    let idle = server.used();
    let mut callers = Vec::with_capacity(sessions);
    for number in 0..sessions {
        let who = ClientPlan { number, pictures: Pictures::Count, speech: Speech::Loop, epoch };
        callers.push(Client::call(server, Arc::clone(voice), who, plan.avatar.as_deref()).await?);
    }
    tokio::time::sleep(plan.warm_up).await;
    let before = Snapshot::take(server);
    let from = Wall.now().saturating_duration_since(epoch);
    tokio::time::sleep(plan.measured).await;
    let window = Window { from, to: Wall.now().saturating_duration_since(epoch) };
    let after = Snapshot::take(server);
    // Late frames of the window may still come, and its last voice comes back.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (stats, tapes) = hang_up(server, callers).await;
    let judged: Result<Vec<CallNumbers>, opus::Error> = tapes.iter().map(|tape| judge(tape, voice, window)).collect();
    let judged = judged?;
    if judged.iter().any(|numbers| numbers.lateness.is_empty()) {
        return Err(BenchError::NoFrames { seconds: plan.measured.as_secs_f64() });
    }
    let mut report = summary(&judged);
    report.seconds = (window.to - window.from).as_secs_f64();
    report.cost = cost(idle, before, after, window, sessions);
    report.server = server.about().await?;
    report.server_share_ms = merged(stats.iter().map(|stats| &stats["processing_ms"]));
    report.stages = stages(&stats, "video_stages");
    report.voice_stages = stages(&stats, "audio_stages");
    report.gpu = stages(&stats, "gpu");
    report.warnings = disturbance(before, after, window, &judged).warnings();
    report.warnings.extend(doubts(&report));
    Ok(report)
}

async fn hang_up(server: &Server, callers: Vec<Client>) -> (Vec<Value>, Vec<super::recording::Recording>) {
    let (mut stats, mut tapes) = (Vec::new(), Vec::new());
    for caller in &callers {
        // Without the server's own numbers the callers' are still good.
        stats.push(server.stats(&caller.id).await.unwrap_or_default());
    }
    for caller in callers {
        tapes.push(caller.hang_up(server).await);
    }
    (stats, tapes)
}

#[derive(Clone, Copy, Default)]
struct Snapshot {
    server: Option<Footprint>,
    callers: Option<Footprint>,
    machine: Option<MachineUse>,
}

impl Snapshot {
    fn take(server: &Server) -> Self {
        Self { server: server.used(), callers: of_process(std::process::id()), machine: MachineUse::now() }
    }
}

fn spent(before: Option<Footprint>, after: Option<Footprint>) -> f64 {
    before.zip(after).map_or(0.0, |(before, after)| after.cpu_s - before.cpu_s)
}

fn cost(idle: Option<Footprint>, before: Snapshot, after: Snapshot, window: Window, sessions: usize) -> Cost {
    let seconds = (window.to - window.from).as_secs_f64();
    let (idle, busy) = (idle.unwrap_or_default(), after.server.unwrap_or_default());
    Cost {
        server_cores: spent(before.server, after.server) / seconds,
        caller_cores: spent(before.callers, after.callers) / seconds,
        idle_mb: idle.resident_mb(),
        per_session_mb: (busy.resident_mb() - idle.resident_mb()) / sessions as f64,
        threads: busy.threads,
    }
}

fn disturbance(before: Snapshot, after: Snapshot, window: Window, judged: &[CallNumbers]) -> Interference {
    let own = spent(before.server, after.server) + spent(before.callers, after.callers);
    let halves = |second: bool| {
        plain(judged.iter().flat_map(|numbers| {
            let (first, last) = numbers.voice_to_frame.split_at(numbers.voice_to_frame.len() / 2);
            if second { last } else { first }.iter().copied()
        }))
        .p50
    };
    let wall = window.to - window.from;
    let mut found = before
        .machine
        .zip(after.machine)
        .map_or_else(Interference::default, |(b, a)| Interference::between(b, a, own, wall));
    found.halves_ms = (halves(false), halves(true));
    found
}

/// What the numbers themselves say against themselves.
fn doubts(report: &BenchReport) -> Vec<String> {
    let mut said = Vec::new();
    if report.markers.found * 10 < report.markers.sent * 9 {
        said.push(format!("only {} of {} markers were found", report.markers.found, report.markers.sent));
    }
    if report.report_skew_ms.is_some_and(|ms| ms.abs() > 10.0) {
        said.push(format!(
            "sender reports put picture and voice {:.1} ms apart",
            report.report_skew_ms.unwrap_or_default()
        ));
    }
    if report.wire.caller_lateness_ms.p95 > 5.0 {
        said.push(format!("the callers spoke late themselves: p95 {:.1} ms", report.wire.caller_lateness_ms.p95));
    }
    said
}

fn summary(judged: &[CallNumbers]) -> BenchReport {
    let all = |pick: fn(&CallNumbers) -> &Vec<f64>| judged.iter().flat_map(pick).copied();
    let count = judged.len() as f64;
    let mean = |pick: fn(&CallNumbers) -> f64| judged.iter().map(pick).sum::<f64>() / count;
    let mut report = BenchReport { machine: Machine::here(), sessions: judged.len(), ..BenchReport::default() };
    let mut sent_late = Histogram::default();
    for numbers in judged {
        report.frames.due += numbers.frames.due;
        report.frames.on_time += numbers.frames.on_time;
        report.frames.late += numbers.frames.late;
        report.frames.dropped += numbers.frames.dropped;
        report.markers = MarkerCount {
            sent: report.markers.sent + numbers.markers.0,
            found: report.markers.found + numbers.markers.1,
        };
        report.slips += numbers.slips;
        sent_late.merge(&numbers.send_lateness);
    }
    report.freezes = all(|n| &n.freezes).count() as u64;
    report.frozen_ms = all(|n| &n.freezes).sum();
    report.voice_to_frame_ms = plain(all(|n| &n.voice_to_frame));
    report.lateness_ms = plain(all(|n| &n.lateness));
    report.av_offset_ms = signed(all(|n| &n.av_offset));
    let within = all(|n| &n.av_offset).filter(|ms| (-40.0..=20.0).contains(ms)).count();
    report.av_within_ratio = within as f64 / report.av_offset_ms.n.max(1) as f64;
    report.report_skew_ms = judged.iter().filter_map(|n| n.report_skew_ms).max_by(|a, b| a.abs().total_cmp(&b.abs()));
    report.wire = Wire {
        voice_jitter_ms: mean(|n| n.voice_jitter_ms),
        frame_jitter_ms: mean(|n| n.frame_jitter_ms),
        video_bps: mean(|n| n.video_bps),
        caller_lateness_ms: sent_late.percentiles(),
    };
    report
}

/// Percentiles of several sessions as one: exact for one session, else means weighted by n (and the largest maximum).
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

fn stages(stats: &[Value], of_what: &str) -> BTreeMap<String, Percentiles> {
    let names: std::collections::BTreeSet<&String> =
        stats.iter().filter_map(|stats| stats[of_what].as_object()).flat_map(|stages| stages.keys()).collect();
    let of = |name: &String| merged(stats.iter().map(|stats| &stats[of_what][name]));
    names.into_iter().map(|name| (format!("{}_ms", name.trim_end_matches("_ms")), of(name))).collect()
}
