//! Runs of pixels through opaque images: bilinear samples along a straight line, weighted and summed over several images.
//!
//! Decides the arithmetic: SSE2 on x86-64, plain numbers on other targets, with bit-identical results.

/// Texture coordinates are in 1/4096 of a texel.
pub const TEXEL: f32 = 4096.0;
/// The weight 1.
pub const ONE: f32 = 65_536.0;

/// Texels row by row, red in the lowest byte.
///
/// Only [`Image::new`] sets `last` and `stride`: unchecked reads depend on them.
#[derive(Clone, Debug)]
pub struct Image {
    stride: usize,
    /// The last texel with neighbours to the right and below.
    last: i32,
    /// The largest coordinates with neighbours to the right and below.
    limit: [f32; 2],
    texels: Vec<u32>,
}

/// The mapping of an image to the frame, as a plane for each of: u and v (times [`TEXEL`], from the first texel's centre) and
/// weight (times [`ONE`]). The fourth number is unused.
#[derive(Clone, Copy, Debug, Default)]
pub struct Layer {
    /// Values at the origin.
    pub first: [f32; 4],
    /// Change per pixel to the right.
    pub right: [f32; 4],
    /// Change per row down.
    pub down: [f32; 4],
}

impl Image {
    /// Takes rows of `width` texels; samples outside are black.
    #[must_use]
    pub fn new(width: usize, texels: Vec<u32>) -> Self {
        let is_sound = (2..=16_384).contains(&width) && texels.len() >= 2 * width && texels.len() < 1 << 28;
        let last = if is_sound { (texels.len() - width - 2) as i32 } else { -1 };
        let height = if is_sound { texels.len() / width } else { 2 };
        let limit = [width.clamp(2, 16_384), height].map(|side| (side as f32 - 1.0) * TEXEL - 1.0);
        Self { stride: width.min(16_384), last, limit, texels }
    }

    /// The texels around a sample: the upper two, the lower two. Black outside.
    #[inline]
    fn square(&self, first: i32) -> [u64; 2] {
        if first < 0 || first > self.last {
            return [0; 2];
        }
        let first = first as usize;
        let pair = |at: usize| u64::from(self.texels[at]) | u64::from(self.texels[at + 1]) << 32;
        [pair(first), pair(first + self.stride)]
    }
}

#[cfg(any(test, not(target_arch = "x86_64")))]
mod plain {
    use super::{Image, Layer};

    fn whole(value: f32) -> i32 {
        if value.abs() < 2_147_483_648.0 { value.round_ties_even() as i32 } else { i32::MIN }
    }

