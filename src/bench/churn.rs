//! Sessions that start and end: measures connection time and leaks.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::BenchError;
use super::client::{Client, ClientPlan, Payloads, Speech};
use super::plan::{BenchPlan, Progress};
use super::report::Churn;
use super::server::Server;
use super::signed_percentiles::unsigned;
use super::speech_loop::SpeechLoop;
use crate::telemetry::Footprint;
use crate::time::Wall;

/// Concurrent sessions.
const CONCURRENT_SESSIONS: usize = 4;
/// Session capacity that a server needs for them: as many again may still be closing.
pub const CAPACITY: usize = 2 * CONCURRENT_SESSIONS;
/// Sessions before the first memory reading: they fill caches and the allocator's free lists.
const WARM_UP: usize = 16;
/// Polls for the first frame, one every 20 ms: five seconds.
const FIRST_FRAME_POLLS: usize = 250;
const FIRST_FRAME_POLL: Duration = Duration::from_millis(20);
/// Time for which a session continues after its first frame.
const SESSION_TIME: Duration = Duration::from_millis(300);
/// Time for which the server releases its resources before memory is read.
const SETTLE: Duration = Duration::from_secs(3);

/// Starts and ends `sessions` sessions.
///
/// # Errors
/// If the server does not answer.
pub async fn measure(
    server: &Arc<Server>,
    speech: &Arc<SpeechLoop>,
    plan: &BenchPlan,
    sessions: usize,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Churn, BenchError> {
    drop(run_sessions(server, speech, plan, WARM_UP, &mut |_| {}).await);
    tokio::time::sleep(SETTLE).await;
    let before = server.footprint().unwrap_or_default();
    let results = run_sessions(server, speech, plan, sessions, progress).await;
    tokio::time::sleep(SETTLE).await;
    let after = server.footprint().unwrap_or_default();
    let info = server.server_info().await?;
    Ok(report(results, before, after, info["sessions"]["active"].as_u64().unwrap_or(0)))
}

fn report(results: Vec<Result<f64, BenchError>>, before: Footprint, after: Footprint, leaked_sessions: u64) -> Churn {
    let (connected, failed): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    Churn {
        joined: connected.len(),
        failed: failed.len(),
        first_failure: failed.into_iter().find_map(Result::err).map(|error| error.to_string()),
        before_mb: before.resident_mb(),
        after_mb: after.resident_mb(),
        threads_before: before.threads,
        threads_after: after.threads,
        leaked_sessions,
        join_ms: unsigned(connected.into_iter().flatten()),
    }
}

/// Connection time in milliseconds of each session, or why it failed.
async fn run_sessions(
    server: &Arc<Server>,
    speech: &Arc<SpeechLoop>,
    plan: &BenchPlan,
    sessions: usize,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Vec<Result<f64, BenchError>> {
    let mut running = JoinSet::new();
    let mut results = Vec::with_capacity(sessions);
    for number in 0..sessions {
        if running.len() == CONCURRENT_SESSIONS {
            results.extend(running.join_next().await.and_then(Result::ok));
            progress(Progress::Step { done: results.len(), of: sessions });
        }
        running.spawn(run_session(Arc::clone(server), Arc::clone(speech), plan.avatar.clone(), number));
    }
    while let Some(result) = running.join_next().await {
        results.extend(result.ok());
    }
    results
}

async fn run_session(
    server: Arc<Server>,
    speech: Arc<SpeechLoop>,
    avatar: Option<String>,
    number: usize,
) -> Result<f64, BenchError> {
    let epoch = Wall.now();
    let client_plan = ClientPlan { number, payloads: Payloads::Audio, speech: Speech::Loop, epoch };
    let client = Client::connect(&server, speech, client_plan, avatar.as_deref()).await?;
    let connection_time = Wall.now().saturating_duration_since(epoch);
    let has_frame = wait_for_frame(&client).await;
    tokio::time::sleep(SESSION_TIME).await;
    client.close(&server).await;
    if has_frame { Ok(connection_time.as_secs_f64() * 1000.0) } else { Err(BenchError::NoFrames { seconds: 5.0 }) }
}

/// Waits for the first frame; a session without a frame has failed.
async fn wait_for_frame(client: &Client) -> bool {
    for _ in 0..FIRST_FRAME_POLLS {
        if client.with_recording(|recording| !recording.video.is_empty()) {
            return true;
        }
        tokio::time::sleep(FIRST_FRAME_POLL).await;
    }
    false
}
