//! The events of a session, as subscribers see them.
//!
//! Decides the events and their JSON. Does not decide when they happen.

use serde::Serialize;

use super::end_reason::EndReason;
use super::speech::SpeechState;
use crate::telemetry::Percentiles;

/// An event of a session. Serialised with a `type` tag in snake case.
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
    /// A speech source has ended.
    SpeechEnded {
        /// The number of its utterance.
        utterance: u64,
        /// How it ended.
        outcome: SpeechState,
        /// Spoken duration in milliseconds.
        spoken_ms: u64,
    },
    /// About once a second while connected.
    Quality(Quality),
    /// The session has ended.
    Ended(EndReason),
}

/// Figures of about the last second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Quality {
    /// Delay from an audio packet to the frame that shows it, in milliseconds.
    pub audio_to_frame_ms: Percentiles,
    /// Frames sent per second.
    pub fps: f64,
    /// Target bitrate of the encoder in bits per second.
    pub bitrate_bps: u32,
    /// Side of a frame in pixels.
    pub resolution_px: u32,
    /// Share of the received audio that was concealed because packets were missing, 0 to 1.
    pub audio_concealed_ratio: f64,
}
