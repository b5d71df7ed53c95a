//! `POST /v1/sessions/{id}/speech`: a sound file that the avatar speaks at once.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::body;
use super::problem::Problem;
use super::sessions::busy;
use super::state::AppState;
use super::texts::of_audio_file;
use crate::codec::audio_file::{AudioClip, AudioFileError, decode_sound};
use crate::session::{SessionCommand, SpeechSource, speech_queue};

/// Largest file.
const LARGEST_BYTES: usize = 10 << 20;
/// Longest sound.
const LONGEST: Duration = Duration::from_mins(10);
/// What curl says of every file when it is told nothing.
const CURLS_OWN: &str = "application/x-www-form-urlencoded";
/// How long a file waits for others that are being read or decoded.
const PATIENCE: Duration = Duration::from_secs(5);

/// Decodes the body and lets the avatar say it; whatever was being said is dropped.
pub async fn speak(
    State(state): State<AppState>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let ticket = state.studio.find(&id).ok_or_else(Problem::no_session)?;
    check_type(&headers)?;
    let upload = place(state.upload_places()).await?;
    let file = body::read(&headers, body, LARGEST_BYTES).await?;
    let decoding = place(state.decode_places()).await?;
    // Only now: files that wait to be decoded are as many as are read at once.
    drop(upload);
    let sound = decoded(file, decoding).await?;
    let (duration, is_truncated) = (sound.duration(), sound.is_truncated());
    if ticket.inbox.has_ended() {
        return Err(Problem::no_session());
    }
    let said = ticket.inbox.order(SessionCommand::Speak(feed(sound)));
    let utterance = said.map_err(|error| busy(&error.to_string()))?.0;
    let duration_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let answer = json!({ "utterance": utterance, "duration_ms": duration_ms, "is_truncated": is_truncated });
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

/// A speech source that is filled with `sound`.
fn feed(sound: AudioClip) -> SpeechSource {
    let (sink, source) = speech_queue();
    tokio::spawn(async move {
        for block in sound.blocks() {
            if sink.push(block).await.is_err() {
                return;
            }
        }
        sink.finish();
    });
    source
}

/// AudioClip says what it is by its first bytes; the type only keeps out what is surely something else.
fn check_type(headers: &HeaderMap) -> Result<(), Problem> {
    let found = body::media_type(headers);
    let is_sound = found.starts_with("audio/") || found.starts_with("video/");
    if is_sound || matches!(found.as_str(), "" | "application/octet-stream" | "application/ogg" | CURLS_OWN) {
        return Ok(());
    }
    let hint = "curl -H 'content-type: audio/wav' --data-binary @voice.wav ...";
    Err(body::wrong_type("audio/* or application/octet-stream", &found, hint))
}

/// One of a few places, so that files and the sounds in them cannot fill the memory.
async fn place(places: Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Problem> {
    let waited = tokio::time::timeout(PATIENCE, places.acquire_owned()).await;
    let place = waited.ok().and_then(Result::ok);
    place.ok_or_else(|| {
        let detail = "wanted to decode a sound, found the server busy with other files";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail, "try again in some seconds")
            .with(header::RETRY_AFTER, "5")
    })
}

async fn decoded(file: Bytes, place: OwnedSemaphorePermit) -> Result<AudioClip, Problem> {
    let work = move || {
        let decoded = decode_sound(&file, LONGEST);
        drop(place);
        decoded
    };
    let decoded = tokio::task::spawn_blocking(work).await;
    let decoded = decoded.map_err(|_our_bug| {
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "decoding broke down", "try another file")
    })?;
    decoded.map_err(|error| not_speakable(&error))
}

fn not_speakable(error: &AudioFileError) -> Problem {
    let hint = match error {
        AudioFileError::Empty => "send the bytes of a sound file as the body",
        AudioFileError::TooLong { .. } => {
            "cut it into parts and send each after the event speech_ended of the one before"
        }
        _ => "send the bytes of a WAV, MP3, FLAC or Ogg file as the body",
    };
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, of_audio_file(error), hint).at("body")
}
