//! Inverse mapping: texture coordinates of a layer for each cell of the surface.
//!
//! The warp maps the layer to the canvas, rendering needs the inverse. It is solved iteratively at the corners of 8 x 8
//! pixel cells, each starting from the solution of its neighbour, and is linear within a cell.

use super::art::Art;
use super::parameters::Iris;
use super::warp::PosedWarp;
use crate::face::raster::Occlusion;
use crate::media::FrameSize;

/// Side of a cell in pixels.
pub(super) const CELL: usize = 8;

/// Error of a solved corner in canvas units.
const TOLERANCE: f32 = 0.05;
const STEPS_MAX: usize = 8;

/// Mapping between canvas and surface.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct View {
    /// Canvas point at the surface's top left corner.
    pub from: [f32; 2],
    /// Canvas units per pixel.
    pub unit: f32,
    /// Surface size in pixels.
    pub size: [usize; 2],
}

impl View {
    /// Maps the square `[left, top, side]` of the canvas to the centre of the surface.
    pub(super) fn new([left, top, side]: [f32; 3], size: FrameSize) -> Self {
        let size = [size.width(), size.height()];
        let unit = side / size[0].min(size[1]) as f32;
        let margin = size.map(|pixels| (pixels as f32 * unit - side) / 2.0);
        Self { from: [left - margin[0], top - margin[1]], unit, size }
    }

    /// Number of columns and rows of cells; the last ones may be partial.
    pub(super) fn cells(&self) -> [usize; 2] {
        self.size.map(|pixels| pixels.div_ceil(CELL))
    }

    /// Canvas point of the centre of a cell's first pixel.
    fn corner(&self, col: usize, row: usize) -> [f32; 2] {
        let along = |from: f32, cell: usize| from + ((cell * CELL) as f32 + 0.5) * self.unit;
        [along(self.from[0], col), along(self.from[1], row)]
    }

    /// A canvas point in pixels x 256, the unit of polygons.
    #[inline]
    pub(super) fn point(&self, at: [f32; 2]) -> [i32; 2] {
        [0, 1].map(|axis| (((at[axis] - self.from[axis]) / self.unit) * 256.0).clamp(-4e6, 4e6) as i32)
    }
}

/// The cells that a layer touches.
#[derive(Clone, Debug, Default)]
pub(super) struct Mesh {
    /// First column and row.
    pub first: [usize; 2],
    /// Columns and rows.
    pub cells: [usize; 2],
    /// Texture coordinates at the corners, in texels x 65536.
    corners: Vec<[i32; 2]>,
    /// Corners per row: at least one more than columns.
    stride: usize,
    occlusions: Vec<Occlusion>,
}

impl Mesh {
    /// Solves the mesh of `art`; `iris` transforms the art on its layer first.
    pub(super) fn solve(&mut self, art: &Art, posed_warp: &PosedWarp<'_>, iris: Option<Iris>, view: &View) {
        let iris = iris.unwrap_or(Iris::RESTING);
        (self.first, self.cells) = visible_box(art, posed_warp, &iris, view);
        self.corners.clear();
        self.occlusions.clear();
        if self.cells.contains(&0) {
            self.cells = [0; 2];
            return;
        }
        // Where the warp is smooth, every other corner is solved and the rest is interpolated.
        let spacing = if posed_warp.varies_quickly() { 1 } else { 2 };
        let ends = self.cells.map(|cells| cells.next_multiple_of(spacing));
        self.stride = ends[0] + 1;
        self.corners.resize(self.stride * (ends[1] + 1), [0; 2]);
        let step = (CELL * spacing) as f32 * view.unit;
        let mut line_guess = view.corner(self.first[0], self.first[1]);
        for row in (0..=ends[1]).step_by(spacing) {
            let mut guess = line_guess;
            for col in (0..=ends[0]).step_by(spacing) {
                let found = invert_warp(posed_warp, view.corner(self.first[0] + col, self.first[1] + row), guess);
                if col == 0 {
                    line_guess = [found[0], found[1] + step];
                }
                guess = [found[0] + step, found[1]];
                self.corners[row * self.stride + col] = art.texel(iris.undo(found));
            }
        }
        if spacing == 2 {
            self.interpolate_corners();
        }
        self.look_up_occlusion(art);
    }

