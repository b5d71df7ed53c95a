//! Faces: from a pose to a picture.
//!
//! Decides how an avatar is drawn. Does not decide what it says or when: poses are given.

pub mod drawn;
pub mod head;
mod pose;
pub mod raster;
mod surface;

pub use pose::{ARKIT_NAMES, ArkitWeights, Pose, arkit_index};
pub use surface::Surface;

/// An avatar that can be drawn. One per session; what sessions can share it shares behind an `Arc`.
pub trait Face: Send {
    /// Draws `pose` over the whole of `surface`, whatever its (square) size, on the avatar's own background.
    /// Opaque afterwards.
    fn draw(&mut self, pose: &Pose, surface: &mut Surface);
}
