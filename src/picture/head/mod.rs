//! Rendered heads: a mesh textured from key poses.
//!
//! Decides how a head's files become pictures. One light mesh moves with the ARKit weights; each key pose was rendered once
//! and is sampled where that key saw the mesh, so that skin looks rendered at every pose between. Hair and body are plates.

mod arrays;
mod blend;
mod camera;
mod error;
mod eyes;
mod face;
mod front;
mod hair;
mod lashes;
mod layers;
mod model;
mod outline;
mod part;
mod resolve;
mod rig;
mod samples;
mod scan;
mod skin;
mod stage;
mod texture;

#[cfg(test)]
mod tests;

pub use error::HeadError;
pub use face::HeadFace;
pub use model::HeadModel;
