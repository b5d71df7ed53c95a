//! Whether ports are free, tested by binding and closing each.
//!
//! Decides how bind errors are classified.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, UdpSocket};

use super::ListenOptions;
use crate::doctor::machine::{BindError, ListenSettings, Port};

/// The settings, without binding a port.
pub fn look(options: ListenOptions) -> ListenSettings {
    ListenSettings {
        host: Some(options.host),
        is_https: options.is_https,
        max_sessions: options.max_sessions,
        tcp: Port { number: options.port, error: None },
        udp: Port { number: options.udp_port, error: None },
        relay: None,
    }
}

/// The settings, with both ports bound once.
pub fn try_ports(options: ListenOptions) -> ListenSettings {
    let mut listen = look(options);
    listen.tcp.error = TcpListener::bind(SocketAddr::new(options.host, options.port)).err().map(bind_error);
    listen.udp.error = UdpSocket::bind(SocketAddr::new(options.host, options.udp_port)).err().map(bind_error);
    listen
}

fn bind_error(error: io::Error) -> BindError {
    match error.kind() {
        ErrorKind::AddrInUse => BindError::InUse,
        ErrorKind::PermissionDenied => BindError::PermissionDenied,
        ErrorKind::AddrNotAvailable => BindError::AddressNotLocal,
        _ => BindError::Other(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_and_a_foreign_address_are_distinguished() {
        let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = taken.local_addr().expect("an address").port();
        let options = |host: &str, port| ListenOptions {
            host: host.parse().expect("an address"),
            port,
            udp_port: 0,
            is_https: false,
            max_sessions: 8,
        };
        let listen = try_ports(options("127.0.0.1", port));
        assert_eq!((listen.tcp.error, listen.udp.error), (Some(BindError::InUse), None));
        // TEST-NET-1 of RFC 5737 belongs to no machine.
        let listen = try_ports(options("192.0.2.1", 0));
        assert_eq!(listen.tcp.error, Some(BindError::AddressNotLocal));
    }
}
