//! `POST /v1/sessions/{id}/speech`: a sound file that the avatar speaks at once.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::{Value, json};

use super::problem::Problem;
use super::sessions::busy;
use super::state::AppState;
use crate::codec::sound::decode_sound;
use crate::pipeline::Order;

/// Largest file.
pub const LARGEST_BYTES: usize = 10 << 20;
/// Longest sound.
const LONGEST: Duration = Duration::from_mins(10);

/// Decodes the body and lets the avatar say it; whatever was being said is dropped.
pub async fn speak(
    State(state): State<AppState>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let ticket = state.studio.find(&id).ok_or_else(|| Problem::no_session(&id))?;
    let decoded = tokio::task::spawn_blocking(move || decode_sound(&body, LONGEST)).await;
    let decoded = decoded.map_err(|_our_bug| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "decoding broke down", "try another file")
    })?;
    let sound = decoded.map_err(|error| {
        let cure = "send the bytes of a WAV, MP3, FLAC or Ogg file as the body";
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string(), cure).at("body")
    })?;
    let (duration, is_truncated) = (sound.duration(), sound.is_truncated());
    ticket.inbox.order(Order::Say(Arc::new(sound))).map_err(|error| busy(&error.to_string()))?;
    let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let utterance = ticket.inbox.utterance().0;
    let answer = json!({ "utterance": utterance, "duration_ms": duration_ms, "is_truncated": is_truncated });
    Ok((StatusCode::ACCEPTED, Json(answer)))
}
