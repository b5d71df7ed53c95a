//! Adaptation to the link: the frame size for a bitrate, downscaling, and the bitrate and FEC of audio.
//!
//! Decides when a smaller frame or more audio FEC is the better choice. Does not measure the network.

mod audio_ladder;
mod downscale;
mod resolution_ladder;

pub use audio_ladder::{AudioLadder, AudioPlan, DEFAULT_AUDIO_PLAN};
pub use downscale::shrink;
pub use resolution_ladder::ResolutionLadder;
