//! Sessions over HTTP: open, inspect, change, end.

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::base_path::BasePath;
use super::body::{self, Object};
use super::options::Options;
use super::per_address::Client;
use super::problem::Problem;
use super::request_metrics::refusal_code;
use super::state::AppState;
use super::texts::of_admission;
use super::unconnected;
use crate::rtc::{JoinError, Joined, LONGEST_OFFER};
use crate::session::{
    AdmitError, CommandError, EndReason, SessionCommand, SessionHandle, SessionLifetime, SessionOptions,
    SessionRequest, SessionSummary,
};

/// Body of `POST /v1/sessions`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JoinBody {
    sdp: Option<String>,
    avatar: Option<String>,
    options: Option<Object<Options>>,
}

/// A parsed `POST /v1/sessions`.
struct Wanted {
    /// `None` for a session without a peer of its creator.
    sdp: Option<String>,
    avatar: Option<String>,
    options: SessionOptions,
}

/// Query of `POST /v1/sessions` with a bare offer.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JoinQuery {
    avatar: Option<String>,
}

#[derive(Serialize)]
struct JoinAnswer {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    viewer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sdp: Option<String>,
    avatar: String,
    location: String,
}

/// Body of `PATCH /v1/sessions/{id}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeBody {
    avatar: String,
}

/// Largest body with an offer in JSON, where line ends and quotes are escaped.
const LARGEST_JSON_BYTES: usize = 2 * LONGEST_OFFER;
/// Largest body of `PATCH`.
const LARGEST_CHANGE_BYTES: usize = 4096;
const JOIN_EXAMPLE: &str = "{\"sdp\": \"v=0...\", \"avatar\": \"mira\", \"options\": {\"resolution_px\": 256}} as \
    application/json, or the bare offer as application/sdp";
const CHANGE_EXAMPLE: &str = "{\"avatar\": \"nora\"} as application/json";
pub(super) const JSON: &str = "application/json";
pub(super) const SDP: &str = "application/sdp";

/// `POST /v1/sessions`.
pub async fn join(
    State(state): State<AppState>,
    (client, base): (Client, BasePath),
    Query(query): Query<JoinQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let kind = body::media_type(&headers);
    let body = body::read(&headers, body, largest_join_bytes(&kind)?).await?;
    let wanted = wanted_session(&kind, query, &body)?;
    let request = SessionRequest { avatar: wanted.avatar, options: wanted.options, ..SessionRequest::default() };
    let Some(offer) = wanted.sdp else {
        let session = state.net.create(request).await.map_err(|error| refused(&state, &error))?;
        state.request_metrics().admit();
        return Ok(created(&session, &base));
    };
    let held = state.unconnected_sessions().enter(client, &state).await;
    if held.is_none() && state.sessions.refusal().is_none() {
        return Err(unconnected::too_many("sessions"));
    }
    let joined = state.net.join(&offer, request).await.map_err(|error| refused(&state, &error))?;
    state.request_metrics().admit();
    if let Some(held) = held {
        state.unconnected_sessions().keep((&joined.id, &joined.viewer), (client, held), state.wall.now());
    }
    Ok(welcome(&kind, joined, &base))
}

fn refused(state: &AppState, error: &JoinError) -> Problem {
    state.request_metrics().refuse(error);
    refusal(error)
}

fn welcome(kind: &str, joined: Joined, base: &BasePath) -> Response {
    let location = format!("{}/v1/sessions/{}", base.as_str(), joined.id);
    let place = [(header::LOCATION, location.clone())];
    if kind == SDP {
        return (StatusCode::CREATED, place, [(header::CONTENT_TYPE, SDP)], joined.answer).into_response();
    }
    let (id, avatar) = (joined.id.to_string(), joined.avatar.to_string());
    let (viewer, sdp) = (Some(joined.viewer.to_string()), Some(joined.answer));
    (StatusCode::CREATED, place, Json(JoinAnswer { id, viewer, sdp, avatar, location })).into_response()
}

/// A session without a peer was created.
fn created(session: &SessionHandle, base: &BasePath) -> Response {
    let location = format!("{}/v1/sessions/{}", base.as_str(), session.id);
    let place = [(header::LOCATION, location.clone())];
    let (id, avatar) = (session.id.to_string(), session.avatar().to_string());
    (StatusCode::CREATED, place, Json(JoinAnswer { id, viewer: None, sdp: None, avatar, location })).into_response()
}

pub(super) fn largest_join_bytes(kind: &str) -> Result<usize, Problem> {
    match kind {
        SDP => Ok(LONGEST_OFFER),
        JSON => Ok(LARGEST_JSON_BYTES),
        other => Err(body::wrong_type("application/json or application/sdp", other, &format!("send {JOIN_EXAMPLE}"))),
    }
}

