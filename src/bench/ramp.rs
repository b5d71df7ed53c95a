//! More and more callers, until frames come late.

use std::sync::Arc;

use super::BenchError;
use super::measure::FRAME_MS;
use super::plan::{BenchPlan, Progress};
use super::report::{BenchReport, RampStep};
use super::run::latency;
use super::server::Server;
use super::voice::VoiceLoop;

/// Numbers of callers that are tried, until one breaks.
const STEPS: [usize; 16] = [1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 20, 24, 32, 48, 64, 96];

/// Tries the steps up to `plan.sessions`; the report of the last good one (or of the first, if none is) with all steps in it.
///
/// # Errors
/// If not even one caller can be measured.
pub async fn measure(
    server: &Server,
    voice: &Arc<VoiceLoop>,
    plan: &BenchPlan,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<BenchReport, BenchError> {
    let mut best = latency(server, voice, plan, 1).await?;
    let alone_ms = best.voice_to_frame_ms.p95;
    let mut steps = vec![step(&best, alone_ms)];
    for sessions in STEPS.into_iter().skip(1).take_while(|sessions| *sessions <= plan.sessions) {
        progress(Progress::Began { what: format!("{sessions} sessions"), takes: plan.warm_up + plan.measured });
        let found = latency(server, voice, plan, sessions).await;
        steps
            .push(found.as_ref().map_or(RampStep { sessions, ..RampStep::default() }, |report| step(report, alone_ms)));
        match found {
            Ok(report) if steps.last().is_some_and(|step| step.holds) => best = report,
            _ => break,
        }
    }
    best.ramp = steps;
    Ok(best)
}

/// A step holds if 95 % of the frames come less than a frame late, 99 % are on time, none of that hidden behind a delay that
/// grew by more than a frame since the first step.
fn step(report: &BenchReport, alone_ms: f64) -> RampStep {
    let on_time_ratio = report.frames.on_time as f64 / report.frames.due.max(1) as f64;
    let (late, delay) = (report.lateness_ms.p95, report.voice_to_frame_ms.p95);
    RampStep {
        sessions: report.sessions,
        on_time_ratio,
        lateness_p95_ms: late,
        voice_to_frame_p95_ms: delay,
        server_cores: report.cost.server_cores,
        caller_cores: report.cost.caller_cores,
        holds: late < FRAME_MS && on_time_ratio >= 0.99 && delay < alone_ms + FRAME_MS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_that_grew_by_a_frame_breaks_a_step_even_if_frames_come_evenly() {
        let mut report = BenchReport { sessions: 8, ..BenchReport::default() };
        (report.frames.due, report.frames.on_time) = (1000, 995);
        (report.lateness_ms.p95, report.voice_to_frame_ms.p95) = (12.0, 120.0);
        assert!(step(&report, 100.0).holds);
        assert!(!step(&report, 79.0).holds);
        report.frames.on_time = 980;
        assert!(!step(&report, 100.0).holds);
    }
}
