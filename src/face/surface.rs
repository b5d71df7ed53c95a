//! RGBA frame buffer with premultiplied alpha, and its conversion to I420.

use visage_kernels::pixels::i420;

use crate::media::{FrameSize, VideoFrame};

/// Frame buffer: sRGB with premultiplied alpha, row-major, 4 bytes per pixel (red, green, blue, alpha).
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

    /// Size in pixels.
    #[must_use]
    pub fn size(&self) -> FrameSize {
        self.size
    }

    /// Converts an opaque surface to I420 (BT.601, limited range). A frame of another size is left unchanged.
    pub fn write_i420(&self, frame: &mut VideoFrame) {
        if frame.size() != self.size {
            return;
        }
        let width = self.size.width();
        let (luma, blue, red) = frame.planes_mut();
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
    fn white_is_luma_235_and_red_has_a_high_cr() {
        let size = FrameSize::square(16);
        let mut surface = Surface::new(size);
        let mut frame = VideoFrame::black(size);
        surface.pixels.fill([255; 4]);
        surface.write_i420(&mut frame);
        assert_eq!((frame.planes().0[0], frame.planes().1[0], frame.planes().2[0]), (235, 128, 128));
        surface.pixels.fill([255, 0, 0, 255]);
        surface.write_i420(&mut frame);
        assert!(frame.planes().2[0] > 230 && frame.planes().1[0] < 100);
    }
}
