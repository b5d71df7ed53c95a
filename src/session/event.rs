//! What happens in a session, as its subscribers see it.
//!
//! Decides the events and their JSON. Does not decide when they happen.

use serde::Serialize;

use super::end_reason::EndReason;
use super::speech::SpeechState;
use crate::telemetry::Percentiles;

/// Something that happened in a session. Serialised with a `type` tag in snake case.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum SessionEvent {
    /// The avatar began to speak; `at_ms` is the time on the session's timeline.
    SpeakingStarted {
        /// Milliseconds since the session began.
        at_ms: u64,
    },
    /// The avatar stopped speaking.
    SpeakingStopped {
        /// Milliseconds since the session began.
        at_ms: u64,
    },
    /// The first block of a speech source is spoken.
    SpeechStarted {
        /// The number of its utterance.
        utterance: u64,
    },
    /// A speech source is over.
    SpeechEnded {
        /// The number of its utterance.
        utterance: u64,
        /// How it ended.
        outcome: SpeechState,
        /// How much of it was spoken, in milliseconds.
        spoken_ms: u64,
    },
    /// About once a second while connected.
    Quality(Quality),
    /// The session is over.
    Ended(EndReason),
}

/// The last second or so of a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Quality {
    /// Delay from a packet of voice to the frame that shows it, in milliseconds.
    pub audio_to_frame_ms: Percentiles,
    /// Frames sent a second.
    pub fps: f64,
    /// Bits a second the encoder aims at.
    pub bitrate_bps: u32,
    /// Side of a frame in pixels.
    pub resolution_px: u32,
    /// Share of the received audio that was concealed because packets were missing, 0 to 1.
    pub audio_concealed_ratio: f64,
}
