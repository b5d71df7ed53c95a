//! The page: embedded files with entity tags, so that a browser loads each once.

use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use super::middleware;
use super::problem::Problem;
use super::state::{AppState, is_known};

/// The fallback of all routes: a file of the page, or 404.
pub async fn file(State(state): State<AppState>, method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let wanted = uri.path().trim_start_matches('/');
    let wanted = if wanted.is_empty() { "index.html" } else { wanted };
    let Some((path, bytes, tag)) = state.asset(wanted) else {
        return Problem::no_route().into_response();
    };
    if method != Method::GET && method != Method::HEAD {
        return middleware::wrong_method(&method).with(header::ALLOW, "GET,HEAD").into_response();
    }
    let about = [(header::CONTENT_TYPE, content_type(path)), (header::ETAG, tag), (header::CACHE_CONTROL, "no-cache")];
    if is_known(&headers, tag) {
        (StatusCode::NOT_MODIFIED, about).into_response()
    } else {
        (about, bytes).into_response()
    }
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "json" => "application/json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "webp" => "image/webp",
        "wav" => "audio/wav",
        "mp3" => "audio/mpeg",
        "md" => "text/plain; charset=utf-8",
        _ => "application/octet-stream",
    }
}
