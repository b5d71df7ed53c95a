//! Cost of viewers: one session, first watched by its creator alone, then by additional viewers.
//!
//! Both intervals have the same length and the same server, so that the difference of their processor time is the viewers'.

use std::sync::Arc;
use std::time::Instant;

use futures_util::future::try_join_all;
use serde::{Deserialize, Serialize};

use super::BenchError;
use super::calls::{check, hold, stats_of};
use super::client::Client;
use super::measure::{FrameTally, Window, analyze_viewer};
use super::plan::{BenchPlan, Progress};
use super::recording::Recording;
use super::report::BenchReport;
use super::run::{ClientCount, TRAILING, analyze_all, connect, report_of};
use super::server::Server;
use super::signed_percentiles::unsigned;
use super::speech_loop::SpeechLoop;
use super::usage::Usage;
use crate::telemetry::Percentiles;
use crate::time::Wall;

/// Viewers that connect at the same time: connecting is mostly waiting for the client's ICE timers.
const CONCURRENT_JOINS: usize = 8;

/// One session with additional viewers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ViewersReport {
    /// Viewers besides the session's creator.
    pub viewers: usize,
    /// Frame counts of these viewers.
    pub frames: FrameTally,
    /// Share of the frames that were on time at each viewer, in the order in which they joined.
    pub on_time_ratios: Vec<f64>,
    /// The smallest of these.
    pub worst_on_time_ratio: f64,
    /// Lateness of their frames.
    pub lateness_ms: Percentiles,
    /// Connection time: from the offer to the connected call.
    pub join_ms: Percentiles,
    /// Frames that the server encoded, divided by the frames of the timeline.
    pub encodes_per_frame: f64,
    /// Cores used by the server without these viewers.
    pub server_cores_without: f64,
    /// Cores used by the server with them.
    pub server_cores_with: f64,
    /// Cores used by the clients without these viewers.
    pub client_cores_without: f64,
    /// Cores used by the clients with them.
    pub client_cores_with: f64,
    /// Processor time of the server per viewer, in percent of a core.
    pub core_percent_per_viewer: f64,
}

