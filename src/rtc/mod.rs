//! The WebRTC door: browsers come in by one UDP port, each with a session of its own.
//!
//! Decides how peers are met, kept and let go. Negotiation, encryption and pacing are str0m's.

mod bitrate_allocator;
mod bwe_guard;
mod congestion_controller;
mod demux;
mod event_loop;
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

use crate::session::{AdmitError, EndReason, Outlet, SessionHandle, SessionRequest, Sessions};

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
pub trait Admission: Send + Sync + 'static {
    /// Admits a session whose output goes to `outlet`.
    ///
    /// # Errors
    /// As [`Sessions::admit`].
    fn admit(&self, request: &SessionRequest, outlet: Box<dyn Outlet>) -> Result<SessionHandle, AdmitError>;

    /// Ends a session.
    fn end(&self, id: &str, reason: EndReason);
}

impl Admission for Sessions {
    fn admit(&self, request: &SessionRequest, outlet: Box<dyn Outlet>) -> Result<SessionHandle, AdmitError> {
        Self::admit(self, request, outlet)
    }

    fn end(&self, id: &str, reason: EndReason) {
        Self::end(self, id, reason);
    }
}
