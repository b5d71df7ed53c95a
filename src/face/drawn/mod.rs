//! Renderer of drawn avatars: textured layers warped by the head's rotation, morphing vector shapes, stencils.
//!
//! Decides how a rig is drawn for a pose.

mod art;
mod check;
mod error;
mod face;
mod format;
mod mesh;
mod parameters;
mod rig;
mod shape;
mod warp;

#[cfg(test)]
mod tests;

pub use error::RigError;
pub use face::DrawnFace;
pub use rig::Rig;
