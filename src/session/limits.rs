//! What a studio gives, what a session is asked for, and what it is held to: the second within the first.

use serde::Serialize;

use crate::codec::VideoCodec;

/// How large the studio is.
#[derive(Clone, Copy, Debug)]
pub struct SessionsConfig {
    /// Sessions at once.
    pub max_sessions: usize,
    /// Worker threads.
    pub workers: usize,
    /// Side of the picture in pixels.
    pub resolution_px: u32,
    /// Bits a second a session begins with.
    pub bitrate_bps: u32,
}

/// What a session is asked for.
#[derive(Clone, Debug, Default)]
pub struct SessionRequest {
    /// Name of the avatar; none: the first one.
    pub avatar: Option<String>,
    /// How its pictures are coded; a door that negotiates says what came out.
    pub codec: VideoCodec,
    /// What else is asked for.
    pub wishes: SessionOptions,
}

/// What a session is asked for beside its avatar. Nothing asked: all that the studio gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SessionOptions {
    /// Largest side of its pictures in pixels.
    pub resolution_px: Option<u32>,
    /// Most bits a second of its pictures.
    pub bitrate_bps: Option<u32>,
    /// Whether its voice is sent back.
    pub audio: Option<bool>,
}

/// What a session is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SessionLimits {
    /// Largest side of its pictures in pixels; a thin way out makes them smaller still.
    pub resolution_px: u32,
    /// Most bits a second of its pictures; none: as many as the way out carries.
    pub bitrate_bps: Option<u32>,
    /// Whether its voice is sent back.
    pub audio: bool,
}

impl SessionLimits {
    /// What `wishes` come to in a studio of this size: never more than it gives.
    #[must_use]
    pub fn of(wishes: SessionOptions, config: &SessionsConfig) -> Self {
        Self {
            resolution_px: wishes.resolution_px.map_or(config.resolution_px, |side| side.min(config.resolution_px)),
            bitrate_bps: wishes.bitrate_bps,
            audio: wishes.audio.unwrap_or(true),
        }
    }

    /// `bits_per_second`, or the most that the session may have.
    #[must_use]
    pub fn within(&self, bits_per_second: u32) -> u32 {
        self.bitrate_bps.map_or(bits_per_second, |most| bits_per_second.min(most))
    }
}
