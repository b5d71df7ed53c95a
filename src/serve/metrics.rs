//! `/metrics` in Prometheus' text format, version 0.0.4.

use std::fmt::Write as _;
use std::fs;

use super::state::AppState;
use crate::telemetry::Percentiles;

/// One family of metrics being written.
struct Page(String);

/// Everything at this moment.
#[must_use]
pub fn text(state: &AppState) -> String {
    let totals = state.studio.totals();
    let mut page = Page(String::new());
    let facts = &state.facts;
    let build = format!("version=\"{}\",pack=\"{}\",backend=\"{}\"", facts.version, facts.pack, facts.backend);
    page.family("visage_build_info", "gauge", "What runs.", &[(build, 1.0)]);
    page.one("visage_sessions", "gauge", "Sessions now.", state.studio.sessions().len() as f64);
    page.one("visage_sessions_limit", "gauge", "Places.", state.studio.config().max_sessions as f64);
    let frames = totals.frames;
    let outcomes =
        [("due", frames.due), ("on_time", frames.on_time), ("late", frames.late), ("dropped", frames.dropped)];
    page.family("visage_frames_total", "counter", "Frames by outcome.", &labelled("outcome", &outcomes));
    let losses: Vec<_> = totals.losses.iter().map(|(reason, count)| (*reason, *count)).collect();
    page.family("visage_losses_total", "counter", "What was lost, by reason.", &labelled("reason", &losses));
    page.summary(
        "visage_voice_to_frame_seconds",
        "From a packet of voice to the first frame that shows it.",
        "",
        &totals.voice_to_frame_ms,
    );
    page.summary(
        "visage_server_share_seconds",
        "The same without look-ahead and slot wait.",
        "",
        &totals.server_share_ms,
    );
    page.head("visage_stage_seconds", "summary", "Time in each stage.");
    for (stage, spans) in &totals.stages {
        page.quantiles("visage_stage_seconds", &format!("stage=\"{stage}\""), spans);
    }
    if let Some(bytes) = resident_bytes() {
        page.one("process_resident_memory_bytes", "gauge", "Memory in use.", bytes);
    }
    page.0
}

fn labelled(label: &str, rows: &[(&str, u64)]) -> Vec<(String, f64)> {
    rows.iter().map(|(value, count)| (format!("{label}=\"{value}\""), *count as f64)).collect()
}

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn family(&mut self, name: &str, kind: &str, help: &str, rows: &[(String, f64)]) {
        self.head(name, kind, help);
        for (labels, value) in rows {
            let _ = writeln!(self.0, "{name}{{{labels}}} {value}");
        }
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.head(name, kind, help);
        let _ = writeln!(self.0, "{name} {value}");
    }

    fn summary(&mut self, name: &str, help: &str, labels: &str, spans: &Percentiles) {
        self.head(name, "summary", help);
        self.quantiles(name, labels, spans);
    }

    fn quantiles(&mut self, name: &str, labels: &str, spans: &Percentiles) {
        let comma = if labels.is_empty() { "" } else { "," };
        for (quantile, ms) in [("0.5", spans.p50), ("0.9", spans.p90), ("0.95", spans.p95), ("0.99", spans.p99)] {
            let _ = writeln!(self.0, "{name}{{{labels}{comma}quantile=\"{quantile}\"}} {}", ms / 1000.0);
        }
        let braces = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let _ = writeln!(self.0, "{name}_count{braces} {}", spans.n);
        let _ = writeln!(self.0, "{name}_sum{braces} {}", spans.sum / 1000.0);
    }
}

/// Resident memory by Linux's /proc; elsewhere unknown.
fn resident_bytes() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse::<f64>().ok().map(|kib| kib * 1024.0)
}
