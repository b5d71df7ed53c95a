//! `web/openapi.json` compared with the server: every route, every status, every response.

#![expect(clippy::panic, reason = "the checker panics with its finding")]

use std::collections::BTreeSet;

use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use visage::rtc::BITRATE_BPS;
use visage::serve;
use visage::telemetry::{Loss, Stage, StepTimes};

use super::{TestServer, document, offer, schema, server};

const TOKEN: &str = "s3cret";
const METHODS: [&str; 5] = ["get", "post", "patch", "delete", "put"];

/// Documented responses that the test below does not produce, with the reason.
const UNSEEN: [(&str, &str, u16); 15] = [
    // Limits per client are tested in `limits`.
    ("post", "/v1/sessions", 429),
    ("get", "/v1/sessions/{id}/events", 429),
    // A body that does not arrive times out after 30 seconds.
    ("post", "/v1/sessions", 408),
    ("patch", "/v1/sessions/{id}", 408),
    ("post", "/v1/sessions/{id}/speech", 408),
    // Chunked bodies and WebSockets are tested in `speech`.
    ("post", "/v1/sessions/{id}/speech", 200),
    ("post", "/v1/sessions/{id}/speech", 409),
    ("get", "/v1/sessions/{id}/speech/stream", 101),
    ("get", "/v1/sessions/{id}/speech/stream", 503),
    ("post", "/v1/sessions/{id}/viewers", 408),
    ("post", "/whep/{id}", 408),
    ("patch", "/whep/{id}/{viewer}", 408),
    // A session takes commands 50 times a second: its queue is full only when it cannot keep up.
    ("patch", "/v1/sessions/{id}", 503),
    ("post", "/v1/sessions/{id}/speech", 503),
    ("post", "/v1/sessions/{id}/interrupt", 503),
];

/// Sends requests and checks every response against the document.
struct Checker {
    server: TestServer,
    document: Value,
    seen: BTreeSet<(String, String, u16)>,
}

impl Checker {
    fn new(server: TestServer) -> Self {
        Self { server, document: document(), seen: BTreeSet::new() }
    }

    fn ask(&self, method: &str, path: &str) -> RequestBuilder {
        self.server.ask(method.to_uppercase().parse().expect("a method"), path)
    }

    /// Sends a request of an operation; the response must match the document. Returns its JSON or text.
    async fn checked(&mut self, method: &str, path: &str, request: RequestBuilder) -> Value {
        let response = request.send().await.expect("an answer");
        let status = response.status().as_u16();
        let described = self.response(method, path, status);
        for (name, _) in described["headers"].as_object().into_iter().flatten() {
            assert!(response.headers().contains_key(name.as_str()), "{method} {path} {status}: no {name}");
        }
        self.seen.insert((method.to_owned(), path.to_owned(), status));
        let (kind, body) = read(response).await;
        let Some(content) = described["content"].as_object() else {
            assert_eq!(body, Value::from(""), "{method} {path} {status}: an undocumented body");
            return body;
        };
        let media = content.get(&kind).unwrap_or_else(|| panic!("{method} {path} {status}: {kind} is not documented"));
        let faults = schema::faults(&self.document, &media["schema"], &body);
        assert!(faults.is_empty(), "{method} {path} {status}: {faults:#?}");
        body
    }

    fn response(&self, method: &str, path: &str, status: u16) -> Value {
        let described = &self.document["paths"][path][method]["responses"][status.to_string()];
        assert!(described.is_object(), "{method} {path}: {status} is not documented");
        schema::resolved(&self.document, described).clone()
    }

    /// As [`Self::checked`], with the token.
    async fn checked_with_token(&mut self, method: &str, path: &str, request: RequestBuilder) -> Value {
        self.checked(method, path, request.bearer_auth(TOKEN)).await
    }

