//! Software rasteriser: textured spans and filled polygons.
//!
//! Decides sampling, coverage and blending, in integer arithmetic with premultiplied alpha. Callers decide positions.

mod occlusion_tiles;
mod outline;
mod paint;
mod texture;

pub use occlusion_tiles::Occlusion;
pub use outline::{Coverage, Outliner, Point};
pub use paint::{Colour, paint};
pub use texture::{SamplePath, Texture, TextureError};
