//! Why sessions and viewers end: texts for users, names for metrics, and counts.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::ser::{Serialize, SerializeStruct, Serializer};

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// It was deleted through the API.
    Deleted,
    /// The server is closing.
    Closing,
    /// The peer closed the connection.
    PeerClosed,
    /// The path to the peer is gone (ICE disconnected).
    Unreachable,
    /// Nothing arrives from the peer any more.
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
    /// All reasons.
    pub const ALL: [Self; 9] = [
        Self::Deleted,
        Self::Closing,
        Self::PeerClosed,
        Self::Unreachable,
        Self::Silent,
        Self::NeverConnected,
        Self::Failed,
        Self::EngineLost,
        Self::Broken,
    ];

    /// Its code in the API, metrics and logs.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Closing => "server_closing",
            Self::PeerClosed => "peer_closed",
            Self::Unreachable => "unreachable",
            Self::Silent => "peer_timeout",
            Self::NeverConnected => "never_connected",
            Self::Failed => "connection_failed",
            Self::EngineLost => "engine_lost",
            Self::Broken => "internal_error",
        }
    }
}

/// As `{"reason": CODE, "detail": TEXT}`.
impl Serialize for EndReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("EndReason", 2)?;
        fields.serialize_field("reason", self.code())?;
        fields.serialize_field("detail", &self.to_string())?;
        fields.end()
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Deleted => "deleted",
            Self::Closing => "the server is closing",
            Self::PeerClosed => "the peer closed the connection",
            Self::Unreachable => "the peer is unreachable: ICE has no working candidate pair",
            Self::Silent => "the peer stopped sending",
            Self::NeverConnected => "the peer never connected: UDP may be blocked on its network",
            Self::Failed => "the connection failed",
            Self::EngineLost => "the device that runs the avatar failed: open a new session in a few seconds",
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
        EndReason::ALL.into_iter().map(|reason| (reason.code(), self.0[reason as usize].load(Ordering::Relaxed)))
    }
}