    /// Colours `pixels`, the first of which is at offset `from` from the origin of the layers.
    pub fn mix<'a>(
        layers: impl Iterator<Item = (&'a Image, &'a Layer)> + Clone,
        from: [f32; 2],
        pixels: &mut [[u8; 4]],
    ) {
        for (index, pixel) in pixels.iter_mut().enumerate() {
            let mut sums = [0x800; 4];
            for (image, layer) in layers.clone() {
                let at = |term: usize| layer.first[term] + layer.right[term] * from[0] + layer.down[term] * from[1];
                let ahead = |term: usize| {
                    let (block, rest) = ((index / 4 * 4) as f32, (index % 4) as f32);
                    whole((at(term) + layer.right[term] * block) + layer.right[term] * rest)
                };
                add(image, [ahead(0), ahead(1), ahead(2)], &mut sums);
            }
            let [r, g, b, _] = sums.map(|sum| (sum >> 12).clamp(0, 255) as u8);
            *pixel = [r, g, b, 255];
        }
    }

    /// Writes one image over `pixels`, including alpha; samples beyond its edges repeat the border.
    pub fn replace(image: &Image, layer: &Layer, from: [f32; 2], pixels: &mut [[u8; 4]]) {
        for (index, pixel) in pixels.iter_mut().enumerate() {
            let at = |term: usize| {
                let (block, rest) = ((index / 4 * 4) as f32, (index % 4) as f32);
                let first = layer.first[term] + layer.right[term] * from[0] + layer.down[term] * from[1];
                let at = (first + layer.right[term] * block) + layer.right[term] * rest;
                whole(if at > 0.0 { at.min(image.limit[term]) } else { 0.0 })
            };
            let mut sums = [0x800; 4];
            add(image, [at(0), at(1), 65_536], &mut sums);
            *pixel = sums.map(|sum| (sum >> 12) as u8);
        }
    }

    fn add(image: &Image, [u, v, weight]: [i32; 3], sums: &mut [i32; 4]) {
        let (right, down, share) = (u >> 4 & 255, v >> 4 & 255, i32::from((weight >> 4) as i16));
        let first = i32::from((v >> 12) as i16) * image.stride as i32 + i32::from((u >> 12) as i16);
        let [top, bottom] = image.square(first).map(u64::to_le_bytes);
        let east = (share * right) >> 8;
        let west = share - east;
        let (south_east, south_west) = ((east * down) >> 8, (west * down) >> 8);
        for (channel, sum) in sums.iter_mut().enumerate() {
            let [left, right] = [channel, channel + 4];
            *sum += i32::from(top[left]) * (west - south_west)
                + i32::from(top[right]) * (east - south_east)
                + i32::from(bottom[left]) * south_west
                + i32::from(bottom[right]) * south_east;
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod vectors {
    //! SSE2, which every x86-64 has. Four pixels at a time.

    use std::arch::x86_64::{
        __m128, __m128i, _MM_HINT_T0, _mm_add_epi32, _mm_add_ps, _mm_and_si128, _mm_cmpgt_epi32, _mm_cvtps_epi32,
        _mm_cvtsi64_si128, _mm_cvtsi128_si32, _mm_madd_epi16, _mm_max_ps, _mm_min_ps, _mm_movemask_epi8, _mm_mul_ps,
        _mm_or_si128, _mm_packs_epi32, _mm_packus_epi16, _mm_prefetch, _mm_set_ps, _mm_set1_epi32, _mm_set1_ps,
        _mm_setzero_si128, _mm_shuffle_epi32, _mm_shuffle_ps, _mm_slli_epi32, _mm_srai_epi32, _mm_sub_epi32,
        _mm_unpackhi_epi8, _mm_unpacklo_epi8, _mm_unpacklo_epi32,
    };

    use super::{Image, Layer};

    /// Rows of texels to prefetch ahead: those that the next row of pixels needs and this one does not.
    const AHEAD: usize = 3;

    /// u, v and weight of four pixels.
    type Coordinates = [__m128i; 3];
    /// Sums of four pixels.
    type Sums = [__m128i; 4];

    #[inline]
    #[target_feature(enable = "sse2")]
    fn terms([u, v, weight, rest]: [f32; 4]) -> __m128 {
        _mm_set_ps(rest, weight, v, u)
    }

    /// u, v and weight of a block of four pixels.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn block_of(at: __m128, right: __m128) -> [__m128; 3] {
        let steps = _mm_set_ps(3.0, 2.0, 1.0, 0.0);
        let four = |at: __m128, right: __m128| _mm_add_ps(at, _mm_mul_ps(right, steps));
        [
            four(_mm_shuffle_ps::<0>(at, at), _mm_shuffle_ps::<0>(right, right)),
            four(_mm_shuffle_ps::<0x55>(at, at), _mm_shuffle_ps::<0x55>(right, right)),
            four(_mm_shuffle_ps::<0xaa>(at, at), _mm_shuffle_ps::<0xaa>(right, right)),
        ]
    }

    /// Weights of the upper left (low half) and upper right, and of the lower left and lower right texels.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn weights([u, v, weight]: Coordinates) -> [__m128i; 2] {
        let low = _mm_set1_epi32(0xffff);
        let part = |place: __m128i| _mm_and_si128(_mm_srai_epi32::<4>(place), _mm_set1_epi32(255));
        let (right, down, share) = (part(u), part(v), _mm_srai_epi32::<4>(weight));
        // The upper halves of one factor are zero, so that the sum of two products is one product.
        let share_of = |part: __m128i, of: __m128i| _mm_srai_epi32::<8>(_mm_madd_epi16(part, of));
        let east = share_of(right, share);
        let west = _mm_sub_epi32(share, east);
        let (south_east, south_west) = (share_of(down, east), share_of(down, west));
        let both = |left: __m128i, right: __m128i| _mm_or_si128(_mm_and_si128(left, low), _mm_slli_epi32::<16>(right));
        [both(_mm_sub_epi32(west, south_west), _mm_sub_epi32(east, south_east)), both(south_west, south_east)]
    }

    /// Indices of the first texels around four samples.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn firsts([u, v, _]: Coordinates, stride: usize) -> __m128i {
        let column = _mm_and_si128(_mm_srai_epi32::<12>(u), _mm_set1_epi32(0xffff));
        let row = _mm_slli_epi32::<16>(_mm_srai_epi32::<12>(v));
        _mm_madd_epi16(_mm_or_si128(column, row), _mm_set1_epi32((stride << 16) as i32 | 1))
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn numbers(lanes: __m128i) -> [i32; 4] {
        [
            _mm_cvtsi128_si32(lanes),
            _mm_cvtsi128_si32(_mm_shuffle_epi32::<1>(lanes)),
            _mm_cvtsi128_si32(_mm_shuffle_epi32::<2>(lanes)),
            _mm_cvtsi128_si32(_mm_shuffle_epi32::<3>(lanes)),
        ]
    }

    /// The texels around four samples.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn squares(image: &Image, coordinates: Coordinates) -> [[u64; 2]; 4] {
        let first = firsts(coordinates, image.stride);
        let is_outside = _mm_or_si128(_mm_srai_epi32::<31>(first), _mm_cmpgt_epi32(first, _mm_set1_epi32(image.last)));
        let firsts = numbers(first);
        if _mm_movemask_epi8(is_outside) != 0 {
            return firsts.map(|first| image.square(first));
        }
        let texels = image.texels.as_ptr();
        // During a call the caches are cold: a prefetched row does not stall its pixels.
        let ahead = texels.wrapping_add(firsts[0] as usize + AHEAD * image.stride);
        _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
        firsts.map(|first| {
            let [upper, lower] = [first as usize, first as usize + image.stride];
            // SAFETY: `first` is between 0 and `last`, and `Image::new` ensures that `last` + `stride` + 1 is a texel.
            unsafe {
                [texels.add(upper).cast::<u64>().read_unaligned(), texels.add(lower).cast::<u64>().read_unaligned()]
            }
        })
    }

    /// One sample; `upper` and `lower` hold its two weights four times.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn sample(square: [u64; 2], upper: __m128i, lower: __m128i) -> __m128i {
        let [top, bottom] = square.map(|pair| _mm_cvtsi64_si128(pair.cast_signed()));
        // Left top, left bottom, right top, right bottom; then left and right of each channel interleaved.
        let columns = _mm_unpacklo_epi32(top, bottom);
        let both = _mm_unpacklo_epi8(columns, _mm_shuffle_epi32::<0b11_10>(columns));
        let (top, bottom) =
            (_mm_unpacklo_epi8(both, _mm_setzero_si128()), _mm_unpackhi_epi8(both, _mm_setzero_si128()));
        _mm_add_epi32(_mm_madd_epi16(top, upper), _mm_madd_epi16(bottom, lower))
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn add(image: &Image, coordinates: Coordinates, sums: Sums) -> Sums {
        let [upper, lower] = weights(coordinates);
        let [a, b, c, d] = squares(image, coordinates);
        [
            _mm_add_epi32(sums[0], sample(a, _mm_shuffle_epi32::<0>(upper), _mm_shuffle_epi32::<0>(lower))),
            _mm_add_epi32(sums[1], sample(b, _mm_shuffle_epi32::<0x55>(upper), _mm_shuffle_epi32::<0x55>(lower))),
            _mm_add_epi32(sums[2], sample(c, _mm_shuffle_epi32::<0xaa>(upper), _mm_shuffle_epi32::<0xaa>(lower))),
            _mm_add_epi32(sums[3], sample(d, _mm_shuffle_epi32::<0xff>(upper), _mm_shuffle_epi32::<0xff>(lower))),
        ]
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn colours([a, b, c, d]: Sums) -> __m128i {
        let low = _mm_packs_epi32(_mm_srai_epi32::<12>(a), _mm_srai_epi32::<12>(b));
        _mm_packus_epi16(low, _mm_packs_epi32(_mm_srai_epi32::<12>(c), _mm_srai_epi32::<12>(d)))
    }

    /// Unrolled: a loop over so few bytes compiles to a call of memcpy.
    #[inline]
    #[target_feature(enable = "sse2")]
    fn put(colours: __m128i, block: &mut [[u8; 4]]) {
        let colours = numbers(colours).map(i32::to_le_bytes);
        match block {
            [a, b, c, d] => [*a, *b, *c, *d] = colours,
            [a, b, c] => [*a, *b, *c, _] = colours,
            [a, b] => [*a, *b, ..] = colours,
            [a] => [*a, ..] = colours,
            _ => {}
        }
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn mix_layers<'a>(
        layers: impl Iterator<Item = (&'a Image, &'a Layer)> + Clone,
        [x, y]: [f32; 2],
        pixels: &mut [[u8; 4]],
    ) {
        let (x, y) = (_mm_set1_ps(x), _mm_set1_ps(y));
        let mut ahead = _mm_set1_ps(0.0);
        for block in pixels.chunks_mut(4) {
            let mut sums = [_mm_set1_epi32(0x800); 4];
            for (image, layer) in layers.clone() {
                let right = terms(layer.right);
                let at = _mm_add_ps(terms(layer.first), _mm_mul_ps(right, x));
                let at = _mm_add_ps(at, _mm_mul_ps(terms(layer.down), y));
                let [u, v, weight] = block_of(_mm_add_ps(at, _mm_mul_ps(right, ahead)), right);
                sums = add(image, [_mm_cvtps_epi32(u), _mm_cvtps_epi32(v), _mm_cvtps_epi32(weight)], sums);
            }
            put(_mm_or_si128(colours(sums), _mm_set1_epi32(0xff00_0000_u32.cast_signed())), block);
            ahead = _mm_add_ps(ahead, _mm_set1_ps(4.0));
        }
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn replace_row(image: &Image, layer: &Layer, [x, y]: [f32; 2], pixels: &mut [[u8; 4]]) {
        let right = terms(layer.right);
        let at = _mm_add_ps(terms(layer.first), _mm_mul_ps(right, _mm_set1_ps(x)));
        let at = _mm_add_ps(at, _mm_mul_ps(terms(layer.down), _mm_set1_ps(y)));
        let within = |place: __m128, limit: f32| {
            _mm_cvtps_epi32(_mm_min_ps(_mm_max_ps(place, _mm_set1_ps(0.0)), _mm_set1_ps(limit)))
        };
        let mut ahead = _mm_set1_ps(0.0);
        for block in pixels.chunks_mut(4) {
            let [u, v, _] = block_of(_mm_add_ps(at, _mm_mul_ps(right, ahead)), right);
            let coordinates = [within(u, image.limit[0]), within(v, image.limit[1]), _mm_set1_epi32(65_536)];
            put(colours(add(image, coordinates, [_mm_set1_epi32(0x800); 4])), block);
            ahead = _mm_add_ps(ahead, _mm_set1_ps(4.0));
        }
    }

    /// Writes one image over `pixels`, including alpha; samples beyond its edges repeat the border. The weight is ignored.
    #[inline]
    pub fn replace(image: &Image, layer: &Layer, from: [f32; 2], pixels: &mut [[u8; 4]]) {
        // SAFETY: every x86-64 has SSE2.
        unsafe { replace_row(image, layer, from, pixels) }
    }

    /// Colours `pixels`, the first of which is at offset `from` from the origin of the layers.
    #[inline]
    pub fn mix<'a>(
        layers: impl Iterator<Item = (&'a Image, &'a Layer)> + Clone,
        from: [f32; 2],
        pixels: &mut [[u8; 4]],
    ) {
        // SAFETY: every x86-64 has SSE2.
        unsafe { mix_layers(layers, from, pixels) }
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub use plain::{mix, replace};
#[cfg(target_arch = "x86_64")]
pub use vectors::{mix, replace};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sse2_and_plain_arithmetic_agree_bit_for_bit() {
        let mut random = fastrand::Rng::with_seed(7);
        let image = Image::new(40, (0..40 * 30).map(|_| random.u32(..)).collect());
        for _ in 0..4_000 {
            let mut layer = || {
                let mut any = |most: f32| (random.f32() * 1.2 - 0.1) * most;
                let first = [any(40.0 * TEXEL), any(30.0 * TEXEL), any(ONE), 0.0];
                let [right, down] = [0, 1].map(|_| [any(6000.0), any(2000.0), any(900.0), 0.0]);
                Layer { first, right, down }
            };
            let layers = [layer(), layer()];
            let over = layers.iter().map(|layer| (&image, layer));
            let mut pixels = [[[0; 4]; 13]; 2];
            mix(over.clone(), [1.25, -0.5], &mut pixels[0]);
            plain::mix(over, [1.25, -0.5], &mut pixels[1]);
            assert_eq!(pixels[0], pixels[1], "{layers:?}");
            replace(&image, &layers[0], [1.25, -0.5], &mut pixels[0]);
            plain::replace(&image, &layers[0], [1.25, -0.5], &mut pixels[1]);
            assert_eq!(pixels[0], pixels[1], "{layers:?}");
        }
    }

    #[test]
    fn planes_that_are_not_finite_and_empty_images_give_black() {
        let wild = Layer { first: [f32::NAN, f32::INFINITY, ONE, 0.0], right: [f32::MAX; 4], down: [f32::NAN; 4] };
        for image in [Image::new(8, vec![u32::MAX; 64]), Image::new(8, vec![u32::MAX; 3]), Image::new(0, Vec::new())] {
            let mut pixels = [[9; 4]; 5];
            mix([(&image, &wild)].into_iter(), [0.0, 0.0], &mut pixels);
            assert_eq!(pixels, [[0, 0, 0, 255]; 5]);
            replace(&image, &wild, [0.0, 0.0], &mut pixels);
        }
    }
}
