//! The events of a session as server-sent events (HTML standard, section 9.2).
//!
//! Begins with `session`, the summary, and ends with `ended`. A reader that falls behind gets `lagged`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{self, Stream};
use serde_json::{Value, json};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{OwnedSemaphorePermit, broadcast, watch};

use super::per_address::{Client, Held};
use super::problem::Problem;
use super::sessions::summary;
use super::state::AppState;
use crate::session::{EndReason, SessionEvent};
use crate::telemetry::{Counters, Loss};

/// Proxies close connections that are idle for a minute.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// One reader of a session's events.
struct Reader {
    first: Option<Value>,
    events: broadcast::Receiver<SessionEvent>,
    closing: watch::Receiver<bool>,
    counters: Arc<Counters>,
    is_over: bool,
    _permit: (Held, OwnedSemaphorePermit),
}

/// `GET /v1/sessions/{id}/events`.
pub async fn events(
    State(state): State<AppState>,
    client: Client,
    Path(id): Path<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let events = state.sessions.find(&id).ok_or_else(Problem::no_session)?.events.subscribe();
    let mut first = json!(summary(&state, &id)?);
    first["type"] = json!("session");
    let share = state.streams().take(client).ok_or_else(too_many_for_client)?;
    let permit = (share, state.event_slots().try_acquire_owned().map_err(|_full| too_many())?);
    let (closing, counters) = (state.closing.clone(), state.sessions.registry().counters());
    let reader = Reader { first: Some(first), events, closing, counters, is_over: false, _permit: permit };
    let stream = stream::unfold(reader, |mut reader| async {
        let event = reader.next().await?;
        Some((Ok(as_sent(&event)), reader))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

impl Reader {
    /// The next event; `None` after `ended`, or when the session is gone.
    async fn next(&mut self) -> Option<Value> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        if self.is_over {
            return None;
        }
        let event = tokio::select! {
            biased;
            event = self.events.recv() => match event {
                Ok(event) => json!(event),
                Err(RecvError::Lagged(missed)) => lagged(&self.counters, missed),
                Err(RecvError::Closed) => return None,
            },
            // An error means that the server has ended, which is the same.
            _ = self.closing.wait_for(|is_closing| *is_closing) => json!(closing()),
        };
        self.is_over = event["type"] == "ended";
        Some(event)
    }
}

fn lagged(counters: &Counters, missed: u64) -> Value {
    counters.lose_many(Loss::MissedEvent, missed);
    json!({ "type": "lagged", "missed": missed })
}

fn closing() -> SessionEvent {
    SessionEvent::Ended(EndReason::Closing)
}

fn as_sent(event: &Value) -> Event {
    Event::default().event(event["type"].as_str().unwrap_or("message")).data(event.to_string())
}

fn too_many_for_client() -> Problem {
    let detail = "this address has as many event streams open as it may";
    Problem::new(StatusCode::TOO_MANY_REQUESTS, detail, "close streams that are not needed")
        .code("too_many_streams")
        .with(header::RETRY_AFTER, "5")
}

fn too_many() -> Problem {
    let detail = "all event streams of the server are in use";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail, "close streams that are not needed")
        .with(header::RETRY_AFTER, "5")
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use tokio::sync::Semaphore;

    use super::super::per_address::PerAddress;
    use super::*;

    #[tokio::test]
    async fn events_that_a_slow_reader_missed_are_reported_and_counted() {
        let (sender, events) = broadcast::channel(4);
        let (_open, closing) = watch::channel(false);
        let share = PerAddress::new(1).take(IpAddr::from([127, 0, 0, 1]).into()).expect("a share");
        let permit = (share, Arc::new(Semaphore::new(1)).try_acquire_owned().expect("a permit"));
        let counters = Arc::<Counters>::default();
        let mut reader =
            Reader { first: None, events, closing, counters: Arc::clone(&counters), is_over: false, _permit: permit };
        (0..10).for_each(|at_ms| drop(sender.send(SessionEvent::SpeakingStarted { at_ms })));
        assert_eq!(reader.next().await, Some(json!({ "type": "lagged", "missed": 6 })));
        assert_eq!(reader.next().await.map(|event| event["at_ms"].clone()), Some(json!(6)));
        assert_eq!(counters.snapshot().of(Loss::MissedEvent), 6);
    }
}
