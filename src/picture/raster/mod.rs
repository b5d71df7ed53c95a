//! Pixels: textured cells and filled outlines on a surface.
//!
//! Decides how a texel or a colour reaches a pixel, in integers and with premultiplied alpha. Does not decide where things are.

mod outline;
mod paint;
mod texture;
mod tiles;

pub use outline::{Coverage, Outliner, Point};
pub use paint::{Colour, paint};
pub use texture::{Texture, TextureError, Walk};
pub use tiles::Cover;
