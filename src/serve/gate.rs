//! Before every route: the secret, and headers that keep browsers careful.

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::Problem;
use super::state::AppState;

/// What the page may load and reach: itself.
const POLICY: &str = "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob: mediastream:; style-src 'self' 'unsafe-inline'; \
    connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// Asks for the secret where one is set.
pub async fn token(State(state): State<AppState>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    // What the page needs before it can ask a person for the secret stays open.
    let is_open =
        !(path.starts_with("/v1/") || path == "/metrics") || path == "/v1/server" || path.ends_with("/still.png");
    let is_right = state.token.as_deref().is_none_or(|token| is_open || carries(&request, token));
    if is_right {
        return next.run(request).await;
    }
    let problem = Problem::new(
        StatusCode::UNAUTHORIZED,
        "wanted the server's token, found none or another",
        "send Authorization: Bearer TOKEN",
    );
    problem.at("authorization").with(header::WWW_AUTHENTICATE, "Bearer").into_response()
}

fn carries(request: &Request, token: &str) -> bool {
    let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let bearer = header.and_then(|value| value.strip_prefix("Bearer "));
    // Event streams of browsers cannot carry headers.
    let query = request.uri().query().unwrap_or_default().split('&').find_map(|pair| pair.strip_prefix("token="));
    [bearer, query].into_iter().flatten().any(|found| is_same(found.as_bytes(), token.as_bytes()))
}

/// Compares in a time that does not tell where the difference is.
fn is_same(found: &[u8], wanted: &[u8]) -> bool {
    let differences = found.iter().zip(wanted).fold(0, |sum, (a, b)| sum | (a ^ b));
    found.len() == wanted.len() && differences == 0
}

/// Adds the careful headers.
pub async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let set = response.headers_mut();
    set.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    set.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    set.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// A wrong method is a problem like any other.
pub async fn method_not_allowed(request: Request) -> Problem {
    let detail = format!("{} does not go with {}", request.method(), request.uri().path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail, "GET /openapi.json lists what goes")
}
