//! Whether ports can be had: each is bound and let go.
//!
//! Decides how a refusal is told apart.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, UdpSocket};

use super::DoorAsked;
use crate::doctor::machine::{Door, Port, Refusal};

/// What is known without touching a port.
pub fn look(asked: DoorAsked) -> Door {
    Door {
        host: Some(asked.host),
        is_https: asked.is_https,
        max_sessions: asked.max_sessions,
        tcp: Port { number: asked.port, refused: None },
        udp: Port { number: asked.udp_port, refused: None },
        relay: None,
    }
}

/// The same, with both ports tried.
pub fn look_at_ports(asked: DoorAsked) -> Door {
    let mut door = look(asked);
    door.tcp.refused = TcpListener::bind(SocketAddr::new(asked.host, asked.port)).err().map(refusal);
    door.udp.refused = UdpSocket::bind(SocketAddr::new(asked.host, asked.udp_port)).err().map(refusal);
    door
}

fn refusal(error: io::Error) -> Refusal {
    match error.kind() {
        ErrorKind::AddrInUse => Refusal::InUse,
        ErrorKind::PermissionDenied => Refusal::Forbidden,
        ErrorKind::AddrNotAvailable => Refusal::NotOurs,
        _ => Refusal::Other(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_and_a_foreign_address_are_told_apart() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = taken.local_addr().expect("an address").port();
        let asked = |host: &str, port| DoorAsked {
            host: host.parse().expect("an address"),
            port,
            udp_port: 0,
            is_https: false,
            max_sessions: 8,
        };
        let door = look_at_ports(asked("127.0.0.1", port));
        assert_eq!((door.tcp.refused, door.udp.refused), (Some(Refusal::InUse), None));
        // TEST-NET-1 of RFC 5737 is nobody's.
        let door = look_at_ports(asked("192.0.2.1", 0));
        assert_eq!(door.tcp.refused, Some(Refusal::NotOurs));
    }
}