    /// Occlusion class of a cell.
    #[inline]
    pub(super) fn occlusion(&self, col: usize, row: usize) -> Occlusion {
        self.occlusions[row * self.cells[0] + col]
    }

    /// Texture coordinates at a cell's corners: top left, top right, bottom left, bottom right.
    #[inline]
    pub(super) fn corners(&self, col: usize, row: usize) -> [[i32; 2]; 4] {
        let top = row * self.stride + col;
        let below = top + self.stride;
        [self.corners[top], self.corners[top + 1], self.corners[below], self.corners[below + 1]]
    }

    /// Interpolates the corners in odd columns and rows from their neighbours.
    fn interpolate_corners(&mut self) {
        let halfway = |a: [i32; 2], b: [i32; 2]| [0, 1].map(|axis| (a[axis] + b[axis]) >> 1);
        for line in self.corners.chunks_exact_mut(self.stride).step_by(2) {
            for col in (1..line.len()).step_by(2) {
                line[col] = halfway(line[col - 1], line[col + 1]);
            }
        }
        let mut lines = self.corners.chunks_exact_mut(self.stride);
        let mut above = lines.next();
        while let (Some(top), Some(middle), Some(bottom)) = (above, lines.next(), lines.next()) {
            for (col, between) in middle.iter_mut().enumerate() {
                *between = halfway(top[col], bottom[col]);
            }
            above = Some(bottom);
        }
    }

    fn look_up_occlusion(&mut self, art: &Art) {
        for row in 0..self.cells[1] {
            for col in 0..self.cells[0] {
                let corners = self.corners(col, row);
                let least = |axis: usize| corners.iter().map(|corner| corner[axis]).min().unwrap_or(0);
                let most = |axis: usize| corners.iter().map(|corner| corner[axis]).max().unwrap_or(0);
                self.occlusions.push(art.texture.occlusion([least(0), least(1)], [most(0), most(1)]));
            }
        }
    }
}

/// The point of the layer that is warped to `target`, by quasi-Newton iteration.
#[inline]
fn invert_warp(posed_warp: &PosedWarp<'_>, target: [f32; 2], guess: [f32; 2]) -> [f32; 2] {
    let mut place = guess;
    for _ in 0..STEPS_MAX {
        let warped = posed_warp.apply(place);
        let error = [target[0] - warped.at[0], target[1] - warped.at[1]];
        if error[0].abs().max(error[1].abs()) < TOLERANCE {
            break;
        }
        let step = warped.undo(error);
        place = [place[0] + step[0], place[1] + step[1]];
    }
    place
}

/// First cell and number of cells that the art can touch: the bounds of a warped lattice over it, with a margin.
fn visible_box(art: &Art, posed_warp: &PosedWarp<'_>, iris: &Iris, view: &View) -> ([usize; 2], [usize; 2]) {
    const LATTICE: usize = 6;
    let (mut from, mut to) = ([f32::MAX; 2], [f32::MIN; 2]);
    for index in 0..=LATTICE * (LATTICE + 2) {
        let shares = [index % (LATTICE + 1), index / (LATTICE + 1)].map(|step| step as f32 / LATTICE as f32);
        let at = [0, 1].map(|axis| art.from[axis] + (art.to[axis] - art.from[axis]) * shares[axis]);
        let placed = posed_warp.apply(iris.place(at)).at;
        for axis in 0..2 {
            from[axis] = from[axis].min(placed[axis]);
            to[axis] = to[axis].max(placed[axis]);
        }
    }
    let room = 0.008 * (art.to[0] - art.from[0]).max(art.to[1] - art.from[1]) + 4.0;
    let cell = |place: f32, axis: usize| (place - view.from[axis]) / (view.unit * CELL as f32);
    let cells = view.cells();
    let first = [0, 1].map(|axis| (cell(from[axis] - room, axis).max(0.0) as usize).min(cells[axis]));
    let end = [0, 1].map(|axis| (cell(to[axis] + room, axis).max(-1.0) + 1.0) as usize);
    (first, [0, 1].map(|axis| end[axis].min(cells[axis]).saturating_sub(first[axis])))
}
