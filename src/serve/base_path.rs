//! The path prefix below which this server is published: `--base-path`, or `X-Forwarded-Prefix` of a proxy.
//!
//! Decides the prefix of paths in responses, and strips it from requests of proxies that pass it on. The page does not need
//! it: its requests are relative.

use std::convert::Infallible;

use axum::Router;
use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use tower::ServiceExt;

use super::state::AppState;

/// Longest path below which a server is published.
const LONGEST: usize = 200;

/// A path such as `/avatar`, without a slash at its end; empty for a server at the root of its site.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BasePath(String);

impl BasePath {
    /// Parses a prefix; `None` for anything but plain segments, which a browser could read as another host.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let path = text.trim().trim_end_matches('/');
        let is_plain = |part: &str| {
            let is_dots = part.chars().all(|c| c == '.');
            !is_dots && part.chars().all(|c| c.is_ascii_alphanumeric() || "-._~".contains(c))
        };
        let is_empty = path.is_empty() && text.trim().starts_with('/');
        let is_path = path.len() <= LONGEST && path.strip_prefix('/').is_some_and(|rest| rest.split('/').all(is_plain));
        (is_empty || is_path).then(|| Self(path.to_owned()))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn forwarded(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get("x-forwarded-prefix")?.to_str().ok()?;
        Self::parse(value.split(',').next().unwrap_or_default())
    }

    /// `router`, which also answers requests that contain this prefix.
    pub(super) fn strip_from(self, router: Router) -> Router {
        if self.0.is_empty() { router } else { Router::new().fallback(stripped).with_state((self, router)) }
    }
}

/// The prefix of the paths in the response to a request.
impl FromRequestParts<AppState> for BasePath {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Infallible> {
        Ok(Self::forwarded(&parts.headers).unwrap_or_else(|| state.base_path.clone()))
    }
}

async fn stripped(State((base, router)): State<(BasePath, Router)>, mut request: Request) -> Response {
    let path = request.uri().path();
    if path == base.0 {
        // Relative addresses in the page count from the last slash.
        return (StatusCode::PERMANENT_REDIRECT, [(header::LOCATION, format!("{}/", base.0))]).into_response();
    }
    if path.strip_prefix(&base.0).is_some_and(|rest| rest.starts_with('/'))
        && let Some(uri) = without(&base.0, request.uri())
    {
        *request.uri_mut() = uri;
    }
    router.oneshot(request).await.into_response()
}

fn without(base: &str, uri: &Uri) -> Option<Uri> {
    let mut parts = uri.clone().into_parts();
    let rest = parts.path_and_query?.as_str().strip_prefix(base)?.parse::<PathAndQuery>().ok()?;
    parts.path_and_query = Some(rest);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::routing::get;

    use super::*;

    #[test]
    fn a_base_path_has_only_plain_segments() {
        for (text, wanted) in [
            ("/avatar", Some("/avatar")),
            ("/a/b-1/", Some("/a/b-1")),
            ("/", Some("")),
            ("//evil.example", None),
            ("/..", None),
            ("/a//b", None),
            ("avatar", None),
            ("", None),
            ("/a\"b", None),
            ("https://evil.example", None),
        ] {
            assert_eq!(BasePath::parse(text).as_ref().map(BasePath::as_str), wanted, "{text}");
        }
    }

    #[tokio::test]
    async fn requests_with_and_without_the_prefix_reach_the_same_route() {
        let base = BasePath::parse("/a/b").expect("a path");
        let router = base.strip_from(Router::new().route("/x", get(|uri: Uri| async move { uri.to_string() })));
        for (path, status, wanted) in
            [("/a/b/x?y=1", 200, "/x?y=1"), ("/x", 200, "/x"), ("/a/bx", 404, ""), ("/a/b", 308, "")]
        {
            let request = Request::get(path).body(Body::empty()).expect("a request");
            let response = router.clone().oneshot(request).await.expect("infallible");
            assert_eq!(response.status().as_u16(), status, "{path}");
            assert_eq!(to_bytes(response.into_body(), 100).await.expect("a body"), wanted, "{path}");
        }
    }
}