fn wanted_session(kind: &str, query: JoinQuery, body: &[u8]) -> Result<Wanted, Problem> {
    if kind == SDP { bare_offer(query, body) } else { json_offer(&query, body) }
}

/// The offer in a body of `POST /v1/sessions` of a content type, as [`join`] reads it; else the refusal's status.
///
/// # Errors
/// If the body is refused before anyone looks at the offer.
pub fn offer_in(kind: &str, body: &[u8]) -> Result<String, StatusCode> {
    let wanted = wanted_session(kind, JoinQuery { avatar: None }, body);
    wanted.map_err(|problem| problem.status())?.sdp.ok_or(StatusCode::BAD_REQUEST)
}

/// The avatar in a body of `PATCH /v1/sessions/{id}`, as [`change`] reads it; else the refusal's status.
///
/// # Errors
/// If the body is refused before anyone looks for the avatar.
pub fn avatar_in(body: &[u8]) -> Result<String, StatusCode> {
    wanted_change(body).map(|wanted| wanted.avatar).map_err(|problem| problem.status())
}

fn wanted_change(body: &[u8]) -> Result<ChangeBody, Problem> {
    body::json(body, CHANGE_EXAMPLE)
}

/// The offer in a body of `application/sdp`.
pub(super) fn offer_text(body: &[u8]) -> Result<String, Problem> {
    String::from_utf8(body.to_vec()).map_err(|error| {
        let detail = format!("the offer is not UTF-8: {error}");
        Problem::new(StatusCode::BAD_REQUEST, detail, "send pc.localDescription.sdp").at("sdp")
    })
}

/// The offer in a JSON body is too long.
pub(super) fn offer_too_long(bytes: usize) -> Problem {
    let detail = format!("wanted an offer of at most {LONGEST_OFFER} bytes, found {bytes}");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail, "offer fewer media lines and candidates").at("sdp")
}

fn bare_offer(query: JoinQuery, body: &[u8]) -> Result<Wanted, Problem> {
    Ok(Wanted { sdp: Some(offer_text(body)?), avatar: query.avatar, options: SessionOptions::default() })
}

fn json_offer(query: &JoinQuery, body: &[u8]) -> Result<Wanted, Problem> {
    if query.avatar.is_some() {
        let detail = "wanted the avatar in the JSON body, found it in the query";
        return Err(Problem::new(StatusCode::BAD_REQUEST, detail, format!("send {JOIN_EXAMPLE}")).at("avatar"));
    }
    let wanted: JoinBody = body::json(body, JOIN_EXAMPLE)?;
    let length = wanted.sdp.as_ref().map_or(0, String::len);
    if length > LONGEST_OFFER {
        return Err(offer_too_long(length));
    }
    let options = wanted.options.map(|Object(options)| options.session_options()).transpose()?.unwrap_or_default();
    if wanted.sdp.is_none() && options.lifetime != SessionLifetime::UntilDeleted {
        let detail = "the offer is missing: only a session with the lifetime \"until_deleted\" begins without one";
        return Err(Problem::new(StatusCode::BAD_REQUEST, detail, format!("send {JOIN_EXAMPLE}")).at("sdp"));
    }
    Ok(Wanted { sdp: wanted.sdp, avatar: wanted.avatar, options })
}

pub(super) fn refusal(error: &JoinError) -> Problem {
    let detail = error.to_string();
    let problem = match error {
        JoinError::BadOffer { .. } => {
            Problem::new(StatusCode::BAD_REQUEST, detail, "send what createOffer() gave, with a video line").at("sdp")
        }
        JoinError::NoUsableVideo { offered } => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail, video_hint(offered)).at("sdp")
        }
        JoinError::NoUsableAudio { .. } => {
            let hint = "offer opus/48000/2, as browsers do by default, or no m=audio line";
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail, hint).at("sdp")
        }
        JoinError::OtherCodec { .. } => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail, "offer that codec too").at("sdp")
        }
        JoinError::Viewer(error) => return super::viewers::refusal(error),
        JoinError::Closing => closing(detail),
        JoinError::Admit(error) => not_admitted(error),
    };
    problem.code(refusal_code(error))
}

/// The hint for an offer without usable video. VP8 is refused only by a build without it.
fn video_hint(offered: &str) -> String {
    let hint = "offer H.264 with profile-level-id=42e01f and packetization-mode=1 (frames are larger than a packet, which mode 0 \
        does not allow), as every browser does by default";
    let has_vp8 = offered.split(", ").any(|codec| codec.eq_ignore_ascii_case("VP8/90000"));
    let other_build = if has_vp8 { "; a server built with `--features vp8` takes this offer as it is" } else { "" };
    format!("{hint}{other_build}")
}

