//! The events of a session as a stream (the HTML standard's server-sent events).

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::stream::{Stream, StreamExt};
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

use super::problem::Problem;
use super::state::AppState;
use crate::pipeline::SessionEvent;

/// `GET /v1/sessions/{id}/events`.
pub async fn events(
    State(state): State<AppState>,
    Path(id): Path<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let ticket = state.studio.find(&id).ok_or_else(|| Problem::no_session(&id))?;
    let mut is_over = false;
    let events = BroadcastStream::new(ticket.events.subscribe()).take_while(move |event| {
        let goes_on = !is_over;
        is_over = matches!(event, Ok(SessionEvent::Ended { .. }));
        std::future::ready(goes_on)
    });
    let mut closing = state.closing.clone();
    let closed = async move {
        // If the sender is gone the server is too.
        let _ = closing.wait_for(|is_closing| *is_closing).await;
    };
    let stream = events.map(|event| Ok(told(event))).take_until(closed);
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))))
}

fn told(event: Result<SessionEvent, BroadcastStreamRecvError>) -> Event {
    let event = match event {
        Ok(event) => serde_json::to_value(event).unwrap_or_default(),
        Err(BroadcastStreamRecvError::Lagged(missed)) => serde_json::json!({ "type": "lagged", "missed": missed }),
    };
    let name = event["type"].as_str().unwrap_or("message").to_owned();
    Event::default().event(name).data(event.to_string())
}
