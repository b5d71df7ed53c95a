//! The colour of the skin (and of teeth and tongue) at a place: key images mixed over a triangle.

use super::layers::{VertexLayers, bits_of};
use super::scan::Planes;
use super::texture::{FINE, SKIN_ONE, SkinTexture};

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

    /// The colour of the triangle `name` at a place.
    pub fn colour(&self, textures: &[SkinTexture], name: usize, at: [f32; 2]) -> [u8; 3] {
        let mut pixel = [[0; 4]];
        self.colour_run(textures, name, at, &mut pixel);
        let [[r, g, b, _]] = pixel;
        [r, g, b]
    }

    /// The colours of up to [`RUN`] pixels of a row, from the place `at` on, that the triangle `name` covers.
    pub fn colour_run(&self, textures: &[SkinTexture], name: usize, at: [f32; 2], out: &mut [[u8; 4]]) {
        let Some(facet) = self.facets.get(name) else { return };
        let Some(steps) = out.len().min(RUN).checked_sub(1) else { return };
        let start = inside(facet.planes.at(at[0], at[1]));
        let end = inside(facet.planes.at(at[0] + steps as f32, at[1]));
        let part = if steps == 0 { 0.0 } else { 1.0 / steps as f32 };
        let step = [(end[0] - start[0]) * part, (end[1] - start[1]) * part];
        let first = facet.start as usize;
        let Some(layers) = self.layers.get(first..first + facet.count as usize) else { return };
        let mut sums = [ROUND; RUN];
        for layer in layers {
            let Some(texture) = textures.get(layer.texture as usize) else { return };
            texture.add_run(layer.at(start), layer.step(step), &mut sums[..=steps]);
        }
        for (pixel, sum) in out.iter_mut().zip(sums) {
            *pixel = [(sum >> 12) as u8, (sum >> 33) as u8, (sum >> 54) as u8, 255];
        }
    }
}

/// At most so many pixels of a row are coloured at once.
pub const RUN: usize = 16;

const ROUND: u64 = 0x800 | 0x800 << 21 | 0x800 << 42;

/// The shares of the second and third corner, moved into the triangle: a pixel's centre may miss it by a rounding, and
/// weights that do not sum to one would overflow.
#[inline]
fn inside([second, third]: [f32; 2]) -> [f32; 2] {
    let (second, third) = (second.max(0.0), third.max(0.0));
    let sum = second + third;
    if sum > 1.0 { [second / sum, third / sum] } else { [second, third] }
}

impl Layer {
    #[inline]
    fn new(texture: usize, corners: [[f32; 3]; 3]) -> Self {
        let [a, b, c] = corners.map(|[u, v, weight]| [u * FINE, v * FINE, weight * (SKIN_ONE as f32 * FINE)]);
        let difference = |p: [f32; 3]| [p[0] - a[0], p[1] - a[1], p[2] - a[2], 0.0];
        Self {
            texture: texture as u32,
            first: [a[0] + SHIFT, a[1] + SHIFT, a[2] + SHIFT, SHIFT],
            second: difference(b),
            third: difference(c),
        }
    }

    /// u, v and weight where the second and third corner have these shares.
    #[inline]
    fn at(&self, shares: [f32; 2]) -> [i32; 3] {
        self.whole(self.first, shares)
    }

    /// Their change where the shares change so much.
    #[inline]
    fn step(&self, shares: [f32; 2]) -> [i32; 3] {
        self.whole([SHIFT; 4], shares)
    }

    /// Whole numbers: adding the large constant rounds without a conversion.
    #[inline]
    fn whole(&self, mut value: [f32; 4], [second, third]: [f32; 2]) -> [i32; 3] {
        for (value, (east, south)) in value.iter_mut().zip(self.second.iter().zip(&self.third)) {
            *value += east * second + south * third;
        }
        let whole = |value: f32| value.to_bits() as i32 - SHIFT.to_bits() as i32;
        [whole(value[0]), whole(value[1]), whole(value[2])]
    }
}

const SHIFT: f32 = 12_582_912.0;
