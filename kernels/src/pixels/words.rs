//! Arithmetic on premultiplied pixels: four channels at once, side by side in one 64-bit word.
//!
//! Rounds to nearest; a channel never exceeds its alpha, so that no channel overflows into its neighbour.

/// A pixel with 16 bits per channel in the order red, blue, green, alpha, as [`widen`] returns it.
pub type Wide = u64;

const LANES: Wide = 0x00FF_00FF_00FF_00FF;
const HALF: Wide = 0x0080_0080_0080_0080;

/// Spreads a pixel (red lowest) so that it can be multiplied by up to 256.
#[inline]
#[must_use]
pub fn widen(pixel: u32) -> Wide {
    let pixel = Wide::from(pixel);
    (pixel | (pixel << 24)) & LANES
}

/// Takes the upper byte of each channel of a sum of products (weights adding to 256), rounded.
#[inline]
#[must_use]
pub fn narrow(sum: Wide) -> u32 {
    let bytes = ((sum + HALF) >> 8) & LANES;
    (bytes | (bytes >> 24)) as u32
}

/// All four channels times `by / 256`; `by` is 0 to 256.
#[inline]
#[must_use]
pub fn scale(pixel: u32, by: u32) -> u32 {
    narrow(widen(pixel) * Wide::from(by))
}

/// `source` composited over `below`.
#[inline]
#[must_use]
pub fn over(source: u32, below: u32) -> u32 {
    let alpha = source >> 24;
    source + scale(below, 256 - alpha - (alpha >> 7))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compositing_never_overflows() {
        for alpha in 0..=255_u32 {
            for below in [0, 1, 127, 128, 254, 255_u32] {
                let source = alpha * 0x0101_0101;
                let under = (255 << 24) | (below * 0x0001_0101);
                let [r, g, b, a] = over(source, under).to_le_bytes();
                assert_eq!((r, g, a), (b, r, 255));
                let wanted = alpha as f32 + below as f32 * (255 - alpha) as f32 / 255.0;
                assert!((f32::from(r) - wanted).abs() <= 1.0, "{alpha} over {below}: {r}, wanted {wanted}");
            }
        }
    }

    #[test]
    fn widen_and_narrow_are_inverse() {
        assert_eq!(narrow(widen(0x8040_2010) * 256), 0x8040_2010);
        assert_eq!(scale(0xFF80_4020, 128), 0x8040_2010);
    }
}
