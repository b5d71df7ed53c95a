//! The UDP sockets: one port on every advertised address.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::UdpSocket;

use super::{RtcConfig, RtcServerError};

/// A socket and the addresses at which browsers reach it.
#[derive(Debug)]
pub struct Socket {
    /// The socket.
    pub socket: UdpSocket,
    /// Its ICE candidates; at least one.
    pub advertised: Vec<SocketAddr>,
}

impl Socket {
    /// The candidate at which a received datagram counts as arrived.
    #[must_use]
    pub fn candidate(&self) -> SocketAddr {
        self.advertised.first().copied().unwrap_or(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0))
    }
}

/// Size of the socket buffers: half a second of traffic at full capacity.
pub const BUFFER_BYTES: usize = 2 << 20;
/// Attempts to find a port that is free on every address.
const PORT_TRIALS: usize = 8;

/// Binds one socket per address, all to one port.
///
/// # Errors
/// If the port is in use or no address can be bound. Call it inside a tokio runtime.
pub fn bind(config: &RtcConfig) -> Result<Vec<Socket>, RtcServerError> {
    let bindings = bindings(config)?;
    let trials = if config.udp_port == 0 { PORT_TRIALS } else { 1 };
    let mut last = None;
    for _ in 0..trials {
        match bind_all(&bindings, config.udp_port) {
            Ok(sockets) => return Ok(sockets),
            Err(error) => last = Some(error),
        }
    }
    let nothing = io::Error::from(io::ErrorKind::AddrNotAvailable);
    Err(last.unwrap_or(RtcServerError::Bind { address: config.host, port: config.udp_port, source: nothing }))
}

fn bind_all(bindings: &[Binding], mut port: u16) -> Result<Vec<Socket>, RtcServerError> {
    let mut sockets = Vec::new();
    for Binding { bound, advertised } in bindings {
        let wrong = |source| RtcServerError::Bind { address: *bound, port, source };
        match bind_one(SocketAddr::new(*bound, port)) {
            Ok(socket) => {
                port = socket.local_addr().map_err(wrong)?.port();
                let advertised = advertised.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
                sockets.push(Socket { socket, advertised });
            }
            Err(source) if source.kind() == io::ErrorKind::AddrInUse || bound.is_ipv4() => return Err(wrong(source)),
            // An IPv6 address that is listed but cannot be bound is skipped.
            Err(source) => tracing::debug!(%bound, %source, "an address is left out: it cannot be bound"),
        }
    }
    if sockets.is_empty() {
        let (bound, source) = (bindings.first(), io::Error::from(io::ErrorKind::AddrNotAvailable));
        let address = bound.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |binding| binding.bound);
        return Err(RtcServerError::Bind { address, port, source });
    }
    Ok(sockets)
}

fn bind_one(address: SocketAddr) -> io::Result<UdpSocket> {
    let kind = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(kind, socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // The system may grant smaller buffers; more datagrams are then lost under load.
    let _ = socket.set_recv_buffer_size(BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(BUFFER_BYTES);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

/// An address to bind, and those to advertise for it.
#[derive(Debug, PartialEq, Eq)]
struct Binding {
    bound: IpAddr,
    advertised: Vec<IpAddr>,
}

fn bindings(config: &RtcConfig) -> Result<Vec<Binding>, RtcServerError> {
    if !config.public_ips.is_empty() {
        return Ok(public_bindings(config.host, &config.public_ips));
    }
    if !config.host.is_unspecified() {
        return Ok(vec![Binding { bound: config.host, advertised: vec![config.host] }]);
    }
    let interfaces = if_addrs::get_if_addrs().map_err(|source| RtcServerError::Interfaces { source })?;
    let mut found: Vec<IpAddr> = interfaces.iter().map(if_addrs::Interface::ip).filter(is_usable).collect();
    // IPv4 first: its socket decides the port.
    found.sort_by_key(|ip| (ip.is_ipv6(), ip.is_loopback(), *ip));
    found.dedup();
    Ok(found.into_iter().map(|ip| Binding { bound: ip, advertised: vec![ip] }).collect())
}

/// One socket per address family. Where HTTP is bound to the loopback interface (behind a proxy, for instance), media must
/// still be reachable at a public address.
fn public_bindings(host: IpAddr, public: &[IpAddr]) -> Vec<Binding> {
    let (fours, sixes): (Vec<IpAddr>, Vec<IpAddr>) = public.iter().partition(|ip| ip.is_ipv4());
    let bound = |family: &[IpAddr], any: IpAddr| {
        let is_here =
            host.is_ipv4() == any.is_ipv4() && (!host.is_loopback() || family.iter().all(IpAddr::is_loopback));
        if is_here { host } else { any }
    };
    let families = [(fours, IpAddr::V4(Ipv4Addr::UNSPECIFIED)), (sixes, IpAddr::V6(Ipv6Addr::UNSPECIFIED))];
    let bindings = families.into_iter().filter(|(family, _)| !family.is_empty());
    bindings.map(|(family, any)| Binding { bound: bound(&family, any), advertised: family }).collect()
}

/// Link-local addresses need a zone, which ICE candidates cannot carry.
fn is_usable(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_link_local(),
        IpAddr::V6(ip) => (ip.segments()[0] & 0xffc0) != 0xfe80,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| text.parse().expect("an address")).collect()
    }

    #[test]
    fn public_addresses_of_one_family_share_a_socket() {
        let public = ips(&["198.51.100.1", "203.0.113.2", "2001:db8::1"]);
        let found = public_bindings(ips(&["127.0.0.1"])[0], &public);
        let wanted = [("0.0.0.0", &public[..2]), ("::", &public[2..])];
        let wanted = wanted.map(|(bound, ips_)| Binding { bound: ips(&[bound])[0], advertised: ips_.to_vec() });
        assert_eq!(found, wanted);
        let inner = public_bindings(ips(&["10.0.0.7"])[0], &public[..1]);
        assert_eq!(inner[0].bound, ips(&["10.0.0.7"])[0]);
    }

    #[test]
    fn an_error_names_a_port_that_is_in_use() {
        let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
        let port = taken.local_addr().expect("an address").port();
        let host = ips(&["127.0.0.1"])[0];
        let error = bind(&RtcConfig { host, udp_port: port, public_ips: Vec::new(), capacity: 1 }).expect_err("taken");
        assert!(error.to_string().contains(&port.to_string()), "{error}");
    }
}
