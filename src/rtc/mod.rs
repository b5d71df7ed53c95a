//! The WebRTC door: browsers come in by one UDP port, each with a session of its own.
//!
//! Decides how peers are met, kept and let go. Negotiation, encryption and pacing are str0m's.

mod bitrate;
mod floor;
mod idle;
mod index;
mod leaving;
mod machine;
mod mending;
mod net;
mod network;
mod outlook;
mod passage;
mod peer;
mod peers;
mod proof;
mod sdp;
mod sockets;
#[cfg(test)]
mod tests;
mod trust;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use thiserror::Error;

pub use bitrate::BITRATE_BPS;
pub use machine::Machines;
pub use net::Net;
pub use network::NetworkStats;
pub use peer::{Peer, Way};
pub use peers::{Datagram, Peers};
pub use sdp::LONGEST_OFFER;
pub use sockets::BUFFER_BYTES;

use crate::pipeline::{AdmitError, EndReason, Outlet, ShowRequest, Studio, Ticket};

/// Where peers are met.
#[derive(Clone, Debug)]
pub struct NetConfig {
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
pub enum NetError {
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
    /// The door is closing.
    #[error("the server is closing and takes no new sessions")]
    Closing,
}

/// A session that was joined.
#[derive(Clone, Debug)]
pub struct Joined {
    /// Its id.
    pub id: Arc<str>,
    /// Its avatar.
    pub avatar: Arc<str>,
    /// The answer for the browser.
    pub answer: String,
}

/// Who admits sessions.
pub trait Lobby: Send + Sync + 'static {
    /// Admits a session whose output goes to `outlet`.
    ///
    /// # Errors
    /// As [`Studio::admit`].
    fn admit(&self, request: &ShowRequest, outlet: Box<dyn Outlet>) -> Result<Ticket, AdmitError>;

    /// Ends a session.
    fn end(&self, id: &str, reason: EndReason);
}

impl Lobby for Studio {
    fn admit(&self, request: &ShowRequest, outlet: Box<dyn Outlet>) -> Result<Ticket, AdmitError> {
        Self::admit(self, request, outlet)
    }

    fn end(&self, id: &str, reason: EndReason) {
        Self::end(self, id, reason);
    }
}
