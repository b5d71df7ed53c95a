//! WHEP: how players that know nothing of visage watch a session (draft-ietf-wish-whep-04).
//!
//! The endpoint is `/whep/{session}`, the resource of one player `/whep/{session}/{viewer}`. Decides statuses and headers;
//! joining is the same as for `POST /v1/sessions/{id}/viewers`. This server is an ICE-lite agent: it learns where a player
//! is from the player's own connectivity checks, so trickled candidates are accepted and not needed. It does not restart
//! ICE (422, as the draft allows) and never makes an offer of its own.

use axum::body::{Body, Bytes};
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::body;
use super::per_address::Client;
use super::problem::Problem;
use super::sessions::{SDP, largest_join_bytes, offer_text};
use super::state::AppState;
use super::viewers::{admit, dismiss, find_viewer};
use crate::session::ViewerRole;

/// Fragments of trickle ICE (RFC 8840).
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";
/// Largest fragment: some hundred candidates.
const LARGEST_FRAGMENT_BYTES: usize = 16 * 1024;

/// `POST /whep/{session}`: an offer, answered.
pub async fn join(
    State(state): State<AppState>,
    client: Client,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    find_session(&state, &id)?;
    let kind = body::media_type(&headers);
    if kind != SDP {
        return Err(body::wrong_type(SDP, &kind, "send the offer as application/sdp"));
    }
    let offer = offer_text(&body::read(&headers, body, largest_join_bytes(&kind)?).await?)?;
    let joined = admit(&state, client, &id, (&offer, ViewerRole::ReceiveOnly)).await?;
    let headers = [
        (header::CONTENT_TYPE, SDP.to_owned()),
        // Relative to the request's URL, so that it also holds behind a proxy that strips a prefix.
        (header::LOCATION, format!("{id}/{}", joined.id)),
        (header::ETAG, tag(&joined.id)),
        (header::HeaderName::from_static("accept-patch"), FRAGMENT.to_owned()),
    ];
    Ok((StatusCode::CREATED, headers, joined.answer).into_response())
}

/// The entity tag of a player's ICE session. It never changes, for ICE is not restarted.
fn tag(viewer: &str) -> String {
    format!("\"{viewer}\"")
}

/// `GET /whep/{session}`: whether there is something to watch.
pub async fn live(State(state): State<AppState>, Path(id): Path<String>) -> Result<StatusCode, Problem> {
    find_session(&state, &id).map(|()| StatusCode::NO_CONTENT)
}

/// `HEAD /whep/{session}`: players recognise an endpoint by the content type.
pub async fn discover(State(state): State<AppState>, Path(id): Path<String>) -> Result<Response, Problem> {
    find_session(&state, &id)?;
    Ok((StatusCode::OK, [(header::CONTENT_TYPE, SDP)]).into_response())
}

/// `OPTIONS`, where no origin is allowed and so no browser's question was answered before.
pub async fn options() -> StatusCode {
    StatusCode::OK
}

/// Adds what the endpoint accepts to every answer to `OPTIONS`, whichever layer answered.
pub async fn advertise(request: Request, next: Next) -> Response {
    let is_asked = request.method() == Method::OPTIONS && request.uri().path().starts_with("/whep/");
    let mut response = next.run(request).await;
    if is_asked {
        response.headers_mut().insert("accept-post", HeaderValue::from_static(SDP));
        response.headers_mut().insert("accept-patch", HeaderValue::from_static(FRAGMENT));
    }
    response
}

/// `PATCH /whep/{session}/{viewer}`: a player trickles candidates, or asks for an ICE restart.
pub async fn trickle(
    State(state): State<AppState>,
    Path((id, viewer)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Problem> {
    find_session(&state, &id)?;
    find_viewer(&state, &id, &viewer)?;
    let kind = body::media_type(&headers);
    if kind != FRAGMENT {
        return Err(body::wrong_type(FRAGMENT, &kind, "send candidates as a fragment (RFC 8840)"));
    }
    check_tag(&headers, &viewer)?;
    check_fragment(&body::read(&headers, body, LARGEST_FRAGMENT_BYTES).await?)?;
    Ok(StatusCode::NO_CONTENT)
}

fn check_tag(headers: &HeaderMap, viewer: &str) -> Result<(), Problem> {
    let wrong = |status, detail: &str, hint: &str| Err(Problem::new(status, detail, hint).at("if-match"));
    match headers.get(header::IF_MATCH).map(|value| value.to_str().unwrap_or_default()) {
        None => wrong(
            StatusCode::PRECONDITION_REQUIRED,
            "the request has no If-Match header",
            "send If-Match with the ETag of the 201 answer",
        ),
        Some("*") => wrong(
            StatusCode::UNPROCESSABLE_ENTITY,
            "this server does not restart ICE",
            "DELETE the resource and POST a new offer",
        ),
        Some(found) if found != tag(viewer) => wrong(
            StatusCode::PRECONDITION_FAILED,
            "the entity tag is not that of this resource",
            "send If-Match with the ETag of the 201 answer",
        ),
        Some(_) => Ok(()),
    }
}

/// A fragment has lines of the form `x=...` and at least one of ICE; what they say is not needed.
fn check_fragment(body: &Bytes) -> Result<(), Problem> {
    let text = std::str::from_utf8(body).unwrap_or_default();
    let is_line =
        |line: &str| line.as_bytes().first().is_some_and(u8::is_ascii_lowercase) && line.get(1..2) == Some("=");
    let is_ice =
        |line: &str| ["a=ice-", "a=candidate:", "a=end-of-candidates"].iter().any(|name| line.starts_with(name));
    let mut lines = text.lines().filter(|line| !line.is_empty());
    if lines.clone().any(is_ice) && lines.all(is_line) {
        return Ok(());
    }
    let detail = "the body is not a fragment of a session description with ICE attributes";
    Err(Problem::new(StatusCode::BAD_REQUEST, detail, "send a=ice-ufrag, a=ice-pwd and a=candidate lines").at("body"))
}

/// `DELETE /whep/{session}/{viewer}`: the player leaves.
pub async fn leave(
    State(state): State<AppState>,
    Path((id, viewer)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    dismiss(&state, &id, &viewer).map(|()| StatusCode::OK)
}

fn find_session(state: &AppState, id: &str) -> Result<(), Problem> {
    state.sessions.find(id).map(drop).ok_or_else(Problem::no_session)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fragment_has_ice_attributes_and_nothing_else_is_one() {
        let is_one = |text: &'static str| check_fragment(&Bytes::from_static(text.as_bytes())).is_ok();
        assert!(is_one(
            "a=ice-ufrag:x\r\na=ice-pwd:y\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\na=candidate:1 1 udp 1 h 5 typ host\r\n"
        ));
        assert!(is_one("a=end-of-candidates\r\n"));
        assert!(
            !is_one("") && !is_one("hello") && !is_one("m=audio 9 RTP/AVP 0\r\n") && !is_one("a=candidate:1\r\n<html>")
        );
    }
}
