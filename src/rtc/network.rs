//! What the network says about a session, in numbers. Decides nothing.

use std::time::Duration;

use serde::Serialize;
use str0m::stats::PeerStats;

/// What the network says about a session.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct NetworkStats {
    /// Whether the peer is connected.
    pub is_connected: bool,
    /// Round trip in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Share of our packets that the peer lost, 0 to 1.
    pub egress_loss_ratio: Option<f64>,
    /// What the way out is thought to carry, in bits a second.
    pub estimate_bps: Option<u64>,
    /// Bits a second sent during the last second, of everything: pictures, voice, repairs, probes.
    pub sent_bps: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Bytes received.
    pub received_bytes: u64,
}

impl NetworkStats {
    /// Takes what the machine counted; `span` is the time since it last told.
    pub(super) fn note(&mut self, stats: &PeerStats, span: Duration) {
        self.rtt_ms = stats.rtt.map(|rtt| rtt.as_secs_f64() * 1000.0).or(self.rtt_ms);
        self.egress_loss_ratio = stats.egress_loss_fraction.map(f64::from);
        let millis = u64::try_from(span.as_millis()).unwrap_or(u64::MAX).max(1);
        self.sent_bps = stats.peer_bytes_tx.saturating_sub(self.sent_bytes) * 8000 / millis;
        self.sent_bytes = stats.peer_bytes_tx;
        self.received_bytes = stats.peer_bytes_rx;
    }
}
