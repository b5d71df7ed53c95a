//! Rendered heads: a mesh textured from key poses.
//!
//! Decides how a head's files become pictures. One light mesh moves with the ARKit weights; each key pose was rendered once
//! and is sampled where that key saw the mesh, so that skin looks rendered at every pose between. Hair and body are plates.

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
