//! Fills coverage with a colour.

use visage_kernels::pixels::words::{over, scale};

use super::outline::Coverage;
use crate::face::Surface;

/// A colour with its opacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Colour {
    /// Red, green, blue.
    pub rgb: [u8; 3],
    /// 0 (transparent) to 256 (opaque).
    pub opacity: u32,
}

/// Blends `colour` through `coverage`, multiplied by `stencil` if there is one.
pub fn paint(surface: &mut Surface, colour: Colour, coverage: &Coverage, stencil: Option<&Coverage>) {
    let [r, g, b] = colour.rgb;
    let solid = u32::from_le_bytes([r, g, b, 255]);
    let width = surface.size().width();
    let top = coverage.from[1];
    let lines = surface.pixels.chunks_exact_mut(width).enumerate().skip(top).take(coverage.spans.len());
    for (y, line) in lines {
        let (mut left, mut values) = coverage.row(y);
        if let Some(stencil) = stencil {
            let (open_left, open) = stencil.row(y);
            let (from, to) = (left.max(open_left), (left + values.len()).min(open_left + open.len()));
            if from >= to {
                continue;
            }
            values = &values[from - left..to - left];
            left = from;
            let open = &open[from - open_left..to - open_left];
            for ((pixel, &value), &open) in line[left..].iter_mut().zip(values).zip(open) {
                mix(pixel, solid, (widest(value) * widest(open) * colour.opacity) >> 16);
            }
        } else {
            for (pixel, &value) in line[left..].iter_mut().zip(values) {
                mix(pixel, solid, (widest(value) * colour.opacity) >> 8);
            }
        }
    }
}

/// Maps 0..255 to 0..256.
#[inline]
fn widest(value: u8) -> u32 {
    u32::from(value) + u32::from(value >> 7)
}

#[inline]
fn mix(pixel: &mut [u8; 4], solid: u32, weight: u32) {
    if weight >= 256 {
        *pixel = solid.to_le_bytes();
    } else if weight > 0 {
        *pixel = over(scale(solid, weight), u32::from_le_bytes(*pixel)).to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::face::raster::Outliner;
    use crate::media::FrameSize;

    #[test]
    fn a_stencil_clips_a_shape() {
        let square = |from: i32, to: i32| [[from, from], [to, from], [to, to], [from, to]].map(|p| p.map(|x| x * 256));
        let mut surface = Surface::new(FrameSize::square(16));
        let (mut shape, mut stencil) = (Coverage::default(), Coverage::default());
        let mut outliner = Outliner::default();
        outliner.fill(&square(2, 10), [16, 16], &mut shape);
        outliner.fill(&square(6, 14), [16, 16], &mut stencil);
        paint(&mut surface, Colour { rgb: [9, 8, 7], opacity: 256 }, &shape, Some(&stencil));
        let painted = surface.pixels.iter().filter(|pixel| **pixel == [9, 8, 7, 255]).count();
        assert_eq!((painted, surface.pixels[5 * 16 + 5]), (16, [0; 4]));
    }
}
