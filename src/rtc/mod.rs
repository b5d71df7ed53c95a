//! The WebRTC door: browsers come in by one UDP port, each with a session of its own.
//!
//! Decides how peers are met, kept and let go. Negotiation, encryption and pacing are str0m's.

mod bitrate_allocator;
mod bwe_guard;
mod congestion_controller;
mod demux;
mod event_loop;
mod frame_gate;
mod liveness;
mod nack;
mod network_stats;
mod peer;
mod peers;
mod rtc_factory;
mod sdp;
mod send_queue;
mod server;
mod sockets;
#[cfg(test)]
mod tests;
mod timeouts;
mod twcc_history;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use thiserror::Error;

pub use bitrate_allocator::BITRATE_BPS;
pub use network_stats::NetworkStats;
pub use peer::{Peer, Transmitter};
pub use peers::{Datagram, Peers};
pub use rtc_factory::RtcFactory;
pub use sdp::LONGEST_OFFER;
pub use server::RtcServer;
pub use sockets::BUFFER_BYTES;

use crate::session::{AdmitError, ViewerError};

/// Where peers are met.
#[derive(Clone, Debug)]
pub struct RtcConfig {
    /// Address to listen on; unspecified: all of the machine's.
    pub host: IpAddr,
    /// UDP port; 0 picks a free one.
    pub udp_port: u16,
    /// Addresses to advertise instead of the bound ones.
    pub public_ips: Vec<IpAddr>,
    /// Sessions at once, for the size of queues.
    pub places: usize,
}

/// Why the door cannot open.
#[derive(Debug, Error)]
pub enum RtcServerError {
    /// The port is taken, or the address is not this machine's.
    #[error("wanted UDP {}, found: {source}", SocketAddr::new(*address, *port))]
    Bind {
        /// Where.
        address: IpAddr,
        /// On which port.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// The machine's addresses cannot be listed.
    #[error("wanted the addresses of this machine, found: {source}")]
    Interfaces {
        /// What the system said.
        source: io::Error,
    },
    /// No thread.
    #[error("wanted a thread for the network, found: {0}")]
    Thread(io::Error),
}

/// What an offer must have one of.
const USABLE_VIDEO: &str = if cfg!(feature = "vp8") {
    "H.264 constrained baseline with packetization-mode=1, or VP8,"
} else {
    "H.264 constrained baseline with packetization-mode=1"
};

/// Why an offer was not answered.
#[derive(Debug, Error)]
pub enum JoinError {
    /// It is no offer that can be answered.
    #[error("wanted a WebRTC offer, found {found}")]
    BadOffer {
        /// What was wrong.
        found: String,
    },
    /// No codec in common.
    #[error("wanted {USABLE_VIDEO} in the offer, found: {offered}")]
    NoUsableVideo {
        /// The video codecs that were offered.
        offered: String,
    },
    /// A line for voice, but none that can be heard on it.
    #[error("wanted opus/48000/2 in the m=audio line of the offer, found: {offered}")]
    NoUsableVoice {
        /// The voice codecs that were offered.
        offered: String,
    },
    /// The studio said no.
    #[error(transparent)]
    Admit(#[from] AdmitError),
    /// The session takes no such viewer.
    #[error(transparent)]
    Viewer(#[from] ViewerError),
    /// The offer lacks the codec that the session is encoded with.
    #[error("the session is encoded as {codec}, the offer has: {offered}")]
    OtherCodec {
        /// The session's codec.
        codec: &'static str,
        /// The video codecs that were offered.
        offered: String,
    },
    /// The door is closing.
    #[error("the server is closing and takes no new sessions")]
    Closing,
}

/// A session that was created for a peer.
#[derive(Clone, Debug)]
pub struct Joined {
    /// Its id.
    pub id: Arc<str>,
    /// The id of the peer among the session's viewers.
    pub viewer: Arc<str>,
    /// Its avatar.
    pub avatar: Arc<str>,
    /// The answer for the browser.
    pub answer: String,
}

/// A viewer that joined a session.
#[derive(Clone, Debug)]
pub struct JoinedViewer {
    /// Its id.
    pub id: Arc<str>,
    /// The answer for the browser.
    pub answer: String,
}
