//! Rows of RGBA to rows of I420 (BT.601, limited range): vectors where the target always has them, plain arithmetic elsewhere.
//!
//! Luma is 16 + 66/256 R + 129/256 G + 25/256 B; chroma is taken of the sum of each square of two by two pixels.

/// Pixels that are converted at once.
const BLOCK: usize = 16;

/// Converts two rows of `width` pixels (RGBA): two rows of luma, one each of blue and red.
///
/// # Panics
/// If there are fewer than `width` pixels.
pub fn convert(pixels: &[[u8; 4]], width: usize, luma: &mut [u8], blue: &mut [u8], red: &mut [u8]) {
    let (blocks, rest) = pixels.as_chunks::<BLOCK>();
    let (whole, last) = luma.as_chunks_mut::<BLOCK>();
    blocks.iter().zip(whole).for_each(|(block, luma)| *luma = lumas(block));
    rest.iter().zip(last).for_each(|(pixel, luma)| *luma = plain::luma(*pixel));
    let (above, below) = pixels.split_at(width);
    let (above, above_rest) = above.as_chunks::<BLOCK>();
    let (below, below_rest) = below.as_chunks::<BLOCK>();
    let (blues, blue_rest) = blue.as_chunks_mut::<{ BLOCK / 2 }>();
    let (reds, red_rest) = red.as_chunks_mut::<{ BLOCK / 2 }>();
    for ((above, below), (blue, red)) in above.iter().zip(below).zip(blues.iter_mut().zip(reds)) {
        (*blue, *red) = chromas(above, below);
    }
    let squares = above_rest.as_chunks::<2>().0.iter().zip(below_rest.as_chunks::<2>().0);
    for ((above, below), (blue, red)) in squares.zip(blue_rest.iter_mut().zip(red_rest)) {
        (*blue, *red) = plain::chroma(*above, *below);
    }
}

mod plain {
    /// Of one pixel. The sum stays below 2^16: 220 * 255 + 4224.
    #[inline]
    pub fn luma([r, g, b, _]: [u8; 4]) -> u8 {
        ((66 * u16::from(r) + 129 * u16::from(g) + 25 * u16::from(b) + (128 + (16 << 8))) >> 8) as u8
    }

    /// Of a square of four pixels.
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
        _mm_srai_epi32, _mm_srli_epi32, _mm_unpackhi_epi64,
    };

    use super::BLOCK;

    /// Red and blue of four pixels, then green and alpha: 16 bits each.
    type Channels = [__m128i; 2];

    #[inline]
    #[target_feature(enable = "sse2")]
    fn read(pixels: &[[u8; 4]; BLOCK], quarter: usize) -> Channels {
        let bytes = pixels.as_flattened();
        let word = |from: usize| {
            let word = bytes[from..].first_chunk::<8>().copied().unwrap_or_default();
            i64::from_le_bytes(word)
        };
        let all = _mm_set_epi64x(word(quarter * 16 + 8), word(quarter * 16));
        let low = _mm_set1_epi32(0x00ff_00ff);
        [_mm_and_si128(all, low), _mm_and_si128(_mm_srli_epi32::<8>(all), low)]
    }

    /// Sums of products, of the channels of each pixel with (red, green, blue), and `more`.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn weigh([even, odd]: Channels, [r, g, b]: [i16; 3], more: i32) -> __m128i {
        let two = |low: i16, high: i16| _mm_set1_epi32(i32::from(low) & 0xffff | i32::from(high) << 16);
        let sum = _mm_add_epi32(_mm_madd_epi16(even, two(r, b)), _mm_madd_epi16(odd, two(g, 0)));
        _mm_add_epi32(sum, _mm_set1_epi32(more))
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn bytes(low: [__m128i; 2], high: [__m128i; 2]) -> [u64; 2] {
        let both = _mm_packus_epi16(_mm_packs_epi32(low[0], low[1]), _mm_packs_epi32(high[0], high[1]));
        [both, _mm_unpackhi_epi64(both, both)].map(|half| _mm_cvtsi128_si64(half).cast_unsigned())
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn weigh_lumas(pixels: &[[u8; 4]; BLOCK]) -> [u8; BLOCK] {
        let luma = |quarter| _mm_srli_epi32::<8>(weigh(read(pixels, quarter), [66, 129, 25], 128 + (16 << 8)));
        let [low, high] = bytes([luma(0), luma(1)], [luma(2), luma(3)]).map(u64::to_le_bytes);
        let mut out = [0; BLOCK];
        out[..8].copy_from_slice(&low);
        out[8..].copy_from_slice(&high);
        out
    }

    /// Sums over the four squares in half a block.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn squares(above: &[[u8; 4]; BLOCK], below: &[[u8; 4]; BLOCK], half: usize) -> Channels {
        let columns = [0, 1].map(|quarter| {
            let (above, below) = (read(above, half * 2 + quarter), read(below, half * 2 + quarter));
            [0, 1].map(|channels| _mm_add_epi16(above[channels], below[channels]))
        });
        [0, 1].map(|channels| {
            let [left, right] = [0, 1].map(|quarter: usize| _mm_castsi128_ps(columns[quarter][channels]));
            let (even, odd) =
                (_mm_shuffle_ps::<0b10_00_10_00>(left, right), _mm_shuffle_ps::<0b11_01_11_01>(left, right));
            _mm_add_epi16(_mm_castps_si128(even), _mm_castps_si128(odd))
        })
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn weigh_chromas(above: &[[u8; 4]; BLOCK], below: &[[u8; 4]; BLOCK]) -> ([u8; BLOCK / 2], [u8; BLOCK / 2]) {
        let sums = [squares(above, below, 0), squares(above, below, 1)];
        let of = |shares| sums.map(|sums| _mm_srai_epi32::<10>(weigh(sums, shares, 512 + (128 << 10))));
        let [blue, red] = bytes(of([-38, -74, 112]), of([112, -94, -18])).map(u64::to_le_bytes);
        (blue, red)
    }

    #[inline]
    pub fn lumas(pixels: &[[u8; 4]; BLOCK]) -> [u8; BLOCK] {
        // SAFETY: every x86-64 has SSE2.
        unsafe { weigh_lumas(pixels) }
    }

    #[inline]
    pub fn chromas(above: &[[u8; 4]; BLOCK], below: &[[u8; 4]; BLOCK]) -> ([u8; BLOCK / 2], [u8; BLOCK / 2]) {
        // SAFETY: every x86-64 has SSE2.
        unsafe { weigh_chromas(above, below) }
    }
}

#[cfg(target_arch = "x86_64")]
use vectors::{chromas, lumas};

#[cfg(not(target_arch = "x86_64"))]
fn lumas(pixels: &[[u8; 4]; BLOCK]) -> [u8; BLOCK] {
    pixels.map(plain::luma)
}

#[cfg(not(target_arch = "x86_64"))]
fn chromas(above: &[[u8; 4]; BLOCK], below: &[[u8; 4]; BLOCK]) -> ([u8; BLOCK / 2], [u8; BLOCK / 2]) {
    let square = |at: usize| plain::chroma([above[2 * at], above[2 * at + 1]], [below[2 * at], below[2 * at + 1]]);
    (std::array::from_fn(|at| square(at).0), std::array::from_fn(|at| square(at).1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_and_single_pixels_agree() {
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
