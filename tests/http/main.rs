//! The API over real HTTP: every bad request gets a problem that names the field and a hint, and nothing is left behind.

mod call;
mod document;
mod examples;
mod exposition;
mod gpu;
mod leaks;
mod limits;
mod live;
mod log;
mod proxy;
mod schema;
mod speech;
mod whep;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use reqwest::{Client, Method, RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::sync::{oneshot, watch};
use visage::backend::CpuBackend;
use visage::model::Pack;
use visage::model::portrait::Portrait;
use visage::rtc::{BITRATE_BPS, RtcConfig, RtcServer};
use visage::serve::{self, Access, AppState, BasePath, ClientLimits, Facts, Shared};
use visage::session::{Sessions, SessionsConfig};
use visage::time::Wall;
use visage_engines::PackFiles;

const DOCUMENT: &[u8] = include_bytes!("../../web/openapi.json");

/// What the server says of itself.
fn document() -> Value {
    serde_json::from_slice(DOCUMENT).expect("JSON")
}

/// A server in this process.
struct TestServer {
    address: SocketAddr,
    base: String,
    sessions: Arc<Sessions>,
    net: Arc<RtcServer>,
    client: Client,
    stop: Option<oneshot::Sender<()>>,
    _close: watch::Sender<bool>,
}

fn server(places: usize, token: Option<&str>) -> TestServer {
    server_of_size(places, token, 128)
}

fn server_of_size(places: usize, token: Option<&str>, resolution_px: u32) -> TestServer {
    server_with(Arc::new(portrait()), places, token, resolution_px)
}

fn portrait() -> Portrait {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("engines/packs/portrait");
    Portrait::open(PackFiles::read(&folder).expect("a whole pack"), &CpuBackend::new()).expect("a pack that opens")
}

/// As many sessions may be unconnected as there are places: tests answer offers that nobody connects.
fn server_with(pack: Arc<dyn Pack>, places: usize, token: Option<&str>, resolution_px: u32) -> TestServer {
    let limits = ClientLimits { unconnected_sessions: places, unconnected_viewers: 6, ..ClientLimits::of(places, 6) };
    let config =
        SessionsConfig { max_sessions: places, max_viewers: 6, workers: 1, resolution_px, bitrate_bps: 500_000 };
    start_server(pack, config, token, limits)
}

fn server_with_limits(places: usize, limits: ClientLimits) -> TestServer {
    let config =
        SessionsConfig { max_sessions: places, max_viewers: 6, workers: 1, resolution_px: 128, bitrate_bps: 500_000 };
    start_server(Arc::new(portrait()), config, None, limits)
}

fn start_server(pack: Arc<dyn Pack>, config: SessionsConfig, token: Option<&str>, limits: ClientLimits) -> TestServer {
    start_server_for(pack, config, (token, &[]), limits)
}

/// A server with a token, which pages of some origins may call.
fn start_server_for(
    pack: Arc<dyn Pack>,
    config: SessionsConfig,
    (token, origins): (Option<&str>, &[String]),
    limits: ClientLimits,
) -> TestServer {
    let places = config.max_sessions;
    let sessions = Sessions::open(config, pack, Wall).expect("sessions");
    let host = "127.0.0.1".parse().expect("an address");
    let net = RtcConfig { host, udp_port: 0, public_ips: Vec::new(), capacity: places };
    let net =
        Arc::new(RtcServer::start(&net, sessions.clone(), sessions.registry().counters(), Wall).expect("an endpoint"));
    let listener = serve::bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let address = listener.address;
    let base = format!("http://{address}");
    let (close, closing) = watch::channel(false);
    let facts = Facts { version: "0", pack: "portrait".into(), backend: "cpu".into(), video_codecs: "h264", gpu: None };
    let state = AppState::new(Shared {
        sessions: sessions.clone(),
        net: net.clone(),
        facts,
        token: token.map(str::to_owned),
        origins: origins.to_vec(),
        access: Access::new(&[], origins),
        base_path: BasePath::default(),
        limits,
        assets: &[("index.html", b"<!doctype html>"), ("openapi.json", DOCUMENT)],
        closing,
        stills: Mutex::default(),
        wall: Wall,
    });
    let (stop, stopped) = oneshot::channel::<()>();
    let router = serve::router(state);
    tokio::spawn(serve::serve(listener, router, None, async { drop(stopped.await) }));
    TestServer { address, base, sessions, net, client: Client::new(), stop: Some(stop), _close: close }
}

impl TestServer {
    fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base))
    }

    async fn close(mut self) {
        self.net.close().await;
        drop(self.stop.take());
        tokio::task::spawn_blocking(move || self.sessions.close()).await.expect("it closes");
    }
}

