//! Edge cases of the HTTP server over raw sockets: bodies that never arrive, wrong methods, streams, certificates, traces.

#[path = "http/exposition.rs"]
mod exposition;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::{oneshot, watch};
use visage::codec::audio_file::decode_clip;
use visage::media::VideoFrame;
use visage::model::{Animator, AvatarInfo, AvatarKind, Cadence, FramePoll, ModelError, Pack, Still};
use visage::rtc::{RtcConfig, RtcServer};
use visage::serve::{self, Access, AppState, BasePath, ClientLimits, Facts, ServeError, Shared, TlsFiles, TraceFile};
use visage::session::{
    EndReason, Outgoing, Outlet, SessionEvent, SessionHandle, SessionRequest, Sessions, SessionsConfig,
};
use visage::telemetry::{Marks, Stage};
use visage::time::{Rate, SampleIndex, Wall};

/// A pack whose faces cost nothing.
struct Paper(Vec<AvatarInfo>);

struct PaperFace;

impl Animator for PaperFace {
    fn cadence(&self) -> Cadence {
        Cadence::per_frame(Rate::new(25, 1).expect("above zero"), 1280)
    }

    fn push_audio(&mut self, _block: &visage::media::PcmBlock, _at: SampleIndex) -> Result<(), ModelError> {
        Ok(())
    }

    fn poll(
        &mut self,
        _at: SampleIndex,
        _picture: &mut VideoFrame,
        _marks: &mut Marks,
        _wall: Wall,
    ) -> Result<FramePoll, ModelError> {
        Ok(FramePoll::Ready)
    }

    fn reset(&mut self) {}
}

impl Pack for Paper {
    fn name(&self) -> &'static str {
        "paper"
    }

    fn avatars(&self) -> Arc<[AvatarInfo]> {
        self.0.as_slice().into()
    }

    fn animator(&self, _avatar: &str, _side_px: u32) -> Result<Box<dyn Animator>, ModelError> {
        Ok(Box::new(PaperFace))
    }

    fn still(&self, avatar: &str, side_px: u32) -> Result<Still, ModelError> {
        if avatar != "sheet" {
            return Err(ModelError::UnknownAvatar { name: avatar.to_owned(), known: "sheet".to_owned() });
        }
        Ok(Still { side_px, rgba: [200, 100, 50, 255].repeat((side_px * side_px) as usize) })
    }
}

/// Discards what a session sends.
struct Sink;

impl Outlet for Sink {
    fn has_room(&self) -> bool {
        true
    }

    fn send(&mut self, _outgoing: Outgoing) -> Result<(), Box<Outgoing>> {
        Ok(())
    }
}

/// A server inside the test, with a session of its own that needs no network.
struct TestServer {
    address: SocketAddr,
    sessions: Arc<Sessions>,
    close: watch::Sender<bool>,
    stop: Option<oneshot::Sender<()>>,
    runtime: Runtime,
}

fn server(tls: Option<TlsFiles>, origins: &[&str]) -> TestServer {
    let runtime = Runtime::new().expect("a runtime");
    let inside = runtime.enter();
    let card = AvatarInfo {
        name: "sheet".into(),
        title: "Sheet".into(),
        kind: AvatarKind::Drawn,
        background: "#ffffff".into(),
    };
    let config =
        SessionsConfig { max_sessions: 4, max_viewers: 50, workers: 1, resolution_px: 128, bitrate_bps: 300_000 };
    let sessions = Sessions::open(config, Arc::new(Paper(vec![card])), Wall).expect("sessions");
    let net =
        RtcConfig { host: "127.0.0.1".parse().expect("an address"), udp_port: 0, public_ips: Vec::new(), capacity: 4 };
    let net =
        Arc::new(RtcServer::start(&net, sessions.clone(), sessions.registry().counters(), Wall).expect("an endpoint"));
    let listener = serve::bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let address = listener.address;
    let (close, closing) = watch::channel(false);
    let origins: Vec<String> = origins.iter().map(|&origin| origin.to_owned()).collect();
    serve::check_origins(&origins).expect("origins");
    let state = AppState::new(Shared {
        sessions: sessions.clone(),
        net,
        facts: Facts {
            version: "0",
            pack: "paper \"white\"".into(),
            backend: "cpu".into(),
            video_codecs: "h264",
            gpu: None,
        },
        token: None,
        access: Access::new(&[], &origins),
        base_path: BasePath::default(),
        limits: ClientLimits::of(4, 6),
        origins,
        assets: &[("index.html", b"<!doctype html>"), ("app.js", b"1")],
        closing,
        stills: Mutex::default(),
        wall: Wall,
    });
    let router = serve::router(state);
    let (stop, stopped) = oneshot::channel::<()>();
    let tls = tls.map(|files| files.secured().expect("a certificate and its key"));
    tokio::spawn(serve::serve(listener, router, tls, async { drop(stopped.await) }));
    drop(inside);
    TestServer { address, sessions, close, stop: Some(stop), runtime }
}

