//! Where on its texture each part of the surface finds a layer.
//!
//! The warp says where a point of the layer goes; pictures are made the other way round. The way back is solved at the corners
//! of cells of the surface, each from its neighbour's answer, and is straight within a cell.

use super::art::Art;
use super::parameters::Iris;
use super::warp::Pull;
use crate::face::raster::Occlusion;
use crate::media::FrameSize;

/// Pixels on a side of a cell.
pub(super) const CELL: usize = 8;

/// Canvas units by which a solved corner may be wrong.
const TOLERANCE: f32 = 0.05;
const MOST_STEPS: usize = 8;

/// How the canvas lies on the surface.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct View {
    /// The canvas place at the surface's top left corner.
    pub from: [f32; 2],
    /// Canvas units to a pixel.
    pub unit: f32,
    /// Pixels.
    pub size: [usize; 2],
}

impl View {
    /// Shows the square `[left, top, side]` of the canvas, in the middle if the surface is no square.
    pub(super) fn new([left, top, side]: [f32; 3], size: FrameSize) -> Self {
        let size = [size.width(), size.height()];
        let unit = side / size[0].min(size[1]) as f32;
        let beside = size.map(|pixels| (pixels as f32 * unit - side) / 2.0);
        Self { from: [left - beside[0], top - beside[1]], unit, size }
    }

    /// Cells across and down; the last ones may be cut.
    pub(super) fn cells(&self) -> [usize; 2] {
        self.size.map(|pixels| pixels.div_ceil(CELL))
    }

    /// The canvas place of the middle of the first pixel of a cell.
    fn corner(&self, col: usize, row: usize) -> [f32; 2] {
        let along = |from: f32, cell: usize| from + ((cell * CELL) as f32 + 0.5) * self.unit;
        [along(self.from[0], col), along(self.from[1], row)]
    }

    /// A canvas place in pixels times 256, as outlines want it.
    #[inline]
    pub(super) fn point(&self, at: [f32; 2]) -> [i32; 2] {
        [0, 1].map(|axis| (((at[axis] - self.from[axis]) / self.unit) * 256.0).clamp(-4e6, 4e6) as i32)
    }
}

/// The cells in which a layer is seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Mesh {
    /// First cell: column and row.
    pub first: [usize; 2],
    /// Cells across and down.
    pub cells: [usize; 2],
    /// Places on the texture at the corners, in texels times 65536.
    corners: Vec<[i32; 2]>,
    /// Corners to a row: at least one more than cells.
    stride: usize,
    covers: Vec<Occlusion>,
}

impl Mesh {
    /// Solves the mesh of `art` under `pull`; `iris` moves the art on its layer first.
    pub(super) fn solve(&mut self, art: &Art, pull: &Pull<'_>, iris: Option<Iris>, view: &View) {
        let iris = iris.unwrap_or(Iris::RESTING);
        (self.first, self.cells) = seen_box(art, pull, &iris, view);
        self.corners.clear();
        self.covers.clear();
        if self.cells.contains(&0) {
            self.cells = [0; 2];
            return;
        }
        // Solved at every other corner where the warp is smooth; the others lie halfway between.
        let apart = if pull.is_lively() { 1 } else { 2 };
        let ends = self.cells.map(|cells| cells.next_multiple_of(apart));
        self.stride = ends[0] + 1;
        self.corners.resize(self.stride * (ends[1] + 1), [0; 2]);
        let step = (CELL * apart) as f32 * view.unit;
        let mut line_guess = view.corner(self.first[0], self.first[1]);
        for row in (0..=ends[1]).step_by(apart) {
            let mut guess = line_guess;
            for col in (0..=ends[0]).step_by(apart) {
                let found = way_back(pull, view.corner(self.first[0] + col, self.first[1] + row), guess);
                if col == 0 {
                    line_guess = [found[0], found[1] + step];
                }
                guess = [found[0] + step, found[1]];
                self.corners[row * self.stride + col] = art.texel(iris.undo(found));
            }
        }
        if apart == 2 {
            self.fill_between();
        }
        self.look_up_covers(art);
    }

    /// What is to be seen in a cell.
    #[inline]
    pub(super) fn cover(&self, col: usize, row: usize) -> Occlusion {
        self.covers[row * self.cells[0] + col]
    }

    /// Places on the texture at a cell's corners: top left, top right, bottom left, bottom right.
    #[inline]
    pub(super) fn corners(&self, col: usize, row: usize) -> [[i32; 2]; 4] {
        let top = row * self.stride + col;
        let below = top + self.stride;
        [self.corners[top], self.corners[top + 1], self.corners[below], self.corners[below + 1]]
    }

    /// Puts the corners in odd columns and rows halfway between those beside them.
    fn fill_between(&mut self) {
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

    fn look_up_covers(&mut self, art: &Art) {
        for row in 0..self.cells[1] {
            for col in 0..self.cells[0] {
                let corners = self.corners(col, row);
                let least = |axis: usize| corners.iter().map(|corner| corner[axis]).min().unwrap_or(0);
                let most = |axis: usize| corners.iter().map(|corner| corner[axis]).max().unwrap_or(0);
                self.covers.push(art.texture.cover([least(0), least(1)], [most(0), most(1)]));
            }
        }
    }
}

/// The place of the layer that goes to `target`.
#[inline]
fn way_back(pull: &Pull<'_>, target: [f32; 2], guess: [f32; 2]) -> [f32; 2] {
    let mut place = guess;
    for _ in 0..MOST_STEPS {
        let pulled = pull.place(place);
        let error = [target[0] - pulled.at[0], target[1] - pulled.at[1]];
        if error[0].abs().max(error[1].abs()) < TOLERANCE {
            break;
        }
        let step = pulled.undo(error);
        place = [place[0] + step[0], place[1] + step[1]];
    }
    place
}

/// First cell and number of cells in which the art can be seen: where a lattice over it goes, and some room.
fn seen_box(art: &Art, pull: &Pull<'_>, iris: &Iris, view: &View) -> ([usize; 2], [usize; 2]) {
    const LATTICE: usize = 6;
    let (mut from, mut to) = ([f32::MAX; 2], [f32::MIN; 2]);
    for index in 0..=LATTICE * (LATTICE + 2) {
        let shares = [index % (LATTICE + 1), index / (LATTICE + 1)].map(|step| step as f32 / LATTICE as f32);
        let at = [0, 1].map(|axis| art.from[axis] + (art.to[axis] - art.from[axis]) * shares[axis]);
        let placed = pull.place(iris.place(at)).at;
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
