//! The server's capacity, the options of a session, and the resulting limits.

use serde::{Deserialize, Serialize};

use crate::codec::VideoCodec;

/// Capacity of the server.
#[derive(Clone, Copy, Debug)]
pub struct SessionsConfig {
    /// Maximum number of sessions.
    pub max_sessions: usize,
    /// Maximum number of viewers per session, including its creator.
    pub max_viewers: usize,
    /// Worker threads.
    pub workers: usize,
    /// Side of a frame in pixels.
    pub resolution_px: u32,
    /// Video bitrate that a session starts with, in bits per second.
    pub bitrate_bps: u32,
}

/// A request for a new session.
#[derive(Clone, Debug, Default)]
pub struct SessionRequest {
    /// Name of the avatar; `None`: the default one.
    pub avatar: Option<String>,
    /// The video codec, set by the transport that negotiates it.
    pub codec: VideoCodec,
    /// The other options.
    pub options: SessionOptions,
}

/// Options of a new session. By default everything that the server offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionOptions {
    /// Largest side of its frames in pixels.
    pub resolution_px: Option<u32>,
    /// Highest video bitrate in bits per second.
    pub bitrate_bps: Option<u32>,
    /// Whether its audio is sent to viewers.
    pub audio: Option<bool>,
    /// What ends it besides a request.
    pub lifetime: SessionLifetime,
}

/// What ends a session besides `DELETE` and the shutdown of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionLifetime {
    /// The end of its creator's connection, even with other viewers.
    #[default]
    Creator,
    /// The end of its last viewer's connection.
    Viewers,
    /// Nothing: it runs, even without a viewer, until it is deleted.
    UntilDeleted,
}

/// The limits of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SessionLimits {
    /// Largest side of its frames in pixels; a low bitrate makes them smaller.
    pub resolution_px: u32,
    /// Maximum video bitrate in bits per second; `None`: as much as the connections carry.
    pub bitrate_bps: Option<u32>,
    /// Whether its audio is sent to viewers.
    pub audio: bool,
}

impl SessionLimits {
    /// The limits for `options` on a server of this capacity: never above the server's.
    #[must_use]
    pub fn of(options: SessionOptions, config: &SessionsConfig) -> Self {
        Self {
            resolution_px: options.resolution_px.map_or(config.resolution_px, |side| side.min(config.resolution_px)),
            bitrate_bps: options.bitrate_bps,
            audio: options.audio.unwrap_or(true),
        }
    }

    /// `bits_per_second`, or the limit if it is lower.
    #[must_use]
    pub fn within(&self, bits_per_second: u32) -> u32 {
        self.bitrate_bps.map_or(bits_per_second, |most| bits_per_second.min(most))
    }
}
