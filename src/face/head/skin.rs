//! Shading of skin, teeth and tongue: weighted key images, interpolated over each triangle.

use visage_kernels::pixels::runs::{self, Layer, ONE};

use super::key_weights::{VertexLayers, bits_of};
use super::texture::{FINE, SkinTexture};
use super::triangle_setup::BarycentricPlanes;

/// A front-facing triangle: position of its first corner, and its range of layers.
#[derive(Clone, Copy, Debug, Default)]
struct Facet {
    origin: [f32; 2],
    start: u32,
    count: u32,
}

/// FrontHair-facing triangles of one frame.
#[derive(Debug, Default)]
pub struct Facets {
    facets: Vec<Facet>,
    layers: Vec<Layer>,
    /// Image of each layer.
    images: Vec<u32>,
}

/// Vertex indices of a triangle.
pub type Corners = [usize; 3];

impl Facets {
    /// Starts a frame with up to `count` triangles.
    pub fn clear(&mut self, count: usize) {
        self.facets.clear();
        self.facets.resize(count, Facet::default());
        self.layers.clear();
        self.images.clear();
    }

    /// Adds the skin triangle `name` with the key weights of its corners.
    pub fn add_skin(
        &mut self,
        name: usize,
        planes: BarycentricPlanes,
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

    /// Adds a triangle with a single image.
    pub fn add_plain(&mut self, name: usize, planes: BarycentricPlanes, texture: usize, uv: [[f32; 2]; 3]) {
        self.facets[name] = Facet { origin: planes.origin(), start: self.layers.len() as u32, count: 1 };
        self.layers.push(layer(uv.map(|[u, v]| [u, v, 1.0]), &planes));
        self.images.push(texture as u32);
    }

    /// Colour of the triangle `name` at a point.
    pub fn colour(&self, textures: &[SkinTexture], name: usize, at: [f32; 2]) -> [u8; 3] {
        let mut pixel = [[0; 4]];
        self.colour_run(textures, name, at, &mut pixel);
        let [[r, g, b, _]] = pixel;
        [r, g, b]
    }

    /// Colours of consecutive pixels of a row in the triangle `name`, the first with its centre at `at`.
    pub fn colour_run(&self, textures: &[SkinTexture], name: usize, at: [f32; 2], out: &mut [[u8; 4]]) {
        let Some(facet) = self.facets.get(name) else { return };
        let range = facet.start as usize..(facet.start + facet.count) as usize;
        let (Some(layers), Some(images)) = (self.layers.get(range.clone()), self.images.get(range)) else { return };
        let texels = images.iter().map(|image| &textures[*image as usize].texels);
        runs::mix(texels.zip(layers), [at[0] - facet.origin[0], at[1] - facet.origin[1]], out);
    }
}

/// One image on one triangle: u, v (1/256 texel) and weight at its corners.
#[inline]
fn layer(corners: [[f32; 3]; 3], planes: &BarycentricPlanes) -> Layer {
    // Without `map`: the compiler does not always unroll it.
    let terms = |[u, v, weight]: [f32; 3]| [u * FINE, v * FINE, weight * ONE, 0.0];
    let [a, b, c] = [terms(corners[0]), terms(corners[1]), terms(corners[2])];
    let slope = |[second, third]: [f32; 2]| {
        let along = |term: usize| (b[term] - a[term]) * second + (c[term] - a[term]) * third;
        [along(0), along(1), along(2), 0.0]
    };
    let [right, down] = planes.derivatives();
    Layer { first: a, right: slope(right), down: slope(down) }
}
