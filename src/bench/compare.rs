//! Two results side by side.

use std::fmt::Write as _;
use std::path::Path;

use super::BenchError;
use super::report::BenchReport;
use crate::telemetry::Percentiles;

/// Reads two result files and says what changed.
///
/// # Errors
/// If a file cannot be read or is no result.
pub fn compare(before: &Path, after: &Path) -> Result<String, BenchError> {
    Ok(side_by_side(&read(before)?, &read(after)?))
}

fn read(path: &Path) -> Result<BenchReport, BenchError> {
    let fail = |found: String| BenchError::File { path: path.display().to_string(), found };
    let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| fail(format!("no result of a bench ({error})")))
}

fn side_by_side(before: &BenchReport, after: &BenchReport) -> String {
    let mut out =
        format!("  {:<26}{:>21}{:>21}{:>10}\n", "milliseconds", "p50 before > after", "p95 before > after", "p95");
    let mut row = |name: &str, a: &Percentiles, b: &Percentiles| {
        if a.n > 0 && b.n > 0 {
            let change = 100.0 * (b.p95 / a.p95.max(1e-9) - 1.0);
            let (medians, tails) = (format!("{:.1} > {:.1}", a.p50, b.p50), format!("{:.1} > {:.1}", a.p95, b.p95));
            // Writing into a String cannot fail.
            let _ = writeln!(out, "  {name:<26}{medians:>21}{tails:>21}{change:>+9.1}%");
        }
    };
    row("voice to frame", &before.voice_to_frame_ms, &after.voice_to_frame_ms);
    row("server's own share", &before.server_share_ms, &after.server_share_ms);
    for (name, spans) in &before.stages {
        let label = format!("  {}", name.trim_end_matches("_ms").replace('_', " "));
        after.stages.get(name).into_iter().for_each(|later| row(&label, spans, later));
    }
    for (name, spans) in &before.gpu {
        let label = format!("    {}", name.trim_end_matches("_ms"));
        after.gpu.get(name).into_iter().for_each(|later| row(&label, spans, later));
    }
    row("lateness", &before.lateness_ms, &after.lateness_ms);
    row("stop", &before.stop_ms, &after.stop_ms);
    let lost = |report: &BenchReport| report.frames.late + report.frames.dropped;
    let _ = writeln!(
        out,
        "\n  late or dropped {} of {} > {} of {}; freezes {} > {}",
        lost(before),
        before.frames.due,
        lost(after),
        after.frames.due,
        before.freezes,
        after.freezes
    );
    if (before.machine.cpu.as_str(), before.machine.cores) != (after.machine.cpu.as_str(), after.machine.cores) {
        out.push_str("  ! not the same machine\n");
    }
    if before.sessions != after.sessions {
        let _ = writeln!(out, "  ! not the same number of sessions: {} > {}", before.sessions, after.sessions);
    }
    if !before.warnings.is_empty() || !after.warnings.is_empty() {
        out.push_str("  ! at least one of the runs was disturbed\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_shown_and_another_machine_is_named() {
        let mut before = BenchReport { sessions: 1, ..BenchReport::default() };
        before.voice_to_frame_ms = Percentiles { n: 9, p50: 90.0, p95: 100.0, ..Percentiles::default() };
        let mut after = before.clone();
        after.voice_to_frame_ms.p95 = 110.0;
        after.machine.cores = 64;
        let said = side_by_side(&before, &after);
        assert!(said.contains("100.0 > 110.0") && said.contains("+10.0%") && said.contains("not the same machine"));
    }
}
