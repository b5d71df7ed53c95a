//! Key weights: which key images texture each vertex of the skin, and by how much.

use super::HeadError;
use super::arrays::Arrays;
use super::blend::Region;
use super::part::Part;
use super::rig::{MAX_KEYS, Rig};
use super::texture::SkinTexture;
use crate::face::ArkitWeights;

/// Weights below this are dropped, and larger ones reduced by it: a key fades out instead of popping.
const WEIGHT_MIN: f32 = 0.05;
/// Where the visibility of a vertex in all chosen keys is below this, the fallback keys fill up.
const VISIBILITY_MIN: f32 = 0.2;
/// Fraction of a turned key's yaw at which its image starts to blend in; the blend is complete by the same fraction before the yaw.
/// A head that faces the viewer therefore needs one image less.
const TURN_BEGINS: f32 = 0.3;

/// Key images of the skin and the data for their weights.
#[derive(Debug)]
pub struct KeyAtlas {
    pub regions: Vec<Region>,
    /// Names of the keys.
    pub names: Vec<String>,
    /// Index and yaw (degrees) of the turned keys.
    turned: Vec<(usize, f32)>,
    /// Weight of each vertex outside all regions.
    outside: Vec<f32>,
    /// Visibility of each vertex in each key.
    visibility: Vec<KeyRow>,
    /// Fallback keys of each vertex.
    fallback: Vec<Vec<(u8, f32)>>,
    /// For each key, the texture coordinates of each vertex, in 1/256 texel from the first texel's centre. Grouped by key,
    /// because a frame needs few keys.
    pub uv: Vec<Vec<[f32; 2]>>,
}

/// One value per key.
pub type KeyRow = [f32; MAX_KEYS];

/// Key weights of all vertices in one frame.
#[derive(Debug, Default)]
pub struct VertexLayers {
    /// Weight of each vertex for each key, valid where its bit is set; the weights of a vertex sum to 1.
    shares: Vec<Vec<f32>>,
    /// Bit k is set where key k has a weight.
    pub bits: Vec<u32>,
    /// Keys of the mouth and their weights.
    pub mouth: Vec<(usize, f32)>,
}

impl VertexLayers {
    /// Weight of a key at a vertex.
    #[inline]
    pub fn share(&self, key: usize, vertex: usize) -> f32 {
        if self.bits[vertex] >> key & 1 == 1 { self.shares[key][vertex] } else { 0.0 }
    }
}

impl KeyAtlas {
    /// Reads region masks, visibility and texture coordinates.
    pub fn read(arrays: &Arrays, rig: &Rig, skin: &Part, textures: &[SkinTexture]) -> Result<Self, HeadError> {
        let (keys, count) = (rig.keys.len(), skin.points.len());
        let mut regions = Vec::new();
        for (name, family) in &rig.regions {
            let mask = arrays.shares(&format!("mask_{name}"), &[count])?;
            regions.push((name == "mouth", Region::new(rig, skin, mask, family)));
        }
        regions.sort_by_key(|(is_mouth, _)| !is_mouth);
        let regions: Vec<Region> = regions.into_iter().map(|(_, region)| region).collect();
        let visibility = by_vertex(&arrays.shares("key_vis", &[keys, count])?, count);
        let steps = arrays.steps("key_uv", &[keys, count, 2], rig.uv_scale)?;
        let outside = (0..count).map(|v| 1.0 - regions.iter().map(|region| region.mask[v]).sum::<f32>()).collect();
        let turned = rig.keys.iter().enumerate().filter(|(_, key)| key.region == "turn");
        let mut atlas = Self {
            regions,
            names: rig.keys.iter().map(|key| key.name.clone()).collect(),
            turned: turned.filter_map(|(index, key)| key.yaw.map(|yaw| (index, yaw))).collect(),
            outside,
            visibility,
            fallback: Vec::new(),
            uv: place_vertices(&steps, textures, count),
        };
        atlas.fallback = (0..count).map(|vertex| atlas.fallback_of(vertex)).collect();
        Ok(atlas)
    }

