//! Hair: image plates bent over a depth grid, which rotate with the head.

use visage_kernels::pixels::runs::{self, Image, Layer, TEXEL};

use super::camera::{Camera, HeadTurn};
use super::rig::{CanvasBox, DEPTH_CELLS};
use super::texture::Plate;
use super::triangle_setup::{BarycentricPlanes, Window, rasterize};
use crate::face::raster::{Occlusion, Texture, TextureError};

/// Side of a plate's grid.
const GRID: usize = 16;

/// A plate and its depth grid.
#[derive(Debug)]
pub struct Hair {
    bounds: CanvasBox,
    texture: Texture,
    image: Image,
    /// Grid points in camera space.
    points: Vec<[f32; 3]>,
}

/// The part of a plate in one pixel row of one triangle.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub y: usize,
    pub from: usize,
    pub to: usize,
    /// Occlusion class; never [`Occlusion::Empty`].
    pub cover: Occlusion,
    layer: Layer,
    /// Offset from the layer's origin to the first pixel's centre.
    offset: [f32; 2],
}

impl Span {
    /// The span without its first pixels.
    pub fn skip(self, pixels: usize) -> Self {
        Self { offset: [self.offset[0] + pixels as f32, self.offset[1]], from: self.from + pixels, ..self }
    }
}

impl Hair {
    /// Memory of its image, as a texture and as pixels.
    pub fn size_bytes(&self) -> usize {
        2 * self.texture.size_bytes()
    }

    /// Bends `plate` over `depths`, a grid over the whole canvas.
    pub fn new(camera: &Camera, plate: &Plate, depths: &[Vec<f32>]) -> Result<Self, TextureError> {
        let points = (0..(GRID + 1) * (GRID + 1)).map(|index| {
            let [x, y] = place(plate.bounds, index % (GRID + 1), index / (GRID + 1));
            let z = depth(depths, x / (2.0 * camera.half), y / (2.0 * camera.half));
            let ray = camera.ray([x, y]);
            [ray[0] * z, ray[1] * z, z]
        });
        let texture = Texture::new(plate.width, plate.height, plate.texels())?;
        let image = Image::new(plate.width, plate.texels());
        Ok(Self { bounds: plate.bounds, texture, image, points: points.collect() })
    }

    /// Overwrites a row with a span, alpha included.
    #[inline]
    pub fn replace(&self, span: &Span, row: &mut [[u8; 4]]) {
        runs::replace(&self.image, &span.layer, span.offset, row);
    }

    /// Calls `draw` for each span that is not empty.
    #[inline]
    pub fn spans(&self, camera: &Camera, turn: HeadTurn, side: usize, mut draw: impl FnMut(Span)) {
        let corners = self.turned(camera, turn, side);
        let window = Window { left: 0, top: 0, right: side as i32, bottom: side as i32 };
        for (x, y) in (0..GRID * GRID).map(|square| (square % GRID, square / GRID)) {
            let fixed = |value: f32| (value * 65536.0) as i32;
            let cover = self.texture.occlusion(self.texel(x, y).map(fixed), self.texel(x + 1, y + 1).map(fixed));
            if cover == Occlusion::Empty {
                continue;
            }
            for names in [[(x, y), (x + 1, y), (x, y + 1)], [(x + 1, y), (x + 1, y + 1), (x, y + 1)]] {
                let flat = names.map(|(x, y)| corners[y * (GRID + 1) + x]);
                let texels = names.map(|(x, y)| self.texel(x, y));
                let Some((planes, _)) = BarycentricPlanes::new(flat) else { continue };
                let term = |axis: usize| texels.map(|texel| texel[axis] * TEXEL);
                let (u, v) = (planes.gradients(term(0)), planes.gradients(term(1)));
                let plane = |u: f32, v: f32| [u, v, 0.0, 0.0];
                let layer =
                    Layer { first: plane(term(0)[0], term(1)[0]), right: plane(u[0], v[0]), down: plane(u[1], v[1]) };
                rasterize(flat, window, |y, from, to| {
                    let offset = [from as f32 + 0.5 - flat[0][0], y as f32 + 0.5 - flat[0][1]];
                    draw(Span { y: y as usize, from: from as usize, to: to as usize, cover, layer, offset });
                });
            }
        }
    }

    fn turned(&self, camera: &Camera, turn: HeadTurn, side: usize) -> Vec<[f32; 2]> {
        let head = turn.matrix(camera, 1.0);
        let scale = side as f32 / (2.0 * camera.half);
        self.points.iter().map(|&p| camera.project(camera.turn(&head, p)).map(|value| value * scale)).collect()
    }

    /// Texel coordinates of a grid point, from the first texel's centre.
    fn texel(&self, column: usize, row: usize) -> [f32; 2] {
        let [x, y] = place(self.bounds, column, row);
        [x - self.bounds[0] as f32 - 0.5, y - self.bounds[1] as f32 - 0.5]
    }
}

fn place(bounds: CanvasBox, column: usize, row: usize) -> [f32; 2] {
    let [left, top, right, bottom] = bounds.map(|value| value as f32);
    let step = 1.0 / GRID as f32;
    [left + (right - left) * column as f32 * step, top + (bottom - top) * row as f32 * step]
}

fn depth(grid: &[Vec<f32>], x: f32, y: f32) -> f32 {
    let cells = DEPTH_CELLS as f32;
    let (x, y) = ((x * cells).clamp(0.0, cells - 0.001), (y * cells).clamp(0.0, cells - 0.001));
    let (column, row) = (x as usize, y as usize);
    let (right, down) = (x - column as f32, y - row as f32);
    let mix = |row: &[f32]| row[column] * (1.0 - right) + row[column + 1] * right;
    mix(&grid[row]) * (1.0 - down) + mix(&grid[row + 1]) * down
}
