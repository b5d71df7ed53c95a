//! Signals to the program while a viewer is connected: SIGINT and SIGTERM end it cleanly within seconds, SIGSTOP does not end the
//! call.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use str0m::change::SdpAnswer;
use str0m::media::{Direction, MediaKind};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc};
use visage::time::Wall;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A child process that serves; killed when dropped.
struct Server {
    child: Child,
    http: SocketAddr,
}

impl Server {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_visage"))
            .args(["serve", "--json", "--port", "0", "--udp-port", "0"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        let hello: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        let url = hello["url"].as_str().expect("an address");
        let http = url.trim_start_matches("http://").parse().expect("an address");
        Self { child, http }
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status().expect("kill runs");
        assert!(status.success(), "kill {signal}");
    }

    /// Posts an offer; returns the answer.
    fn join(&self, offer: &str) -> String {
        let mut stream = TcpStream::connect(self.http).expect("a server");
        let length = offer.len();
        let head = format!(
            "POST /v1/sessions HTTP/1.1\r\nhost: {}\r\ncontent-type: application/sdp\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n",
            self.http
        );
        stream.write_all((head + offer).as_bytes()).expect("a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
        answer.split_once("\r\n\r\n").expect("a body").1.to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A WebRTC client that receives video.
struct Viewer {
    rtc: Rtc,
    socket: UdpSocket,
    frames: usize,
    is_closed: bool,
}

impl Viewer {
    fn join(server: &Server) -> Self {
        let socket = UdpSocket::bind((LOOPBACK, 0)).expect("a socket");
        let mut rtc = Rtc::builder().clear_codecs().enable_h264(true).build(Wall.now());
        let local = socket.local_addr().expect("an address");
        rtc.add_local_candidate(Candidate::host(local, "udp").expect("a candidate"));
        let mut change = rtc.sdp_api();
        change.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        let (offer, pending) = change.apply().expect("an offer");
        let answer = SdpAnswer::from_sdp_string(&server.join(&offer.to_sdp_string())).expect("an answer");
        rtc.sdp_api().accept_answer(pending, answer).expect("an answer that fits");
        Self { rtc, socket, frames: 0, is_closed: false }
    }

    /// Runs until `is_done`; false if the limit comes first.
    fn run(&mut self, limit: Duration, is_done: impl Fn(&Self) -> bool) -> bool {
        let (end, mut buffer) = (Wall.now() + limit, vec![0; 2048]);
        self.socket.set_read_timeout(Some(Duration::from_millis(5))).expect("a limit");
        while Wall.now() < end && !is_done(self) {
            self.poll();
            if let Ok((length, source)) = self.socket.recv_from(&mut buffer) {
                let local = self.socket.local_addr().expect("an address");
                let datagram = Receive::new(Protocol::Udp, source, local, &buffer[..length]).expect("a datagram");
                self.rtc.handle_input(Input::Receive(Wall.now(), datagram)).expect("a sane datagram");
            }
            self.rtc.handle_input(Input::Timeout(Wall.now())).expect("a sane clock");
        }
        is_done(self)
    }

    fn poll(&mut self) {
        loop {
            match self.rtc.poll_output().expect("a client that works") {
                Output::Timeout(_) => return,
                Output::Transmit(datagram) => {
                    // Once the server has ended, its port is closed, which the system may report here.
                    let _ = self.socket.send_to(&datagram.contents, datagram.destination);
                }
                Output::Event(Event::MediaData(_)) => self.frames += 1,
                Output::Event(Event::Closed) => self.is_closed = true,
                Output::Event(_) => {}
            }
        }
    }
}

#[test]
fn after_a_signal_the_server_closes_its_connections_and_exits_with_0() {
    for signal in ["-INT", "-TERM"] {
        let mut server = Server::start();
        let mut viewer = Viewer::join(&server);
        assert!(viewer.run(Duration::from_secs(20), |viewer| viewer.frames >= 3), "{signal}: no frames");
        let began = Wall.now();
        server.signal(signal);
        assert!(viewer.run(Duration::from_secs(5), |viewer| viewer.is_closed), "{signal}: the connection stays open");
        let status = server.child.wait().expect("it ends");
        assert_eq!(status.code(), Some(0), "{signal}");
        assert!(Wall.now() - began < Duration::from_secs(5), "{signal}: after {:?}", Wall.now() - began);
    }
}

#[test]
fn a_call_survives_a_stop_of_the_process_longer_than_the_silence_timeout() {
    let server = Server::start();
    let mut viewer = Viewer::join(&server);
    assert!(viewer.run(Duration::from_secs(20), |viewer| viewer.frames >= 25), "no frames");
    server.signal("-STOP");
    viewer.run(Duration::from_secs(9), |_| false);
    let before = viewer.frames;
    server.signal("-CONT");
    let goes_on = viewer.run(Duration::from_secs(10), |viewer| viewer.frames >= before + 50);
    assert!(goes_on && !viewer.is_closed, "{} frames after the stop", viewer.frames - before);
}
