//! Sessions over HTTP: join, look, change, leave.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::problem::Problem;
use super::state::AppState;
use crate::pipeline::{AdmitError, Order, OrderError, SessionSummary, ShowRequest};
use crate::rtc::JoinError;

/// Body of `POST /v1/sessions`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JoinBody {
    sdp: String,
    #[serde(default)]
    avatar: Option<String>,
    #[serde(default, rename = "options")]
    _options: Option<serde_json::Map<String, Value>>,
}

/// Query of `POST /v1/sessions` with a bare offer.
#[derive(Deserialize)]
pub struct JoinQuery {
    avatar: Option<String>,
}

#[derive(Serialize)]
struct JoinAnswer {
    id: String,
    sdp: String,
    avatar: String,
    location: String,
}

/// Body of `PATCH /v1/sessions/{id}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeBody {
    avatar: String,
}

/// `POST /v1/sessions`.
pub async fn join(
    State(state): State<AppState>,
    Query(query): Query<JoinQuery>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let is_sdp = media_type(&headers) == "application/sdp";
    let wanted = if is_sdp { bare_offer(query, &body)? } else { json_offer(&headers, &body)? };
    let request = ShowRequest { avatar: wanted.avatar };
    let joined = state.net.join(&wanted.sdp, request).await.map_err(|error| refusal(&error))?;
    let location = format!("/v1/sessions/{}", joined.id);
    let place = [(header::LOCATION, location.clone())];
    if is_sdp {
        return Ok(
            (StatusCode::CREATED, place, [(header::CONTENT_TYPE, "application/sdp")], joined.answer).into_response()
        );
    }
    let answer =
        JoinAnswer { id: joined.id.to_string(), sdp: joined.answer, avatar: joined.avatar.to_string(), location };
    Ok((StatusCode::CREATED, place, Json(answer)).into_response())
}

fn bare_offer(query: JoinQuery, body: &[u8]) -> Result<JoinBody, Problem> {
    let sdp = String::from_utf8(body.to_vec()).map_err(|_not_text| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            "wanted an offer in UTF-8, found other bytes",
            "send pc.localDescription.sdp",
        )
    })?;
    Ok(JoinBody { sdp, avatar: query.avatar, _options: None })
}

fn json_offer(headers: &HeaderMap, body: &[u8]) -> Result<JoinBody, Problem> {
    json_body(headers, body, "{\"sdp\": \"v=0...\", \"avatar\": \"mira\"} or the bare offer as application/sdp")
}

/// A JSON body, with the place of what is wrong in it.
fn json_body<T: for<'a> Deserialize<'a>>(headers: &HeaderMap, body: &[u8], wanted: &str) -> Result<T, Problem> {
    let found = media_type(headers);
    if found != "application/json" {
        let detail = format!("wanted content type application/json or application/sdp, found \"{found}\"");
        return Err(
            Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail, format!("send {wanted}")).at("content-type")
        );
    }
    serde_json::from_slice(body).map_err(|error| {
        let problem =
            Problem::new(StatusCode::BAD_REQUEST, format!("wanted JSON, found: {error}"), format!("send {wanted}"));
        match field_of(&error.to_string()) {
            Some(field) => problem.at(field),
            None => problem,
        }
    })
}

/// The field that serde's message names in backquotes.
fn field_of(message: &str) -> Option<String> {
    message.contains("field").then(|| message.split('`').nth(1).map(str::to_owned)).flatten()
}

/// The content type without its parameters, in lower case.
fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn refusal(error: &JoinError) -> Problem {
    let detail = error.to_string();
    match error {
        JoinError::BadOffer { .. } => {
            Problem::new(StatusCode::BAD_REQUEST, detail, "send what createOffer() gave, with a video line").at("sdp")
        }
        JoinError::NoUsableVideo { .. } => {
            let cure =
                "offer H.264 with profile-level-id=42e01f and packetization-mode=1, as every browser does by default";
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail, cure).at("sdp")
        }
        JoinError::Closing => closing(detail),
        JoinError::Admit(error) => not_admitted(error),
    }
}

fn not_admitted(error: &AdmitError) -> Problem {
    let detail = error.to_string();
    match error {
        AdmitError::Full { .. } => {
            let cure = "try again in some seconds, or start the server with a larger --max-sessions";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail, cure).with(header::RETRY_AFTER, "10")
        }
        AdmitError::Closing => closing(detail),
        AdmitError::UnknownAvatar { .. } => {
            Problem::new(StatusCode::BAD_REQUEST, detail, "GET /v1/avatars lists them").at("avatar")
        }
        AdmitError::BrokenAvatar { .. } => Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            detail,
            "look at the server's log, or choose another avatar",
        ),
    }
}

fn closing(detail: String) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail, "try again in some seconds").with(header::RETRY_AFTER, "5")
}

/// `GET /v1/sessions`.
pub async fn list(State(state): State<AppState>) -> Json<Vec<SessionSummary>> {
    Json(state.studio.sessions())
}

/// `GET /v1/sessions/{id}`.
pub async fn show(State(state): State<AppState>, Path(id): Path<String>) -> Result<Json<SessionSummary>, Problem> {
    summary(&state, &id).map(Json)
}

fn summary(state: &AppState, id: &str) -> Result<SessionSummary, Problem> {
    state.studio.sessions().into_iter().find(|session| session.id == id).ok_or_else(|| Problem::no_session(id))
}

/// `PATCH /v1/sessions/{id}`: another face.
pub async fn change(
    State(state): State<AppState>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<SessionSummary>, Problem> {
    let wanted: ChangeBody = json_body(&headers, &body, "{\"avatar\": \"nora\"}")?;
    let (studio, session) = (state.studio.clone(), id.clone());
    let recast = tokio::task::spawn_blocking(move || studio.recast(&session, &wanted.avatar)).await;
    match recast
        .map_err(|_our_bug| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the change broke down", "try again"))?
    {
        Ok(()) => summary(&state, &id).map(Json),
        Err(OrderError::NoSession { id }) => Err(Problem::no_session(&id)),
        Err(OrderError::Avatar(error)) => Err(not_admitted(&error)),
        Err(OrderError::Busy(error)) => Err(busy(&error.to_string())),
    }
}

/// The session has too many orders waiting.
pub fn busy(detail: &str) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail, "wait for what was asked before")
        .with(header::RETRY_AFTER, "1")
}

/// `DELETE /v1/sessions/{id}`.
pub async fn leave(State(state): State<AppState>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    if state.studio.end(&id, "deleted") { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::no_session(&id)) }
}

/// `GET /v1/sessions/{id}/stats`.
pub async fn stats(State(state): State<AppState>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let stats = state.studio.stats(&id).ok_or_else(|| Problem::no_session(&id))?;
    let network = state.net.stats(&id).await;
    let mut all = json!(stats);
    all["network"] = json!(network);
    Ok(Json(all))
}

/// `POST /v1/sessions/{id}/stop`: say no more of it.
pub async fn stop(State(state): State<AppState>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    let ticket = state.studio.find(&id).ok_or_else(|| Problem::no_session(&id))?;
    ticket.inbox.order(Order::Hush).map_err(|error| busy(&error.to_string()))?;
    Ok(StatusCode::NO_CONTENT)
}
