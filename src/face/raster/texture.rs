//! Textures: premultiplied texels, walked along straight lines with bilinear samples.
//!
//! A walk may leave the texture; it then sees the texels of the border, so textures keep a transparent border
//! except where the picture shall go on.

use thiserror::Error;
use visage_kernels::pixels::pairs::{Pair, between, over, pair, scale};

use super::occlusion_tiles::{Occlusion, Tiles};

/// The longest side of a texture: places are kept in 16 bits and a fraction of 16 bits.
pub const LONGEST: usize = 16_384;

/// Texels that do not make a texture.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("wanted sides of 2 to {LONGEST} texels and all of them, found {width}x{height} and {texels} texels")]
pub struct TextureError {
    /// Texels across.
    pub width: usize,
    /// Texels down.
    pub height: usize,
    /// Texels given.
    pub texels: usize,
}

/// Texels in sRGB with premultiplied alpha, red in the lowest byte.
#[derive(Clone, Debug)]
pub struct Texture {
    width: usize,
    height: usize,
    texels: Vec<u32>,
    tiles: Tiles,
}

/// A straight way through a texture, in texels times 65536; whole numbers are the middles of texels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk {
    /// Column and row of the first sample.
    pub at: [i32; 2],
    /// From one sample to the next.
    pub step: [i32; 2],
}

impl Walk {
    /// The rest of the way after some samples.
    #[must_use]
    pub fn skip(self, samples: i32) -> Self {
        let along = |axis: usize| self.at[axis].wrapping_add(self.step[axis].wrapping_mul(samples));
        Self { at: [along(0), along(1)], ..self }
    }
}

impl Texture {
    /// Memory of its texels, four bytes each.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        self.texels.len() * size_of::<u32>()
    }

    /// Takes `texels` row by row; pixels that are brighter than their alpha are cut to it.
    ///
    /// # Errors
    /// If a side is too short or too long, or the number of texels does not fit.
    pub fn new(width: usize, height: usize, mut texels: Vec<u32>) -> Result<Self, TextureError> {
        let fits = |side: usize| (2..=LONGEST).contains(&side);
        if !fits(width) || !fits(height) || width * height != texels.len() {
            return Err(TextureError { width, height, texels: texels.len() });
        }
        for texel in &mut texels {
            let [r, g, b, a] = texel.to_le_bytes();
            *texel = u32::from_le_bytes([r.min(a), g.min(a), b.min(a), a]);
        }
        let tiles = Tiles::new(&texels, width);
        Ok(Self { width, height, texels, tiles })
    }

    /// What any walk between the places `from` and `to` (texels times 65536) can meet.
    #[inline]
    #[must_use]
    pub fn cover(&self, from: [i32; 2], to: [i32; 2]) -> Occlusion {
        self.tiles.cover(from.map(|place| place >> 16), to.map(|place| (place >> 16) + 1))
    }

    /// Writes samples over `row`, whatever was there.
    #[inline]
    pub fn replace(&self, walk: Walk, row: &mut [[u8; 4]]) {
        self.walk(walk, row, |sample, _| sample);
    }

    /// Blends samples over `row`.
    #[inline]
    pub fn blend(&self, walk: Walk, row: &mut [[u8; 4]]) {
        self.walk(walk, row, over);
    }

    /// Blends samples over `row` through a stencil (0 to 255 each).
    #[inline]
    pub fn blend_through(&self, walk: Walk, row: &mut [[u8; 4]], stencil: &[u8]) {
        let mut open = stencil.iter().map(|open| u32::from(*open) + u32::from(open >> 7));
        let mut next = || open.next().unwrap_or(0);
        self.walk(walk, row, |sample, below| over(scale(sample, [next(), next()]), below));
    }

    /// Gives `put` two samples and the two pixels there, and takes the new pixels from it.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the walk must stay in registers: a call for each pixel doubles the time")]
    fn walk(&self, mut walk: Walk, row: &mut [[u8; 4]], mut put: impl FnMut(Pair, Pair) -> Pair) {
        let last = [(self.width - 1) as i32, (self.height - 1) as i32].map(|side| (side << 16) - 1);
        let (pairs, odd) = row.as_chunks_mut::<2>();
        for pixels in pairs {
            let below = pair(pixels.map(u32::from_le_bytes));
            let above = put(self.samples(walk, last), below);
            *pixels = [(above as u32).to_le_bytes(), ((above >> 32) as u32).to_le_bytes()];
            walk = walk.skip(2);
        }
        for pixel in odd {
            let above = put(self.samples(walk, last), pair([u32::from_le_bytes(*pixel), 0]));
            *pixel = (above as u32).to_le_bytes();
        }
    }

    /// The first two samples of a walk; `last` is the farthest place within.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "as above")]
    fn samples(&self, Walk { at, step }: Walk, last: [i32; 2]) -> Pair {
        // Written out: a map over an array is not always taken in whole.
        let within = |u: i32, v: i32| [u.clamp(0, last[0]), v.clamp(0, last[1])];
        let parts = |[u, v]: [i32; 2]| [(u >> 8) as u32 & 255, (v >> 8) as u32 & 255];
        let here = within(at[0], at[1]);
        let next = within(at[0].wrapping_add(step[0]), at[1].wrapping_add(step[1]));
        between([self.square(here), self.square(next)], [parts(here), parts(next)])
    }

    /// The texels around a place within the texture: the upper two, the lower two.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "as above")]
    fn square(&self, [u, v]: [i32; 2]) -> [Pair; 2] {
        let first = (v >> 16) as usize * self.width + (u >> 16) as usize;
        let Some(texels) = self.texels.get(first..first + self.width + 2) else { return [0; 2] };
        [pair([texels[0], texels[1]]), pair([texels[self.width], texels[self.width + 1]])]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp() -> Texture {
        Texture::new(16, 2, (0..32_u32).map(|at| (255 << 24) | (at % 16 * 16)).collect()).unwrap()
    }

    #[test]
    fn samples_lie_between_texels_and_stop_at_the_border() {
        let mut row = [[0; 4]; 4];
        ramp().replace(Walk { at: [-65_536, 0], step: [98_304, 0] }, &mut row);
        assert_eq!(row.map(|pixel| pixel[0]), [0, 8, 32, 56]);
        ramp().replace(Walk { at: [15 << 16, 9 << 16], step: [65_536, 0] }, &mut row);
        assert!(row.iter().all(|pixel| pixel[0] >= 239 && pixel[3] == 255));
    }

    #[test]
    fn texels_that_are_missing_are_an_error() {
        assert!(Texture::new(4, 4, vec![0; 15]).is_err());
        assert!(Texture::new(1, 4, vec![0; 4]).is_err());
    }
}
