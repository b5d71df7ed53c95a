//! Streaming speech: chunked bodies and `WebSockets`, from clients that send in real time.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use visage::time::Wall;

use super::call::Call;
use super::{TestServer, offer, response_of, server};

const LIMIT: Duration = Duration::from_secs(20);
/// 40 ms at 24 kHz.
const CHUNK_SAMPLES: u32 = 960;

/// 40 ms of a loud tone, 16-bit little-endian.
fn tone(chunk: u32) -> Vec<u8> {
    let sample = |n: u32| ((f64::from(n) * 0.1).sin() * 20_000.0) as i16;
    (chunk * CHUNK_SAMPLES..(chunk + 1) * CHUNK_SAMPLES).flat_map(|n| sample(n).to_le_bytes()).collect()
}

/// A request with a chunked body.
struct Upload(TcpStream);

impl Upload {
    async fn begin(server: &TestServer, location: &str, kind: &str) -> Self {
        let address = server.base.trim_start_matches("http://");
        let mut socket = TcpStream::connect(address).await.expect("a connection");
        let head = format!(
            "POST {location}/speech HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: {kind}\r\n\
             transfer-encoding: chunked\r\n\r\n"
        );
        socket.write_all(head.as_bytes()).await.expect("sent");
        Self(socket)
    }

