//! Occlusion of texture regions: which are transparent, which are opaque.
//!
//! Two summed-area tables over tiles of 4 x 4 texels classify any box in constant time.

const TILE_LOG: usize = 2;

/// Occlusion class of a box of texels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occlusion {
    /// All texels are transparent.
    Empty,
    /// Neither all transparent nor all opaque.
    Mixed,
    /// All texels are opaque.
    Opaque,
}

/// Summed-area tables: the number of tiles that are not transparent, and of tiles that are not opaque.
#[derive(Clone, Debug)]
pub struct OcclusionTiles {
    across: usize,
    down: usize,
    sums: Vec<[u32; 2]>,
}

impl OcclusionTiles {
    /// Builds the tables of `texels`, `width` per row.
    #[must_use]
    pub fn new(texels: &[u32], width: usize) -> Self {
        let tile = 1 << TILE_LOG;
        let (across, down) = (width.div_ceil(tile), (texels.len() / width).div_ceil(tile));
        let mut counts = vec![[0_u32; 2]; across * down];
        for (y, row) in texels.chunks_exact(width).enumerate() {
            for (x, texels) in row.chunks(tile).enumerate() {
                let count = &mut counts[(y >> TILE_LOG) * across + x];
                count[0] |= u32::from(texels.iter().any(|texel| texel >> 24 != 0));
                count[1] |= u32::from(texels.iter().any(|texel| texel >> 24 != 255));
            }
        }
        Self { across, down, sums: sum_areas(&counts, across, down) }
    }

    /// Classifies the texels from `from` to `to`, both included. The box is clamped to the texture.
    #[inline]
    #[must_use]
    pub fn occlusion(&self, from: [i32; 2], to: [i32; 2]) -> Occlusion {
        let column = |x: i32| (x.max(0) as usize >> TILE_LOG).min(self.across - 1);
        let row = |y: i32| (y.max(0) as usize >> TILE_LOG).min(self.down - 1);
        let (left, right, top, bottom) = (column(from[0]), column(to[0]) + 1, row(from[1]), row(to[1]) + 1);
        let stride = self.across + 1;
        let at = |x: usize, y: usize| self.sums[y * stride + x];
        let (a, b, c, d) = (at(left, top), at(right, top), at(left, bottom), at(right, bottom));
        if d[0] + a[0] == b[0] + c[0] {
            Occlusion::Empty
        } else if d[1] + a[1] == b[1] + c[1] {
            Occlusion::Opaque
        } else {
            Occlusion::Mixed
        }
    }
}

fn sum_areas(counts: &[[u32; 2]], across: usize, down: usize) -> Vec<[u32; 2]> {
    let stride = across + 1;
    let mut sums = vec![[0; 2]; stride * (down + 1)];
    for y in 0..down {
        for x in 0..across {
            for which in 0..2 {
                let above = sums[y * stride + x + 1][which] + sums[(y + 1) * stride + x][which];
                sums[(y + 1) * stride + x + 1][which] =
                    above - sums[y * stride + x][which] + counts[y * across + x][which];
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_around_and_within_a_disc_are_empty_mixed_and_opaque() {
        let texels: Vec<u32> = (0..64 * 64_i32)
            .map(|at| if (at % 64 - 32).pow(2) + (at / 64 - 32).pow(2) < 400 { u32::MAX } else { 0 })
            .collect();
        let tiles = OcclusionTiles::new(&texels, 64);
        assert_eq!(tiles.occlusion([0, 0], [7, 7]), Occlusion::Empty);
        assert_eq!(tiles.occlusion([-90, -9], [-50, -2]), Occlusion::Empty);
        assert_eq!(tiles.occlusion([26, 26], [38, 38]), Occlusion::Opaque);
        assert_eq!(tiles.occlusion([2, 2], [60, 60]), Occlusion::Mixed);
    }
}
