//! What fits through the way out: picture sizes for a bitrate, pictures made smaller, and how the voice is coded.
//!
//! Decides when a smaller picture or a better protected voice is the better one. Does not measure the network.

mod audio_ladder;
mod downscale;
mod resolution_ladder;

pub use audio_ladder::{AudioLadder, AudioPlan, DEFAULT_AUDIO_PLAN};
pub use downscale::shrink;
pub use resolution_ladder::ResolutionLadder;
