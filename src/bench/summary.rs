//! Combines the metrics of all clients and the server's own statistics into one report.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::measure::ClientMetrics;
use super::procfs::Machine;
use super::report::{BenchReport, MarkerCount, NetworkMetrics};
use super::signed_percentiles::{signed, unsigned};
use crate::telemetry::{Histogram, Percentiles};

/// Offsets of the video behind the audio, in milliseconds, that count as synchronous: stricter than EBU R37 (-60 to +40 ms).
const AV_OFFSET_MS: std::ops::RangeInclusive<f64> = -40.0..=20.0;

/// Warnings about values that contradict each other.
#[must_use]
pub fn plausibility_warnings(report: &BenchReport) -> Vec<String> {
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

/// Adds what the server measured, session by session.
pub fn add_server_stats(report: &mut BenchReport, stats: &[Value]) {
    report.processing_ms = merged(stats.iter().map(|stats| &stats["processing_ms"]));
    report.video_stages = stages(stats, "video_stages");
    report.audio_stages = stages(stats, "audio_stages");
    report.gpu = stages(stats, "gpu");
}

/// All clients as one report.
#[must_use]
pub fn summary(metrics: &[ClientMetrics]) -> BenchReport {
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
    report.audio_to_frame_ms = unsigned(all(|n| &n.audio_to_frame));
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
