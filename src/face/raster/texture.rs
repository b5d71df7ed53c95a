//! Textures: premultiplied texels, sampled bilinearly along straight lines.
//!
//! Samples outside the texture take the border texels (clamp to edge), so textures have a transparent border except where the
//! image should continue.

use thiserror::Error;
use visage_kernels::pixels::pairs::{Pair, between, over, pair, scale};

use super::occlusion_tiles::{Occlusion, OcclusionTiles};

/// Longest side of a texture: coordinates have 16 integer and 16 fractional bits.
pub const LONGEST: usize = 16_384;

/// Dimensions that are not valid for a texture.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("wanted width x height texels with sides of 2 to {LONGEST}, found {width}x{height} and {texels} texels")]
pub struct TextureError {
    /// Width in texels.
    pub width: usize,
    /// Height in texels.
    pub height: usize,
    /// Number of texels.
    pub texels: usize,
}

/// Texels in sRGB with premultiplied alpha, red in the lowest byte.
#[derive(Clone, Debug)]
pub struct Texture {
    width: usize,
    height: usize,
    texels: Vec<u32>,
    tiles: OcclusionTiles,
}

/// Equidistant samples on a line through a texture, in texels x 65536; integers are texel centres.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SamplePath {
    /// First sample: column and row.
    pub at: [i32; 2],
    /// Offset from one sample to the next.
    pub step: [i32; 2],
}

impl SamplePath {
    /// The path without its first samples.
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

    /// Takes `texels` in row-major order. Colour values above the alpha are clamped to it.
    ///
    /// # Errors
    /// If a side is too short or too long, or the number of texels does not match.
    pub fn new(width: usize, height: usize, mut texels: Vec<u32>) -> Result<Self, TextureError> {
        let fits = |side: usize| (2..=LONGEST).contains(&side);
        if !fits(width) || !fits(height) || width * height != texels.len() {
            return Err(TextureError { width, height, texels: texels.len() });
        }
        for texel in &mut texels {
            let [r, g, b, a] = texel.to_le_bytes();
            *texel = u32::from_le_bytes([r.min(a), g.min(a), b.min(a), a]);
        }
        let tiles = OcclusionTiles::new(&texels, width);
        Ok(Self { width, height, texels, tiles })
    }

    /// Occlusion class of all samples between `from` and `to` (texels x 65536).
    #[inline]
    #[must_use]
    pub fn occlusion(&self, from: [i32; 2], to: [i32; 2]) -> Occlusion {
        self.tiles.occlusion(from.map(|place| place >> 16), to.map(|place| (place >> 16) + 1))
    }

    /// Overwrites `row` with samples.
    #[inline]
    pub fn replace(&self, path: SamplePath, row: &mut [[u8; 4]]) {
        self.sample_row(path, row, |sample, _| sample);
    }

    /// Blends samples over `row`.
    #[inline]
    pub fn blend(&self, path: SamplePath, row: &mut [[u8; 4]]) {
        self.sample_row(path, row, over);
    }

    /// Blends samples over `row` through a stencil (0 to 255).
    #[inline]
    pub fn blend_through(&self, path: SamplePath, row: &mut [[u8; 4]], stencil: &[u8]) {
        let mut open = stencil.iter().map(|open| u32::from(*open) + u32::from(open >> 7));
        let mut next = || open.next().unwrap_or(0);
        self.sample_row(path, row, |sample, below| over(scale(sample, [next(), next()]), below));
    }

    /// Replaces each pair of pixels by `put(samples, pixels)`.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "the path must stay in registers: a call per pixel doubles the time")]
    fn sample_row(&self, mut path: SamplePath, row: &mut [[u8; 4]], mut put: impl FnMut(Pair, Pair) -> Pair) {
        let last = [(self.width - 1) as i32, (self.height - 1) as i32].map(|side| (side << 16) - 1);
        let (pairs, odd) = row.as_chunks_mut::<2>();
        for pixels in pairs {
            let below = pair(pixels.map(u32::from_le_bytes));
            let above = put(self.samples(path, last), below);
            *pixels = [(above as u32).to_le_bytes(), ((above >> 32) as u32).to_le_bytes()];
            path = path.skip(2);
        }
        for pixel in odd {
            let above = put(self.samples(path, last), pair([u32::from_le_bytes(*pixel), 0]));
            *pixel = (above as u32).to_le_bytes();
        }
    }

    /// The first two samples of a path; `last` is the largest coordinate inside.
    #[inline(always)]
    #[expect(clippy::inline_always, reason = "as above")]
    fn samples(&self, SamplePath { at, step }: SamplePath, last: [i32; 2]) -> Pair {
        // Without `map`: the compiler does not always unroll it.
        let within = |u: i32, v: i32| [u.clamp(0, last[0]), v.clamp(0, last[1])];
        let parts = |[u, v]: [i32; 2]| [(u >> 8) as u32 & 255, (v >> 8) as u32 & 255];
        let here = within(at[0], at[1]);
        let next = within(at[0].wrapping_add(step[0]), at[1].wrapping_add(step[1]));
        between([self.square(here), self.square(next)], [parts(here), parts(next)])
    }

    /// The four texels around a point inside the texture: the upper two, the lower two.
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
    fn samples_are_bilinear_and_clamped_to_the_edge() {
        let mut row = [[0; 4]; 4];
        ramp().replace(SamplePath { at: [-65_536, 0], step: [98_304, 0] }, &mut row);
        assert_eq!(row.map(|pixel| pixel[0]), [0, 8, 32, 56]);
        ramp().replace(SamplePath { at: [15 << 16, 9 << 16], step: [65_536, 0] }, &mut row);
        assert!(row.iter().all(|pixel| pixel[0] >= 239 && pixel[3] == 255));
    }

    #[test]
    fn a_wrong_number_of_texels_is_an_error() {
        assert!(Texture::new(4, 4, vec![0; 15]).is_err());
        assert!(Texture::new(1, 4, vec![0; 4]).is_err());
    }
}
