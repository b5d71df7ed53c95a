//! Which callers are accepted, and limits per client: hosts, origins, connections, sessions that never connect, streams.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use socket2::{Domain, Socket, Type};
use visage::serve::{self, ClientLimits, ConnectionLimits};
use visage::time::Wall;

use super::call::Call;
use super::{TestServer, offer, server_with_limits};

/// The response to a request sent verbatim.
fn raw(address: SocketAddr, request: String) -> String {
    let mut socket = TcpStream::connect(address).expect("a connection");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    socket.write_all(request.as_bytes()).expect("sent");
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

async fn status_of(server: &TestServer, line: &'static str, headers: &'static str) -> u16 {
    let address = server.address;
    let request = format!("{line} HTTP/1.1\r\nconnection: close\r\n{headers}content-length: 0\r\n\r\n");
    let answer = tokio::task::spawn_blocking(move || raw(address, request)).await.expect("an answer");
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rebound_host_names_and_foreign_origins_are_refused() {
    let server = server_with_limits(2, ClientLimits::of(2, 6));
    let own = "host: localhost\r\n";
    for line in ["GET /", "GET /v1/server", "GET /healthz", "GET /metrics", "POST /v1/sessions", "GET /nothing"] {
        assert_eq!(status_of(&server, line, "host: evil.example\r\n").await, 421, "{line}");
        assert_ne!(status_of(&server, line, own).await, 421, "{line}");
    }
    let foreign = "host: localhost\r\norigin: http://evil.example\r\n";
    let upgrade = "host: localhost\r\norigin: http://evil.example\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for line in ["POST /v1/sessions", "DELETE /v1/sessions/none", "GET /v1/server", "OPTIONS /v1/sessions"] {
        assert_eq!(status_of(&server, line, foreign).await, 403, "{line}");
    }
    assert_eq!(status_of(&server, "GET /v1/sessions/none/speech/stream", upgrade).await, 403);
    assert_eq!(status_of(&server, "GET /v1/server", "host: localhost\r\norigin: http://localhost\r\n").await, 200);
    assert_eq!(status_of(&server, "GET http://evil.example/v1/server", own).await, 421, "the target counts, not Host");
    assert_eq!(status_of(&server, "GET /v1/server", "").await, 400, "HTTP/1.1 without Host");
    server.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offers_that_never_connect_leave_slots_for_other_clients() {
    let server = server_with_limits(8, ClientLimits::of(8, 6));
    let join = |client: &str| {
        let request = server.ask(Method::POST, "/v1/sessions").header("content-type", "application/sdp").body(offer());
        request.header("x-forwarded-for", client.to_owned())
    };
    for _ in 0..4 {
        assert_eq!(status(join("192.0.2.1")).await.0, 201);
    }
    let (code, problem) = status(join("192.0.2.1")).await;
    assert_eq!((code, &problem["code"]), (429, &json!("too_many_unconnected")), "{problem}");
    assert_eq!(status(join("192.0.2.2")).await.0, 201, "other clients are admitted");
    server.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn viewers_that_never_connect_leave_room_for_other_clients() {
    let server = server_with_limits(2, ClientLimits::of(2, 6));
    let body = json!({ "options": { "lifetime": "until_deleted" } });
    let (_, created) = status(server.ask(Method::POST, "/v1/sessions").json(&body)).await;
    let id = created["id"].as_str().expect("an id");
    let paths = [format!("/v1/sessions/{id}/viewers"), format!("/whep/{id}")];
    let join = |path: &str, client: &str| {
        let request = server.ask(Method::POST, path).header("content-type", "application/sdp").body(offer());
        request.header("x-forwarded-for", client.to_owned())
    };
    for path in paths.iter().chain([&paths[0]]) {
        assert_eq!(status(join(path, "192.0.2.1")).await.0, 201);
    }
    for path in &paths {
        let (code, problem) = status(join(path, "192.0.2.1")).await;
        assert_eq!((code, &problem["code"]), (429, &json!("too_many_unconnected")), "{problem}");
        assert_eq!(status(join(path, "192.0.2.2")).await.0, 201, "others are let in");
    }
    // One that left does not count any more.
    let (_, stats) = status(server.ask(Method::GET, &format!("/v1/sessions/{id}/stats"))).await;
    let first = stats["viewers"][0]["id"].as_str().expect("a viewer");
    server.ask(Method::DELETE, &format!("/whep/{id}/{first}")).send().await.expect("an answer");
    let retry = async {
        while status(join(&paths[1], "192.0.2.1")).await.0 != 201 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), retry).await.expect("a place is given back");
    server.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn speech_requests_of_one_client_leave_some_for_others() {
    let limits = ClientLimits { speeches: 2, ..ClientLimits::of(2, 6) };
    let server = server_with_limits(2, limits);
    let body = json!({ "options": { "lifetime": "until_deleted" } });
    let (_, created) = status(server.ask(Method::POST, "/v1/sessions").json(&body)).await;
    let path = format!("{}/speech", created["location"].as_str().expect("a location"));
    let speak = |client: &'static str| {
        let request = server.ask(Method::POST, &path).header("content-type", "audio/pcm").body(vec![0; 4800]);
        status(request.header("x-forwarded-for", client))
    };
    let open: Vec<TcpStream> = (0..2)
        .map(|_| {
            // A body that never ends.
            let mut socket = TcpStream::connect(server.address).expect("a connection");
            let head = "host: localhost\r\nx-forwarded-for: 192.0.2.1\r\ncontent-type: audio/pcm\r\ntransfer-encoding: chunked";
            write!(socket, "POST {path} HTTP/1.1\r\n{head}\r\n\r\n").expect("sent");
            socket
        })
        .collect();
    let refused = async {
        loop {
            // Until the server has seen both. Before that it speaks, or answers 503 while its command queue is full.
            let (code, problem) = speak("192.0.2.1").await;
            if code == 429 {
                return problem;
            }
        }
    };
    let problem = tokio::time::timeout(Duration::from_secs(10), refused).await.expect("a refusal");
    assert_eq!(problem["code"], "too_many_speeches", "{problem}");
    let other = async { while speak("192.0.2.2").await.0 != 202 {} };
    tokio::time::timeout(Duration::from_secs(10), other).await.expect("other clients speak");
    drop(open);
    server.close().await;
}

async fn status(request: RequestBuilder) -> (u16, Value) {
    let response = request.send().await.expect("an answer");
    let code = response.status().as_u16();
    assert!(code != 429 || response.headers().contains_key("retry-after"), "429 without Retry-After");
    (code, serde_json::from_slice(&response.bytes().await.expect("a body")).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connected_session_does_not_count_as_unconnected() {
    let limits = ClientLimits { unconnected_sessions: 1, ..ClientLimits::of(8, 6) };
    let server = server_with_limits(8, limits);
    for _ in 0..3 {
        let mut call = Call::join(&server, Value::Null).await;
        assert!(call.live(Duration::from_secs(20), |call| !call.frames.is_empty()).await);
    }
    let join = || server.ask(Method::POST, "/v1/sessions").header("content-type", "application/sdp").body(offer());
    assert_eq!([status(join()).await.0, status(join()).await.0], [201, 429]);
    server.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_streams_of_one_client_leave_slots_for_others() {
    let limits = ClientLimits { event_streams: 2, ..ClientLimits::of(2, 6) };
    let server = server_with_limits(2, limits);
    let (_, joined) = status(server.ask(Method::POST, "/v1/sessions").json(&json!({ "sdp": offer() }))).await;
    let location = joined["location"].as_str().expect("a location");
    let stream = |client: &'static str| {
        let request = server.ask(Method::GET, &format!("{location}/events")).header("x-forwarded-for", client);
        async move { request.send().await.expect("an answer") }
    };
    let open = [stream("192.0.2.1").await, stream("192.0.2.1").await];
    assert!(open.iter().all(|response| response.status() == 200));
    assert_eq!(stream("192.0.2.1").await.status(), 429);
    assert_eq!(stream("192.0.2.2").await.status(), 200);
    drop(open);
    server.close().await;
}

/// A connection from another loopback address; on Linux every address in 127.0.0.0/8 is local.
fn dial(address: SocketAddr, last: u8) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)).into()).expect("an address");
    socket.connect(&address.into()).expect("a connection");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout");
    socket.into()
}

