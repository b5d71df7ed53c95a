//! A server that listens on IPv6 only: its page, and a call by the WebRTC stack of `visage bench`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// A child process that serves on the IPv6 loopback address; killed when dropped.
struct Server(Child, Value);

impl Server {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_visage"))
            .args(["serve", "--json", "--host", "::1", "--port", "0", "--udp-port", "0", "--log", "warn"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        Self(child, serde_json::from_str(&line).expect("JSON"))
    }

    fn url(&self) -> &str {
        self.1["url"].as_str().expect("a url")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have exited already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn page(address: SocketAddr) -> String {
    let mut socket = TcpStream::connect(address).expect("a connection");
    let request = format!("GET / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).expect("a request");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn a_client_with_only_ipv6_loads_the_page_and_receives_video() {
    if UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
        println!("skipped: a call over IPv6 (this machine has no IPv6)");
        return;
    }
    let server = Server::start();
    let address = server.url().strip_prefix("http://").and_then(|rest| rest.parse().ok()).expect("http://[::1]:PORT");
    assert!(matches!(address, SocketAddr::V6(_)), "{address}");
    let answer = page(address);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("<title>visage</title>"), "{answer:.300}");

    // The client offers only the address from which it reaches the server, so that both sides have only ::1.
    let call = Command::new(env!("CARGO_BIN_EXE_visage"))
        .args(["bench", "--url", server.url(), "--seconds", "2", "--warm-up", "1", "--json", "-"])
        .output()
        .expect("the program runs");
    let stderr = String::from_utf8_lossy(&call.stderr);
    assert_eq!(call.status.code(), Some(0), "{stderr}");
    let report: Value = serde_json::from_slice(&call.stdout).expect("JSON");
    let arrived = report["frames"]["on_time"].as_u64().unwrap_or(0) + report["frames"]["late"].as_u64().unwrap_or(0);
    assert!(arrived >= 25, "wanted two seconds of video, found {}", report["frames"]);
}
