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
    // Sixteen at a time, so that the compiler makes vectors of it.
    let (blocks, rest) = pixels.as_chunks::<16>();
    let (outs, last) = luma.as_chunks_mut::<16>();
    for (block, out) in blocks.iter().zip(outs) {
        for (pixel, out) in block.iter().zip(out) {
            *out = luma_of(*pixel);
        }
    }
    rest.iter().zip(last).for_each(|(pixel, out)| *out = luma_of(*pixel));
}

#[inline]
fn luma_of([r, g, b, _]: [u8; 4]) -> u8 {
    // The sum stays below 2^16: 220 * 255 + 4224.
    ((66 * u16::from(r) + 129 * u16::from(g) + 25 * u16::from(b) + (128 + (16 << 8))) >> 8) as u8
}

/// Chroma of BT.601 over each square of two by two pixels.
fn write_chroma(pixels: &[[u8; 4]], width: usize, blue: &mut [u8], red: &mut [u8]) {
    let (top, bottom) = pixels.split_at(width);
    let squares = top.as_chunks::<2>().0.iter().zip(bottom.as_chunks::<2>().0);
    for ((above, below), (blue, red)) in squares.zip(blue.iter_mut().zip(red)) {
        let [r, g, b] = square_sum(*above, *below);
        *blue = ((-38 * r - 74 * g + 112 * b + 512 + (128 << 10)) >> 10) as u8;
        *red = ((112 * r - 94 * g - 18 * b + 512 + (128 << 10)) >> 10) as u8;
    }
}

/// Red, green and blue of four pixels, added two channels at a time.
#[inline]
fn square_sum(above: [[u8; 4]; 2], below: [[u8; 4]; 2]) -> [i32; 3] {
    let words = [above[0], above[1], below[0], below[1]].map(u32::from_le_bytes);
    let even: u32 = words.iter().map(|word| word & 0x00ff_00ff).sum();
    let odd: u32 = words.iter().map(|word| (word >> 8) & 0x00ff_00ff).sum();
    [even & 0xffff, odd & 0xffff, even >> 16].map(u32::cast_signed)
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
