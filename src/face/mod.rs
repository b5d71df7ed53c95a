//! Renderers: from a pose to a frame.
//!
//! Decides how an avatar is drawn. Poses are given; the animator decides them.

pub mod drawn;
pub mod head;
mod pose;
pub mod raster;
mod surface;

pub use pose::{ARKIT_NAMES, ArkitWeights, Pose, arkit_index};
pub use surface::Surface;

/// Renderer of an avatar, one per session. Sessions share the avatar's data behind an `Arc`.
pub trait Face: Send {
    /// Draws `pose` on the avatar's background, over all of `surface`, whatever its (square) size. The result is opaque.
    fn draw(&mut self, pose: &Pose, surface: &mut Surface);
}
