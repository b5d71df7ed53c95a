//! Calls under measurement: whether they still stand.
//!
//! A call that the server ended, or a server that is gone, is an error and never a latency.

use std::time::Duration;

use serde_json::Value;

use super::BenchError;
use super::client::Client;
use super::server::Server;
use crate::api_client::ApiError;
use crate::time::Wall;

/// How often the connections are looked at while time passes.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Waits for `duration`, as long as the calls of all `clients` stand.
///
/// # Errors
/// As soon as it is known that one has ended.
pub async fn hold(server: &Server, clients: &[Client], duration: Duration) -> Result<(), BenchError> {
    let end = Wall.now() + duration;
    loop {
        if !clients.iter().all(Client::is_connected) {
            check(server, clients).await?;
        }
        let remaining = end.saturating_duration_since(Wall.now());
        if remaining.is_zero() {
            return Ok(());
        }
        tokio::time::sleep(remaining.min(LOOK_INTERVAL)).await;
    }
}

/// Asks the server whether the calls of all `clients` stand.
///
/// # Errors
/// If one has ended, or the server does not answer any more.
pub async fn check(server: &Server, clients: &[Client]) -> Result<(), BenchError> {
    let mut ended = 0;
    for client in clients {
        match client.has_ended(server).await {
            Ok(has_ended) => ended += usize::from(has_ended),
            Err(ApiError::Unreachable { found }) => return Err(BenchError::ServerEnded { found }),
            // Such as a limit of requests: it says nothing about the call.
            Err(ApiError::Refused { .. }) => {}
        }
    }
    if ended > 0 { Err(BenchError::CallsEnded { ended, calls: clients.len() }) } else { Ok(()) }
}

/// Statistics of the sessions of `creators`, which must still exist.
///
/// # Errors
/// If the server does not answer any more or has ended one of them.
pub async fn stats_of(server: &Server, creators: &[Client]) -> Result<Vec<Value>, BenchError> {
    check(server, creators).await?;
    let mut stats = Vec::with_capacity(creators.len());
    for client in creators {
        // The clients' own metrics are valid without the server's.
        stats.extend(server.session_stats(&client.id).await.ok());
    }
    Ok(stats)
}