    async fn send(&mut self, bytes: &[u8]) {
        let chunk = [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat();
        self.0.write_all(&chunk).await.expect("sent");
    }

    /// Ends the body.
    async fn end(&mut self) {
        self.0.write_all(b"0\r\n\r\n").await.expect("sent");
    }

    /// Status and JSON of the response; the server closes the connection after it.
    async fn answer(mut self) -> (u16, Value) {
        let mut answer = Vec::new();
        self.0.read_to_end(&mut answer).await.expect("an answer");
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        let body = answer.split_once("\r\n\r\n").expect("a body").1;
        (status, serde_json::from_str(body).expect("a JSON body"))
    }
}

async fn session(server: &TestServer) -> String {
    let (status, joined) = response_of(server.ask(Method::POST, "/v1/sessions").json(&json!({ "sdp": offer() }))).await;
    assert_eq!(status, StatusCode::CREATED, "{joined}");
    joined["location"].as_str().expect("a location").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunked_body_is_audible_before_its_last_byte_is_sent() {
    let server = server(1, None);
    let mut call = Call::join(&server, Value::Null).await;
    assert!(call.live(LIMIT, |call| call.audio_packets > 20).await, "the call connects");
    let mut upload = Upload::begin(&server, &call.location, "audio/pcm;rate=24000").await;
    let first: Instant = Wall.now();
    // 2 s of audio in real time.
    let sending = async {
        for n in 0..50 {
            upload.send(&tone(n)).await;
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
        let last = Wall.now();
        upload.end().await;
        (last, upload.answer().await)
    };
    let living = call.live(Duration::from_secs(4), |_| false);
    let ((last, (status, body)), _) = tokio::join!(sending, living);
    let loud_at = call.loud_at.expect("audible audio");
    eprintln!("first byte to first audible packet: {:?}", loud_at - first);
    assert!(loud_at < last && loud_at - first < Duration::from_millis(800), "{:?}", loud_at - first);
    assert_eq!((status, &body["outcome"]), (200, &json!("finished")), "{body}");
    assert!(body["spoken_ms"].as_u64().is_some_and(|ms| (1_980..=2_060).contains(&ms)), "{body}");
    server.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_utterance_ends_the_older_request_and_its_response_says_so() {
    let server = server(1, None);
    let location = session(&server).await;
    let mut older = Upload::begin(&server, &location, "audio/pcm").await;
    for n in 0..5 {
        older.send(&tone(n)).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let file = include_bytes!("../assets/tone.m4a").to_vec();
    let newer = server.ask(Method::POST, &format!("{location}/speech")).header("content-type", "audio/mp4").body(file);
    let (status, accepted) = response_of(newer).await;
    assert_eq!((status.as_u16(), &accepted["utterance"]), (202, &json!(2)), "{accepted}");
    let (status, problem) = older.answer().await;
    assert_eq!((status, &problem["code"]), (409, &json!("interrupted")), "{problem}");
    // A truncated stream is spoken as far as it arrived.
    let mut broken = Upload::begin(&server, &location, "audio/l16;rate=24000").await;
    broken.send(&tone(0)).await;
    // The server may have closed the connection before the invalid chunk arrives.
    let _ = broken.0.write_all(b"zz\r\n").await;
    drop(broken);
    server.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_not_audio_interrupts_nothing() {
    let server = server(1, None);
    let location = session(&server).await;
    let mut speaking = Upload::begin(&server, &location, "audio/pcm").await;
    speaking.send(&tone(0)).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut letter = Upload::begin(&server, &location, "audio/wav").await;
    letter.send(b"this is text and not audio").await;
    letter.end().await;
    let (status, problem) = letter.answer().await;
    assert_eq!((status, &problem["field"]), (422, &json!("body")), "{problem}");
    speaking.end().await;
    let (status, body) = speaking.answer().await;
    assert_eq!((status, &body["outcome"]), (200, &json!("finished")), "{body}");
    server.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_web_socket_takes_samples_and_sends_events() {
    let server = server(1, None);
    let location = session(&server).await;
    let url = format!("{}{location}/speech/stream", server.base.replace("http", "ws"));
    let (mut socket, answer) = tokio_tungstenite::connect_async(url).await.expect("a socket");
    assert_eq!(answer.status().as_u16(), 101);
    let text = |value: Value| Message::Text(value.to_string().into());
    socket.send(text(json!({ "type": "begin" }))).await.expect("sent");
    assert_eq!(next(&mut socket).await["type"], "error");
    let start = || text(json!({ "type": "start", "rate_hz": 24_000 }));
    socket.send(start()).await.expect("sent");
    for n in 0..25 {
        socket.send(Message::Binary(tone(n).into())).await.expect("sent");
    }
    socket.send(text(json!({ "type": "end" }))).await.expect("sent");
    let events = until(&mut socket, "finished").await;
    assert_eq!(events.first(), Some(&json!({ "type": "started", "utterance": 1 })), "{events:?}");
    assert!(events.iter().any(|event| event["type"] == "position" && event["queued_ms"].is_u64()), "{events:?}");
    assert_eq!(events.last().expect("an end")["spoken_ms"], 1_000, "{events:?}");
    // Speech by another endpoint interrupts it.
    socket.send(start()).await.expect("sent");
    socket.send(Message::Binary(tone(0).into())).await.expect("sent");
    until(&mut socket, "started").await;
    let path = format!("{location}/interrupt");
    assert_eq!(response_of(server.ask(Method::POST, &path)).await.0, StatusCode::NO_CONTENT);
    let events = until(&mut socket, "interrupted").await;
    assert_eq!(events.last().expect("an end")["utterance"], 2, "{events:?}");
    assert_eq!(response_of(server.ask(Method::DELETE, &location)).await.0, StatusCode::NO_CONTENT);
    let closed = loop {
        match socket.next().await {
            Some(Ok(Message::Close(frame))) => break frame,
            Some(Ok(_)) => {}
            other => panic!("wanted a close frame, found {other:?}"),
        }
    };
    assert_eq!(closed.expect("a reason").reason.as_str(), "the session ended");
    server.close().await;
}

type Socket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<TcpStream>>;

async fn next(socket: &mut Socket) -> Value {
    loop {
        let message = tokio::time::timeout(LIMIT, socket.next()).await.expect("an event").expect("a message");
        if let Message::Text(text) = message.expect("a message") {
            return serde_json::from_str(&text).expect("JSON");
        }
    }
}

/// All events up to one of this type; positions before the first start are skipped.
async fn until(socket: &mut Socket, kind: &str) -> Vec<Value> {
    let mut events = Vec::new();
    while events.last().is_none_or(|last: &Value| last["type"] != kind) {
        let event = next(socket).await;
        if !(events.is_empty() && event["type"] == "position") {
            events.push(event);
        }
    }
    events
}