impl TestServer {
    fn session(&self) -> Arc<SessionHandle> {
        self.sessions.start(&SessionRequest::default(), Box::new(Sink)).expect("a place")
    }

    fn dial(&self) -> TcpStream {
        let socket = TcpStream::connect(self.address).expect("a connection");
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
        socket
    }

    /// Sends `request` as it is and reads until the server closes.
    fn raw(&self, request: &str) -> String {
        let mut socket = self.dial();
        socket.write_all(request.as_bytes()).expect("sent");
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn ask(&self, line: &str, headers: &str) -> String {
        self.raw(&format!("{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n"))
    }

    fn shut(mut self) {
        drop(self.stop.take());
        self.sessions.close();
        self.runtime.shutdown_timeout(Duration::from_secs(3));
    }
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default()
}

fn problem(answer: &str) -> Value {
    assert!(answer.to_lowercase().contains("content-type: application/problem+json"), "{answer}");
    let body = answer.split_once("\r\n\r\n").expect("a body").1;
    let found: Value = serde_json::from_str(body).expect("JSON");
    assert!(found["detail"].is_string() && found["hint"].is_string() && found["title"].is_string(), "{found}");
    found
}

#[test]
fn a_large_body_is_refused_before_it_is_sent() {
    let server = server(None, &[]);
    let mut socket = server.dial();
    let head = "POST /v1/sessions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
        content-length: 900000000\r\n\r\n";
    socket.write_all(head.as_bytes()).expect("sent");
    let mut start = [0; 12];
    socket.read_exact(&mut start).expect("an answer without a single byte of the body");
    assert_eq!(&start, b"HTTP/1.1 413");
    server.shut();
}

#[test]
fn a_body_of_unknown_length_is_refused_where_it_passes_the_limit() {
    let server = server(None, &[]);
    let chunks = format!("{:x}\r\n{}\r\n", 65_000, "x".repeat(65_000)).repeat(3);
    let head = "POST /v1/sessions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
        transfer-encoding: chunked\r\n\r\n";
    let answer = server.raw(&format!("{head}{chunks}0\r\n\r\n"));
    assert_eq!(status(&answer), 413, "{answer}");
    assert_eq!(problem(&answer)["field"], "body");
    server.shut();
}

#[test]
fn every_kind_of_refusal_is_a_problem_that_says_where() {
    let server = server(None, &[]);
    let id = server.session().id.clone();
    let json = "content-type: application/json\r\n";
    let at = |path: &str| path.replace("ID", &id);
    let cases = [
        ("PUT /v1/sessions", "", "", 405, "method"),
        ("OPTIONS /v1/sessions", "origin: http://localhost\r\n", "", 405, "method"),
        ("DELETE /", "", "", 405, "method"),
        ("GET /v1/nothing", "", "", 404, "path"),
        ("GET /v1/sessions/%ff", "", "", 400, "id"),
        ("GET /v1/avatars/sheet/still.png?size=2", "", "", 400, "size"),
        ("GET /v1/avatars/sheet/still.png?px=7", "", "", 400, "px"),
        ("GET /v1/avatars/sheet/still.png?px=large", "", "", 400, "px"),
        ("GET /v1/avatars/nobody/still.png", "", "", 404, "name"),
        ("POST /v1/sessions?colour=red", json, "{}", 400, "colour"),
        ("POST /v1/sessions?avatar=sheet", json, "{\"sdp\":\"v=0\"}", 400, "avatar"),
        ("POST /v1/sessions", json, "{\"sdp\":5}", 400, "sdp"),
        ("POST /v1/sessions", json, "{\"sdp\":\"v=0\",\"options\":{\"pace\":1}}", 400, "options.pace"),
        ("POST /v1/sessions", json, "{\"sdp\":\"v=0\"} x", 400, "body"),
        ("POST /v1/sessions", "", "v=0", 415, "content-type"),
        ("PATCH /v1/sessions/ID", json, "{\"avatar\":\"nobody\"}", 400, "avatar"),
        ("PATCH /v1/sessions/ID", json, "{}", 400, "avatar"),
        ("PATCH /v1/sessions/none", json, "{\"avatar\":\"sheet\"}", 404, "id"),
        ("POST /v1/sessions/ID/speech", json, "{}", 415, "content-type"),
        ("POST /v1/sessions/ID/speech", "", "", 422, "body"),
        ("POST /v1/sessions/ID/speech", "content-type: audio/wav\r\n", "RIFFxxxxWAVEfmt ", 422, "body"),
        ("GET /v1/sessions/none/events", "", "", 404, "id"),
    ];
    for (line, headers, body, wanted, field) in cases {
        let request = format!(
            "{} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n{body}",
            at(line),
            body.len()
        );
        let answer = server.raw(&request);
        assert_eq!(status(&answer), wanted, "{line} {body}: {answer}");
        let found = problem(&answer);
        assert_eq!(found["field"].as_str().unwrap_or_default(), field, "{line} {body}: {found}");
        assert_eq!(wanted == 405, answer.to_lowercase().contains("\r\nallow: "), "{line}: {answer}");
    }
    server.shut();
}

#[test]
fn broken_json_is_reported_by_line_and_column() {
    let server = server(None, &[]);
    let body = "{\n  \"sdp\": \"v=0\",\n  \"avatar\" 5\n}";
    let request = format!(
        "POST /v1/sessions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let found = problem(&server.raw(&request));
    assert!(found["detail"].as_str().is_some_and(|detail| detail.contains("line 3 column 12")), "{found}");
    assert_eq!(found["field"], "body", "what is no JSON has no fields");
    server.shut();
}

#[test]
fn a_sound_file_is_spoken_at_once() {
    let server = server(None, &[]);
    let id = server.session().id.clone();
    let wav = wav_of_half_a_second();
    decode_clip(&wav, Duration::from_mins(1)).expect("a sound");
    // As a program says it, as `curl --data-binary` does, and as nobody does.
    let types = ["content-type: audio/wav\r\n", "content-type: application/x-www-form-urlencoded\r\n", ""];
    for (kind, utterance) in types.into_iter().zip(1..) {
        let mut socket = server.dial();
        let length = wav.len();
        let head = format!(
            "POST /v1/sessions/{id}/speech HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{kind}content-length: {length}\r\n\r\n"
        );
        socket.write_all(&[head.as_bytes(), &wav].concat()).expect("sent");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("an answer");
        assert_eq!(status(&answer), 202, "{kind}: {answer}");
        let answer: Value = serde_json::from_str(answer.split_once("\r\n\r\n").expect("a body").1).expect("JSON");
        let wanted = serde_json::json!({ "utterance": utterance, "duration_ms": 500 });
        assert_eq!(answer, wanted);
    }
    server.shut();
}

/// 8000 samples of a hum at 16 kHz.
fn wav_of_half_a_second() -> Vec<u8> {
    let samples: Vec<u8> = (0..8000_i32).flat_map(|n| ((n % 160 - 80) * 100).to_le_bytes()[..2].to_vec()).collect();
    let size = samples.len() as u32;
    let mut wav = b"RIFF".to_vec();
    wav.extend((36 + size).to_le_bytes());
    wav.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    wav.extend(16_000_u32.to_le_bytes());
    wav.extend(32_000_u32.to_le_bytes());
    wav.extend(b"\x02\0\x10\0data");
    wav.extend(size.to_le_bytes());
    wav.extend(samples);
    wav
}

#[test]
fn a_stream_begins_with_the_session_and_ends_with_it() {
    let server = server(None, &[]);
    let ticket = server.session();
    let mut socket = server.dial();
    write!(socket, "GET /v1/sessions/{}/events HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n", ticket.id)
        .expect("sent");
    let mut answer = read_until(&mut socket, "event: session");
    ticket.events.send(SessionEvent::SpeakingStarted { at_ms: 7 }).expect("someone listens");
    answer += &read_until(&mut socket, "\"at_ms\":7");
    assert!(server.sessions.end(&ticket.id, EndReason::PeerClosed));
    drop(ticket);
    socket.read_to_string(&mut answer).expect("the end");
    assert!(answer.contains("text/event-stream") && answer.contains("event: speaking_started"), "{answer}");
    assert!(answer.contains("event: ended") && answer.contains("\"reason\":\"peer_closed\""), "{answer}");
    server.shut();
}

#[test]
fn streams_end_and_requests_finish_when_the_server_closes() {
    let mut server = server(None, &[]);
    let ticket = server.session();
    let mut socket = server.dial();
    write!(socket, "GET /v1/sessions/{}/events HTTP/1.1\r\nhost: localhost\r\n\r\n", ticket.id).expect("sent");
    let mut answer = read_until(&mut socket, "event: session");
    server.close.send(true).expect("the server listens");
    drop(server.stop.take());
    socket.read_to_string(&mut answer).expect("the end");
    assert!(answer.contains("server_closing"), "{answer}");
    server.shut();
}

fn read_until(socket: &mut TcpStream, wanted: &str) -> String {
    let mut text = String::new();
    let mut some = [0; 1024];
    while !text.contains(wanted) {
        let count = socket.read(&mut some).expect("more");
        assert!(count > 0, "the stream ended before {wanted}: {text}");
        text += &String::from_utf8_lossy(&some[..count]);
    }
    text
}

#[test]
fn files_and_stills_are_sent_once() {
    let server = server(None, &[]);
    for path in ["/", "/app.js", "/v1/avatars/sheet/still.png?px=128"] {
        let first = server.ask(&format!("GET {path}"), "");
        assert_eq!(status(&first), 200, "{first}");
        let tag = first.lines().find_map(|line| line.strip_prefix("etag: ")).expect("a tag").trim().to_owned();
        assert_eq!(status(&server.ask(&format!("GET {path}"), &format!("if-none-match: \"x\", W/{tag}\r\n"))), 304);
        let head = server.ask(&format!("HEAD {path}"), "");
        assert!(status(&head) == 200 && head.ends_with("\r\n\r\n"), "{head}");
    }
    let page = server.ask("GET /", "").to_lowercase();
    for wanted in ["frame-ancestors 'none'", "nosniff", "referrer-policy: no-referrer", "media-src 'self' blob:"] {
        assert!(page.contains(wanted), "{wanted} in {page}");
    }
    server.shut();
}

#[test]
fn only_named_origins_may_call() {
    let server = server(None, &["https://a.example"]);
    let ask = |origin: &str| {
        let origin = if origin.is_empty() { String::new() } else { format!("origin: {origin}\r\n") };
        server.ask("GET /v1/server", &origin).to_lowercase()
    };
    assert!(ask("https://a.example").contains("access-control-allow-origin: https://a.example"));
    assert!(!ask("https://b.example").contains("access-control-allow-origin"));
    assert_eq!(status(&ask("https://b.example")), 403);
    assert!(ask("https://a.example").contains("frame-ancestors 'self' https://a.example"));
    assert!(
        ask("").contains("\"allow_origin\":[\"https://a.example\"]"),
        "the server lists the origins that it allows"
    );
    for odd in ["a.example", "https://a.example/", "https://", "https://a b", "https://a;script-src"] {
        assert!(matches!(serve::check_origins(&[odd.to_owned()]), Err(ServeError::Origin { .. })), "{odd}");
    }
    server.shut();
}

#[test]
fn a_taken_port_is_an_error_that_names_it() {
    let first = serve::bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let error = serve::bind(first.address).expect_err("it is taken").to_string();
    assert!(error.contains(&first.address.to_string()), "{error}");
}

#[test]
fn a_certificate_made_here_is_kept_private_and_works() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = serve::self_signed(folder.path()).expect("a certificate");
    let fingerprint = files.fingerprint().expect("a fingerprint");
    assert_eq!(serve::self_signed(folder.path()).expect("the same").fingerprint().expect("a fingerprint"), fingerprint);
    assert_eq!(fingerprint.len(), 95);
    #[cfg(unix)]
    {
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&files.key).expect("a key").permissions());
        assert_eq!(mode & 0o777, 0o600);
    }
    let trusted = CertificateDer::from_pem_file(&files.cert).expect("a certificate");
    let server = server(Some(files), &[]);
    for name in ["127.0.0.1", "localhost"] {
        assert_eq!(status(&over_tls(&server, trusted.clone(), name)), 200);
    }
    server.shut();
}

