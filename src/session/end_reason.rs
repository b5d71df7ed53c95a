//! Why sessions and viewers end, in words for people and in names for metrics, and how often each did.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// It was deleted through the API.
    Deleted,
    /// The server is closing.
    Closing,
    /// The peer closed the connection.
    Goodbye,
    /// The path to the peer is gone (ICE disconnected).
    Unreachable,
    /// Nothing arrived from the peer any more.
    Silent,
    /// The peer got an answer to its offer and never connected.
    NeverConnected,
    /// The WebRTC connection failed.
    Failed,
    /// The device failed, and with it the session's state in the inference engine.
    EngineLost,
    /// A bug in visage ended it.
    Broken,
}

impl EndReason {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Deleted,
        Self::Closing,
        Self::Goodbye,
        Self::Unreachable,
        Self::Silent,
        Self::NeverConnected,
        Self::Failed,
        Self::EngineLost,
        Self::Broken,
    ];

    /// Its name in metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Closing => "closing",
            Self::Goodbye => "goodbye",
            Self::Unreachable => "unreachable",
            Self::Silent => "silent",
            Self::NeverConnected => "never_connected",
            Self::Failed => "failed",
            Self::EngineLost => "engine_lost",
            Self::Broken => "broken",
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deleted => "deleted",
            Self::Closing => "the server is closing",
            Self::Goodbye => "the peer closed the connection",
            Self::Unreachable => "the path to the peer is gone",
            Self::Silent => "nothing arrived from the peer for 7 s",
            Self::NeverConnected => "the peer never connected: UDP may be blocked",
            Self::Failed => "the connection failed",
            Self::EngineLost => "the device that runs it failed: a new session can be opened in some seconds",
            Self::Broken => "internal error",
        })
    }
}

/// Ended sessions by reason.
#[derive(Debug, Default)]
pub struct EndCounts([AtomicU64; EndReason::ALL.len()]);

impl EndCounts {
    /// Counts one.
    pub(in crate::session) fn count(&self, reason: EndReason) {
        self.0[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Names and counts.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        EndReason::ALL.into_iter().map(|reason| (reason.name(), self.0[reason as usize].load(Ordering::Relaxed)))
    }
}
