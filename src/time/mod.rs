//! Time as numbers: sample indices, RTP timestamps, rates, and the one owner of the wall clock.
//!
//! Decides how media time is counted and converted. Does not schedule anything.

mod rtp;
mod sample;
mod wall;

pub use rtp::{AudioRtpTime, RtpTime, VideoRtpTime};
pub use sample::{Rate, SampleIndex};
pub use wall::Wall;

/// Samples per second of a session's timeline and of the audio that the models take.
pub const SPEECH_HZ: u32 = 16_000;
/// Samples per second of the audio that is sent, and of Opus RTP time (RFC 7587, section 4.1).
pub const OPUS_HZ: u32 = 48_000;
/// Ticks per second of video RTP time (RFC 6184, section 8.2.1).
pub const VIDEO_CLOCK_HZ: u32 = 90_000;