    /// Every operation with its path and method.
    fn operations(&self) -> Vec<(String, String)> {
        let paths = self.document["paths"].as_object().expect("paths");
        let of = |(path, item): (&String, &Value)| {
            let methods = METHODS.into_iter().filter(|method| item.get(method).is_some());
            methods.map(|method| (method.to_owned(), path.clone())).collect::<Vec<_>>()
        };
        paths.iter().flat_map(of).collect()
    }
}

/// The content type without parameters, and the body: JSON if it is JSON, else a string.
async fn read(response: Response) -> (String, Value) {
    let kind = response.headers().get("content-type").map(|kind| kind.to_str().expect("text").to_owned());
    let kind = kind.unwrap_or_default().split(';').next().unwrap_or_default().to_owned();
    let bytes = response.bytes().await.expect("a body");
    let text = || Value::from(String::from_utf8_lossy(&bytes).into_owned());
    let body = if kind.ends_with("json") && !bytes.is_empty() {
        serde_json::from_slice(&bytes).expect("JSON")
    } else {
        text()
    };
    (kind, body)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_and_the_routes_agree() {
    let server = server(1, None);
    let document = document();
    let paths = document["paths"].as_object().expect("paths");
    for (path, methods) in paths {
        let real = path.replace("{id}", "none").replace("{name}", "none").replace("{viewer}", "none");
        for method in METHODS {
            let is_described = methods.get(method).is_some();
            let request = server.ask(method.to_uppercase().parse::<Method>().expect("a method"), &real);
            let status = request.send().await.expect("an answer").status();
            assert_eq!(status == StatusCode::METHOD_NOT_ALLOWED, !is_described, "{method} {path}: {status}");
        }
    }
    for path in serve::paths() {
        assert!(paths.contains_key(path), "{path} is not in web/openapi.json");
    }
    server.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_response_matches_the_document_and_every_documented_response_occurs() {
    let mut checker = Checker::new(server(2, Some(TOKEN)));
    refusals_of_every_route(&mut checker).await;
    facts(&mut checker).await;
    let session_path = joins(&mut checker).await;
    one_session(&mut checker, &session_path).await;
    viewers(&mut checker, &session_path).await;
    whep(&mut checker, &session_path).await;
    streams(&mut checker, &session_path).await;
    let described: BTreeSet<(String, String, u16)> = checker
        .operations()
        .into_iter()
        .flat_map(|(method, path)| {
            let responses = checker.document["paths"][&path][&method]["responses"].as_object().expect("responses");
            let statuses: Vec<u16> = responses.keys().map(|status| status.parse().expect("a status")).collect();
            statuses.into_iter().map(move |status| (method.clone(), path.clone(), status))
        })
        .collect();
    let unseen: Vec<_> = described.difference(&checker.seen).cloned().collect();
    let mut expected = UNSEEN.map(|(method, path, status)| (method.to_owned(), path.to_owned(), status));
    expected.sort();
    assert_eq!(unseen, expected, "documented responses that did not occur");
    checker.server.close().await;
}

/// Requests without the token, with an id that is not UTF-8, and with one of no session.
async fn refusals_of_every_route(checker: &mut Checker) {
    for (method, path) in checker.operations() {
        let statuses = checker.document["paths"][&path][&method]["responses"].clone();
        let ask = |checker: &Checker, id: &str| {
            let request =
                checker.ask(&method, &path.replace("{id}", id).replace("{name}", "mira").replace("{viewer}", "none"));
            if method == "patch" { request.json(&json!({ "avatar": "mira" })) } else { request }
        };
        if statuses.get("401").is_some() {
            let request = ask(checker, "none");
            let problem = checker.checked(&method, &path, request).await;
            assert_eq!((&problem["status"], &problem["field"]), (&json!(401), &json!("authorization")), "{path}");
        }
        if path.contains("{id}") {
            for (id, status) in [("%ff", 400), ("none", 404)] {
                let request = ask(checker, id);
                let problem = checker.checked_with_token(&method, &path, request).await;
                assert_eq!((&problem["status"], &problem["field"]), (&json!(status), &json!("id")), "{method} {path}");
            }
        }
    }
}

/// Information endpoints.
async fn facts(checker: &mut Checker) {
    for path in
        ["/v1/server", "/v1/avatars", "/v1/packs", "/v1/gpus", "/v1/sessions", "/healthz", "/readyz", "/metrics"]
    {
        let request = checker.ask("get", path);
        checker.checked_with_token("get", path, request).await;
    }
    let path = "/v1/avatars/{name}/still.png";
    for (name, status) in [("mira/still.png?px=128", 200), ("nobody/still.png", 404), ("mira/still.png?px=1", 400)] {
        let request = checker.ask("get", &format!("/v1/avatars/{name}"));
        checker.checked("get", path, request).await;
        assert!(checker.seen.contains(&("get".to_owned(), path.to_owned(), status)), "{name}: not {status}");
    }
    let request = checker.ask("get", "/v1/avatars/mira/still.png").header("if-none-match", "*");
    checker.checked("get", path, request).await;
    for known in ["none", "*"] {
        let request = checker.ask("get", "/openapi.json").header("if-none-match", known);
        checker.checked("get", "/openapi.json", request).await;
    }
}

/// Joins until the server is full; returns the location of a session.
async fn joins(checker: &mut Checker) -> String {
    let path = "/v1/sessions";
    let unusable = offer().replace("H264", "VP9").replace("profile-level-id=42e01f", "x=1");
    for (kind, body) in [
        ("application/json", "{".to_owned()),
        ("application/json", " ".repeat(1 << 20)),
        ("text/plain", offer()),
        ("application/sdp", unusable),
    ] {
        let request = checker.ask("post", path).header("content-type", kind).body(body);
        checker.checked_with_token("post", path, request).await;
    }
    let request = checker.ask("post", path).json(&json!({ "sdp": offer(), "options": { "audio": false } }));
    let joined = checker.checked_with_token("post", path, request).await;
    for _ in 0..2 {
        let request = checker.ask("post", path).header("content-type", "application/sdp").body(offer());
        checker.checked_with_token("post", path, request).await;
    }
    for path in [path, "/readyz"] {
        let request = checker.ask("get", path);
        checker.checked_with_token("get", path, request).await;
    }
    joined["location"].as_str().expect("a location").to_owned()
}

/// All operations on a session except its end.
async fn one_session(checker: &mut Checker, session_path: &str) {
    let path = "/v1/sessions/{id}";
    let request = checker.ask("get", session_path);
    checker.checked_with_token("get", path, request).await;
    let json = |body: String| ("application/json", body);
    for (kind, body) in
        [json(json!({ "avatar": "finn" }).to_string()), json(" ".repeat(5000)), ("text/plain", String::new())]
    {
        let request = checker.ask("patch", session_path).header("content-type", kind).body(body);
        checker.checked_with_token("patch", path, request).await;
    }
    let path = "/v1/sessions/{id}/stats";
    let request = checker.ask("get", &format!("{session_path}/stats"));
    checker.checked_with_token("get", path, request).await;
    let path = "/v1/sessions/{id}/interrupt";
    let request = checker.ask("post", &format!("{session_path}/interrupt"));
    checker.checked_with_token("post", path, request).await;
    let path = "/v1/sessions/{id}/speech/stream";
    let request = checker.ask("get", &format!("{session_path}/speech/stream"));
    checker.checked_with_token("get", path, request).await;
    let path = "/v1/sessions/{id}/speech";
    let voice = include_bytes!("../assets/tone.flac").to_vec();
    for (kind, body) in [
        ("audio/flac", voice),
        ("audio/flac", Vec::new()),
        ("audio/flac", vec![0; (10 << 20) + 1]),
        ("text/html", b"hello".to_vec()),
    ] {
        let request = checker.ask("post", &format!("{session_path}/speech")).header("content-type", kind).body(body);
        checker.checked_with_token("post", path, request).await;
    }
}

/// Viewers that join, are refused, and leave.
async fn viewers(checker: &mut Checker, session_path: &str) {
    let path = "/v1/sessions/{id}/viewers";
    let unusable = offer().replace("H264", "VP9").replace("profile-level-id=42e01f", "x=1");
    let microphone = json!({ "sdp": offer(), "microphone": true }).to_string();
    for (kind, body) in [
        ("application/json", "{".to_owned()),
        ("application/json", " ".repeat(1 << 20)),
        ("application/json", microphone),
        ("text/plain", offer()),
        ("application/sdp", unusable),
    ] {
        let request = checker.ask("post", &format!("{session_path}/viewers")).header("content-type", kind).body(body);
        checker.checked_with_token("post", path, request).await;
    }
    let request = checker.ask("post", &format!("{session_path}/viewers")).json(&json!({ "sdp": offer() }));
    let joined = checker.checked_with_token("post", path, request).await;
    let request = checker.ask("get", &format!("{session_path}/stats"));
    let stats = checker.checked_with_token("get", "/v1/sessions/{id}/stats", request).await;
    assert_eq!(stats["viewers"].as_array().map(Vec::len), Some(2), "{stats}");
    let location = joined["location"].as_str().expect("a location");
    for _ in 0..2 {
        let request = checker.ask("delete", &format!("{session_path}/{location}"));
        checker.checked_with_token("delete", "/v1/sessions/{id}/viewers/{viewer}", request).await;
    }
}

/// WHEP players up to the limit and beyond.
async fn whep(checker: &mut Checker, session_path: &str) {
    let (path, resource) = ("/whep/{id}", "/whep/{id}/{viewer}");
    let endpoint = format!("/whep/{}", session_path.rsplit('/').next().expect("an id"));
    let request = checker.ask("get", &endpoint);
    checker.checked_with_token("get", path, request).await;
    let unusable = offer().replace("H264", "VP9").replace("profile-level-id=42e01f", "x=1");
    let post = |checker: &Checker, kind: &str, body: String| {
        checker.ask("post", &endpoint).header("content-type", kind.to_owned()).body(body)
    };
    for (kind, body) in
        [("application/json", offer()), ("application/sdp", " ".repeat(1 << 20)), ("application/sdp", unusable)]
    {
        let request = post(checker, kind, body);
        checker.checked_with_token("post", path, request).await;
    }
    let response = post(checker, "application/sdp", offer()).bearer_auth(TOKEN).send().await.expect("an answer");
    assert_eq!(response.status(), StatusCode::CREATED);
    let header = |name: &str| response.headers()[name].to_str().expect("text").to_owned();
    let (location, tag) = (format!("/whep/{}", header("location")), header("etag"));
    let fragment = "a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=end-of-candidates\r\n";
    let trickle = "application/trickle-ice-sdpfrag";
    for (kind, tag, body) in [
        (trickle, Some(tag.as_str()), fragment.to_owned()),
        (trickle, Some(tag.as_str()), "hello".to_owned()),
        (trickle, Some(tag.as_str()), "a".repeat(1 << 20)),
        (trickle, Some("\"other\""), fragment.to_owned()),
        (trickle, Some("*"), fragment.to_owned()),
        (trickle, None, fragment.to_owned()),
        ("text/plain", Some(tag.as_str()), fragment.to_owned()),
    ] {
        let request = checker.ask("patch", &location).header("content-type", kind).body(body);
        let request = tag.into_iter().fold(request, |request, tag| request.header("if-match", tag));
        checker.checked_with_token("patch", resource, request).await;
    }
    let request = checker.ask("delete", &location);
    checker.checked_with_token("delete", resource, request).await;
    for _ in 0..8 {
        let request = post(checker, "application/sdp", offer());
        checker.checked_with_token("post", path, request).await;
    }
    let request = checker.ask("post", &format!("{session_path}/viewers")).json(&json!({ "sdp": offer() }));
    checker.checked_with_token("post", "/v1/sessions/{id}/viewers", request).await;
}

/// The events of a session to its end, and more readers than allowed.
async fn streams(checker: &mut Checker, session_path: &str) {
    let path = "/v1/sessions/{id}/events";
    let mut streams = Vec::new();
    // As many as there are slots; the last one is refused.
    let refused = loop {
        // From several clients: one client alone gets at most half of the slots.
        let client = format!("192.0.2.{}", streams.len() / 100);
        let request = checker.ask("get", &format!("{session_path}/events")).bearer_auth(TOKEN);
        let response = request.header("x-forwarded-for", client).send().await.expect("an answer");
        if response.status() != StatusCode::OK {
            break response.status();
        }
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        streams.push(response);
    };
    assert_eq!(refused, StatusCode::SERVICE_UNAVAILABLE);
    checker.seen.insert(("get".to_owned(), path.to_owned(), 200));
    let request = checker.ask("get", &format!("{session_path}/events"));
    checker.checked_with_token("get", path, request).await;
    let request = checker.ask("delete", session_path);
    checker.checked_with_token("delete", "/v1/sessions/{id}", request).await;
    let answer = streams.remove(0).text().await.expect("a stream to its end");
    let schema = checker.document["components"]["schemas"]["Event"].clone();
    let events: Vec<Value> = answer
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).expect("JSON"))
        .collect();
    for event in &events {
        let faults = schema::faults(&checker.document, &schema, event);
        assert!(faults.is_empty(), "{event}: {faults:#?}");
    }
    assert_eq!(events.first().map(|event| &event["type"]), Some(&json!("session")), "{answer}");
    assert_eq!(events.last().map(|event| &event["reason"]), Some(&json!("deleted")), "{answer}");
}

