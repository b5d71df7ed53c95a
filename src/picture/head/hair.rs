//! Hair: plates that are bent over a grid of depths and turn with the head.

use super::camera::{Camera, HeadTurn};
use super::rig::DEPTH_CELLS;
use super::scan::{Planes, Window, scan};
use super::texture::Plate;

/// Squares along a side of a plate's grid.
const GRID: usize = 16;
/// A walk stays so far (in texels) inside its plate, more than its steps are rounded by.
const EDGE: f32 = 1.0 / 64.0;

/// A plate and where it lies in depth.
#[derive(Debug)]
pub struct Hair {
    plate: Plate,
    /// Points of the grid in camera space.
    points: Vec<[f32; 3]>,
    /// Whether a square of the grid has anything to draw.
    is_filled: Vec<bool>,
}

impl Hair {
    /// Bends `plate` over `depths`, a grid over the whole canvas.
    pub fn new(camera: &Camera, plate: Plate, depths: &[Vec<f32>]) -> Self {
        let points = (0..(GRID + 1) * (GRID + 1)).map(|index| {
            let [x, y] = place(&plate, index % (GRID + 1), index / (GRID + 1));
            let z = depth(depths, x / (2.0 * camera.half), y / (2.0 * camera.half));
            let ray = camera.ray([x, y]);
            [ray[0] * z, ray[1] * z, z]
        });
        let points = points.collect();
        let is_filled = (0..GRID * GRID).map(|square| is_filled(&plate, square % GRID, square / GRID)).collect();
        Self { plate, points, is_filled }
    }

    /// The plate at a step of a walk.
    #[inline]
    pub fn tap(&self, walk: Walk) -> u64 {
        self.plate.tap_inside(walk.u >> 8, walk.v >> 8)
    }

    /// Calls `span(y, from, to, walk)` for the rows of each filled square.
    #[inline]
    pub fn spans(&self, camera: &Camera, turn: HeadTurn, side: usize, mut span: impl FnMut(usize, usize, usize, Walk)) {
        let corners = self.turned(camera, turn, side);
        let window = Window { left: 0, top: 0, right: side as i32, bottom: side as i32 };
        for square in (0..GRID * GRID).filter(|&square| self.is_filled[square]) {
            let (x, y) = (square % GRID, square / GRID);
            for names in [[(x, y), (x + 1, y), (x, y + 1)], [(x + 1, y), (x + 1, y + 1), (x, y + 1)]] {
                let flat = names.map(|(x, y)| corners[y * (GRID + 1) + x]);
                let texels = names.map(|(x, y)| self.texel(x, y));
                let Some((planes, _)) = Planes::new(flat) else { continue };
                let (us, vs) = (texels.map(|texel| texel[0]), texels.map(|texel| texel[1]));
                let (du, dv) = (planes.slopes(us), planes.slopes(vs));
                scan(flat, window, |y, from, to| {
                    let [x, row] = [from as f32 + 0.5 - flat[0][0], y as f32 + 0.5 - flat[0][1]];
                    let u = us[0] + du[0] * x + du[1] * row;
                    let v = vs[0] + dv[0] * x + dv[1] * row;
                    span(y as usize, from as usize, to as usize, Walk::new([u, v], [du[0], dv[0]]));
                });
            }
        }
    }

    fn turned(&self, camera: &Camera, turn: HeadTurn, side: usize) -> Vec<[f32; 2]> {
        let head = turn.matrix(camera, 1.0);
        let scale = side as f32 / (2.0 * camera.half);
        self.points.iter().map(|&p| camera.project(camera.turn(&head, p)).map(|value| value * scale)).collect()
    }

    /// Texel coordinates (from the first texel's centre) of a point of the grid.
    fn texel(&self, column: usize, row: usize) -> [f32; 2] {
        let [x, y] = place(&self.plate, column, row);
        let [width, height] = [self.plate.width as f32, self.plate.height as f32];
        let [u, v] = [x - self.plate.bounds[0] as f32 - 0.5, y - self.plate.bounds[1] as f32 - 0.5];
        // A tap needs a texel on each side.
        [u.clamp(EDGE, width - 1.0 - EDGE), v.clamp(EDGE, height - 1.0 - EDGE)]
    }
}

/// A straight way through a plate, in 1/65536 texel.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    u: i32,
    v: i32,
    du: i32,
    dv: i32,
}

impl Walk {
    fn new(at: [f32; 2], step: [f32; 2]) -> Self {
        let [u, v] = at.map(|value| (value * 65536.0) as i32);
        let [du, dv] = step.map(|value| (value.clamp(-16.0, 16.0) * 65536.0) as i32);
        Self { u, v, du, dv }
    }

    /// One pixel further.
    #[inline]
    pub fn next(self) -> Self {
        Self { u: self.u.wrapping_add(self.du), v: self.v.wrapping_add(self.dv), ..self }
    }
}

fn place(plate: &Plate, column: usize, row: usize) -> [f32; 2] {
    let [left, top, right, bottom] = plate.bounds.map(|value| value as f32);
    let step = 1.0 / GRID as f32;
    [left + (right - left) * column as f32 * step, top + (bottom - top) * row as f32 * step]
}

fn is_filled(plate: &Plate, column: usize, row: usize) -> bool {
    let origin = [plate.bounds[0] as f32, plate.bounds[1] as f32];
    let [left, top] = place(plate, column, row);
    let [right, bottom] = place(plate, column + 1, row + 1);
    let low = [left - origin[0], top - origin[1]];
    let high = [right - origin[0], bottom - origin[1]];
    plate.is_any_in([low[0] as i32, low[1] as i32, high[0] as i32 + 1, high[1] as i32 + 1])
}

fn depth(grid: &[Vec<f32>], x: f32, y: f32) -> f32 {
    let cells = DEPTH_CELLS as f32;
    let (x, y) = ((x * cells).clamp(0.0, cells - 0.001), (y * cells).clamp(0.0, cells - 0.001));
    let (column, row) = (x as usize, y as usize);
    let (right, down) = (x - column as f32, y - row as f32);
    let mix = |row: &[f32]| row[column] * (1.0 - right) + row[column + 1] * right;
    mix(&grid[row]) * (1.0 - down) + mix(&grid[row + 1]) * down
}
