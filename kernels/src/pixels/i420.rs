//! Rows of RGBA to rows of I420 (BT.601, limited range): SSE2 on x86-64, plain arithmetic on other targets.
//!
//! Luma is 16 + 66/256 R + 129/256 G + 25/256 B; chroma is computed from the sum of each square of two by two pixels.

/// Pixels converted at once.
const BLOCK: usize = 16;

/// Converts two rows of `width` RGBA pixels to two rows of luma and one row each of Cb and Cr.
///
/// # Panics
/// If there are fewer than `width` pixels or luma samples.
pub fn convert(pixels: &[[u8; 4]], width: usize, luma: &mut [u8], blue: &mut [u8], red: &mut [u8]) {
    let (above, below) = pixels.split_at(width);
    let (upper, lower) = luma.split_at_mut(width);
    let (above, above_rest) = above.as_chunks::<BLOCK>();
    let (below, below_rest) = below.as_chunks::<BLOCK>();
    let (uppers, upper_rest) = upper.as_chunks_mut::<BLOCK>();
    let (lowers, lower_rest) = lower.as_chunks_mut::<BLOCK>();
    let (blues, blue_rest) = blue.as_chunks_mut::<{ BLOCK / 2 }>();
    let (reds, red_rest) = red.as_chunks_mut::<{ BLOCK / 2 }>();
    let lumas = uppers.iter_mut().zip(lowers);
    for ((rows, (upper, lower)), (blue, red)) in above.iter().zip(below).zip(lumas).zip(blues.iter_mut().zip(reds)) {
        (*upper, *lower, *blue, *red) = block(rows.0, rows.1);
    }
    let lumas = upper_rest.iter_mut().zip(lower_rest);
    for ((above, below), (upper, lower)) in above_rest.iter().zip(below_rest).zip(lumas) {
        (*upper, *lower) = (plain::luma(*above), plain::luma(*below));
    }
    let squares = above_rest.as_chunks::<2>().0.iter().zip(below_rest.as_chunks::<2>().0);
    for ((above, below), (blue, red)) in squares.zip(blue_rest.iter_mut().zip(red_rest)) {
        (*blue, *red) = plain::chroma(*above, *below);
    }
}

/// Two rows of luma, then Cb and Cr.
type Block = ([u8; BLOCK], [u8; BLOCK], [u8; BLOCK / 2], [u8; BLOCK / 2]);

mod plain {
    /// Luma of one pixel. The sum stays below 2^16: 220 * 255 + 4224.
    #[inline]
    pub fn luma([r, g, b, _]: [u8; 4]) -> u8 {
        ((66 * u16::from(r) + 129 * u16::from(g) + 25 * u16::from(b) + (128 + (16 << 8))) >> 8) as u8
    }

    /// Chroma of a square of four pixels.
    #[inline]
    pub fn chroma(above: [[u8; 4]; 2], below: [[u8; 4]; 2]) -> (u8, u8) {
        let sum = |channel: usize| [above, below].as_flattened().iter().map(|pixel| i32::from(pixel[channel])).sum();
        let [r, g, b]: [i32; 3] = [sum(0), sum(1), sum(2)];
        let byte = |sum: i32| ((sum + 512 + (128 << 10)) >> 10) as u8;
        (byte(-38 * r - 74 * g + 112 * b), byte(112 * r - 94 * g - 18 * b))
    }
}

#[cfg(target_arch = "x86_64")]
mod vectors {
    //! SSE2, which every x86-64 has.

    use std::arch::x86_64::{
        __m128i, _mm_add_epi16, _mm_add_epi32, _mm_and_si128, _mm_castps_si128, _mm_castsi128_ps, _mm_cvtsi128_si64,
        _mm_madd_epi16, _mm_packs_epi32, _mm_packus_epi16, _mm_set_epi64x, _mm_set1_epi32, _mm_shuffle_ps,
        _mm_srai_epi32, _mm_srli_epi16, _mm_srli_epi32, _mm_unpackhi_epi64,
    };

    use super::{BLOCK, Block};

    /// Red and blue of four pixels, then green and alpha: 16 bits each.
    type Channels = [__m128i; 2];
    /// Sixteen pixels.
    type Row = [Channels; 4];

    #[inline]
    #[target_feature(enable = "sse2")]
    fn read(pixels: &[[u8; 4]; BLOCK], quarter: usize) -> Channels {
        let bytes = pixels.as_flattened();
        let word = |from: usize| {
            let word = bytes[from..].first_chunk::<8>().copied().unwrap_or_default();
            i64::from_le_bytes(word)
        };
        let all = _mm_set_epi64x(word(quarter * 16 + 8), word(quarter * 16));
        [_mm_and_si128(all, _mm_set1_epi32(0x00ff_00ff)), _mm_srli_epi16::<8>(all)]
    }

