//! bench: measures the whole path from voice to face with synthetic callers over real UDP.
//!
//! Decides what is measured and how it is said. Does not parse flags or print: `cli` does. It uses the Opus library and
//! the `webrtc` stack directly, not through `codec` and `rtc`: what measures shares nothing with what is measured.

mod churn;
mod client;
mod compare;
mod interference;
mod lips;
mod marker;
mod measure;
mod mouth_tracker;
mod plan;
mod procfs;
mod ramp;
mod recording;
mod report;
mod run;
mod server;
mod signed_percentiles;
mod speech_loop;
mod stop;

use std::sync::Arc;

use thiserror::Error;

pub use churn::PLACES as CHURN_PLACES;
pub use compare::compare;
pub use measure::FrameTally;
pub use plan::{BenchKind, BenchPlan, Progress};
pub use procfs::{Machine, MachineUse};
pub use report::{BenchReport, Churn, Cost, MarkerCount, RampStep, Wire};
pub use server::{Server, Target};
pub use signed_percentiles::SignedPercentiles;

use speech_loop::VoiceLoop;

/// Runs a bench. Needs a tokio runtime with timers and network; two threads are enough.
///
/// # Errors
/// If the server does not start or answer, a call does not come to stand, or no frame comes back.
pub async fn run(plan: BenchPlan, progress: &mut (dyn FnMut(Progress) + Send)) -> Result<BenchReport, BenchError> {
    let voice = Arc::new(VoiceLoop::new()?);
    let timer = interference::idle_timer().await;
    let server = Arc::new(Server::open(&plan.target).await?);
    let mut report = measured(&server, &voice, &plan, progress).await?;
    let idle = interference::Interference { timer_p95_ms: timer.p95, ..interference::Interference::default() };
    report.warnings.extend(idle.warnings());
    Ok(report)
}

async fn measured(
    server: &Arc<Server>,
    voice: &Arc<VoiceLoop>,
    plan: &BenchPlan,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<BenchReport, BenchError> {
    let takes = plan.warm_up + plan.measured;
    // A ramp says itself which step it is at.
    if plan.kind != BenchKind::Ramp {
        progress(Progress::began(plan.sessions, plan));
    }
    let mut report = match plan.kind {
        BenchKind::Latency | BenchKind::Lips => run::latency(server, voice, plan, plan.sessions).await?,
        BenchKind::Ramp => ramp::measure(server, voice, plan, progress).await?,
        BenchKind::Churn(times) => {
            let churn = Some(churn::measure(server, voice, plan, times, progress).await?);
            let server = server.about().await?;
            BenchReport { machine: Machine::here(), server, churn, ..BenchReport::default() }
        }
    };
    if plan.stops > 0 {
        let stops = stop::measure(server, voice, plan, progress).await?;
        report.stop_voice_ms = signed_percentiles::plain(stops.voice.iter().copied().flatten());
        report.stop_picture_ms = signed_percentiles::plain(stops.picture.iter().copied().flatten());
        report.stop_ms = signed_percentiles::plain(stops.later());
    }
    if plan.kind == BenchKind::Lips {
        progress(Progress::Began { what: "the lips".into(), takes });
        report.lip_lag_ms = Some(signed_percentiles::signed(lips::measure(server, voice, plan).await?));
    }
    Ok(report)
}

/// Why nothing was measured.
#[derive(Debug, Error)]
pub enum BenchError {
    /// The server did not start or answer.
    #[error("wanted a server that answers, found: {found}")]
    NoServer {
        /// What was found.
        found: String,
    },
    /// The server said no.
    #[error("wanted {path} to succeed, found status {status}: {found}")]
    Refused {
        /// What was asked.
        path: String,
        /// The HTTP status.
        status: u16,
        /// What it said.
        found: String,
    },
    /// A call did not come to stand.
    #[error("wanted a call that stands, found: {found}")]
    NoCall {
        /// What was found.
        found: String,
    },
    /// The voice could not be encoded or decoded.
    #[error("wanted to encode and decode the voice: {0}")]
    Opus(#[from] opus::Error),
    /// A file could not be read or written.
    #[error("wanted to use {path}, found: {found}")]
    File {
        /// The file.
        path: String,
        /// What was found.
        found: String,
    },
    /// Pictures could not be decoded.
    #[error("wanted to decode the pictures, found: {found}")]
    VideoFrame {
        /// What was found.
        found: String,
    },
    /// No frame came back.
    #[error("wanted frames, found none after {seconds} s")]
    NoFrames {
        /// Length of the run.
        seconds: f64,
    },
}
