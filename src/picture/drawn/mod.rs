//! Drawn characters: layers that follow the head, outlines that change, stencils.
//!
//! Decides how a rig is drawn for a pose.

mod face;
mod format;
mod rig;
mod states;
mod warp;

pub use face::DrawnFace;
pub use rig::{Rig, RigError};
