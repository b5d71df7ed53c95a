//! Planar RGB in [-1, 1] to I420 and NV12, as encoders take it.
//!
//! Decides the matrices (ITU-R BT.601 and BT.709). Chroma is the mean over two by two pixels, sited in their centre (as in JPEG).

use super::arguments::kernels;
use super::launch::{Launch, Scalar, SizeError, Work};
use crate::dtype::{Half, Real};

/// The luma coefficients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standard {
    /// ITU-R BT.601: standard definition, and the default of most software.
    Bt601,
    /// ITU-R BT.709: high definition.
    Bt709,
}

/// The range of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// 0 to 255.
    Full,
    /// 16 to 235, chroma 16 to 240.
    Limited,
}

/// The layout of chroma behind luma.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// A plane of Cb, then a plane of Cr.
    I420,
    /// One plane of interleaved Cb and Cr.
    Nv12,
}

/// The element type of planes: kernels come in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FloatType {
    /// `f32`.
    F32,
    /// Half precision.
    F16,
}

/// An image to convert.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ToYuv {
    width: u32,
    height: u32,
    /// Luma coefficients of red and blue; scale and offset of the result.
    red: f32,
    blue: f32,
    luma_scale: f32,
    luma_offset: f32,
    chroma_scale: f32,
}

impl ToYuv {
    /// An image of `width` by `height` pixels, which may be odd.
    #[must_use]
    pub fn new((width, height): (u32, u32), standard: Standard, range: Range) -> Self {
        let (red, blue) = match standard {
            Standard::Bt601 => (0.299, 0.114),
            Standard::Bt709 => (0.2126, 0.0722),
        };
        let (luma_scale, luma_offset, chroma_scale) = match range {
            Range::Full => (255.0, 0.0, 255.0),
            Range::Limited => (219.0, 16.0, 224.0),
        };
        Self { width, height, red, blue, luma_scale, luma_offset, chroma_scale }
    }

    /// Buffers: three planes of RGB, YUV bytes.
    ///
    /// # Errors
    /// If the image is empty or too large.
    pub fn launch(&self, float_type: FloatType, layout: Layout) -> Result<Launch, SizeError> {
        let kernel = match (float_type, layout) {
            (FloatType::F32, Layout::I420) => 0,
            (FloatType::F16, Layout::I420) => 1,
            (FloatType::F32, Layout::Nv12) => 2,
            (FloatType::F16, Layout::Nv12) => 3,
        };
        Launch::new(&KERNELS[kernel], self)
    }

    /// The reference implementation.
    pub fn compute<T: Real>(&self, layout: Layout, rgb: &[T], yuv: &mut [u8]) {
        let (columns, rows) = (self.width.div_ceil(2) as usize, self.height.div_ceil(2) as usize);
        let (step, red_at) = match layout {
            Layout::I420 => (1, columns * rows),
            Layout::Nv12 => (2, 1),
        };
        for row in 0..rows {
            for column in 0..columns {
                let [blue, red] = self.square(rgb, yuv, column, row);
                let at = (self.width * self.height) as usize + (row * columns + column) * step;
                yuv[at] = byte(128.0 + self.chroma_scale * blue);
                yuv[at + red_at] = byte(128.0 + self.chroma_scale * red);
            }
        }
    }

    /// Writes the luma of two by two pixels and returns their mean Cb and Cr, in -0.5 to 0.5.
    fn square<T: Real>(&self, rgb: &[T], yuv: &mut [u8], column: usize, row: usize) -> [f32; 2] {
        let (width, height) = (self.width as usize, self.height as usize);
        let (mut blues, mut reds, mut count) = (0.0, 0.0, 0.0);
        for y in row * 2..(row * 2 + 2).min(height) {
            for x in column * 2..(column * 2 + 2).min(width) {
                let at = y * width + x;
                let [r, g, b] = [0, 1, 2].map(|plane| unit(rgb[plane * width * height + at]));
                let luma = self.red * r + (1.0 - self.red - self.blue) * g + self.blue * b;
                yuv[at] = byte(self.luma_offset + self.luma_scale * luma);
                blues += (b - luma) / (2.0 * (1.0 - self.blue));
                reds += (r - luma) / (2.0 * (1.0 - self.red));
                count += 1.0;
            }
        }
        [blues / count, reds / count]
    }
}

fn unit<T: Real>(value: T) -> f32 {
    clamp((value.get() + 1.0) * 0.5, 0.0, 1.0)
}

fn byte(value: f32) -> u8 {
    (clamp(value, 0.0, 255.0) + 0.5).floor() as u8
}

/// As in the kernels: NaN becomes `low`.
pub(super) fn clamp(value: f32, low: f32, high: f32) -> f32 {
    if value > low { value.min(high) } else { low }
}

impl Work for ToYuv {
    const SCALARS: usize = 7;

    fn of(bits: &[u32]) -> Self {
        let [red, blue, luma_scale, luma_offset, chroma_scale] = [2, 3, 4, 5, 6].map(|at| f32::from_bits(bits[at]));
        Self { width: bits[0], height: bits[1], red, blue, luma_scale, luma_offset, chroma_scale }
    }