fn not_admitted(error: &AdmitError) -> Problem {
    let detail = of_admission(error);
    let problem = match error {
        AdmitError::Full { .. } => {
            let hint = "try again in a few seconds, or start the server with a larger --max-sessions";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail, hint).with(header::RETRY_AFTER, "10")
        }
        AdmitError::GpuHot { .. } => {
            let hint = "try again in a minute: capacity is restored as the GPU cools (GET /v1/gpus)";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail, hint).with(header::RETRY_AFTER, "60")
        }
        AdmitError::GpuFull { .. } => {
            let hint = "try again in a few seconds; GET /v1/gpus shows the memory";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail, hint).with(header::RETRY_AFTER, "10")
        }
        AdmitError::AvatarsLoading { .. } => {
            let hint = "try again in a second";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail, hint).with(header::RETRY_AFTER, "1")
        }
        AdmitError::EngineLost { .. } => {
            let hint = "try again in a few seconds; otherwise run visage doctor on the server";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail, hint).with(header::RETRY_AFTER, "10")
        }
        AdmitError::Closing => closing(detail),
        AdmitError::UnknownAvatar { .. } => {
            Problem::new(StatusCode::BAD_REQUEST, detail, "GET /v1/avatars lists them").at("avatar")
        }
        AdmitError::BrokenAvatar { .. } => {
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail, "choose another avatar: GET /v1/avatars lists them")
        }
    };
    problem.code(refusal_code(error))
}

fn closing(detail: String) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail, "try again in some seconds").with(header::RETRY_AFTER, "5")
}

/// `GET /v1/sessions`.
pub async fn list(State(state): State<AppState>) -> Json<Vec<SessionSummary>> {
    Json(state.sessions.registry().list(state.wall.now()))
}

/// `GET /v1/sessions/{id}`.
pub async fn show(State(state): State<AppState>, Path(id): Path<String>) -> Result<Json<SessionSummary>, Problem> {
    summary(&state, &id).map(Json)
}

/// The summary of one session.
pub(super) fn summary(state: &AppState, id: &str) -> Result<SessionSummary, Problem> {
    state.sessions.registry().summary(id, state.wall.now()).ok_or_else(Problem::no_session)
}

/// `PATCH /v1/sessions/{id}`: swaps the avatar.
pub async fn change(
    State(state): State<AppState>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<SessionSummary>, Problem> {
    let kind = body::media_type(&headers);
    if kind != JSON {
        return Err(body::wrong_type(JSON, &kind, &format!("send {CHANGE_EXAMPLE}")));
    }
    let wanted = wanted_change(&body::read(&headers, body, LARGEST_CHANGE_BYTES).await?)?;
    let (sessions, session) = (state.sessions.clone(), id.clone());
    let swap_avatar = tokio::task::spawn_blocking(move || sessions.swap_avatar(&session, &wanted.avatar)).await;
    match swap_avatar.map_err(|_our_bug| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "swapping the avatar failed", "try again")
    })? {
        Ok(()) => summary(&state, &id).map(Json),
        Err(CommandError::NoSession { .. }) => Err(Problem::no_session()),
        Err(CommandError::Avatar(error)) => Err(not_admitted(&error)),
        Err(CommandError::Busy(error)) => Err(busy(&error.to_string())),
    }
}

/// The session has too many commands queued.
pub fn busy(detail: &str) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail, "wait until earlier commands are done")
        .with(header::RETRY_AFTER, "1")
}

/// `DELETE /v1/sessions/{id}`.
pub async fn leave(State(state): State<AppState>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    if state.sessions.end(&id, EndReason::Deleted) { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::no_session()) }
}

/// `GET /v1/sessions/{id}/stats`.
pub async fn stats(State(state): State<AppState>, Path(id): Path<String>) -> Result<Json<Value>, Problem> {
    let session = state.sessions.find(&id).ok_or_else(Problem::no_session)?;
    let network = state.net.stats(session.key).await;
    let now = state.wall.now();
    let stats = state.sessions.registry().stats(&id, now).ok_or_else(Problem::no_session)?;
    let mut all = json!(stats);
    all["network"] = json!(network.first().map(|(_, network)| network));
    all["viewers"] = super::viewers::listed(&session, &network, now);
    Ok(Json(all))
}

/// `POST /v1/sessions/{id}/interrupt`: drops all speech that is queued.
pub async fn interrupt(State(state): State<AppState>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    let ticket = state.sessions.find(&id).ok_or_else(Problem::no_session)?;
    ticket.inbox.push_command(SessionCommand::Interrupt).map_err(|error| busy(&error.to_string()))?;
    Ok(StatusCode::NO_CONTENT)
}
