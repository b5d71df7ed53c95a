//! The WebRTC endpoint: every peer shares one UDP port.
//!
//! Decides how peers are negotiated, demultiplexed, timed out and closed. str0m implements SDP, ICE, DTLS, SRTP and pacing.

mod congestion;
mod demux;
mod event_loop;
mod frame_gate;
mod in_flight;
mod liveness;
mod network_stats;
mod peer;
mod peer_table;
mod peers;
mod rtc_factory;
mod sdp;
mod server;
mod sockets;
mod stall;
#[cfg(test)]
mod tests;
mod timeouts;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use thiserror::Error;

pub use congestion::BITRATE_BPS;
pub use network_stats::NetworkStats;
pub use peer::{Peer, Transmitter};
pub use peers::{Datagram, Peers};
pub use rtc_factory::RtcFactory;
pub use sdp::LONGEST_OFFER;
pub use server::RtcServer;
pub use sockets::BUFFER_BYTES;

use crate::session::{AdmitError, ViewerError};

/// Addresses of the endpoint and the size of its queues.
#[derive(Clone, Debug)]
pub struct RtcConfig {
    /// Address to bind; an unspecified address means every address of the machine.
    pub host: IpAddr,
    /// UDP port; 0 picks a free one.
    pub udp_port: u16,
    /// Addresses to advertise as candidates instead of the bound ones.
    pub public_ips: Vec<IpAddr>,
    /// Maximum number of sessions; sizes the queue of outgoing media.
    pub capacity: usize,
}

/// Why the endpoint cannot start.
#[derive(Debug, Error)]
pub enum RtcServerError {
    /// The port is in use, or the address does not belong to this machine.
    #[error("cannot bind UDP {}: {source}", SocketAddr::new(*address, *port))]
    Bind {
        /// Address that was requested.
        address: IpAddr,
        /// Port that was requested.
        port: u16,
        /// Error of the system.
        source: io::Error,
    },
    /// The addresses of the machine cannot be listed.
    #[error("cannot list the network interfaces of this machine: {source}")]
    Interfaces {
        /// Error of the system.
        source: io::Error,
    },
    /// The network thread cannot be started.
    #[error("cannot start the network thread: {0}")]
    Thread(io::Error),
}

/// The video that an offer must contain.
const USABLE_VIDEO: &str = if cfg!(feature = "vp8") {
    "H.264 constrained baseline with packetization-mode=1, or VP8,"
} else {
    "H.264 constrained baseline with packetization-mode=1"
};

/// Why an offer was refused.
#[derive(Debug, Error)]
pub enum JoinError {
    /// The offer is malformed, or cannot be answered.
    #[error("wanted a WebRTC offer, found {found}")]
    BadOffer {
        /// What is wrong with it.
        found: String,
    },
    /// The offer has no video codec in common with the server.
    #[error("wanted {USABLE_VIDEO} in the offer, found: {offered}")]
    NoUsableVideo {
        /// The video codecs of the offer.
        offered: String,
    },
    /// The offer has an audio m-line without a codec in common with the server.
    #[error("wanted opus/48000/2 in the m=audio line of the offer, found: {offered}")]
    NoUsableAudio {
        /// The audio codecs of the offer.
        offered: String,
    },
    /// The session was not admitted.
    #[error(transparent)]
    Admit(#[from] AdmitError),
    /// The session does not admit the viewer.
    #[error(transparent)]
    Viewer(#[from] ViewerError),
    /// The offer lacks the codec that the session is encoded with.
    #[error("the session is encoded as {codec}, the offer has: {offered}")]
    OtherCodec {
        /// The session's codec.
        codec: &'static str,
        /// The video codecs of the offer.
        offered: String,
    },
    /// The server is shutting down.
    #[error("the server is closing and takes no new sessions")]
    Closing,
}

/// An admitted session.
#[derive(Clone, Debug)]
pub struct Joined {
    /// Its id.
    pub id: Arc<str>,
    /// The id of the peer among the session's viewers.
    pub viewer: Arc<str>,
    /// Its avatar.
    pub avatar: Arc<str>,
    /// The SDP answer for the browser.
    pub answer: String,
}

/// A viewer that joined a session.
#[derive(Clone, Debug)]
pub struct JoinedViewer {
    /// Its id.
    pub id: Arc<str>,
    /// The SDP answer for the browser.
    pub answer: String,
}