    fn scalars(&self) -> Vec<Scalar> {
        let by = [self.red, self.blue, self.luma_scale, self.luma_offset, self.chroma_scale];
        [self.width, self.height].map(Scalar::U32).into_iter().chain(by.map(Scalar::F32)).collect()
    }

    fn lengths(&self) -> Vec<u64> {
        let (width, height) = (u64::from(self.width), u64::from(self.height));
        let chroma = width.div_ceil(2) * height.div_ceil(2);
        if width * height == 0 { vec![0, 0] } else { vec![3 * width * height, width * height + 2 * chroma] }
    }

    fn threads(&self) -> [u32; 3] {
        [self.width.div_ceil(2), self.height.div_ceil(2), 1]
    }
}

kernels! {
    Colour;
    rgb_f32_to_i420(rgb: read f32, yuv: write u8): ToYuv => |work, rgb, yuv| work.compute(Layout::I420, rgb, yuv);
    rgb_f16_to_i420(rgb: read Half, yuv: write u8): ToYuv => |work, rgb, yuv| work.compute(Layout::I420, rgb, yuv);
    rgb_f32_to_nv12(rgb: read f32, yuv: write u8): ToYuv => |work, rgb, yuv| work.compute(Layout::Nv12, rgb, yuv);
    rgb_f16_to_nv12(rgb: read Half, yuv: write u8): ToYuv => |work, rgb, yuv| work.compute(Layout::Nv12, rgb, yuv);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Y, Cb and Cr of a uniform image, whose channels are 0 to 255.
    fn of(rgb: [u8; 3], standard: Standard, range: Range) -> [u8; 3] {
        let planes: Vec<f32> = rgb.iter().flat_map(|value| [f32::from(*value) / 127.5 - 1.0; 4]).collect();
        let mut yuv = [0; 6];
        ToYuv::new((2, 2), standard, range).compute(Layout::I420, &planes, &mut yuv);
        assert!(yuv[..4].iter().all(|luma| *luma == yuv[0]));
        [yuv[0], yuv[4], yuv[5]]
    }

    #[test]
    fn colours_have_the_values_of_the_standards() {
        use {Range::*, Standard::*};
        let [white, black, red, green, blue] = [[255; 3], [0; 3], [255, 0, 0], [0, 255, 0], [0, 0, 255]];
        // From tables of 100 % colour bars.
        let known = [
            (Bt601, Limited, [[235, 128, 128], [16, 128, 128], [81, 90, 240], [145, 54, 34], [41, 240, 110]]),
            (Bt709, Limited, [[235, 128, 128], [16, 128, 128], [63, 102, 240], [173, 42, 26], [32, 240, 118]]),
            (Bt601, Full, [[255, 128, 128], [0, 128, 128], [76, 85, 255], [150, 44, 21], [29, 255, 107]]),
            (Bt709, Full, [[255, 128, 128], [0, 128, 128], [54, 99, 255], [182, 30, 12], [18, 255, 116]]),
        ];
        for (standard, range, wanted) in known {
            let found = [white, black, red, green, blue].map(|rgb| of(rgb, standard, range));
            assert_eq!(found, wanted, "{standard:?} {range:?}");
        }
    }

    #[test]
    fn it_agrees_with_the_cpu_renderers_conversion() {
        for seed in 0..2000_u32 {
            let [r, g, b] = [7919, 104_729, 1_299_709].map(|prime| (seed.wrapping_mul(prime) >> 5) as u8);
            let (mut luma, mut blue, mut red) = ([0; 4], [0; 1], [0; 1]);
            crate::pixels::i420::convert(&[[r, g, b, 255]; 4], 2, &mut luma, &mut blue, &mut red);
            let theirs = [luma[0], blue[0], red[0]];
            let ours = of([r, g, b], Standard::Bt601, Range::Limited);
            assert!(ours.iter().zip(theirs).all(|(a, b)| a.abs_diff(b) <= 1), "{ours:?} {theirs:?}");
        }
    }

    #[test]
    fn layouts_hold_the_same_bytes_and_odd_borders_average_what_there_is() {
        let rgb: Vec<f32> = (0..45).map(|n| (n * 29 % 45) as f32 / 22.0 - 1.0).collect();
        let work = ToYuv::new((5, 3), Standard::Bt709, Range::Full);
        let [mut i420, mut nv12] = [[0; 27]; 2];
        work.compute(Layout::I420, &rgb, &mut i420);
        work.compute(Layout::Nv12, &rgb, &mut nv12);
        assert_eq!(i420[..15], nv12[..15]);
        for at in 0..6 {
            assert_eq!([i420[15 + at], i420[21 + at]], [nv12[15 + 2 * at], nv12[16 + 2 * at]]);
        }
        // The last block is the last pixel alone: as if the image were extended by it.
        let wide: Vec<f32> = (0..72)
            .map(|n| {
                let (plane, y, x) = (n / 24, n % 24 / 6, n % 6);
                rgb[plane * 15 + y.min(2) * 5 + x.min(4)]
            })
            .collect();
        let mut even = [0; 36];
        ToYuv::new((6, 4), Standard::Bt709, Range::Full).compute(Layout::I420, &wide, &mut even);
        assert!(even[24..].iter().zip(&i420[15..]).all(|(a, b)| a.abs_diff(*b) <= 1), "{even:?} {i420:?}");
    }
}
