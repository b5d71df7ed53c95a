//! The UDP sockets: one port, on every address that browsers may be told.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::UdpSocket;

use super::{NetConfig, NetError};

/// A socket and the address under which browsers reach it.
#[derive(Debug)]
pub struct Socket {
    /// The socket.
    pub socket: UdpSocket,
    /// The candidate that stands for it.
    pub advertised: SocketAddr,
}

/// Buffers of the sockets: half a second of a full house.
const BUFFER_BYTES: usize = 2 << 20;

/// Binds one socket for each address.
///
/// # Errors
/// If the port is taken or no address can be bound. Call it inside a tokio runtime.
pub fn bind(config: &NetConfig) -> Result<Vec<Socket>, NetError> {
    let mut port = config.udp_port;
    let mut sockets = Vec::new();
    for (bound, advertised) in addresses(config)? {
        match bind_one(SocketAddr::new(bound, port)) {
            Ok(socket) => {
                port = socket.local_addr().map_err(|source| NetError::Bind { address: bound, port, source })?.port();
                sockets.push(Socket { socket, advertised: SocketAddr::new(advertised, port) });
            }
            Err(source) if source.kind() == io::ErrorKind::AddrInUse => {
                return Err(NetError::Bind { address: bound, port, source });
            }
            // An interface without a usable address of this family is left out, as long as one remains.
            Err(source) if sockets.is_empty() && bound.is_ipv4() => {
                return Err(NetError::Bind { address: bound, port, source });
            }
            Err(source) => tracing::debug!(%bound, %source, "an address without a socket"),
        }
    }
    Ok(sockets)
}

fn bind_one(address: SocketAddr) -> io::Result<UdpSocket> {
    let kind = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(kind, socket2::Type::DGRAM, Some(socket2::Protocol::UDP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Smaller buffers than wished for only mean more loss under load.
    let _ = socket.set_recv_buffer_size(BUFFER_BYTES);
    let _ = socket.set_send_buffer_size(BUFFER_BYTES);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    UdpSocket::from_std(socket.into())
}

/// Addresses to bind, each with the one to advertise.
fn addresses(config: &NetConfig) -> Result<Vec<(IpAddr, IpAddr)>, NetError> {
    if !config.public_ips.is_empty() {
        let any = |public: &IpAddr| match public {
            IpAddr::V4(_) if config.host.is_ipv4() => config.host,
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) if config.host.is_ipv6() => config.host,
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        return Ok(config.public_ips.iter().map(|public| (any(public), *public)).collect());
    }
    if !config.host.is_unspecified() {
        return Ok(vec![(config.host, config.host)]);
    }
    let interfaces = if_addrs::get_if_addrs().map_err(|source| NetError::Interfaces { source })?;
    let is_usable = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => !ip.is_link_local(),
        IpAddr::V6(ip) => (ip.segments()[0] & 0xffc0) != 0xfe80,
    };
    let mut found: Vec<IpAddr> = interfaces.iter().map(if_addrs::Interface::ip).filter(is_usable).collect();
    // IPv4 first: its socket decides the port.
    found.sort_by_key(|ip| (ip.is_ipv6(), ip.is_loopback()));
    found.dedup();
    Ok(found.into_iter().map(|ip| (ip, ip)).collect())
}
