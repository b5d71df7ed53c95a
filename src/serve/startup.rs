//! The startup responder: the port answers from the first moment, reports progress, and admits no session yet.
//!
//! Decides the responses until the API is open. Does not know the tasks of the start.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::{Json, Router};
use serde::Serialize;
use serde_json::json;
use tower::ServiceExt;

use super::access::Access;
use super::base_path::BasePath;
use super::info;
use super::problem::Problem;

/// `Retry-After` during the start.
const AGAIN_S: HeaderValue = HeaderValue::from_static("2");

/// A task of the start and its progress.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StartupTask {
    /// The task: `unet.512x25.fp16.sm89.rtx1.7.1-0123456789ab, building the engine`.
    pub task: String,
    /// Steps done.
    pub done: u32,
    /// Total steps.
    pub total: u32,
    /// Estimated duration of the whole start in seconds.
    pub expected_s: u64,
}

impl Default for StartupTask {
    fn default() -> Self {
        Self { task: "starting".to_owned(), done: 0, total: 1, expected_s: 1 }
    }
}

/// Responds with progress until [`Startup::open`], and with the API from then on. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Startup(Arc<Inside>);

#[derive(Debug, Default)]
struct Inside {
    access: Access,
    base_path: BasePath,
    router: OnceLock<Router>,
    preparation: Mutex<StartupTask>,
}

impl Startup {
    /// Answers callers that `access` allows, below `base_path` and at the root.
    #[must_use]
    pub fn new(access: Access, base_path: BasePath) -> Self {
        Self(Arc::new(Inside { access, base_path, ..Inside::default() }))
    }

    /// Sets the progress.
    pub fn say(&self, preparation: StartupTask) {
        *self.0.preparation.lock().unwrap_or_else(PoisonError::into_inner) = preparation;
    }

    /// Opens the API permanently.
    pub fn open(&self, router: Router) {
        // A second call changes nothing.
        let _ = self.0.router.set(router);
    }

    /// The router, before and after [`Startup::open`].
    pub fn router(&self) -> Router {
        self.0.base_path.clone().strip_from(Router::new().fallback(enter).with_state(self.clone()))
    }

    fn preparation(&self) -> StartupTask {
        self.0.preparation.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn enter(State(startup): State<Startup>, request: Request) -> Response {
    if let Some(router) = startup.0.router.get() {
        return router.clone().oneshot(request).await.into_response();
    }
    if let Err(problem) = startup.0.access.check(&request) {
        return problem.into_response();
    }
    let preparation = startup.preparation();
    let mut answer = match request.uri().path() {
        "/healthz" => return info::health().await.into_response(),
        "/readyz" => not_ready(&preparation),
        _ if wants_a_page(request.headers()) => page(&preparation),
        _ => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            sentence(&preparation),
            "try again when GET /readyz answers 200",
        )
        .into_response(),
    };
    answer.headers_mut().insert(header::RETRY_AFTER, AGAIN_S);
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

fn sentence(StartupTask { task, done, total, expected_s }: &StartupTask) -> String {
    format!("starting: {task} ({done} of {total}); about {expected_s} s in all")
}

fn not_ready(preparation: &StartupTask) -> Response {
    let answer = json!({ "ready": false, "reasons": [sentence(preparation)], "startup": preparation });
    (StatusCode::SERVICE_UNAVAILABLE, Json(answer)).into_response()
}

fn wants_a_page(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok());
    accepted.is_some_and(|accepted| accepted.contains("text/html"))
}

/// A page that reloads every two seconds. It contains no input of the caller.
fn page(preparation: &StartupTask) -> Response {
    let text = sentence(preparation);
    let page = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <meta http-equiv=refresh content=2><title>visage is starting</title>\
         <style>:root{{color-scheme:light dark}}body{{font:1.1rem/1.5 system-ui;max-width:36rem;margin:20vh auto;padding:0 1rem}}</style>\
         <h1>One moment</h1><p>visage is {text}. This page reloads until it is ready.</p></html>"
    );
    (StatusCode::SERVICE_UNAVAILABLE, Html(page)).into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::{Body, to_bytes};
    use axum::routing::get;

    use super::*;

    async fn ask(startup: &Startup, path: &str, accept: &str) -> (StatusCode, HeaderMap, String) {
        let request = Request::get(path)
            .header(header::HOST, "localhost")
            .header(header::ACCEPT, accept)
            .body(Body::empty())
            .expect("a request");
        let response = startup.router().oneshot(request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        let text = String::from_utf8(to_bytes(body, 10_000).await.expect("a body").to_vec()).expect("text");
        (parts.status, parts.headers, text)
    }

    #[tokio::test]
    async fn the_start_reports_progress_until_the_api_is_open() {
        let startup = Startup::default();
        startup.say(StartupTask { task: "unet, building".into(), done: 3, total: 40, expected_s: 62 });
        let (status, headers, text) = ask(&startup, "/readyz", "*/*").await;
        assert_eq!((status.as_u16(), &headers[header::RETRY_AFTER]), (503, &AGAIN_S));
        let answer: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!((&answer["ready"], &answer["startup"]["done"]), (&json!(false), &json!(3)));
        assert_eq!(ask(&startup, "/healthz", "*/*").await.0.as_u16(), 200);
        let (status, _, text) = ask(&startup, "/v1/sessions", "application/json").await;
        assert!(status.as_u16() == 503 && text.contains("unet, building (3 of 40)"), "{text}");
        let foreign = Request::get("/readyz").header(header::HOST, "evil.example").body(Body::empty());
        let refused = startup.router().oneshot(foreign.expect("a request")).await.expect("infallible");
        assert_eq!(refused.status().as_u16(), 421);
        let (_, _, page) = ask(&startup, "/", "text/html,*/*").await;
        assert!(page.contains("http-equiv=refresh") && page.contains("about 62 s"), "{page}");
        startup.open(Router::new().route("/readyz", get(|| async { "in" })));
        assert_eq!(ask(&startup, "/readyz", "*/*").await.2, "in");
        assert_eq!(ask(&startup, "/nowhere", "*/*").await.0.as_u16(), 404);
    }
}
