//! A canvas of premultiplied RGBA that becomes I420.

use visage_kernels::pixels::i420;

use crate::media::{FrameSize, VideoFrame};

/// Pixels in sRGB with premultiplied alpha, row by row, four bytes each (red, green, blue, alpha).
#[derive(Clone, Debug)]
pub struct Surface {
    size: FrameSize,
    /// `width * height` pixels.
    pub pixels: Vec<[u8; 4]>,
}

impl Surface {
    /// A transparent surface.
    #[must_use]
    pub fn new(size: FrameSize) -> Self {
        Self { size, pixels: vec![[0; 4]; size.pixels()] }
    }

    /// Its size.
    #[must_use]
    pub fn size(&self) -> FrameSize {
        self.size
    }

    /// Converts an opaque surface to a picture of the same size (BT.601, limited range).
    /// A picture of another size is left as it is.
    pub fn write_i420(&self, picture: &mut VideoFrame) {
        if picture.size() != self.size {
            return;
        }
        let width = self.size.width();
        let (luma, blue, red) = picture.planes_mut();
        let rows = self.pixels.chunks_exact(width * 2).zip(luma.chunks_exact_mut(width * 2));
        let chroma = blue.chunks_exact_mut(width / 2).zip(red.chunks_exact_mut(width / 2));
        for ((pixels, luma), (blue, red)) in rows.zip(chroma) {
            i420::convert(pixels, width, luma, blue, red);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_is_235_and_red_leans_to_red() {
        let size = FrameSize::square(16);
        let mut surface = Surface::new(size);
        let mut picture = VideoFrame::black(size);
        surface.pixels.fill([255; 4]);
        surface.write_i420(&mut picture);
        assert_eq!((picture.planes().0[0], picture.planes().1[0], picture.planes().2[0]), (235, 128, 128));
        surface.pixels.fill([255, 0, 0, 255]);
        surface.write_i420(&mut picture);
        assert!(picture.planes().2[0] > 230 && picture.planes().1[0] < 100);
    }
}
