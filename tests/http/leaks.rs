//! Responses never contain text of libraries or of the system, with memory addresses, paths and type names.

use std::sync::Arc;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use visage::model::portrait::Portrait;
use visage::model::{Animator, AvatarInfo, ModelError, Pack, Still};

use super::{TestServer, offer, portrait, server, server_with};

/// Parts of library text. Content types and codecs are the only words with a slash that responses need.
const FOREIGN: [&str; 21] = [
    "0x", "::", "struct ", "enum ", "variant", "expected", "os error", "usize", "u32", "u64", "f64", "String", "Some(",
    "None", "Error", "panicked", "unwrap", ".rs", "/home", "/tmp", "Box<",
];
const WITH_SLASH: [&str; 12] = [
    "application/json",
    "application/sdp",
    "application/octet-stream",
    "application/problem+json",
    "audio/*",
    "text/plain",
    "opus/48000/2",
    "H264/90000",
    "VP9/90000",
    "VP8/90000",
    "PCMU/8000",
    "audio/wav",
];

/// Fails unless the response to `request` is an error without foreign text.
async fn check(name: &str, request: RequestBuilder) {
    let response = request.send().await.expect("an answer");
    let status = response.status();
    assert!(status.is_client_error() || status.is_server_error(), "{name}: {status}");
    let problem: Value = response.json().await.expect("JSON");
    let detail = problem["detail"].as_str().unwrap_or_else(|| problem["reasons"][0].as_str().expect("a reason"));
    for part in FOREIGN {
        assert!(!detail.contains(part), "{name}: {part:?} in {detail:?}");
    }
    let plain = WITH_SLASH.iter().fold(detail.to_owned(), |text, known| text.replace(known, ""));
    assert!(!plain.contains('/') && !plain.contains('\\'), "{name}: a path in {detail:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_error_response_contains_text_of_a_library() {
    let server = server(2, None);
    let response =
        server.ask(Method::POST, "/v1/sessions").json(&json!({ "sdp": offer() })).send().await.expect("an answer");
    let joined: Value = response.json().await.expect("JSON");
    let location = joined["location"].as_str().expect("a location").to_owned();
    for body in [
        "",
        "{",
        "[]",
        "5",
        "\"x\"",
        "{\"sdp\":5}",
        "{\"sdp\":null}",
        "{\"sdp\":\"v=0\",\"sdp\":\"v=0\"}",
        "{\"colour\":1,\"sdp\":\"\"}",
        "{}",
        "{\"sdp\":\"x\",\"options\":5}",
        "{\"sdp\":\"x\",\"options\":{\"resolution_px\":\"a\"}}",
        "{\"sdp\":\"\\ud800\"}",
        "{\"sdp\":\"x\",\"options\":{\"resolution_px\":1e99}}",
        "{\"sdp\":\"x\",\"options\":{\"audio\":3}}",
        "{\"sdp\":\"x\"} y",
        "{\"sdp\":\"x\",}",
    ] {
        let request = server.ask(Method::POST, "/v1/sessions").header("content-type", "application/json").body(body);
        check(&format!("join {body}"), request).await;
        let request = server.ask(Method::PATCH, &location).header("content-type", "application/json").body(body);
        check(&format!("change {body}"), request).await;
    }
    let speech = format!("{location}/speech");
    for (name, file) in files() {
        check(&name, server.ask(Method::POST, &speech).header("content-type", "audio/wav").body(file)).await;
    }
    for path in [
        "/v1/nothing",
        "/v1/sessions/%ff",
        "/v1/sessions/none",
        "/v1/avatars/%ff/still.png",
        "/v1/avatars/..%2f..%2fetc/still.png",
        "/v1/avatars/mira/still.png?px=large",
        "/v1/avatars/mira/still.png?px=-1",
        "/v1/avatars/mira/still.png?size=1",
        "/v1/avatars/mira/still.png?px=99999999999999999999",
        "/etc/passwd",
        "/v1/sessions/none/events",
        "/v1/sessions/none/stats",
    ] {
        check(path, server.ask(Method::GET, path)).await;
    }
    check(
        "a repeated query parameter",
        server
            .ask(Method::POST, "/v1/sessions?avatar=a&avatar=b")
            .header("content-type", "application/sdp")
            .body(offer()),
    )
    .await;
    server.close().await;
}

/// Files with damage of every kind: a byte set to 0xff at each position, and truncation.
fn files() -> Vec<(String, Vec<u8>)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/assets");
    let whole = std::fs::read_dir(folder)
        .expect("assets")
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_str().is_some_and(|name| name.starts_with("tone.")));
    let mut damaged = Vec::new();
    for entry in whole {
        let (name, bytes) = (entry.file_name(), std::fs::read(entry.path()).expect("a file"));
        for length in [1, 4, 12, 40] {
            damaged.push((format!("{}, {length} bytes", name.display()), bytes[..length.min(bytes.len())].to_vec()));
        }
    }
    damaged
}

/// A pack with missing files, whose error contains the system's message.
struct Broken(Portrait);

impl Pack for Broken {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn avatars(&self) -> Arc<[AvatarInfo]> {
        self.0.avatars()
    }

    fn check_ready(&self) -> Result<(), ModelError> {
        self.0.check_ready()
    }

    fn animator(&self, avatar: &str, _side_px: u32) -> Result<Box<dyn Animator>, ModelError> {
        Err(ModelError::Broken {
            name: avatar.to_owned(),
            found: "/home/ann/x.onnx: No such file (os error 2), at 0x7f00".into(),
        })
    }

    fn still(&self, avatar: &str, side_px: u32) -> Result<Still, ModelError> {
        self.animator(avatar, side_px).map(|_| unreachable!("it fails"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_avatar_that_cannot_be_loaded_is_named_without_its_file() {
    let broken: TestServer = server_with(Arc::new(Broken(portrait())), 1, None, 128);
    check("a session", broken.ask(Method::POST, "/v1/sessions").json(&json!({ "sdp": offer() }))).await;
    check("a still", broken.ask(Method::GET, "/v1/avatars/mira/still.png")).await;
    broken.close().await;
}
