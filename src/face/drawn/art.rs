//! A layer's SVG drawing, rasterised to a texture.
//!
//! Decides the texture's resolution and which part of the canvas it covers.

use resvg::{tiny_skia, usvg};
use visage_kernels::pixels::words::scale;

use super::error::RigError;
use crate::face::raster::Texture;

/// Texels per output pixel: above 1, so that lines stay sharp when they are sampled again.
const TEXELS_PER_PIXEL: f32 = 1.2;
/// Transparent border in texels, except at the edges of the canvas.
const BORDER: f32 = 2.0;

/// A rasterised drawing.
#[derive(Debug)]
pub(super) struct Art {
    pub texture: Texture,
    /// The part of the canvas in the texture, in canvas units.
    pub from: [f32; 2],
    pub to: [f32; 2],
    /// Texels per canvas unit.
    texels: f32,
}

/// Coordinate system of drawings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Canvas {
    /// Side in canvas units.
    pub side: f32,
    /// Output pixels per canvas unit.
    pub pixels: f32,
}

impl Art {
    /// Memory of its texels, four bytes each.
    pub(super) fn size_bytes(&self) -> u64 {
        let texels = |axis: usize| f64::from((self.to[axis] - self.from[axis]) * self.texels);
        (texels(0) * texels(1) * 4.0) as u64
    }

    /// Rasterises `svg` at `opacity` (0 to 256). `None` if nothing of it is on the canvas.
    pub(super) fn rasterise(svg: &[u8], path: &str, canvas: Canvas, opacity: u32) -> Result<Option<Self>, RigError> {
        let wrong = |found: String| RigError::Drawing { path: path.to_owned(), found };
        let tree = usvg::Tree::from_data(svg, &closed_options()).map_err(|error| wrong(error.to_string()))?;
        let units = [canvas.side / tree.size().width(), canvas.side / tree.size().height()];
        let texels = canvas.pixels * TEXELS_PER_PIXEL;
        let drawn = tree.root().abs_layer_bounding_box();
        let side = (canvas.side * texels).round();
        let low = |at: f32, axis: usize| (at * units[axis] * texels - BORDER).floor().clamp(0.0, side);
        let high = |at: f32, axis: usize| (at * units[axis] * texels + BORDER).ceil().clamp(0.0, side);
        let from = [low(drawn.left(), 0), low(drawn.top(), 1)];
        let to = [high(drawn.right(), 0), high(drawn.bottom(), 1)];
        if to[0] - from[0] < 2.0 || to[1] - from[1] < 2.0 {
            return Ok(None);
        }
        let size = [0, 1].map(|axis| (to[axis] - from[axis]) as u32);
        let mut pixels =
            tiny_skia::Pixmap::new(size[0], size[1]).ok_or_else(|| wrong(format!("a drawing of {size:?} texels")))?;
        let [across, down] = units.map(|unit| unit * texels);
        let place = tiny_skia::Transform::from_row(across, 0.0, 0.0, down, -from[0], -from[1]);
        resvg::render(&tree, place, &mut pixels.as_mut());
        let texture = texture(&pixels, opacity).map_err(|error| wrong(error.to_string()))?;
        Ok(texture.map(|texture| Self {
            texture,
            from: from.map(|at| at / texels),
            to: to.map(|at| at / texels),
            texels,
        }))
    }

    /// Texture coordinates (texels x 65536) of a point on the canvas.
    #[inline]
    pub(super) fn texel(&self, at: [f32; 2]) -> [i32; 2] {
        [0, 1].map(|axis| (((at[axis] - self.from[axis]) * self.texels - 0.5) * 65_536.0).clamp(-1e9, 1e9) as i32)
    }
}

/// Drawings cannot reference other files.
fn closed_options() -> usvg::Options<'static> {
    let image_href_resolver =
        usvg::ImageHrefResolver { resolve_data: Box::new(|_, _, _| None), resolve_string: Box::new(|_, _| None) };
    usvg::Options { image_href_resolver, ..usvg::Options::default() }
}

fn texture(pixels: &tiny_skia::Pixmap, opacity: u32) -> Result<Option<Texture>, crate::face::raster::TextureError> {
    let (squares, _) = pixels.data().as_chunks::<4>();
    let texels: Vec<u32> = squares.iter().map(|pixel| scale(u32::from_le_bytes(*pixel), opacity)).collect();
    if texels.iter().all(|texel| *texel == 0) {
        return Ok(None);
    }
    Texture::new(pixels.width() as usize, pixels.height() as usize, texels).map(Some)
}
