//! bench: measures end-to-end latency, capacity and leaks with synthetic WebRTC clients over real UDP.
//!
//! Decides what is measured and how results are presented. `cli` parses flags and prints. The clients use the Opus library and
//! the `webrtc` crates directly instead of `codec` and `rtc`: the measuring code shares nothing with the measured code. The
//! module is behind the cargo feature `bench`, because only it needs those crates.

mod calls;
mod churn;
mod client;
mod compare;
mod connection;
mod interference;
mod interruption;
mod levels;
mod lips;
mod marker;
mod measure;
mod mouth_tracker;
mod plan;
mod procfs;
mod ramp;
mod recorder;
mod recording;
mod report;
mod run;
mod server;
mod signed_percentiles;
mod speech_loop;
mod summary;
mod table;
mod usage;
mod utterance;
mod viewers;

use std::sync::Arc;

use thiserror::Error;

pub use churn::CAPACITY as CHURN_CAPACITY;
pub use compare::compare;
pub use measure::FrameTally;
pub use plan::{BenchKind, BenchPlan, Progress};
pub use procfs::Machine;
pub use report::{BenchReport, Churn, Cost, MarkerCount, NetworkMetrics, RampStep};
pub use server::{Server, Target};
pub use signed_percentiles::SignedPercentiles;
pub use viewers::ViewersReport;

use crate::api_client::ApiError;
use interference::Interference;
use signed_percentiles::{signed, unsigned};
use speech_loop::SpeechLoop;

/// Runs a benchmark. Needs a tokio runtime with timers and network; two threads are enough.
///
/// # Errors
/// If the server does not start or answer, a session does not connect or ends early, or no frame is received.
pub async fn run(plan: BenchPlan, progress: &mut (dyn FnMut(Progress) + Send)) -> Result<BenchReport, BenchError> {
    let speech = Arc::new(SpeechLoop::new()?);
    let timer = interference::idle_timer().await;
    let server = Arc::new(Server::open(&plan.target).await?);
    let mut report = measure_kind(&server, &speech, &plan, progress).await?;
    add_speech_latencies(&mut report, &server, &speech, &plan, progress).await?;
    if plan.kind == BenchKind::Lips {
        progress(Progress::Started { phase: "lip motion".into(), duration: plan.warm_up + plan.measured });
        report.lip_lag_ms = Some(signed(lips::measure(&server, &speech, &plan).await?));
    }
    report.warnings.extend(Interference { timer_p95_ms: timer.p95, ..Interference::default() }.warnings());
    Ok(report)
}

/// Adds the interruptions and the streamed utterances of the plan.
async fn add_speech_latencies(
    report: &mut BenchReport,
    server: &Server,
    speech: &Arc<SpeechLoop>,
    plan: &BenchPlan,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<(), BenchError> {
    if plan.interruptions > 0 {
        let latencies = interruption::measure(server, speech, plan, progress).await?;
        report.interruption_audio_ms = unsigned(latencies.audio.iter().copied().flatten());
        report.interruption_video_ms = unsigned(latencies.video.iter().copied().flatten());
        report.interruption_ms = unsigned(latencies.later());
    }
    if plan.utterances > 0 {
        let latencies = utterance::measure(server, speech, plan, progress).await?;
        report.speech_to_audio_ms = unsigned(latencies.into_iter().flatten());
        if report.speech_to_audio_ms.n < plan.utterances as u64 {
            let heard = report.speech_to_audio_ms.n;
            report.warnings.push(format!("only {heard} of {} utterances were heard", plan.utterances));
        }
    }
    Ok(())
}

async fn measure_kind(
    server: &Arc<Server>,
    speech: &Arc<SpeechLoop>,
    plan: &BenchPlan,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<BenchReport, BenchError> {
    // A ramp reports each of its steps.
    if plan.kind != BenchKind::Ramp {
        progress(Progress::measuring(plan.sessions, plan));
    }
    match plan.kind {
        BenchKind::Latency | BenchKind::Lips => run::measure_latency(server, speech, plan, plan.sessions).await,
        BenchKind::Viewers(viewers) => viewers::measure(server, speech, plan, viewers, progress).await,
        BenchKind::Ramp => ramp::measure(server, speech, plan, progress).await,
        BenchKind::Churn(sessions) => {
            let churn = Some(churn::measure(server, speech, plan, sessions, progress).await?);
            let server = server.server_info().await?;
            Ok(BenchReport { machine: Machine::here(), server, churn, ..BenchReport::default() })
        }
    }
}

/// Why a benchmark has no result.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BenchError {
    /// The child process did not start, or did not print its address.
    #[error("cannot start the server: {found}")]
    NoStart {
        /// Cause.
        found: String,
    },
    /// A request failed.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// A WebRTC connection was not established.
    #[error("the call did not connect: {found}")]
    NotConnected {
        /// Cause.
        found: String,
    },
    /// Calls ended during the measurement.
    #[error("{ended} of {calls} calls ended during the measurement")]
    CallsEnded {
        /// Calls that ended.
        ended: usize,
        /// All calls.
        calls: usize,
    },
    /// The server stopped answering during the measurement.
    #[error("the server ended during the measurement: {found}")]
    ServerEnded {
        /// Cause.
        found: String,
    },
    /// Streamed speech was not spoken.
    #[error("the speech stream failed: {found}")]
    SpeechStream {
        /// Cause.
        found: String,
    },
    /// Speech could not be encoded or decoded.
    #[error("cannot encode or decode Opus: {0}")]
    Opus(#[from] opus::Error),
    /// A result file could not be read.
    #[error("cannot use {path}: {found}")]
    File {
        /// Path.
        path: String,
        /// Cause.
        found: String,
    },
    /// Received video could not be decoded.
    #[error("cannot decode the received video: {found}")]
    VideoDecoder {
        /// Cause.
        found: String,
    },
    /// A client received no frame.
    #[error("no frame was received within {seconds} s")]
    NoFrames {
        /// Length of the measurement.
        seconds: f64,
    },
}