/// The answer's status and its JSON.
async fn response_of(request: RequestBuilder) -> (StatusCode, Value) {
    let response = request.send().await.expect("an answer");
    let status = response.status();
    let is_problem = response.headers().get("content-type").is_some_and(|kind| kind == "application/problem+json");
    let body: Value = serde_json::from_slice(&response.bytes().await.expect("a body")).unwrap_or_default();
    if status.is_client_error() || status.is_server_error() {
        assert!(is_problem && body["detail"].is_string() && body["hint"].is_string(), "{status}: {body}");
        assert!(status.is_server_error() || body["field"].is_string(), "what of the request is wrong? {body}");
    }
    (status, body)
}

fn offer() -> String {
    [
        "v=0", "o=- 1 2 IN IP4 127.0.0.1", "s=-", "t=0 0", "a=group:BUNDLE 0", "m=video 9 UDP/TLS/RTP/SAVPF 106",
        "c=IN IP4 0.0.0.0", "a=rtcp:9 IN IP4 0.0.0.0", "a=ice-ufrag:abcd", "a=ice-pwd:abcdefghijklmnopqrstuvwx",
        "a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF",
        "a=setup:actpass", "a=mid:0", "a=recvonly", "a=rtcp-mux", "a=rtpmap:106 H264/90000", "a=rtcp-fb:106 nack pli",
        "a=fmtp:106 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f", "",
    ]
    .join("\r\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_joined_looked_at_changed_and_left() {
    let server = server(2, None);
    let (status, joined) =
        response_of(server.ask(Method::POST, "/v1/sessions").json(&json!({ "sdp": offer(), "avatar": "finn" }))).await;
    assert_eq!(status, StatusCode::CREATED, "{joined}");
    let place = joined["location"].as_str().expect("a location").to_owned();
    assert_eq!(joined["avatar"], "finn");
    assert!(joined["sdp"].as_str().is_some_and(|sdp| sdp.contains("a=msid:visage video")), "{joined}");
    let (status, stats) = response_of(server.ask(Method::GET, &format!("{place}/stats"))).await;
    assert!(
        status.is_success() && stats["frames"]["due"].is_u64() && stats["network"]["is_connected"] == false,
        "{stats}"
    );
    let (status, changed) = response_of(server.ask(Method::PATCH, &place).json(&json!({ "avatar": "mira" }))).await;
    assert!(status.is_success() && changed["avatar"] == "mira" && changed["codec"] == "h264", "{changed}");
    assert_eq!(response_of(server.ask(Method::POST, &format!("{place}/interrupt"))).await.0, StatusCode::NO_CONTENT);
    assert_eq!(response_of(server.ask(Method::DELETE, &place)).await.0, StatusCode::NO_CONTENT);
    assert_eq!(response_of(server.ask(Method::DELETE, &place)).await.0, StatusCode::NOT_FOUND);
    assert!(server.sessions.registry().list(Wall.now()).is_empty());
    server.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_server_says_when_to_come_back() {
    let server = server(1, None);
    let join = || server.ask(Method::POST, "/v1/sessions").header("content-type", "application/sdp").body(offer());
    assert_eq!(join().send().await.expect("an answer").status(), StatusCode::CREATED);
    let refused = join().send().await.expect("an answer");
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(refused.headers().contains_key("retry-after"));
    let ready = server.ask(Method::GET, "/readyz").send().await.expect("an answer");
    assert!(ready.status() == StatusCode::SERVICE_UNAVAILABLE && ready.headers().contains_key("retry-after"));
    let reasons: Value = serde_json::from_slice(&ready.bytes().await.expect("a body")).expect("JSON");
    assert_eq!(reasons, json!({ "ready": false, "reasons": ["all sessions are in use"] }));
    server.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_bad_request_is_answered_with_what_is_wrong() {
    let server = server(1, None);
    let post = |kind: &str, body: Vec<u8>| {
        server.ask(Method::POST, "/v1/sessions").header("content-type", kind.to_owned()).body(body)
    };
    let no_codec = offer().replace("H264", "VP9").replace("profile-level-id=42e01f", "x=1");
    let no_opus = format!("{}m=audio 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:1\r\na=rtpmap:0 PCMU/8000\r\n", offer());
    let with = |options: Value, field: &'static str| {
        ("application/json", json!({ "sdp": offer(), "options": options }).to_string().into_bytes(), 400, field)
    };
    let cases: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        ("application/json", b"{".to_vec(), 400, "body"),
        ("application/json", br#"{"sdp":"v=0","colour":1}"#.to_vec(), 400, "colour"),
        ("application/json", br#"{"avatar":"mira"}"#.to_vec(), 400, "sdp"),
        ("application/json", json!({ "sdp": "hello" }).to_string().into_bytes(), 400, "sdp"),
        ("application/json", json!({ "sdp": "v=0\r\nm=video 9 x" }).to_string().into_bytes(), 400, "sdp"),
        ("application/json", json!({ "sdp": no_codec }).to_string().into_bytes(), 422, "sdp"),
        ("application/json", json!({ "sdp": no_opus }).to_string().into_bytes(), 422, "sdp"),
        ("application/json", json!({ "sdp": offer(), "avatar": "nobody" }).to_string().into_bytes(), 400, "avatar"),
        with(json!({ "resolution_px": 300 }), "options.resolution_px"),
        with(json!({ "resolution_px": "large" }), "options.resolution_px"),
        with(json!({ "bitrate_bps": BITRATE_BPS.start() - 1 }), "options.bitrate_bps"),
        with(json!({ "bitrate_bps": BITRATE_BPS.end() + 1 }), "options.bitrate_bps"),
        with(json!({ "audio": "no" }), "options.audio"),
        with(json!({ "fps": 30 }), "options.fps"),
        with(json!([256, 400_000, true]), "options"),
        ("application/json", json!([offer(), null, null]).to_string().into_bytes(), 400, "body"),
        ("application/sdp", vec![0xff, 0xfe], 400, "sdp"),
        ("text/plain", offer().into_bytes(), 415, "content-type"),
        ("application/json", vec![b' '; 10 << 20], 413, "body"),
    ];
    for (kind, body, status, field) in cases {
        let start = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
        let response = post(kind, body).send().await.expect("an answer");
        assert_eq!(response.status().as_u16(), status, "{kind} {start}");
        let problem: Value = serde_json::from_slice(&response.bytes().await.expect("a body")).unwrap_or_default();
        assert!(problem["hint"].is_string(), "{kind} {start}: {problem}");
        assert_eq!(problem["field"], field, "{kind} {start}: {problem}");
    }
    assert_eq!(response_of(server.ask(Method::GET, "/v1/nothing")).await.0, StatusCode::NOT_FOUND);
    assert_eq!(response_of(server.ask(Method::PUT, "/v1/sessions")).await.0, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(
        response_of(server.ask(Method::POST, "/v1/sessions/none/speech").body("x")).await.0,
        StatusCode::NOT_FOUND
    );
    assert!(server.sessions.registry().list(Wall.now()).is_empty(), "a refused request left a session behind");
    server.close().await;
}

#[cfg(not(feature = "vp8"))]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offer_of_vp8_alone_is_answered_with_the_build_that_takes_it() {
    let server = server(1, None);
    let vp8 = offer().replace("H264", "VP8").replace("profile-level-id=42e01f", "x=1");
    let (status, problem) = response_of(server.ask(Method::POST, "/v1/sessions").json(&json!({ "sdp": vp8 }))).await;
    assert_eq!((status.as_u16(), &problem["field"]), (422, &json!("sdp")));
    let hint = problem["hint"].as_str().expect("a hint");
    assert!(hint.contains("H.264") && hint.contains("--features vp8"), "{hint}");
    server.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mutated_bodies_are_refused_and_never_break_anything() {
    let server = server(1, None);
    let good = json!({ "sdp": offer(), "avatar": "nobody" }).to_string().into_bytes();
    let mut random = fastrand::Rng::with_seed(4);
    for _ in 0..200 {
        let mut body = good.clone();
        for _ in 0..random.usize(1..6) {
            let at = random.usize(0..body.len());
            body[at] = random.u8(..);
        }
        let request = server.ask(Method::POST, "/v1/sessions").header("content-type", "application/json").body(body);
        let (status, body) = response_of(request).await;
        assert!(status.is_client_error(), "{status}: {body}");
    }
    server.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_token_is_required_except_where_the_page_starts() {
    let server = server(1, Some("s3cret"));
    assert_eq!(response_of(server.ask(Method::GET, "/v1/sessions")).await.0, StatusCode::UNAUTHORIZED);
    for wrong in ["s3cres", "s3cre", "s3crets", ""] {
        let asked = server.ask(Method::GET, "/v1/sessions").bearer_auth(wrong);
        assert_eq!(response_of(asked).await.0, StatusCode::UNAUTHORIZED, "{wrong}");
    }
    assert!(response_of(server.ask(Method::GET, "/v1/sessions").bearer_auth("s3cret")).await.0.is_success());
    assert_eq!(response_of(server.ask(Method::GET, "/v1/sessions?token=s3cret")).await.0, StatusCode::UNAUTHORIZED);
    let stream = |token: &str| server.ask(Method::GET, &format!("/v1/sessions/none/events?token={token}"));
    assert_eq!(response_of(stream("s3cret")).await.0, StatusCode::NOT_FOUND);
    assert_eq!(response_of(stream("s3cres")).await.0, StatusCode::UNAUTHORIZED);
    assert!(response_of(server.ask(Method::GET, "/v1/server")).await.0.is_success());
    assert!(response_of(server.ask(Method::GET, "/")).await.0.is_success());
    server.close().await;
}
