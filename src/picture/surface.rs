//! A canvas of premultiplied RGBA that becomes I420.

use crate::media::{Picture, PictureSize};

/// Pixels in sRGB with premultiplied alpha, row by row, four bytes each (red, green, blue, alpha).
#[derive(Clone, Debug)]
pub struct Surface {
    size: PictureSize,
    /// `width * height` pixels.
    pub pixels: Vec<[u8; 4]>,
}

impl Surface {
    /// A transparent surface.
    #[must_use]
    pub fn new(size: PictureSize) -> Self {
        Self { size, pixels: vec![[0; 4]; size.pixels()] }
    }

    /// Its size.
    #[must_use]
    pub fn size(&self) -> PictureSize {
        self.size
    }

    /// Converts an opaque surface to a picture of the same size (BT.601, limited range).
    /// A picture of another size is left as it is.
    pub fn write_i420(&self, picture: &mut Picture) {
        if picture.size() != self.size {
            return;
        }
        let width = self.size.width();
        let (luma, blue, red) = picture.planes_mut();
        let rows = self.pixels.chunks_exact(width * 2).zip(luma.chunks_exact_mut(width * 2));
        let chroma = blue.chunks_exact_mut(width / 2).zip(red.chunks_exact_mut(width / 2));
        for ((pixels, luma), (blue, red)) in rows.zip(chroma) {
            write_luma(pixels, luma);
            write_chroma(pixels, width, blue, red);
        }
    }
}

/// Luma of BT.601: 16 + 65.738/256 R + 129.057/256 G + 25.064/256 B.
fn write_luma(pixels: &[[u8; 4]], luma: &mut [u8]) {
    for (pixel, out) in pixels.iter().zip(luma) {
        let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(u32::from);
        *out = ((66 * r + 129 * g + 25 * b + 128 + (16 << 8)) >> 8) as u8;
    }
}

/// Chroma of BT.601 over each square of two by two pixels.
fn write_chroma(pixels: &[[u8; 4]], width: usize, blue: &mut [u8], red: &mut [u8]) {
    let (top, bottom) = pixels.split_at(width);
    let squares = top.as_chunks::<2>().0.iter().zip(bottom.as_chunks::<2>().0);
    for ((above, below), (blue, red)) in squares.zip(blue.iter_mut().zip(red)) {
        let sum = |channel: usize| {
            let of = |pixel: &[u8; 4]| i32::from(pixel[channel]);
            of(&above[0]) + of(&above[1]) + of(&below[0]) + of(&below[1])
        };
        let (r, g, b) = (sum(0), sum(1), sum(2));
        *blue = ((-38 * r - 74 * g + 112 * b + 512 + (128 << 10)) >> 10) as u8;
        *red = ((112 * r - 94 * g - 18 * b + 512 + (128 << 10)) >> 10) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_is_235_and_red_leans_to_red() {
        let size = PictureSize::square(16);
        let mut surface = Surface::new(size);
        let mut picture = Picture::black(size);
        surface.pixels.fill([255; 4]);
        surface.write_i420(&mut picture);
        assert_eq!((picture.planes().0[0], picture.planes().1[0], picture.planes().2[0]), (235, 128, 128));
        surface.pixels.fill([255, 0, 0, 255]);
        surface.write_i420(&mut picture);
        assert!(picture.planes().2[0] > 230 && picture.planes().1[0] < 100);
    }
}
