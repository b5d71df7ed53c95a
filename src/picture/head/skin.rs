//! The colour of the skin (and of teeth and tongue) at a place: key images mixed over a triangle.

use super::layers::{VertexLayers, bits_of};
use super::scan::Planes;
use super::texture::{SKIN_ONE, SkinTexture};

/// One image on one triangle: u, v and weight at the first corner and their changes to the second and third.
#[derive(Clone, Copy, Debug)]
struct Layer {
    texture: u32,
    first: [f32; 4],
    second: [f32; 4],
    third: [f32; 4],
}

/// A triangle that faces the viewer.
#[derive(Clone, Copy, Debug, Default)]
struct Facet {
    planes: Planes,
    start: u32,
    count: u32,
}

/// The triangles of one frame.
#[derive(Debug, Default)]
pub struct Facets {
    facets: Vec<Facet>,
    layers: Vec<Layer>,
}

/// Texture coordinates of a corner for a key.
pub type Corners = [usize; 3];

impl Facets {
    /// Forgets the last frame; there will be up to `count` triangles.
    pub fn clear(&mut self, count: usize) {
        self.facets.clear();
        self.facets.resize(count, Facet::default());
        self.layers.clear();
    }

    /// Adds the skin triangle `name` with the layers of its corners.
    pub fn add_skin(
        &mut self,
        name: usize,
        planes: Planes,
        corners: Corners,
        mixed: (&VertexLayers, &[[[f32; 2]; 32]]),
    ) {
        let (layers, uv) = mixed;
        let start = self.layers.len();
        let bits = corners.iter().fold(0, |bits, &corner| bits | layers.bits[corner]);
        for key in bits_of(bits) {
            let at = corners.map(|corner| [uv[corner][key][0], uv[corner][key][1], layers.shares[corner][key]]);
            self.layers.push(Layer::new(key, at));
        }
        self.facets[name] = Facet { planes, start: start as u32, count: (self.layers.len() - start) as u32 };
    }

    /// Adds a triangle with one image.
    pub fn add_plain(&mut self, name: usize, planes: Planes, texture: usize, uv: [[f32; 2]; 3]) {
        self.facets[name] = Facet { planes, start: self.layers.len() as u32, count: 1 };
        self.layers.push(Layer::new(texture, uv.map(|[u, v]| [u, v, 1.0])));
    }

    /// The colour of the triangle `name` at a place, as three lanes of 21 bits below 256.
    #[inline]
    pub fn colour(&self, textures: &[SkinTexture], name: usize, at: [f32; 2]) -> u64 {
        let Some(facet) = self.facets.get(name) else { return 0 };
        let [second, third] = facet.planes.at(at[0], at[1]);
        let (second, third) = (second.clamp(-0.3, 1.3), third.clamp(-0.3, 1.3));
        let start = facet.start as usize;
        let Some(layers) = self.layers.get(start..start + facet.count as usize) else { return 0 };
        let mut sum = ROUND;
        for layer in layers {
            let [u, v, weight] = layer.at(second, third);
            if weight > 0
                && let Some(texture) = textures.get(layer.texture as usize)
            {
                sum += texture.tap(u, v, weight.min(SKIN_ONE));
            }
        }
        (sum >> 12) & SKIN_LANES
    }
}

/// At most so many pixels of a row are coloured at once.
pub const RUN: usize = 16;

impl Facets {
    /// The colours of up to [`RUN`] pixels of the row `y` from `x` on that the triangle `name` covers.
    pub fn colour_run(&self, textures: &[SkinTexture], name: usize, at: [f32; 2], out: &mut [[u8; 4]]) {
        let Some(facet) = self.facets.get(name) else { return };
        let steps = out.len().min(RUN) - 1;
        let clamp = |[second, third]: [f32; 2]| [second.clamp(-0.3, 1.3), third.clamp(-0.3, 1.3)];
        let [second, third] = clamp(facet.planes.at(at[0], at[1]));
        let [second_end, third_end] = clamp(facet.planes.at(at[0] + steps as f32, at[1]));
        let part = if steps == 0 { 0.0 } else { 1.0 / steps as f32 };
        let (second_step, third_step) = ((second_end - second) * part, (third_end - third) * part);
        let start = facet.start as usize;
        let Some(layers) = self.layers.get(start..start + facet.count as usize) else { return };
        let mut sums = [ROUND; RUN];
        for layer in layers {
            let Some(texture) = textures.get(layer.texture as usize) else { return };
            for (index, sum) in (0_i16..).zip(&mut sums[..=steps]) {
                let index = f32::from(index);
                let [u, v, weight] = layer.at(second + second_step * index, third + third_step * index);
                *sum += texture.tap(u, v, weight.clamp(0, SKIN_ONE));
            }
        }
        for (pixel, sum) in out.iter_mut().zip(sums) {
            *pixel = [(sum >> 12) as u8, (sum >> 33) as u8, (sum >> 54) as u8, 255];
        }
    }
}

const ROUND: u64 = 0x800 | 0x800 << 21 | 0x800 << 42;
/// The low bytes of three lanes.
const SKIN_LANES: u64 = 0xff | 0xff << 21 | 0xff << 42;

impl Layer {
    #[inline]
    fn new(texture: usize, [a, b, c]: [[f32; 3]; 3]) -> Self {
        let one = SKIN_ONE as f32;
        let difference = |p: [f32; 3]| [p[0] - a[0], p[1] - a[1], (p[2] - a[2]) * one, 0.0];
        Self {
            texture: texture as u32,
            first: [a[0] + SHIFT, a[1] + SHIFT, a[2] * one + SHIFT, SHIFT],
            second: difference(b),
            third: difference(c),
        }
    }

    /// u, v and weight as whole numbers: adding the large constant rounds without a conversion.
    #[inline]
    fn at(&self, second: f32, third: f32) -> [i32; 3] {
        let mut value = self.first;
        for i in 0..4 {
            value[i] += self.second[i] * second + self.third[i] * third;
        }
        let whole = |value: f32| value.to_bits() as i32 - SHIFT.to_bits() as i32;
        let [u, v, weight] = [whole(value[0]), whole(value[1]), whole(value[2])];
        [u, v, weight]
    }
}

const SHIFT: f32 = 12_582_912.0;
