//! Network statistics of a peer. A state machine: time comes with str0m's statistics.

use std::time::{Duration, Instant};

use serde::Serialize;
use str0m::stats::PeerStats;

/// The sent bitrate is counted over at least this long.
const SECOND: Duration = Duration::from_secs(1);

/// Network statistics of a peer.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct NetworkStats {
    /// Whether the peer is connected.
    pub is_connected: bool,
    /// Round-trip time in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Share of sent packets that were lost, 0 to 1.
    pub egress_loss_ratio: Option<f64>,
    /// Estimated capacity towards the peer, in bits per second.
    pub bandwidth_estimate_bps: Option<u64>,
    /// Bitrate sent during the last second, in bits per second: video, audio, retransmissions and probes.
    pub sent_bps: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Bytes received.
    pub received_bytes: u64,
}

/// The statistics, and the previous values to compare with.
#[derive(Clone, Copy, Debug)]
pub struct Network {
    /// The statistics.
    pub stats: NetworkStats,
    counted_at: Instant,
    counted_bytes: u64,
}

impl Network {
    /// No statistics yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { stats: NetworkStats::default(), counted_at: now, counted_bytes: 0 }
    }

    /// Takes new statistics of str0m.
    pub fn update(&mut self, news: &PeerStats) {
        self.stats.rtt_ms = news.rtt.map(|rtt| rtt.as_secs_f64() * 1000.0).or(self.stats.rtt_ms);
        self.stats.egress_loss_ratio = news.egress_loss_fraction.map(f64::from);
        self.stats.sent_bytes = news.peer_bytes_tx;
        self.stats.received_bytes = news.peer_bytes_rx;
        let passed = news.timestamp.saturating_duration_since(self.counted_at);
        if passed >= SECOND {
            let sent_bytes = news.peer_bytes_tx.saturating_sub(self.counted_bytes);
            self.stats.sent_bps = sent_bytes * 8000 / passed.as_millis() as u64;
            (self.counted_at, self.counted_bytes) = (news.timestamp, news.peer_bytes_tx);
        }
    }
}