fn over_tls(server: &TestServer, trusted: CertificateDer<'static>, name: &str) -> String {
    let mut roots = RootCertStore::empty();
    roots.add(trusted).expect("a root");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().expect("versions");
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let connection = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut stream = StreamOwned::new(connection, server.dial());
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").expect("sent");
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[test]
fn a_damaged_certificate_is_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    let files = serve::self_signed(folder.path()).expect("a certificate");
    let before = files.fingerprint().expect("a fingerprint");
    std::fs::write(&files.key, "no key").expect("written");
    let after = serve::self_signed(folder.path()).expect("a certificate").fingerprint().expect("a fingerprint");
    assert_ne!(before, after);
}

#[test]
fn a_trace_holds_the_sent_frames_of_every_session() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("trace.json");
    let server = server(None, &[]);
    let file = TraceFile::create(&path, Wall).expect("a trace");
    server.sessions.registry().trace(file.trace());
    let ticket = server.session();
    let mut marks = Marks::default();
    let now = Wall.now();
    Stage::ALL.into_iter().zip(0..).for_each(|(stage, n)| marks.stamp(stage, now + Duration::from_millis(n)));
    (0..10).for_each(|_| assert!(ticket.meter.frame_sent(&marks, Duration::ZERO)));
    server.shut();
    let report = file.finish().expect("a whole file");
    assert_eq!((report.frames, report.lost), (10, 0));
    let events: Vec<Value> = serde_json::from_slice(&std::fs::read(&path).expect("a file")).expect("JSON");
    assert_eq!(events.iter().filter(|event| event["name"] == "encode" && event["ph"] == "b").count(), 10);
    assert!(TraceFile::create(Path::new("/nowhere/trace.json"), Wall).is_err());
}

#[test]
fn metrics_hold_the_rules_of_the_text_format() {
    let server = server(None, &[]);
    let ticket = server.session();
    let mut marks = Marks::default();
    let now = Wall.now();
    Stage::ALL.into_iter().zip(0..).for_each(|(stage, n)| marks.stamp(stage, now + Duration::from_millis(n * 9)));
    ticket.meter.frame_sent(&marks, Duration::ZERO);
    let answer = server.ask("GET /metrics", "");
    let text = answer.split_once("\r\n\r\n").expect("a body").1;
    exposition::read(text);
    for wanted in [
        "pack=\"paper \\\"white\\\"\"",
        "visage_sessions 1\n",
        "visage_frames_total{outcome=\"on_time\"} ",
        "visage_sessions_refused_total{reason=\"at_capacity\"} 0\n",
        "visage_audio_to_frame_seconds_bucket{le=\"0.08\"} 1\n",
        "visage_audio_to_frame_seconds_count 1\n",
        "visage_video_stage_seconds_bucket{stage=\"encode\",le=\"0.01\"} 1\n",
    ] {
        assert!(text.contains(wanted), "{wanted} in\n{text}");
    }
    server.shut();
}
