//! Renderer of photorealistic heads: a morphing mesh, textured from key poses.
//!
//! Decides how a head is drawn. A coarse mesh morphs with the ARKit weights. Each key pose was rendered
//! offline once; the mesh samples those images with weights that depend on the pose, so that poses between the keys look
//! rendered too. Hair and body are image plates.

mod arrays;
mod backdrop;
mod blend;
mod camera;
mod edge_aa;
mod error;
mod eyes;
mod face;
mod front_hair;
mod hair;
mod key_weights;
mod lashes;
mod model;
mod part;
mod resolve;
mod rig;
mod skin;
mod texture;
mod triangle_setup;
mod visibility;

#[cfg(test)]
mod tests;

pub use error::HeadError;
pub use face::HeadFace;
pub use model::HeadModel;
