//! Queries a STUN or TURN server with a Binding request over UDP, retransmitted a few times.
//!
//! Decides how long to wait. `stun` encodes and decodes the messages.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use thiserror::Error;
use tokio::net::{UdpSocket, lookup_host};
use tokio::time::timeout;

use super::stun::{self, Answer, Transaction};
use crate::doctor::machine::{Probed, Relay};
use crate::time::Wall;

/// The default port of STUN and TURN (RFC 8489, section 19.1).
const PORT: u16 = 3478;
/// Wait after each request (RFC 8489, section 6.2.1, shortened).
const WAITS: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(1), Duration::from_millis(1500)];
/// Maximum time of a DNS lookup.
const NAME_WAIT: Duration = Duration::from_secs(3);

/// A server to query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    host: String,
    port: u16,
    said: String,
}

/// A text that is not the address of a server.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("wanted stun:HOST[:PORT], turn:HOST[:PORT] or HOST:PORT (over UDP), found \"{found}\"")]
pub struct ServerError {
    found: String,
}

impl FromStr for Server {
    type Err = ServerError;

    fn from_str(said: &str) -> Result<Self, ServerError> {
        let bad = || ServerError { found: said.to_owned() };
        let bare = said.strip_prefix("stun:").or_else(|| said.strip_prefix("turn:")).unwrap_or(said);
        let bare = bare.strip_suffix("?transport=udp").unwrap_or(bare);
        let (host, port) = match bare.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, rest)) => (host, rest.strip_prefix(':')),
            None => bare.split_once(':').map_or((bare, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map_or(Ok(PORT), str::parse).map_err(|_error| bad())?;
        let is_host = !host.is_empty() && !host.contains(['?', '/', ' ']);
        if is_host { Ok(Self { host: host.to_owned(), port, said: said.to_owned() }) } else { Err(bad()) }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.said)
    }
}

/// Queries the address of this machine as `server` sees it. Returns after some seconds without an answer.
pub async fn ask(server: &Server, wall: Wall) -> Relay {
    let begun = wall.now();
    let mut relay = Relay { address: server.to_string(), ..Relay::default() };
    match ask_at(server).await {
        Ok(answer) => {
            relay.took_ms = Some(wall.now().duration_since(begun).as_millis() as u64);
            match answer {
                Answer::MappedAddress(seen) => relay.seen = Probed::Found(seen),
                Answer::Error(code) => relay.error_code = Some(code),
            }
        }
        Err(said) => relay.seen = Probed::Failed(said),
    }
    relay
}

async fn ask_at(server: &Server) -> Result<Answer, String> {
    let found = timeout(NAME_WAIT, lookup_host((server.host.as_str(), server.port))).await;
    let found = found.map_err(|_elapsed| format!("no address of {} after {NAME_WAIT:?}", server.host))?;
    let mut found = found.map_err(|error| format!("no address of {}: {error}", server.host))?;
    let address = found.next().ok_or_else(|| format!("no address of {}", server.host))?;
    exchange(address, WAITS).await.map_err(|error| error.to_string())
}

async fn exchange(server: SocketAddr, waits: [Duration; 3]) -> io::Result<Answer> {
    let own = match server {
        SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
    };
    let socket = UdpSocket::bind(own).await?;
    socket.connect(server).await?;
    let transaction: Transaction = std::array::from_fn(|_| fastrand::u8(..));
    for wait in waits {
        socket.send(&stun::request(transaction)).await?;
        if let Ok(answer) = timeout(wait, wait_for_answer(&socket, transaction)).await {
            return answer;
        }
    }
    let waited: Duration = waits.iter().sum();
    Err(io::Error::new(io::ErrorKind::TimedOut, format!("no answer after {waited:?} and {} requests", waits.len())))
}

