//! Capacity: a growing number of sessions, until frames are late.

use std::sync::Arc;

use super::BenchError;
use super::measure::FRAME_MS;
use super::plan::{BenchPlan, Progress};
use super::report::{BenchReport, RampStep};
use super::run::measure_latency;
use super::server::Server;
use super::speech_loop::SpeechLoop;

/// Numbers of sessions, tried in order until one fails.
const STEPS: [usize; 15] = [1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 20, 24, 32, 48, 64];
/// Attempts per step: interference that passes must not end the ramp.
const ATTEMPTS: usize = 2;

/// Measures the steps up to `plan.sessions`. Returns the report of the last step that passed, or of the first if none did, with
/// all steps in it.
///
/// # Errors
/// If a single session cannot be measured.
pub async fn measure(
    server: &Server,
    speech: &Arc<SpeechLoop>,
    plan: &BenchPlan,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<BenchReport, BenchError> {
    progress(Progress::measuring(1, plan));
    let mut best = measure_latency(server, speech, plan, 1).await?;
    let ramp = Ramp { server, speech, plan, baseline_ms: best.audio_to_frame_ms.p95 };
    let mut steps = vec![evaluate(&best, ramp.baseline_ms)];
    for sessions in STEPS.into_iter().skip(1).take_while(|sessions| *sessions <= plan.sessions) {
        let (step, report) = ramp.run_step(sessions, progress).await;
        let passes = step.passes;
        steps.push(step);
        match report {
            Some(report) if passes => best = report,
            report => {
                let warnings = report.into_iter().flat_map(|report| report.warnings);
                best.warnings.extend(warnings.map(|warning| format!("at {sessions} sessions: {warning}")));
                break;
            }
        }
    }
    best.ramp = steps;
    Ok(best)
}

/// Parameters of all steps.
struct Ramp<'a> {
    server: &'a Server,
    speech: &'a Arc<SpeechLoop>,
    plan: &'a BenchPlan,
    baseline_ms: f64,
}

impl Ramp<'_> {
    /// Measures one step, up to [`ATTEMPTS`] times until it passes. The last attempt counts.
    async fn run_step(
        &self,
        sessions: usize,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> (RampStep, Option<BenchReport>) {
        let mut last = (RampStep::default(), None);
        for _ in 0..ATTEMPTS {
            progress(Progress::measuring(sessions, self.plan));
            last = match measure_latency(self.server, self.speech, self.plan, sessions).await {
                Ok(report) => (evaluate(&report, self.baseline_ms), Some(report)),
                Err(error) => (failed_step(sessions, &error), None),
            };
            if last.0.passes {
                break;
            }
        }
        last
    }
}

fn failed_step(sessions: usize, error: &BenchError) -> RampStep {
    RampStep { sessions, failures: vec![error.to_string()], ..RampStep::default() }
}

/// A step passes if the 95th percentile of lateness is below a frame interval, 99 % of the frames are on time, and the latency has
/// grown by less than a frame interval since the first step (a growing latency hides late frames).
fn evaluate(report: &BenchReport, baseline_ms: f64) -> RampStep {
    let on_time_ratio = report.frames.on_time_ratio();
    let (lateness, latency) = (report.lateness_ms.p95, report.audio_to_frame_ms.p95);
    let rules = [
        (lateness >= FRAME_MS, "p95 lateness reaches a frame interval"),
        (on_time_ratio < 0.99, "less than 99 % on time"),
        (latency >= baseline_ms + FRAME_MS, "latency grew by a frame interval"),
    ];
    let failures: Vec<String> =
        rules.iter().filter(|(is_violated, _)| *is_violated).map(|(_, rule)| (*rule).to_owned()).collect();
    RampStep {
        sessions: report.sessions,
        on_time_ratio,
        lateness_p95_ms: lateness,
        audio_to_frame_p95_ms: latency,
        server_cores: report.cost.server_cores,
        client_cores: report.cost.client_cores,
        passes: failures.is_empty(),
        failures,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_latency_that_grew_by_a_frame_interval_fails_a_step_even_if_frames_are_regular() {
        let mut report = BenchReport { sessions: 8, ..BenchReport::default() };
        (report.frames.due, report.frames.on_time) = (1000, 995);
        (report.lateness_ms.p95, report.audio_to_frame_ms.p95) = (12.0, 120.0);
        assert!(evaluate(&report, 100.0).passes);
        assert_eq!(evaluate(&report, 79.0).failures, ["latency grew by a frame interval"]);
        report.frames.on_time = 980;
        assert_eq!(evaluate(&report, 100.0).failures, ["less than 99 % on time"]);
    }
}
