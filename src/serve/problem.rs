//! Errors of the API: `application/problem+json` (RFC 9457) with a code, the field that is wrong, and a hint.

use std::borrow::Cow;

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// The content type of problems.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// An error response, for programs and for people.
#[derive(Clone, Debug)]
pub struct Problem(Box<Body>);

#[derive(Clone, Debug, Serialize)]
struct Body {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    status: u16,
    code: Cow<'static, str>,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    hint: String,
    #[serde(skip)]
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem with the error (`detail`) and what to do about it (`hint`). Its code is the status in snake case.
    pub fn new(status: StatusCode, detail: impl Into<String>, hint: impl Into<String>) -> Self {
        Self(Box::new(Body {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("error"),
            status: status.as_u16(),
            code: Cow::Owned(status.canonical_reason().unwrap_or("error").to_ascii_lowercase().replace(' ', "_")),
            detail: detail.into(),
            field: None,
            hint: hint.into(),
            headers: Vec::new(),
        }))
    }

    /// Gives a code that is more precise than the status; metrics and logs use the same.
    #[must_use]
    pub fn code(mut self, code: &'static str) -> Self {
        self.0.code = Cow::Borrowed(code);
        self
    }

    /// Names the field that is wrong.
    #[must_use]
    pub fn at(mut self, field: impl Into<String>) -> Self {
        self.0.field = Some(field.into());
        self
    }

    /// Adds a header to the response.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.0.headers.push((name, HeaderValue::from_static(value)));
        self
    }

    /// 404 for a session id.
    #[must_use]
    pub fn no_session() -> Self {
        let detail = "there is no session with this id";
        Self::new(StatusCode::NOT_FOUND, detail, "GET /v1/sessions lists the sessions").code("no_session").at("id")
    }

    /// 404 for a path.
    #[must_use]
    pub fn no_route() -> Self {
        Self::new(StatusCode::NOT_FOUND, "there is nothing at this path", "GET /openapi.json lists every path")
            .at("path")
    }

    /// Its HTTP status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        let headers = self.0.headers.clone();
        let mut response = (status, Json(self.0)).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        response.headers_mut().extend(headers);
        response
    }
}
