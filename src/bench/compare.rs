//! Compares two result files.

use std::fmt::Write as _;
use std::path::Path;

use super::BenchError;
use super::report::BenchReport;
use crate::telemetry::Percentiles;

/// Reads two result files (`bench --json`) and returns a table of the changes.
///
/// # Errors
/// If a file cannot be read or is not a result.
pub fn compare(before: &Path, after: &Path) -> Result<String, BenchError> {
    Ok(comparison_table(&read(before)?, &read(after)?))
}

fn read(path: &Path) -> Result<BenchReport, BenchError> {
    let fail = |found: String| BenchError::File { path: path.display().to_string(), found };
    let text = std::fs::read_to_string(path).map_err(|error| fail(error.to_string()))?;
    serde_json::from_str(&text).map_err(|error| fail(format!("not a result of bench ({error})")))
}

/// A table with one row per metric that both results have, then the lost frames, then what makes the results incomparable:
///
/// ```text
///   milliseconds                 p50 before > after   p95 before > after       p95
///   audio to frame                      90.0 > 88.0        100.0 > 110.0    +10.0%
///     render                                2.0 > 1.5            3.1 > 2.2    -29.0%
///
///   late or dropped 0 of 500 > 3 of 500; freezes 0 > 0
///   ! different machines
/// ```
fn comparison_table(before: &BenchReport, after: &BenchReport) -> String {
    let mut out =
        format!("  {:<26}{:>21}{:>21}{:>10}\n", "milliseconds", "p50 before > after", "p95 before > after", "p95");
    for (name, before, after) in rows(before, after) {
        latency_row(&mut out, &name, before, after);
    }
    out.push_str(&lost_frames(before, after));
    for warning in warnings(before, after) {
        // Writing into a String cannot fail.
        let _ = writeln!(out, "  ! {warning}");
    }
    out
}

/// Names and percentiles of the metrics in both results; stages only if both have them.
fn rows<'a>(before: &'a BenchReport, after: &'a BenchReport) -> Vec<(String, &'a Percentiles, &'a Percentiles)> {
    let mut rows = vec![
        ("audio to frame".to_owned(), &before.audio_to_frame_ms, &after.audio_to_frame_ms),
        ("processing".to_owned(), &before.processing_ms, &after.processing_ms),
    ];
    for (indent, before, after) in
        [("  ", &before.video_stages, &after.video_stages), ("    ", &before.gpu, &after.gpu)]
    {
        rows.extend(before.iter().filter_map(|(name, spans)| {
            let label = format!("{indent}{}", name.trim_end_matches("_ms").replace('_', " "));
            Some((label, spans, after.get(name)?))
        }));
    }
    rows.push(("lateness".to_owned(), &before.lateness_ms, &after.lateness_ms));
    rows.push(("streamed speech to audio".to_owned(), &before.speech_to_audio_ms, &after.speech_to_audio_ms));
    rows.push(("interruption".to_owned(), &before.interruption_ms, &after.interruption_ms));
    rows
}

/// A row, unless one of the results did not measure the metric.
fn latency_row(out: &mut String, name: &str, before: &Percentiles, after: &Percentiles) {
    if before.n == 0 || after.n == 0 {
        return;
    }
    let change = 100.0 * (after.p95 / before.p95.max(1e-9) - 1.0);
    let medians = format!("{:.1} > {:.1}", before.p50, after.p50);
    let tails = format!("{:.1} > {:.1}", before.p95, after.p95);
    let _ = writeln!(out, "  {name:<26}{medians:>21}{tails:>21}{change:>+9.1}%");
}

fn lost_frames(before: &BenchReport, after: &BenchReport) -> String {
    let lost =
        |report: &BenchReport| format!("{} of {}", report.frames.late + report.frames.dropped, report.frames.due);
    let (lost, freezes) = ([lost(before), lost(after)], [before.freezes, after.freezes]);
    format!("\n  late or dropped {} > {}; freezes {} > {}\n", lost[0], lost[1], freezes[0], freezes[1])
}

/// Why the results may not be comparable.
fn warnings(before: &BenchReport, after: &BenchReport) -> Vec<String> {
    let mut warnings = Vec::new();
    if (&before.machine.cpu, before.machine.cores) != (&after.machine.cpu, after.machine.cores) {
        warnings.push("different machines".to_owned());
    }
    if before.sessions != after.sessions {
        warnings.push(format!("different numbers of sessions: {} > {}", before.sessions, after.sessions));
    }
    if !before.warnings.is_empty() || !after.warnings.is_empty() {
        warnings.push("interference in at least one of the runs".to_owned());
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_shown_and_a_different_machine_is_a_warning() {
        let mut before = BenchReport { sessions: 1, ..BenchReport::default() };
        before.audio_to_frame_ms = Percentiles { n: 9, p50: 90.0, p95: 100.0, ..Percentiles::default() };
        before
            .video_stages
            .insert("render_ms".into(), Percentiles { n: 9, p50: 2.0, p95: 3.0, ..Percentiles::default() });
        let mut after = before.clone();
        after.audio_to_frame_ms.p95 = 110.0;
        after.machine.cores = 64;
        let table = comparison_table(&before, &after);
        for part in ["100.0 > 110.0", "+10.0%", "    render  ", "! different machines"] {
            assert!(table.contains(part), "{part}: {table}");
        }
        assert!(!table.contains("interruption"), "not measured: {table}");
    }
}