    /// Computes the weights for a pose; `yaw` in degrees.
    pub fn compute(&self, weights: &ArkitWeights, yaw: f32, layers: &mut VertexLayers) {
        let chosen: Vec<Vec<(usize, f32)>> = self.regions.iter().map(|region| choose(region, weights)).collect();
        layers.mouth = chosen.first().cloned().unwrap_or_default();
        let turns: Vec<(usize, f32)> = self
            .turned
            .iter()
            .map(|&(key, at)| (key, smooth((yaw / at - TURN_BEGINS) / (1.0 - 2.0 * TURN_BEGINS))))
            .collect();
        let count = self.visibility.len();
        layers.shares.resize(MAX_KEYS, Vec::new());
        layers.bits.resize(count, 0);
        for vertex in 0..count {
            let (row, bits) = self.vertex_weights(vertex, &chosen, &turns);
            layers.bits[vertex] = bits;
            for key in bits_of(bits) {
                layers.shares[key].resize(count, 0.0);
                layers.shares[key][vertex] = row[key];
            }
        }
    }

    fn vertex_weights(&self, vertex: usize, chosen: &[Vec<(usize, f32)>], turns: &[(usize, f32)]) -> (KeyRow, u32) {
        let mut row = [0.0; MAX_KEYS];
        let mut bits = 1_u32;
        row[0] = self.outside[vertex];
        for (region, keys) in self.regions.iter().zip(chosen).filter(|(region, _)| region.mask[vertex] > 0.0) {
            for &(key, weight) in keys {
                row[key] += weight * region.mask[vertex];
                bits |= 1 << key;
            }
        }
        for &(key, share) in turns.iter().filter(|(_, share)| *share > 0.0) {
            row[key] = row[0] * share * self.visibility[vertex][key];
            row[0] -= row[key];
            bits |= 1 << key;
        }
        let mut sum = 0.0;
        for key in bits_of(bits) {
            row[key] = (row[key] - WEIGHT_MIN).max(0.0) * self.visibility[vertex][key];
            sum += row[key];
        }
        if sum < VISIBILITY_MIN {
            for &(key, share) in &self.fallback[vertex] {
                row[usize::from(key)] += share * (VISIBILITY_MIN - sum);
                bits |= 1 << key;
            }
        }
        normalise(row, bits)
    }

    /// For each region the key with the best visibility, with a preference for neutral.
    fn fallback_of(&self, vertex: usize) -> Vec<(u8, f32)> {
        let best = |keys: &[usize], bonus: f32| {
            let score = |key: usize| self.visibility[vertex][key] + if key == 0 { bonus } else { 0.0 };
            keys.iter().copied().max_by(|&a, &b| score(a).total_cmp(&score(b)).then(b.cmp(&a))).unwrap_or(0)
        };
        let masked = self.regions.iter().filter(|region| region.mask[vertex] > 0.0);
        let mut found: Vec<(u8, f32)> =
            masked.map(|region| (best(&region.keys, 0.5) as u8, region.mask[vertex])).collect();
        let plain: Vec<usize> = std::iter::once(0).chain(self.turned.iter().map(|(key, _)| *key)).collect();
        if self.outside[vertex] > 0.0 || found.is_empty() {
            found.push((best(&plain, 0.05) as u8, self.outside[vertex].max(1e-3)));
        }
        found
    }
}

/// Indices of the bits that are set.
pub fn bits_of(mut bits: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let place = bits.trailing_zeros();
        bits &= bits.wrapping_sub(1);
        (place < 32).then_some(place as usize)
    })
}

fn choose(region: &Region, weights: &ArkitWeights) -> Vec<(usize, f32)> {
    let found = region.compute(weights);
    region.keys.iter().copied().zip(found).filter(|(_, weight)| *weight > 0.0).collect()
}

fn normalise(mut row: KeyRow, bits: u32) -> (KeyRow, u32) {
    let sum: f32 = bits_of(bits).map(|key| row[key]).sum();
    let mut kept = 0;
    for key in bits_of(bits) {
        row[key] /= sum.max(1e-9);
        kept |= u32::from(row[key] > 0.0) << key;
    }
    (row, kept)
}

fn smooth(t: f32) -> f32 {
    let t = t.clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

fn by_vertex(values: &[f32], count: usize) -> Vec<KeyRow> {
    let mut rows = vec![[0.0; MAX_KEYS]; count];
    for (key, column) in values.chunks_exact(count.max(1)).enumerate() {
        column.iter().zip(&mut rows).for_each(|(value, row)| row[key] = *value);
    }
    rows
}

fn place_vertices(steps: &[f32], textures: &[SkinTexture], count: usize) -> Vec<Vec<[f32; 2]>> {
    let keys = textures.iter().zip(steps.chunks_exact(count.max(1) * 2));
    let place = |texture: &SkinTexture, uv: &[f32; 2]| texture.clamp(uv.map(|value| (value - 0.5) * 256.0));
    keys.map(|(texture, steps)| steps.as_chunks::<2>().0.iter().map(|uv| place(texture, uv)).collect()).collect()
}
