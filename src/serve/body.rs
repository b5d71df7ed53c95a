//! Request bodies: read up to a limit, and parsed as JSON with the position of an error.
//!
//! Decides sizes, timeouts and content types. Does not interpret the content.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::http::{HeaderMap, StatusCode, header};
use bytes::BytesMut;
use futures_util::StreamExt;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, Visitor};
use serde_json::error::Category;
use tokio::time::timeout;

use super::problem::Problem;

/// A body must be complete after this time.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// How much of a refused body is read, so that the sender sees the response and not a reset connection.
const DISCARDED_BYTES: u64 = 64 << 20;
/// How long it is read.
const DISCARDED_FOR: Duration = Duration::from_secs(10);

/// The whole body, if it has at most `limit_bytes`. A larger one is refused before it is in memory.
///
/// # Errors
/// 413 if it is larger, 408 if it is not complete in time, 400 if it ends early.
pub async fn read(headers: &HeaderMap, body: Body, limit_bytes: usize) -> Result<Bytes, Problem> {
    let declared = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let mut stream = body.into_data_stream();
    if let Some(length) = declared.filter(|length| *length > limit_bytes as u64) {
        discard(stream);
        return Err(too_large(limit_bytes, &format!("{length}")));
    }
    let gathered = timeout(BODY_TIMEOUT, gather(&mut stream, limit_bytes)).await.map_err(|_elapsed| too_slow())?;
    if matches!(&gathered, Err(problem) if problem.status() == StatusCode::PAYLOAD_TOO_LARGE) {
        discard(stream);
    }
    gathered
}

async fn gather(stream: &mut BodyDataStream, limit_bytes: usize) -> Result<Bytes, Problem> {
    let mut whole = BytesMut::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|error| {
            tracing::debug!("a body broke off: {error}");
            Problem::new(StatusCode::BAD_REQUEST, "the body ended too early", "send it again").at("body")
        })?;
        if whole.len() + chunk.len() > limit_bytes {
            return Err(too_large(limit_bytes, "more"));
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.freeze())
}

/// Reads and discards the rest.
pub fn discard(mut stream: BodyDataStream) {
    tokio::spawn(timeout(DISCARDED_FOR, async move {
        let mut left = DISCARDED_BYTES;
        while let Some(Ok(chunk)) = stream.next().await {
            let Some(rest) = left.checked_sub(chunk.len() as u64) else { return };
            left = rest;
        }
    }));
}

fn too_large(limit_bytes: usize, found: &str) -> Problem {
    let detail = format!("wanted a body of at most {limit_bytes} bytes, found {found}");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail, "send less").at("body")
}

fn too_slow() -> Problem {
    let detail = format!("the body is not complete after {} s", BODY_TIMEOUT.as_secs());
    Problem::new(StatusCode::REQUEST_TIMEOUT, detail, "send it again over a faster connection")
        .at("body")
        .with(header::CONNECTION, "close")
}

/// The content type without its parameters, in lower case; empty if there is none.
pub fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// 415: another content type than expected.
pub fn wrong_type(wanted: &str, found: &str, hint: &str) -> Problem {
    let found = if found.is_empty() { "none" } else { found };
    let detail = format!("wanted content type {wanted}, found {found}");
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail, hint).at("content-type")
}

/// A JSON object. Serde alone also accepts a list of the field values.
pub struct Object<T>(pub T);

struct OnlyObjects<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        source.deserialize_map(OnlyObjects(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for OnlyObjects<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(fields)).map(Object)
    }
}

/// Parses a JSON object; `example` is shown as the hint.
///
/// # Errors
/// 400 with line and column, and with the field that is wrong, missing or unknown.
pub fn json<T: DeserializeOwned>(body: &[u8], example: &str) -> Result<T, Problem> {
    let mut source = serde_json::Deserializer::from_slice(body);
    let read = serde_path_to_error::deserialize(&mut source);
    let Object(whole) = read.map_err(|error| not_json(&field_of(&error), error.inner(), example))?;
    source.end().map_err(|error| not_json("body", &error, example))?;
    Ok(whole)
}

fn not_json(field: &str, error: &serde_json::Error, example: &str) -> Problem {
    let detail = fault(field, error);
    Problem::new(StatusCode::BAD_REQUEST, detail, format!("send {example}")).at(field)
}

/// The error in visage's own words: the parser's text contains type names of the program.
fn fault(field: &str, error: &serde_json::Error) -> String {
    let at = format!("line {} column {}", error.line(), error.column());
    let text = error.to_string();
    match error.classify() {
        Category::Syntax => format!("the body is not JSON: syntax error at {at}"),
        Category::Eof => format!("the body is not complete JSON: it ends at {at}"),
        Category::Data if text.starts_with("unknown field") => format!("{field} is not a documented field ({at})"),
        Category::Data if text.starts_with("missing field") => format!("{field} is missing"),
        Category::Data if text.starts_with("duplicate field") => format!("{field} is there twice ({at})"),
        Category::Data => format!("{field} has the wrong type ({at})"),
        Category::Io => "the body cannot be read".to_owned(),
    }
}

/// The location of the error: a field, or `body` if the body is not a JSON object. Serde names unknown and missing fields only
/// in its message.
fn field_of(error: &serde_path_to_error::Error<serde_json::Error>) -> String {
    let is_json = error.inner().is_data();
    // "?" is a location that could not be determined.
    let path = Some(error.path().to_string()).filter(|path| is_json && path != "." && !path.contains('?'));
    let path = path.unwrap_or_default();
    match named_field(&error.inner().to_string()) {
        Some(name) if path.is_empty() => name,
        // The last part of the path is the unknown field itself.
        Some(name) if path.split('.').next_back() == Some(&name) => path,
        Some(name) => format!("{path}.{name}"),
        None if path.is_empty() => "body".to_owned(),
        None => path,
    }
}

/// The field that a message of serde or of the router names in backquotes.
pub fn named_field(message: &str) -> Option<String> {
    let names = ["unknown field `", "missing field `", "duplicate field `", "Invalid UTF-8 in `"];
    let rest = names.iter().find_map(|start| message.split_once(start))?.1;
    rest.split('`').next().map(str::to_owned)
}