/// Measures a session without and then with `viewers` additional viewers. The report's other figures are those of the creator's
/// call in the second interval.
///
/// # Errors
/// If the server refuses, a call does not connect, the server ends one, or a client receives no frame.
pub async fn measure(
    server: &Server,
    speech: &Arc<SpeechLoop>,
    plan: &BenchPlan,
    viewers: usize,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<BenchReport, BenchError> {
    let epoch = Wall.now();
    let idle = server.footprint().unwrap_or_default();
    let mut clients = connect(server, speech, plan, ClientCount { sessions: 1, epoch }).await?;
    let without = Interval::measure(server, &clients, plan, epoch).await?;
    progress(Progress::Started { phase: format!("{viewers} viewers"), duration: plan.warm_up + plan.measured });
    let join_ms = join(server, &mut clients, viewers, epoch).await?;
    let with = Interval::measure(server, &clients, plan, epoch).await?;
    hold(server, &clients, TRAILING).await?;
    check(server, &clients).await?;
    let stats = stats_of(server, &clients[..1]).await?;
    let recordings = close(server, clients).await;
    let metrics = analyze_all(&recordings[..1], speech, &with.usage)?;
    let mut report = report_of(server, (&metrics, &stats), &with.usage, idle).await?;
    let received = received(&recordings[1..], with.usage.window);
    report.viewers = Some(ViewersReport { join_ms, ..costs(&without, &with, report.frames.due, received) });
    Ok(report)
}

/// Adds viewers of the first client's session; returns how long they took to connect.
async fn join(
    server: &Server,
    clients: &mut Vec<Client>,
    viewers: usize,
    epoch: Instant,
) -> Result<Percentiles, BenchError> {
    let session = clients[0].id.clone();
    let mut connection_ms = Vec::with_capacity(viewers);
    while connection_ms.len() < viewers {
        let concurrent = CONCURRENT_JOINS.min(viewers - connection_ms.len());
        for (client, ms) in try_join_all((0..concurrent).map(|_| join_one(server, &session, epoch))).await? {
            clients.push(client);
            connection_ms.push(ms);
        }
    }
    Ok(unsigned(connection_ms))
}

async fn join_one(server: &Server, session: &str, epoch: Instant) -> Result<(Client, f64), BenchError> {
    let start = Wall.now();
    let client = Client::watch(server, session, epoch).await?;
    Ok((client, Wall.now().saturating_duration_since(start).as_secs_f64() * 1000.0))
}

/// Ends the calls, the creator's last: the session ends with it.
async fn close(server: &Server, clients: Vec<Client>) -> Vec<Recording> {
    let mut recordings = Vec::with_capacity(clients.len());
    for client in clients.into_iter().rev() {
        recordings.push(client.close(server).await);
    }
    recordings.reverse();
    recordings
}

/// A measured interval after its warm-up.
struct Interval {
    usage: Usage,
    encodes: u64,
}

impl Interval {
    async fn measure(
        server: &Server,
        clients: &[Client],
        plan: &BenchPlan,
        epoch: Instant,
    ) -> Result<Self, BenchError> {
        hold(server, clients, plan.warm_up).await?;
        let before = encoded_frames(server, clients).await?;
        let usage = Usage::measure(server, clients, plan.measured, epoch).await?;
        let after = encoded_frames(server, clients).await?;
        Ok(Self { usage, encodes: after.saturating_sub(before) })
    }
}

async fn encoded_frames(server: &Server, clients: &[Client]) -> Result<u64, BenchError> {
    let stats = stats_of(server, &clients[..1]).await?;
    Ok(stats.first().and_then(|stats| stats["encoded_frames"].as_u64()).unwrap_or_default())
}

/// What the additional viewers received.
fn received(recordings: &[Recording], window: Window) -> ViewersReport {
    let (tallies, lateness): (Vec<_>, Vec<_>) = recordings.iter().map(|one| analyze_viewer(one, window)).unzip();
    let on_time_ratios: Vec<f64> = tallies.iter().map(|tally| tally.on_time_ratio()).collect();
    let mut frames = FrameTally::default();
    tallies.into_iter().for_each(|tally| frames.add(tally));
    ViewersReport {
        viewers: recordings.len(),
        frames,
        worst_on_time_ratio: on_time_ratios.iter().copied().fold(1.0, f64::min),
        on_time_ratios,
        lateness_ms: unsigned(lateness.into_iter().flatten()),
        ..ViewersReport::default()
    }
}

/// Adds what the viewers cost to what they received.
fn costs(without: &Interval, with: &Interval, frames_due: u64, received: ViewersReport) -> ViewersReport {
    let (server_without, clients_without) = without.usage.cores();
    let (server_with, clients_with) = with.usage.cores();
    ViewersReport {
        encodes_per_frame: with.encodes as f64 / frames_due.max(1) as f64,
        server_cores_without: server_without,
        server_cores_with: server_with,
        client_cores_without: clients_without,
        client_cores_with: clients_with,
        core_percent_per_viewer: 100.0 * (server_with - server_without) / received.viewers.max(1) as f64,
        ..received
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use super::super::recording::VideoPacket;
    use crate::time::VideoRtpTime;
    use bytes::Bytes;

    fn recording(frames: impl Iterator<Item = u64>) -> Recording {
        let packet = |n: u64| VideoPacket {
            arrived: Duration::from_millis(n * 40),
            rtp: VideoRtpTime::default().plus(n as u32 * 3600),
            sequence: n as u16,
            closes_frame: true,
            payload: Bytes::new(),
            length_bytes: 1,
        };
        Recording { video: frames.map(packet).collect(), ..Recording::default() }
    }

    #[test]
    fn the_worst_viewer_is_the_one_that_misses_frames() {
        let window = Window { from: Duration::ZERO, to: Duration::from_secs(4) };
        let found = received(&[recording(0..100), recording((0..100).filter(|n| *n < 40 || *n >= 50))], window);
        assert_eq!((found.viewers, found.frames.dropped), (2, 10));
        assert!((found.on_time_ratios[0] - 1.0).abs() < 1e-9);
        // Frame 50 follows a gap in the sequence numbers, so it is not complete.
        assert!((found.worst_on_time_ratio - 0.89).abs() < 1e-9, "{found:?}");
    }
}
