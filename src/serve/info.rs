//! What the server reports about itself: version and capacity, avatars, packs, GPUs, health, metrics.

use std::sync::PoisonError;

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Deserialize;
use serde_json::{Value, json};

use super::base_path::BasePath;
use super::connections::RefusedConnections;
use super::metrics;
use super::problem::Problem;
use super::state::{AppState, is_known, tag_of};
use super::texts::{of_admission, of_model};
use crate::model::{ModelError, Still};
use crate::session::AdmitError;

/// `GET /v1/server`.
pub async fn server(State(state): State<AppState>) -> Json<Value> {
    let config = state.sessions.config();
    let mut facts = json!(state.facts);
    facts["sessions"] = json!({ "active": state.sessions.registry().count(), "capacity": config.max_sessions });
    facts["udp_port"] = json!(state.net.udp_port());
    facts["resolution_px"] = json!(config.resolution_px);
    facts["allow_origin"] = json!(state.origins);
    facts["token_required"] = json!(state.token.is_some());
    Json(facts)
}

/// `GET /v1/avatars`.
pub async fn avatars(State(state): State<AppState>, base: BasePath) -> Json<Value> {
    let avatars = state.sessions.avatars();
    let cards = avatars.iter().map(|card| {
        let mut row = json!(card);
        row["still"] = json!(format!("{}/v1/avatars/{}/still.png", base.as_str(), card.name));
        row
    });
    Json(cards.collect())
}

/// `GET /v1/packs`.
pub async fn packs(State(state): State<AppState>) -> Json<Value> {
    let avatars = state.sessions.avatars();
    let avatars: Vec<_> = avatars.iter().map(|card| &card.name).collect();
    Json(json!([{ "name": state.facts.pack, "backend": state.facts.backend, "avatars": avatars }]))
}

/// Query of a still.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StillQuery {
    #[serde(default = "usual_side")]
    px: u32,
}

fn usual_side() -> u32 {
    256
}

/// Sizes of still images; few, so that the cache is small.
const SIDES: [u32; 3] = [128, 256, 512];

/// `GET /v1/avatars/{name}/still.png`.
pub async fn still(
    State(state): State<AppState>,
    Path(name): Path<String>,
    Query(query): Query<StillQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    if !SIDES.contains(&query.px) {
        let detail = format!("wanted px to be one of {SIDES:?}, found {}", query.px);
        return Err(Problem::new(StatusCode::BAD_REQUEST, detail, "omit px for 256").at("px"));
    }
    let drawn = tokio::task::spawn_blocking(move || png(&state, &name, query.px)).await;
    let drawn = drawn.map_err(|_our_bug| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "drawing the still image failed", "try again")
    })?;
    let bytes = drawn?;
    let tag = tag_of(&bytes);
    // A still image changes only with the program; browsers revalidate after an hour.
    let about = [(header::CONTENT_TYPE, "image/png"), (header::ETAG, &tag), (header::CACHE_CONTROL, "max-age=3600")];
    if is_known(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, about).into_response());
    }
    Ok((about, bytes).into_response())
}

fn png(state: &AppState, name: &str, side_px: u32) -> Result<Bytes, Problem> {
    let key = (name.to_owned(), side_px);
    if let Some(found) = state.stills.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
        return Ok(found.clone());
    }
    let still = state.sessions.still(name, side_px).map_err(|error| match error {
        ModelError::UnknownAvatar { .. } => {
            Problem::new(StatusCode::NOT_FOUND, of_model(&error), "GET /v1/avatars lists the avatars").at("name")
        }
        ModelError::Busy { .. } => {
            let detail = "the server is loading other avatars".to_owned();
            let busy = Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail, "try again in a second");
            busy.with(header::RETRY_AFTER, "1")
        }
        other => cannot_show(of_model(&other)),
    })?;
    let bytes = encoded(&still).map_err(|error| {
        tracing::error!("cannot encode a still image: {error}");
        cannot_show("the still image cannot be encoded".to_owned())
    })?;
    state.stills.lock().unwrap_or_else(PoisonError::into_inner).insert(key, bytes.clone());
    Ok(bytes)
}

fn cannot_show(detail: String) -> Problem {
    let hint = "choose another avatar: GET /v1/avatars lists them";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail, hint)
}

fn encoded(still: &Still) -> Result<Bytes, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, still.side_px, still.side_px);
    encoder.set_color(png::ColorType::Rgba);
    encoder.write_header()?.write_image_data(&still.rgba)?;
    Ok(bytes.into())
}

/// `GET /healthz`: 200 while the process answers.
pub async fn health() -> &'static str {
    "ok"
}

/// `GET /readyz`: 200 if a session would be admitted, else 503 with the reasons.
pub async fn ready(State(state): State<AppState>) -> Response {
    let (used, limit) = (state.sessions.registry().count(), state.sessions.config().max_sessions);
    let is_closing = *state.closing.borrow();
    let reasons = [(is_closing, "the server is closing"), (used >= limit, "all sessions are in use")];
    let mut reasons: Vec<String> =
        reasons.into_iter().filter(|(is_so, _)| *is_so).map(|(_, reason)| reason.to_owned()).collect();
    let of_the_engine = |error: &AdmitError| !matches!(error, AdmitError::Full { .. } | AdmitError::Closing);
    reasons.extend(state.sessions.refusal().filter(of_the_engine).map(|error| of_admission(&error)));
    let status = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut answer = (status, Json(json!({ "ready": reasons.is_empty(), "reasons": reasons }))).into_response();
    if !reasons.is_empty() {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("10"));
    }
    answer
}

/// `GET /v1/gpus`: the last reading of each GPU, and how many sessions that allows.
pub async fn gpus(State(state): State<AppState>) -> Json<Value> {
    let Some(now) = state.sessions.gpu().latest() else {
        return Json(json!({ "gpus": [], "reading_age_ms": null, "admission": null }));
    };
    let reading_age_ms = state.wall.now().saturating_duration_since(now.read_at).as_millis() as u64;
    Json(json!({ "gpus": now.readings, "reading_age_ms": reading_age_ms, "admission": now.allowance }))
}

/// `GET /metrics`.
pub async fn prometheus(State(state): State<AppState>, refused: Option<Extension<RefusedConnections>>) -> Response {
    let refused = refused.map(|Extension(refused)| refused).unwrap_or_default();
    let text = metrics::text(&state, &state.net.all_stats().await, &refused);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}
