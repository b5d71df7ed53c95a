//! Arithmetic on two premultiplied pixels at once: SSE2 on x86-64, one 64-bit word per pixel on other targets.
//!
//! Rounds to nearest, as [`super::words`] does; a channel never ends above its alpha.

/// Two pixels side by side, four bytes each (red lowest), the left one in the lower half.
pub type Pair = u64;

/// Two pixels as one word.
#[inline]
#[must_use]
pub fn pair([left, right]: [u32; 2]) -> Pair {
    Pair::from(left) | Pair::from(right) << 32
}

#[cfg(target_arch = "x86_64")]
mod vectors {
    //! SSE2, which every x86-64 has.

    use std::arch::x86_64::{
        __m128i, _mm_add_epi16, _mm_cvtsi64_si128, _mm_cvtsi128_si64, _mm_mullo_epi16, _mm_packus_epi16,
        _mm_set1_epi16, _mm_setzero_si128, _mm_shufflehi_epi16, _mm_shufflelo_epi16, _mm_slli_epi16, _mm_srli_epi16,
        _mm_sub_epi16, _mm_unpackhi_epi64, _mm_unpacklo_epi8, _mm_unpacklo_epi64,
    };

    use super::Pair;

    #[inline]
    #[target_feature(enable = "sse2")]
    fn widen(pixels: Pair) -> __m128i {
        _mm_unpacklo_epi8(_mm_cvtsi64_si128(pixels.cast_signed()), _mm_setzero_si128())
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn narrow(lanes: __m128i) -> Pair {
        _mm_cvtsi128_si64(_mm_packus_epi16(lanes, lanes)).cast_unsigned()
    }

    /// The upper byte of each lane, rounded.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn upper(lanes: __m128i) -> __m128i {
        _mm_srli_epi16::<8>(_mm_add_epi16(lanes, _mm_set1_epi16(128)))
    }

    /// Blends the columns by `right` and `down`, in parts of 256; the result is in the lower half once the halves are added.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn across(top: Pair, bottom: Pair, [right, down]: [u32; 2]) -> __m128i {
        let (top, bottom) = (widen(top), widen(bottom));
        // The sum fits 16 bits although intermediate sums may wrap.
        let fall = _mm_mullo_epi16(_mm_sub_epi16(bottom, top), _mm_set1_epi16(down as i16));
        let column = upper(_mm_add_epi16(_mm_slli_epi16::<8>(top), fall));
        let shares = _mm_unpacklo_epi64(_mm_set1_epi16((256 - right) as i16), _mm_set1_epi16(right as i16));
        _mm_mullo_epi16(column, shares)
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn mix_squares(squares: [[Pair; 2]; 2], shares: [[u32; 2]; 2]) -> Pair {
        let [left, right] = [0, 1].map(|side| across(squares[side][0], squares[side][1], shares[side]));
        narrow(upper(_mm_add_epi16(_mm_unpacklo_epi64(left, right), _mm_unpackhi_epi64(left, right))))
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn lay_over(source: Pair, below: Pair) -> Pair {
        let source = widen(source);
        let alpha = _mm_shufflehi_epi16::<0xff>(_mm_shufflelo_epi16::<0xff>(source));
        let rest = _mm_sub_epi16(_mm_set1_epi16(256), _mm_add_epi16(alpha, _mm_srli_epi16::<7>(alpha)));
        narrow(_mm_add_epi16(source, upper(_mm_mullo_epi16(widen(below), rest))))
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn multiply(pixels: Pair, [left, right]: [u32; 2]) -> Pair {
        let by = _mm_unpacklo_epi64(_mm_set1_epi16(left as i16), _mm_set1_epi16(right as i16));
        narrow(upper(_mm_mullo_epi16(widen(pixels), by)))
    }

    /// Two bilinear samples: each from a square of texels (top pair, bottom pair) at its offsets right and down in parts of 256.
    #[inline]
    #[must_use]
    pub fn between(squares: [[Pair; 2]; 2], shares: [[u32; 2]; 2]) -> Pair {
        // SAFETY: every x86-64 has SSE2.
        unsafe { mix_squares(squares, shares) }
    }

    /// Each pixel of `source` composited over that of `below`.
    #[inline]
    #[must_use]
    pub fn over(source: Pair, below: Pair) -> Pair {
        // SAFETY: every x86-64 has SSE2.
        unsafe { lay_over(source, below) }
    }

    /// Each pixel scaled by its factor in parts of 256.
    #[inline]
    #[must_use]
    pub fn scale(pixels: Pair, by: [u32; 2]) -> Pair {
        // SAFETY: every x86-64 has SSE2.
        unsafe { multiply(pixels, by) }
    }
}

#[cfg(any(test, not(target_arch = "x86_64")))]
mod plain {
    //! Plain words.

    use super::{Pair, pair};
    use crate::pixels::words;

    fn split(pixels: Pair) -> [u32; 2] {
        [pixels as u32, (pixels >> 32) as u32]
    }

    fn both(pixel: impl Fn(usize) -> u32) -> Pair {
        pair([0, 1].map(pixel))
    }

    /// Two bilinear samples: each from a square of texels (top pair, bottom pair) at its offsets right and down in parts of 256.
    pub fn between(squares: [[Pair; 2]; 2], shares: [[u32; 2]; 2]) -> Pair {
        both(|side| {
            let ([top, bottom], [right, down]) = (squares[side].map(split), shares[side]);
            let mix = |a: u32, b: u32, part: u32| {
                let sum = words::widen(a) * u64::from(256 - part) + words::widen(b) * u64::from(part);
                words::narrow(sum)
            };
            mix(mix(top[0], bottom[0], down), mix(top[1], bottom[1], down), right)
        })
    }

    /// Each pixel of `source` composited over that of `below`.
    pub fn over(source: Pair, below: Pair) -> Pair {
        both(|side| words::over(split(source)[side], split(below)[side]))
    }

    /// Each pixel scaled by its factor in parts of 256.
    pub fn scale(pixels: Pair, by: [u32; 2]) -> Pair {
        both(|side| words::scale(split(pixels)[side], by[side]))
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub use plain::{between, over, scale};
#[cfg(target_arch = "x86_64")]
pub use vectors::{between, over, scale};

#[cfg(test)]
mod tests {
    use super::*;

    /// A premultiplied pixel.
    fn any_pixel(random: &mut fastrand::Rng) -> u32 {
        let alpha = *random.choice([0, 1, 127, 128, 254, 255, 77].iter()).unwrap_or(&9);
        u32::from_le_bytes([random.u8(0..=alpha), random.u8(0..=alpha), random.u8(0..=alpha), alpha])
    }

    #[test]
    fn sse2_and_plain_words_agree_bit_for_bit() {
        let mut random = fastrand::Rng::with_seed(3);
        for _ in 0..20_000 {
            let mut any = || pair([any_pixel(&mut random), any_pixel(&mut random)]);
            let squares = [[any(), any()], [any(), any()]];
            let (source, below) = (any(), any());
            let shares = [[random.u32(0..256), random.u32(0..256)], [random.u32(0..256), random.u32(0..256)]];
            assert_eq!(between(squares, shares), plain::between(squares, shares));
            assert_eq!(over(source, below), plain::over(source, below));
            let by = [random.u32(0..=256), 256];
            assert_eq!(scale(source, by), plain::scale(source, by));
        }
    }
}