/// A connection that certainly counts: it was answered once and is silent from then on.
fn idle(address: SocketAddr, last: u8) -> TcpStream {
    let mut socket = dial(address, last);
    socket.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("sent");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nok") {
        let mut byte = [0];
        assert_eq!(socket.read(&mut byte).expect("an answer"), 1, "{}", String::from_utf8_lossy(&answer));
        answer.push(byte[0]);
    }
    socket
}

/// The response to `/healthz` on this connection.
fn health(socket: TcpStream) -> String {
    get(socket, "/healthz")
}

fn get(mut socket: TcpStream, path: &str) -> String {
    let mut answer = String::new();
    // A refused connection may be closed before the request is sent.
    let _ = write!(socket, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    let _ = socket.read_to_string(&mut answer);
    answer
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_are_limited_per_client_and_in_total() {
    let mut listener = serve::bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    listener.limits = ConnectionLimits { total: 5, per_address: 3, ..ConnectionLimits::of(256) };
    let address = listener.address;
    let router = serve::Startup::default().router();
    let serving = tokio::spawn(serve::serve(listener, router, None, std::future::pending()));
    let checked = tokio::task::spawn_blocking(move || {
        let mut first: Vec<TcpStream> = (0..3).map(|_| idle(address, 1)).collect();
        let refused = health(dial(address, 1));
        assert!(refused.starts_with("HTTP/1.1 429 ") && refused.contains("\r\nretry-after: 5\r\n"), "{refused}");
        let body = refused.split_once("\r\n\r\n").expect("a body").1;
        let problem: Value = serde_json::from_str(body).expect("JSON of the stated length");
        assert_eq!(problem["code"], "too_many_connections");
        let second: Vec<TcpStream> = (0..2).map(|_| idle(address, 2)).collect();
        let refused = health(dial(address, 3));
        assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("\r\nretry-after: 5\r\n"), "{refused}");
        drop(second);
        assert!(health(first.remove(0)).starts_with("HTTP/1.1 200 "), "an idle connection still works");
        while !health(dial(address, 3)).starts_with("HTTP/1.1 200 ") {
            std::thread::yield_now();
        }
    });
    tokio::time::timeout(Duration::from_secs(20), checked).await.expect("in time").expect("no failure");
    serving.abort();
}

/// How long the server keeps this connection open.
fn open_for(mut socket: TcpStream) -> Duration {
    let from = Wall.now();
    let mut byte = [0];
    let read = socket.read(&mut byte);
    assert!(matches!(read, Ok(0)), "closed without a response: {read:?}");
    Wall.now() - from
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_connections_are_closed() {
    let mut listener = serve::bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
    let (first_request, next_request) = (Duration::from_millis(200), Duration::from_millis(600));
    listener.limits = ConnectionLimits { first_request, next_request, ..listener.limits };
    let address = listener.address;
    let router = serve::Startup::default().router();
    let serving = tokio::spawn(serve::serve(listener, router, None, std::future::pending()));
    let checked = tokio::task::spawn_blocking(move || {
        assert!(open_for(dial(address, 1)) >= first_request / 2);
        let mut slow = dial(address, 1);
        slow.write_all(b"GET /healthz HTTP/1.1\r\nhost: loc").expect("sent");
        assert!(open_for(slow) >= first_request / 2, "half a request does not extend the timeout");
        assert!(open_for(idle(address, 1)) >= next_request / 2);
    });
    tokio::time::timeout(Duration::from_secs(20), checked).await.expect("in time").expect("no failure");
    serving.abort();
}

/// A server process, killed on drop.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Without the limit per client, 300 idle connections block every other client for 30 s at 256 open files.
#[cfg(target_os = "linux")]
#[test]
fn at_256_open_files_300_idle_connections_of_one_client_block_no_other_client() {
    let command =
        format!("ulimit -n 256; exec {} serve --json --port 0 --udp-port 0 --log warn", env!("CARGO_BIN_EXE_visage"));
    let child = Command::new("sh").arg("-c").arg(command).stdout(Stdio::piped()).spawn().expect("the program runs");
    let mut program = Program(child);
    let mut line = String::new();
    let stdout = program.0.stdout.take().expect("piped");
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).expect("a line");
    let hello: Value = serde_json::from_str(&line).expect("JSON");
    let url = hello["url"].as_str().expect("a url");
    let address: SocketAddr = url.trim_start_matches("http://").parse().expect("an address");
    let idle: Vec<TcpStream> = (0..300).map(|_| dial(address, 1)).collect();
    let answer = health(dial(address, 2));
    assert!(answer.starts_with("HTTP/1.1 200 "), "another client is answered: {answer:?}");
    let metrics = get(dial(address, 2), "/metrics");
    let refused = metrics
        .lines()
        .find_map(|line| line.strip_prefix("visage_connections_refused_total{reason=\"per_client_limit\"} "));
    assert!(refused.is_some_and(|count| count.parse::<u32>().is_ok_and(|count| count >= 100)), "{refused:?} of 300");
    drop(idle);
}