async fn wait_for_answer(socket: &UdpSocket, transaction: Transaction) -> io::Result<Answer> {
    let mut bytes = [0; 1500];
    loop {
        let length = socket.recv(&mut bytes).await?;
        if let Some(answer) = stun::read(&bytes[..length], transaction) {
            return Ok(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn presence() -> (UdpSocket, Server) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let server = format!("turn:{}", socket.local_addr().expect("an address")).parse().expect("a server");
        (socket, server)
    }

    /// Answers one request with its source address, XORed as in RFC 8489, or with an error.
    async fn answer_one(socket: &UdpSocket, error: Option<u8>) -> SocketAddr {
        let mut bytes = [0; 64];
        let (length, SocketAddr::V4(from)) = socket.recv_from(&mut bytes).await.expect("a request") else {
            panic!("the test is on IPv4")
        };
        assert_eq!((length, &bytes[..2], &bytes[2..4]), (20, &[0, 1][..], &[0, 0][..]));
        let mut answer = bytes[..20].to_vec();
        match error {
            None => {
                answer[..4].copy_from_slice(&[1, 1, 0, 12]);
                let port = from.port() ^ 0x2112;
                let ip = u32::from(*from.ip()) ^ 0x2112_A442;
                answer.extend([0, 0x20, 0, 8, 0, 1]);
                answer.extend(port.to_be_bytes());
                answer.extend(ip.to_be_bytes());
            }
            Some(number) => {
                answer[..4].copy_from_slice(&[1, 0x11, 0, 8]);
                answer.extend([0, 9, 0, 4, 0, 0, 4, number]);
            }
        }
        // An unrelated packet comes first and must be ignored.
        socket.send_to(b"who is there?", from).await.expect("sent");
        socket.send_to(&answer, from).await.expect("sent");
        from.into()
    }

    #[tokio::test]
    async fn a_server_that_answers_reports_our_address() {
        let (socket, server) = presence().await;
        let (relay, from) = tokio::join!(ask(&server, Wall), answer_one(&socket, None));
        assert_eq!(relay.seen, Probed::Found(from));
        assert!(relay.took_ms.is_some_and(|took| took < 3000));
    }

    #[tokio::test]
    async fn a_server_that_requires_credentials_counts_as_reachable() {
        let (socket, server) = presence().await;
        let (relay, _) = tokio::join!(ask(&server, Wall), answer_one(&socket, Some(1)));
        assert_eq!((relay.error_code, relay.seen), (Some(401), Probed::NotQueried));
    }

    #[tokio::test]
    async fn a_closed_port_is_reported() {
        let (socket, server) = presence().await;
        drop(socket);
        let relay = ask(&server, Wall).await;
        assert!(matches!(relay.seen, Probed::Failed(_)), "{relay:?}");
    }

    #[tokio::test]
    async fn a_silent_server_is_abandoned_after_three_requests() {
        let (socket, _server) = presence().await;
        let address = socket.local_addr().expect("an address");
        let silence = exchange(address, [Duration::from_millis(1); 3]).await.expect_err("nobody answers");
        assert_eq!(silence.to_string(), "no answer after 3ms and 3 requests");
        let mut bytes = [0; 64];
        let mut options = Vec::new();
        while let Ok(length) = socket.try_recv(&mut bytes) {
            options.push(bytes[..length].to_vec());
        }
        assert!(
            options.len() == 3 && options.iter().all(|request| *request == options[0]),
            "three requests with one transaction id"
        );
    }

    #[test]
    fn server_addresses_are_parsed_as_in_browsers() {
        for (said, host, port) in [
            ("stun:stun.example.org", "stun.example.org", 3478),
            ("turn:10.0.0.1:5000?transport=udp", "10.0.0.1", 5000),
            ("[::1]:3478", "::1", 3478),
            ("turn:[fd00::1]", "fd00::1", 3478),
        ] {
            let server: Server = said.parse().expect(said);
            assert_eq!((server.host.as_str(), server.port), (host, port), "{said}");
        }
        for wrong in ["", "stun:", "turns:host", "turn:host:port", "turn:host?transport=tcp"] {
            assert!(wrong.parse::<Server>().is_err(), "{wrong}");
        }
    }
}
