//! What fits through the way out: picture sizes for a bitrate, pictures made smaller, and how the voice is coded.
//!
//! Decides when a smaller picture or a better protected voice is the better one. Does not measure the network.

mod shrink;
mod steps;
mod voice;

pub use shrink::shrink;
pub use steps::PictureSteps;
pub use voice::{USUAL_VOICE, VoicePlan, VoiceSteps};
