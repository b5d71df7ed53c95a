//! Middleware of every route: the token, security headers, and errors as problems.

use axum::body::{Body, to_bytes};
use axum::extract::{Query, Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::body::named_field;
use super::problem::{PROBLEM_JSON, Problem};
use super::state::AppState;

/// Content security policy: the page loads and reaches only this server. `frame-ancestors` is added.
const POLICY: &str = "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob: mediastream:; \
    style-src 'self' 'unsafe-inline'; connect-src 'self'; base-uri 'none'; form-action 'none'";

/// Permissions policy: the page may use the microphone, frames in it may not.
const PERMISSIONS: HeaderName = HeaderName::from_static("permissions-policy");

#[derive(Deserialize)]
struct TokenQuery {
    token: Option<String>,
}

/// Requires the token where one is set.
pub async fn token(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    // The page needs these before it can ask for the token.
    let is_api = ["/v1/", "/whep/", "/metrics"].iter().any(|start| path.starts_with(start));
    let is_open = !is_api
        || path == "/v1/server"
        || path.ends_with("/still.png")
        // A question about a resource carries no token (Fetch, CORS preflight).
        || request.method() == Method::OPTIONS;
    let is_right = state.token.as_deref().is_none_or(|token| is_open || carries(&request, token));
    if is_right {
        return next.run(request).await;
    }
    let detail = "the token is missing or wrong";
    let problem = Problem::new(StatusCode::UNAUTHORIZED, detail, "send Authorization: Bearer TOKEN");
    problem.at("authorization").with(header::WWW_AUTHENTICATE, "Bearer realm=\"visage\"").into_response()
}

fn carries(request: &Request, token: &str) -> bool {
    let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = header.and_then(|value| value.split_once(' '));
    let bearer = bearer.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map(|(_, found)| found.trim());
    let in_query = Query::<TokenQuery>::try_from_uri(request.uri()).ok().and_then(|query| query.0.token);
    // Browsers cannot send headers with event streams and WebSockets. Elsewhere a token in the URL would only end up in logs.
    let path = request.uri().path();
    let in_query = in_query.filter(|_found| path.ends_with("/events") || path.ends_with("/speech/stream"));
    [bearer, in_query.as_deref()].into_iter().flatten().any(|found| is_same(found, token))
}

/// Compares digests, which have one length: timing reveals neither the token nor its length.
fn is_same(found: &str, token: &str) -> bool {
    Sha256::digest(found).ct_eq(&Sha256::digest(token)).into()
}

/// The content security policy, with the origins that may frame the page.
pub fn policy(origins: &[String]) -> HeaderValue {
    let framed_by = if origins.is_empty() { "'none'".to_owned() } else { format!("'self' {}", origins.join(" ")) };
    let whole = format!("{POLICY}; frame-ancestors {framed_by}");
    HeaderValue::try_from(whole).unwrap_or_else(|_odd_origin| HeaderValue::from_static(POLICY))
}

/// Adds security headers and counts the response.
pub async fn headers(State((state, policy)): State<(AppState, HeaderValue)>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    state.request_metrics().answer(response.status());
    let set = response.headers_mut();
    set.insert(header::CONTENT_SECURITY_POLICY, policy);
    set.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    set.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    set.insert(PERMISSIONS, HeaderValue::from_static("microphone=(self), camera=(), geolocation=()"));
    set.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Turns every other error response into a problem, such as the router's for a path that is not UTF-8.
pub async fn problems(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    let kind = response.headers().get(header::CONTENT_TYPE);
    // Other JSON is a regular response, such as the reasons of /readyz.
    if !is_error || kind.is_some_and(|kind| kind == PROBLEM_JSON || kind == "application/json") {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let mut answer = as_problem(status, body).await.into_response();
    parts.headers.remove(header::CONTENT_TYPE);
    parts.headers.remove(header::CONTENT_LENGTH);
    answer.headers_mut().extend(parts.headers);
    answer
}

async fn as_problem(status: StatusCode, body: Body) -> Problem {
    let text = to_bytes(body, 4096).await.unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    let field = named_field(&text).or_else(|| in_query(&text));
    let detail = match (&field, text.starts_with(QUERY)) {
        (Some(key), true) if text.contains(UNKNOWN) => format!("{key} is not a documented key of the query"),
        (Some(key), true) => format!("the value of {key} in the query is not as documented"),
        (None, true) => "the query is not as documented".to_owned(),
        (Some(part), false) => format!("{part} in the path is not UTF-8"),
        (None, false) => status.canonical_reason().unwrap_or("error").to_ascii_lowercase(),
    };
    let field = field.unwrap_or_else(|| "request".to_owned());
    Problem::new(status, detail, "GET /openapi.json describes every request").at(field)
}

/// Part of the router's text for a key that is not documented.
const UNKNOWN: &str = "unknown field";
/// The start of the router's text for a wrong query; `: KEY: REASON` follows.
const QUERY: &str = "Failed to deserialize query string";

/// The key of a query whose value is wrong.
fn in_query(message: &str) -> Option<String> {
    let (key, _) = message.strip_prefix(QUERY)?.strip_prefix(": ")?.split_once(": ")?;
    key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_').then(|| key.to_owned())
}

/// 405 as a problem.
pub async fn method_not_allowed(request: Request) -> Problem {
    wrong_method(request.method())
}

/// The path does not support this method.
pub fn wrong_method(method: &Method) -> Problem {
    let detail = format!("this path does not take {method}");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail, "Allow lists the methods of this path").at("method")
}
