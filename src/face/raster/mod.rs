//! Pixels: textured cells and filled outlines on a surface.
//!
//! Decides how a texel or a colour reaches a pixel, in integers and with premultiplied alpha. Does not decide where things are.

mod occlusion_tiles;
mod outline;
mod paint;
mod texture;

pub use occlusion_tiles::Occlusion;
pub use outline::{Coverage, Outliner, Point};
pub use paint::{Colour, paint};
pub use texture::{Texture, TextureError, Walk};
