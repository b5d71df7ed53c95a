//! One measurement with a fixed number of sessions: connect, warm up, measure, close, analyse.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::BenchError;
use super::calls::{hold, stats_of};
use super::client::{Client, ClientPlan, Payloads, Speech};
use super::measure::{ClientMetrics, analyze};
use super::plan::BenchPlan;
use super::recording::Recording;
use super::report::BenchReport;
use super::server::Server;
use super::speech_loop::SpeechLoop;
use super::summary::{add_server_stats, plausibility_warnings, summary};
use super::usage::Usage;
use crate::telemetry::Footprint;
use crate::time::Wall;

/// Time after the measured interval in which its late frames and its last audio still arrive.
pub const TRAILING: Duration = Duration::from_millis(500);

/// Measures `sessions` concurrent sessions on `server`.
///
/// All clients connect before the warm-up starts, so that no connection falls into the measured interval. Processor time is the
/// difference of two readings at its ends. The sessions' own statistics are read before the sessions end, and the packet logs
/// are analysed after that: analysis costs processor time that would disturb the measurement.
///
/// # Errors
/// If the server refuses, a call does not connect, the server ends a session, or a client receives no frame.
pub async fn measure_latency(
    server: &Server,
    speech: &Arc<SpeechLoop>,
    plan: &BenchPlan,
    sessions: usize,
) -> Result<BenchReport, BenchError> {
    let epoch = Wall.now();
    let idle = server.footprint().unwrap_or_default();
    let clients = connect(server, speech, plan, ClientCount { sessions, epoch }).await?;
    hold(server, &clients, plan.warm_up).await?;
    let usage = Usage::measure(server, &clients, plan.measured, epoch).await?;
    hold(server, &clients, TRAILING).await?;
    let (stats, recordings) = close(server, clients).await?;
    let metrics = analyze_all(&recordings, speech, &usage)?;
    report_of(server, (&metrics, &stats), &usage, idle).await
}

/// The report of a measured interval, by the metrics of its clients and the statistics of their sessions.
///
/// # Errors
/// If the server does not answer any more.
pub async fn report_of(
    server: &Server,
    (metrics, stats): (&[ClientMetrics], &[Value]),
    usage: &Usage,
    idle: Footprint,
) -> Result<BenchReport, BenchError> {
    let mut report = summary(metrics);
    report.seconds = usage.seconds();
    report.cost = usage.cost(idle, metrics.len());
    report.server = server.server_info().await?;
    add_server_stats(&mut report, stats);
    report.warnings = usage.interference(metrics).warnings();
    report.warnings.extend(plausibility_warnings(&report));
    Ok(report)
}

/// How many clients connect, and the origin of their times.
pub struct ClientCount {
    /// Sessions.
    pub sessions: usize,
    /// Origin of the times.
    pub epoch: Instant,
}

/// Connects clients that send the speech loop.
///
/// # Errors
/// If the server refuses, or a call does not connect.
pub async fn connect(
    server: &Server,
    speech: &Arc<SpeechLoop>,
    plan: &BenchPlan,
    ClientCount { sessions, epoch }: ClientCount,
) -> Result<Vec<Client>, BenchError> {
    let mut clients = Vec::with_capacity(sessions);
    for number in 0..sessions {
        let client_plan = ClientPlan { number, payloads: Payloads::Audio, speech: Speech::Loop, epoch };
        clients.push(Client::connect(server, Arc::clone(speech), client_plan, plan.avatar.as_deref()).await?);
    }
    Ok(clients)
}

/// Reads the statistics of all sessions, then ends them.
async fn close(server: &Server, clients: Vec<Client>) -> Result<(Vec<Value>, Vec<Recording>), BenchError> {
    let stats = stats_of(server, &clients).await;
    let mut recordings = Vec::with_capacity(clients.len());
    for client in clients {
        recordings.push(client.close(server).await);
    }
    Ok((stats?, recordings))
}

/// Metrics of each client; each must have received a frame.
///
/// # Errors
/// If one received none, or the Opus library cannot create a decoder.
pub fn analyze_all(
    recordings: &[Recording],
    speech: &SpeechLoop,
    usage: &Usage,
) -> Result<Vec<ClientMetrics>, BenchError> {
    let metrics: Result<Vec<_>, _> = recordings.iter().map(|one| analyze(one, speech, usage.window)).collect();
    let metrics = metrics?;
    let has_frames = metrics.iter().all(|client| !client.lateness.is_empty());
    if has_frames { Ok(metrics) } else { Err(BenchError::NoFrames { seconds: usage.seconds() }) }
}