#[test]
fn the_documented_bounds_of_the_bitrate_are_those_of_the_code() {
    let document = document();
    let described = &document["components"]["schemas"]["SessionOptions"]["properties"]["bitrate_bps"];
    let bounds = (described["minimum"].as_u64(), described["maximum"].as_u64());
    assert_eq!(bounds, (Some(*BITRATE_BPS.start()), Some(*BITRATE_BPS.end())));
}

#[test]
fn losses_and_stages_are_documented_by_name() {
    let document = document();
    let described = |of: &str| -> BTreeSet<String> {
        let properties = &document["components"]["schemas"]["Stats"]["properties"][of]["properties"];
        properties.as_object().expect("properties").keys().cloned().collect()
    };
    let losses: BTreeSet<String> = Loss::ALL.into_iter().map(|loss| loss.name().to_owned()).collect();
    assert_eq!(described("losses"), losses);
    let stages: BTreeSet<String> = Stage::ALL.into_iter().skip(1).map(|stage| stage.name().to_owned()).collect();
    assert_eq!((described("video_stages"), described("audio_stages")), (stages.clone(), stages));
    assert_eq!(described("gpu"), StepTimes::NAMES.map(str::to_owned).into());
}

#[test]
fn every_session_event_is_documented() {
    use visage::session::{Quality, SessionEvent, SpeechState};
    let document = document();
    for event in [
        SessionEvent::SpeakingStarted { at_ms: 20 },
        SessionEvent::SpeakingStopped { at_ms: 40 },
        SessionEvent::SpeechStarted { utterance: 1 },
        SessionEvent::SpeechEnded { utterance: 1, outcome: SpeechState::Interrupted, spoken_ms: 40 },
        SessionEvent::Quality(Quality::default()),
        SessionEvent::Ended(visage::session::EndReason::Deleted),
    ] {
        let answer = json!(event);
        let faults = schema::faults(&document, &document["components"]["schemas"]["Event"], &answer);
        assert!(faults.is_empty(), "{answer}: {faults:#?}");
    }
}
