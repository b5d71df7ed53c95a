//! Where on its texture each part of the surface finds a layer.
//!
//! The warp says where a point of the layer goes; pictures are made the other way round. The way back is solved at the corners
//! of cells of the surface, each from its neighbour's answer, and is straight within a cell.

use super::art::Art;
use super::states::Iris;
use super::warp::Pull;
use crate::media::PictureSize;
use crate::picture::raster::Cover;

/// Pixels on a side of a cell.
pub(super) const CELL: usize = 8;

/// Canvas units by which a solved corner may be wrong.
const TOLERANCE: f32 = 0.05;
const MOST_STEPS: usize = 8;

/// How the canvas lies on the surface.
#[derive(Clone, Copy, Debug, PartialEq)]
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
    pub(super) fn new([left, top, side]: [f32; 3], size: PictureSize) -> Self {
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
        [0, 1].map(|axis| (((at[axis] - self.from[axis]) / self.unit) * 256.0).clamp(-4e6, 4e6).round() as i32)
    }
}

/// The cells in which a layer is seen.
#[derive(Clone, Debug, Default)]
pub(super) struct Mesh {
    /// First cell: column and row.
    pub first: [usize; 2],
    /// Cells across and down.
    pub cells: [usize; 2],
    /// Places on the texture at the corners, in texels times 65536; one more than cells each way.
    corners: Vec<[i32; 2]>,
    covers: Vec<Cover>,
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
        let step = CELL as f32 * view.unit;
        let mut line_guess = view.corner(self.first[0], self.first[1]);
        for row in 0..=self.cells[1] {
            let mut guess = line_guess;
            for col in 0..=self.cells[0] {
                let target = view.corner(self.first[0] + col, self.first[1] + row);
                let found = way_back(pull, target, guess);
                if col == 0 {
                    line_guess = [found[0], found[1] + step];
                }
                guess = [found[0] + step, found[1]];
                self.corners.push(art.texel(iris.undo(found)));
            }
        }
        self.look_up_covers(art);
    }

    /// What is to be seen in a cell.
    #[inline]
    pub(super) fn cover(&self, col: usize, row: usize) -> Cover {
        self.covers[row * self.cells[0] + col]
    }

    /// Places on the texture at a cell's corners: top left, top right, bottom left, bottom right.
    #[inline]
    pub(super) fn corners(&self, col: usize, row: usize) -> [[i32; 2]; 4] {
        let stride = self.cells[0] + 1;
        let top = row * stride + col;
        [self.corners[top], self.corners[top + 1], self.corners[top + stride], self.corners[top + stride + 1]]
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