    // No map over an array here and below: the compiler does not always inline it.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn read_row(pixels: &[[u8; 4]; BLOCK]) -> Row {
        [read(pixels, 0), read(pixels, 1), read(pixels, 2), read(pixels, 3)]
    }

    /// Sums of products of each pixel's channels with (red, green, blue), plus `more`.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn weigh([even, odd]: Channels, [r, g, b]: [i16; 3], more: i32) -> __m128i {
        let two = |low: i16, high: i16| _mm_set1_epi32(i32::from(low) & 0xffff | i32::from(high) << 16);
        let sum = _mm_add_epi32(_mm_madd_epi16(even, two(r, b)), _mm_madd_epi16(odd, two(g, 0)));
        _mm_add_epi32(sum, _mm_set1_epi32(more))
    }

    /// The low bytes of 16 numbers from 0 to 255.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn bytes([a, b, c, d]: [__m128i; 4]) -> [[u8; 8]; 2] {
        let all = _mm_packus_epi16(_mm_packs_epi32(a, b), _mm_packs_epi32(c, d));
        let [low, high] = [_mm_cvtsi128_si64(all), _mm_cvtsi128_si64(_mm_unpackhi_epi64(all, all))];
        [low.to_le_bytes(), high.to_le_bytes()]
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn luma(row: Row) -> [u8; BLOCK] {
        let luma = |channels: Channels| _mm_srli_epi32::<8>(weigh(channels, [66, 129, 25], 128 + (16 << 8)));
        let [low, high] = bytes([luma(row[0]), luma(row[1]), luma(row[2]), luma(row[3])]);
        let mut out = [0; BLOCK];
        out[..8].copy_from_slice(&low);
        out[8..].copy_from_slice(&high);
        out
    }

    /// Sums over the two-by-two squares in eight columns of pixels.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn squares(above: [Channels; 2], below: [Channels; 2]) -> Channels {
        let square = |channel: usize| {
            let left = _mm_castsi128_ps(_mm_add_epi16(above[0][channel], below[0][channel]));
            let right = _mm_castsi128_ps(_mm_add_epi16(above[1][channel], below[1][channel]));
            let (even, odd) =
                (_mm_shuffle_ps::<0b10_00_10_00>(left, right), _mm_shuffle_ps::<0b11_01_11_01>(left, right));
            _mm_add_epi16(_mm_castps_si128(even), _mm_castps_si128(odd))
        };
        [square(0), square(1)]
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn convert(above: &[[u8; 4]; BLOCK], below: &[[u8; 4]; BLOCK]) -> Block {
        let (above, below) = (read_row(above), read_row(below));
        let left = squares([above[0], above[1]], [below[0], below[1]]);
        let right = squares([above[2], above[3]], [below[2], below[3]]);
        let of = |sums: Channels, shares: [i16; 3]| _mm_srai_epi32::<10>(weigh(sums, shares, 512 + (128 << 10)));
        let (to_blue, to_red) = ([-38, -74, 112], [112, -94, -18]);
        let [blue, red] = bytes([of(left, to_blue), of(right, to_blue), of(left, to_red), of(right, to_red)]);
        (luma(above), luma(below), blue, red)
    }

    #[inline]
    pub fn block(above: &[[u8; 4]; BLOCK], below: &[[u8; 4]; BLOCK]) -> Block {
        // SAFETY: every x86-64 has SSE2.
        unsafe { convert(above, below) }
    }
}

#[cfg(target_arch = "x86_64")]
use vectors::block;

#[cfg(not(target_arch = "x86_64"))]
fn block(above: &[[u8; 4]; BLOCK], below: &[[u8; 4]; BLOCK]) -> Block {
    let square = |at: usize| plain::chroma([above[2 * at], above[2 * at + 1]], [below[2 * at], below[2 * at + 1]]);
    let (blue, red) = (std::array::from_fn(|at| square(at).0), std::array::from_fn(|at| square(at).1));
    (above.map(plain::luma), below.map(plain::luma), blue, red)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sse2_and_plain_arithmetic_agree() {
        let mut random = fastrand::Rng::with_seed(5);
        for width in [16, 22, 64] {
            let pixels: Vec<[u8; 4]> = (0..2 * width).map(|_| random.u32(..).to_le_bytes()).collect();
            let (mut luma, mut blue, mut red) = (vec![0; 2 * width], vec![0; width / 2], vec![0; width / 2]);
            convert(&pixels, width, &mut luma, &mut blue, &mut red);
            assert!(pixels.iter().zip(&luma).all(|(pixel, luma)| plain::luma(*pixel) == *luma));
            for at in 0..width / 2 {
                let row = |from: usize| [pixels[from + 2 * at], pixels[from + 2 * at + 1]];
                assert_eq!((blue[at], red[at]), plain::chroma(row(0), row(width)), "{width} {at}");
            }
        }
    }
}
