//! Viewers of a session over HTTP: join, leave, list.
//!
//! Decides statuses. `whep` speaks the same to players that know WHEP.

use std::time::Instant;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::body;
use super::per_address::Client;
use super::problem::Problem;
use super::sessions::{JSON, SDP, largest_join_bytes, offer_text, offer_too_long};
use super::state::AppState;
use super::unconnected;
use crate::rtc::{JoinedViewer, LONGEST_OFFER, NetworkStats};
use crate::session::{SessionHandle, ViewerError, ViewerKey, ViewerRole};

/// Body of `POST /v1/sessions/{id}/viewers`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ViewerBody {
    sdp: String,
    #[serde(default)]
    microphone: bool,
}

#[derive(Serialize)]
struct ViewerAnswer {
    id: String,
    sdp: String,
    location: String,
}

const VIEWER_EXAMPLE: &str = "{\"sdp\": \"v=0...\"} as application/json, or the bare offer as application/sdp";

/// `POST /v1/sessions/{id}/viewers`.
pub async fn join(
    State(state): State<AppState>,
    client: Client,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    state.sessions.find(&id).ok_or_else(Problem::no_session)?;
    let kind = body::media_type(&headers);
    let body = body::read(&headers, body, largest_join_bytes(&kind)?).await?;
    let (offer, role) = wanted_viewer(&kind, &body)?;
    let joined = admit(&state, client, &id, (&offer, role)).await?;
    Ok(welcome(&kind, joined))
}

/// Lets a viewer join whose client has not left too many offers unconnected.
pub(super) async fn admit(
    state: &AppState,
    client: Client,
    id: &str,
    (offer, role): (&str, ViewerRole),
) -> Result<JoinedViewer, Problem> {
    let held = state.unconnected_viewers().enter(client, state).await;
    let held = held.ok_or_else(|| unconnected::too_many("viewers"))?;
    let joined = state.net.join_viewer(id, offer, role).await.map_err(|error| super::sessions::refusal(&error))?;
    state.unconnected_viewers().keep((id, &joined.id), (client, held), state.wall.now());
    Ok(joined)
}

fn wanted_viewer(kind: &str, body: &[u8]) -> Result<(String, ViewerRole), Problem> {
    if kind == SDP {
        return Ok((offer_text(body)?, ViewerRole::ReceiveOnly));
    }
    let wanted: ViewerBody = body::json(body, VIEWER_EXAMPLE)?;
    if wanted.sdp.len() > LONGEST_OFFER {
        return Err(offer_too_long(wanted.sdp.len()));
    }
    Ok((wanted.sdp, if wanted.microphone { ViewerRole::Speaker } else { ViewerRole::ReceiveOnly }))
}

fn welcome(kind: &str, joined: JoinedViewer) -> Response {
    // Relative to the request's URL, so that it also holds behind a proxy that strips a prefix.
    let location = format!("viewers/{}", joined.id);
    let place = [(header::LOCATION, location.clone())];
    if kind == JSON {
        let answer = ViewerAnswer { id: joined.id.to_string(), sdp: joined.answer, location };
        return (StatusCode::CREATED, place, Json(answer)).into_response();
    }
    (StatusCode::CREATED, place, [(header::CONTENT_TYPE, SDP)], joined.answer).into_response()
}

/// `DELETE /v1/sessions/{id}/viewers/{viewer}`.
pub async fn leave(
    State(state): State<AppState>,
    Path((id, viewer)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    dismiss(&state, &id, &viewer).map(|()| StatusCode::NO_CONTENT)
}

/// Asks a viewer to leave; its connection closes within a tenth of a second.
pub(super) fn dismiss(state: &AppState, id: &str, viewer: &str) -> Result<(), Problem> {
    let session = state.sessions.find(id).ok_or_else(Problem::no_session)?;
    if session.viewers.dismiss(viewer) { Ok(()) } else { Err(no_viewer()) }
}

/// Whether the session has this viewer.
pub(super) fn find_viewer(state: &AppState, id: &str, viewer: &str) -> Result<(), Problem> {
    let session = state.sessions.find(id).ok_or_else(Problem::no_session)?;
    if session.viewers.has(viewer) { Ok(()) } else { Err(no_viewer()) }
}

fn no_viewer() -> Problem {
    let detail = "the session has no viewer with this id";
    Problem::new(StatusCode::NOT_FOUND, detail, "GET /v1/sessions/{id}/stats lists them").at("viewer").code("no_viewer")
}

/// The viewers of a session with what the network says about each.
pub(super) fn listed(session: &SessionHandle, network: &[(ViewerKey, NetworkStats)], now: Instant) -> Value {
    let rows = session.viewers.list(now).into_iter().map(|viewer| {
        let stats = network.iter().find(|(key, _)| *key == viewer.key).map(|(_, stats)| stats);
        let mut row = json!(viewer);
        row["network"] = json!(stats);
        row
    });
    rows.collect()
}

/// Why a viewer was not let in.
pub(super) fn refusal(error: &ViewerError) -> Problem {
    let detail = error.to_string();
    let problem = match error {
        ViewerError::NoSession => Problem::no_session(),
        ViewerError::Full { .. } => {
            let hint = "try again in some seconds, or start the server with a larger --max-viewers";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail, hint).with(header::RETRY_AFTER, "10")
        }
        ViewerError::MicrophoneTaken => {
            Problem::new(StatusCode::CONFLICT, detail, "join without \"microphone\", or wait until it is free")
                .at("microphone")
                .with(header::RETRY_AFTER, "10")
        }
    };
    problem.code(error.code())
}
