//! More and more callers, until frames come late.

use std::sync::Arc;

use super::BenchError;
use super::measure::FRAME_MS;
use super::plan::{BenchPlan, Progress};
use super::report::{BenchReport, RampStep};
use super::run::latency;
use super::server::Server;
use super::speech_loop::VoiceLoop;

/// Numbers of callers that are tried, until one breaks.
const STEPS: [usize; 15] = [1, 2, 3, 4, 6, 8, 10, 12, 14, 16, 20, 24, 32, 48, 64];
/// A step that breaks is tried this often: what passes by on the machine must not end the ramp.
const TRIALS: usize = 2;

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
    progress(Progress::began(1, plan));
    let mut best = latency(server, voice, plan, 1).await?;
    let ramp = Ramp { server, voice, plan, alone_ms: best.voice_to_frame_ms.p95 };
    let mut steps = vec![step(&best, ramp.alone_ms)];
    for sessions in STEPS.into_iter().skip(1).take_while(|sessions| *sessions <= plan.sessions) {
        let (step, report) = ramp.climb(sessions, progress).await;
        let holds = step.holds;
        steps.push(step);
        match report {
            Some(report) if holds => best = report,
            report => {
                let noise = report.into_iter().flat_map(|report| report.warnings);
                best.warnings.extend(noise.map(|warning| format!("at {sessions} sessions: {warning}")));
                break;
            }
        }
    }
    best.ramp = steps;
    Ok(best)
}

/// What all steps share.
struct Ramp<'a> {
    server: &'a Server,
    voice: &'a Arc<VoiceLoop>,
    plan: &'a BenchPlan,
    alone_ms: f64,
}

impl Ramp<'_> {
    /// One step, tried until it holds or [`TRIALS`] are over: the last trial counts.
    async fn climb(
        &self,
        sessions: usize,
        progress: &mut (dyn FnMut(Progress) + Send),
    ) -> (RampStep, Option<BenchReport>) {
        let mut last = (RampStep::default(), None);
        for _ in 0..TRIALS {
            progress(Progress::began(sessions, self.plan));
            last = match latency(self.server, self.voice, self.plan, sessions).await {
                Ok(report) => (step(&report, self.alone_ms), Some(report)),
                Err(error) => (unmeasured(sessions, &error), None),
            };
            if last.0.holds {
                break;
            }
        }
        last
    }
}

fn unmeasured(sessions: usize, error: &BenchError) -> RampStep {
    RampStep { sessions, breaks: vec![error.to_string()], ..RampStep::default() }
}

/// A step holds if 95 % of the frames come less than a frame late, 99 % are on time, none of that hidden behind a delay that
/// grew by more than a frame since the first step.
fn step(report: &BenchReport, alone_ms: f64) -> RampStep {
    let on_time_ratio = report.frames.on_time as f64 / report.frames.due.max(1) as f64;
    let (late, delay) = (report.lateness_ms.p95, report.voice_to_frame_ms.p95);
    let rules = [
        (late >= FRAME_MS, "frames come a frame late"),
        (on_time_ratio < 0.99, "under 99 % on time"),
        (delay >= alone_ms + FRAME_MS, "the delay grew by a frame"),
    ];
    let breaks: Vec<String> =
        rules.iter().filter(|(is_broken, _)| *is_broken).map(|(_, why)| (*why).to_owned()).collect();
    RampStep {
        sessions: report.sessions,
        on_time_ratio,
        lateness_p95_ms: late,
        voice_to_frame_p95_ms: delay,
        server_cores: report.cost.server_cores,
        caller_cores: report.cost.caller_cores,
        holds: breaks.is_empty(),
        breaks,
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
        assert_eq!(step(&report, 79.0).breaks, ["the delay grew by a frame"]);
        report.frames.on_time = 980;
        assert_eq!(step(&report, 100.0).breaks, ["under 99 % on time"]);
    }
}
