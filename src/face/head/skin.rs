//! The colour of the skin (and of teeth and tongue) at a place: key images mixed over a triangle.

use visage_kernels::pixels::runs::{self, Layer, WHOLE};

use super::key_weights::{VertexLayers, bits_of};
use super::texture::{FINE, SkinTexture};
use super::triangle_setup::Planes;

/// A triangle that faces the viewer: where its first corner is seen, and its layers.
#[derive(Clone, Copy, Debug, Default)]
struct Facet {
    origin: [f32; 2],
    start: u32,
    count: u32,
}

/// The triangles of one frame.
#[derive(Debug, Default)]
pub struct Facets {
    facets: Vec<Facet>,
    layers: Vec<Layer>,
    /// The image of each layer.
    images: Vec<u32>,
}

/// Texture coordinates of a corner for a key.
pub type Corners = [usize; 3];

impl Facets {
    /// Forgets the last frame; there will be up to `count` triangles.
    pub fn clear(&mut self, count: usize) {
        self.facets.clear();
        self.facets.resize(count, Facet::default());
        self.layers.clear();
        self.images.clear();
    }

    /// Adds the skin triangle `name` with the layers of its corners.
    pub fn add_skin(
        &mut self,
        name: usize,
        planes: Planes,
        corners: Corners,
        mixed: (&VertexLayers, &[Vec<[f32; 2]>]),
    ) {
        let (layers, uv) = mixed;
        let start = self.layers.len();
        let bits = corners.iter().fold(0, |bits, &corner| bits | layers.bits[corner]);
        for key in bits_of(bits) {
            let at = |corner: usize| {
                let [u, v] = uv[key][corner];
                [u, v, layers.share(key, corner)]
            };
            let [a, b, c] = corners;
            self.layers.push(layer([at(a), at(b), at(c)], &planes));
            self.images.push(key as u32);
        }
        let count = (self.layers.len() - start) as u32;
        self.facets[name] = Facet { origin: planes.origin(), start: start as u32, count };
    }

    /// Adds a triangle with one image.
    pub fn add_plain(&mut self, name: usize, planes: Planes, texture: usize, uv: [[f32; 2]; 3]) {
        self.facets[name] = Facet { origin: planes.origin(), start: self.layers.len() as u32, count: 1 };
        self.layers.push(layer(uv.map(|[u, v]| [u, v, 1.0]), &planes));
        self.images.push(texture as u32);
    }

    /// The colour of the triangle `name` at a place.
    pub fn colour(&self, textures: &[SkinTexture], name: usize, at: [f32; 2]) -> [u8; 3] {
        let mut pixel = [[0; 4]];
        self.colour_run(textures, name, at, &mut pixel);
        let [[r, g, b, _]] = pixel;
        [r, g, b]
    }

    /// The colours of pixels of a row, from the place `at` on, that the triangle `name` covers.
    pub fn colour_run(&self, textures: &[SkinTexture], name: usize, at: [f32; 2], out: &mut [[u8; 4]]) {
        let Some(facet) = self.facets.get(name) else { return };
        let range = facet.start as usize..(facet.start + facet.count) as usize;
        let (Some(layers), Some(images)) = (self.layers.get(range.clone()), self.images.get(range)) else { return };
        let texels = images.iter().map(|image| &textures[*image as usize].texels);
        runs::mix(texels.zip(layers), [at[0] - facet.origin[0], at[1] - facet.origin[1]], out);
    }
}

/// One image on one triangle: u, v (in 1/256 texel) and weight at its corners.
#[inline]
fn layer(corners: [[f32; 3]; 3], planes: &Planes) -> Layer {
    // Written out: a map over an array is not always taken in whole.
    let terms = |[u, v, weight]: [f32; 3]| [u * FINE, v * FINE, weight * WHOLE, 0.0];
    let [a, b, c] = [terms(corners[0]), terms(corners[1]), terms(corners[2])];
    let slope = |[second, third]: [f32; 2]| {
        let along = |term: usize| (b[term] - a[term]) * second + (c[term] - a[term]) * third;
        [along(0), along(1), along(2), 0.0]
    };
    let [right, down] = planes.rises();
    Layer { first: a, right: slope(right), down: slope(down) }
}
