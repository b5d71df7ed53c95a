//! Callers that come and go: is everything given back?

use std::sync::Arc;
use std::time::Duration;

use super::BenchError;
use super::client::{Client, ClientPlan, Pictures, Speech};
use super::plan::{BenchPlan, Progress};
use super::report::Churn;
use super::server::Server;
use super::signed_percentiles::plain;
use super::speech_loop::VoiceLoop;
use crate::telemetry::Footprint;
use crate::time::Wall;

/// Calls at the same time.
const AT_ONCE: usize = 4;
/// Places that a server needs for them: as many again may still be on their way out.
pub const PLACES: usize = 2 * AT_ONCE;
/// Calls that warm the allocator up before memory is looked at.
const WARM_UP: usize = 16;
/// How often the first picture is looked for, every 20 ms: five seconds.
const PICTURE_LOOKS: usize = 250;
/// How long a call stays once there is a picture.
const STAY: Duration = Duration::from_millis(300);
/// How long the server has to put things away.
const SETTLE: Duration = Duration::from_secs(3);

/// Lets `times` callers come and go.
///
/// # Errors
/// If the server stops answering.
pub async fn measure(
    server: &Arc<Server>,
    voice: &Arc<VoiceLoop>,
    plan: &BenchPlan,
    times: usize,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Result<Churn, BenchError> {
    drop(round(server, voice, plan, WARM_UP, &mut |_| {}).await);
    tokio::time::sleep(SETTLE).await;
    let before = server.used().unwrap_or_default();
    let calls = round(server, voice, plan, times, progress).await;
    tokio::time::sleep(SETTLE).await;
    let after = server.used().unwrap_or_default();
    let about = server.about().await?;
    Ok(report(calls, before, after, about["sessions"]["used"].as_u64().unwrap_or(0)))
}

fn report(calls: Vec<Result<f64, BenchError>>, before: Footprint, after: Footprint, left_over: u64) -> Churn {
    let (joined, failed): (Vec<_>, Vec<_>) = calls.into_iter().partition(Result::is_ok);
    Churn {
        joined: joined.len(),
        failed: failed.len(),
        first_failure: failed.into_iter().find_map(Result::err).map(|error| error.to_string()),
        before_mb: before.resident_mb(),
        after_mb: after.resident_mb(),
        threads_before: before.threads,
        threads_after: after.threads,
        left_over,
        join_ms: plain(joined.into_iter().flatten()),
    }
}

/// Milliseconds that each call took to stand, or why it did not.
async fn round(
    server: &Arc<Server>,
    voice: &Arc<VoiceLoop>,
    plan: &BenchPlan,
    times: usize,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Vec<Result<f64, BenchError>> {
    let mut calls = tokio::task::JoinSet::new();
    let mut ended = Vec::with_capacity(times);
    for number in 0..times {
        if calls.len() == AT_ONCE {
            ended.extend(calls.join_next().await.and_then(Result::ok));
            progress(Progress::Step { done: ended.len(), of: times });
        }
        calls.spawn(one(Arc::clone(server), Arc::clone(voice), plan.avatar.clone(), number));
    }
    while let Some(call) = calls.join_next().await {
        ended.extend(call.ok());
    }
    ended
}

async fn one(
    server: Arc<Server>,
    voice: Arc<VoiceLoop>,
    avatar: Option<String>,
    number: usize,
) -> Result<f64, BenchError> {
    let epoch = Wall.now();
    let who = ClientPlan { number, pictures: Pictures::Count, speech: Speech::Loop, epoch };
    let caller = Client::call(&server, voice, who, avatar.as_deref()).await?;
    let took = Wall.now().saturating_duration_since(epoch);
    let has_picture = see(&caller).await;
    tokio::time::sleep(STAY).await;
    caller.hang_up(&server).await;
    if has_picture { Ok(took.as_secs_f64() * 1000.0) } else { Err(BenchError::NoFrames { seconds: 5.0 }) }
}

/// Waits for the first picture; a call without one has failed.
async fn see(caller: &Client) -> bool {
    for _ in 0..PICTURE_LOOKS {
        if caller.look(|tape| !tape.video.is_empty()) {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    false
}
