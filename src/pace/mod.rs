//! What fits through the way out: picture sizes for a bitrate, and pictures made smaller.
//!
//! Decides when a smaller picture is the better one. Does not measure the network.

mod shrink;
mod steps;

pub use shrink::shrink;
pub use steps::PictureSteps;
