//! One session's drawing of a rig: scratch, and the order in which layers are laid down.

use std::sync::Arc;

use super::mesh::{CELL, Mesh, View};
use super::parameters::Resolved;
use super::rig::{Drawing, Look, Rig};
use super::shape::Shape;
use super::warp::{Head, Pull};
use crate::face::raster::{Colour, Coverage, Occlusion, Outliner, Texture, Walk, paint};
use crate::face::{Face, Pose, Surface};

/// A rig at work.
pub struct DrawnFace {
    rig: Arc<Rig>,
    /// Where the canvas lies on the surface at hand.
    view: View,
    resolved: Resolved,
    head: Head,
    /// One for each layer; empty for layers of shapes.
    meshes: Vec<Mesh>,
    /// For each cell of the surface, one more than the topmost layer that hides all below it there.
    floors: Vec<u8>,
    /// The cells at hand.
    seen: Vec<Seen>,
    pen: Pen,
    /// One for each stencil of the rig.
    stencils: Vec<Coverage>,
}

/// What outlines are drawn with.
#[derive(Default)]
struct Pen {
    outliner: Outliner,
    points: Vec<[f32; 2]>,
    outline: Vec<[i32; 2]>,
    coverage: Coverage,
}

/// A shape as it is now: under the states' weights, pulled along, seen by `view`.
struct Posed<'a> {
    shape: &'a Shape,
    states: &'a [f32],
    pull: Pull<'a>,
    view: &'a View,
}

impl DrawnFace {
    /// A face of `rig`.
    #[must_use]
    pub fn new(rig: Arc<Rig>) -> Self {
        Self {
            view: View::default(),
            resolved: Resolved::default(),
            head: Head::default(),
            meshes: vec![Mesh::default(); rig.layers.len()],
            floors: Vec::new(),
            seen: Vec::new(),
            pen: Pen::default(),
            stencils: vec![Coverage::default(); rig.stencils.len()],
            rig,
        }
    }
}

/// A cell in which a drawing is seen, and how the drawing runs through its next line.
struct Seen {
    left: usize,
    walk: Walk,
    /// From one line to the next: of the first place, and of the step.
    down: [i32; 2],
    turn: [i32; 2],
    cover: Occlusion,
}

impl Face for DrawnFace {
    fn draw(&mut self, pose: &Pose, surface: &mut Surface) {
        let rig = Arc::clone(&self.rig);
        self.view = View::new(rig.view, surface.size());
        rig.states.resolve(pose, &mut self.resolved);
        self.head.turn(&rig.followings, pose, self.resolved.jaw, &rig.head);
        self.solve_meshes(&rig);
        self.find_floors();
        self.fill_background(&rig, surface);
        for (stencil, coverage) in rig.stencils.iter().zip(&mut self.stencils) {
            let pull = self.head.pull(&rig.layers[stencil.layer].warp);
            let states = &self.resolved.states;
            self.pen.trace(&Posed { shape: &rig.shapes[stencil.shape], states, pull, view: &self.view }, coverage);
        }
        for (index, layer) in rig.layers.iter().enumerate() {
            match &layer.look {
                Look::Drawing(drawing) => self.lay(index, drawing, surface),
                Look::Shapes(shapes, opacity) => self.paint(&rig, index, (shapes, *opacity), surface),
            }
        }
    }
}

impl DrawnFace {
    fn solve_meshes(&mut self, rig: &Rig) {
        for (layer, mesh) in rig.layers.iter().zip(&mut self.meshes) {
            if let Look::Drawing(drawing) = &layer.look {
                let iris = drawing.gaze.map(|(eye, share)| self.resolved.irises[eye].following(share));
                mesh.solve(&drawing.art, &self.head.pull(&layer.warp), iris, &self.view);
            }
        }
    }

    fn find_floors(&mut self) {
        let [across, down] = self.view.cells();
        self.floors.clear();
        self.floors.resize(across * down, 0);
        let stencilled =
            |index: usize| matches!(&self.rig.layers[index].look, Look::Drawing(drawing) if drawing.stencil.is_some());
        for (index, mesh) in self.meshes.iter().enumerate().filter(|(index, _)| !stencilled(*index)) {
            for row in 0..mesh.cells[1] {
                for col in 0..mesh.cells[0] {
                    if mesh.cover(col, row) == Occlusion::Opaque {
                        self.floors[(mesh.first[1] + row) * across + mesh.first[0] + col] = index as u8 + 1;
                    }
                }
            }
        }
    }

    fn fill_background(&self, rig: &Rig, surface: &mut Surface) {
        let width = surface.size().width();
        let bands = surface.pixels.chunks_mut(width * CELL).zip(self.floors.chunks_exact(width.div_ceil(CELL)));
        for (band, floors) in bands {
            for line in band.chunks_exact_mut(width) {
                for (pixels, _) in line.chunks_mut(CELL).zip(floors).filter(|(_, floor)| **floor == 0) {
                    pixels.fill(rig.background);
                }
            }
        }
    }

    /// Lays a drawing down: for each row of cells those in which it is seen, line by line, as that is how its texels lie.
    fn lay(&mut self, index: usize, drawing: &Drawing, surface: &mut Surface) {
        let mesh = &self.meshes[index];
        let stencil = drawing.stencil.map(|stencil| &self.stencils[stencil]);
        let width = surface.size().width();
        let across = width.div_ceil(CELL);
        for row in 0..mesh.cells[1] {
            let top = mesh.first[1] + row;
            self.seen.clear();
            for col in 0..mesh.cells[0] {
                let left = mesh.first[0] + col;
                let cover = mesh.cover(col, row);
                if cover != Occlusion::Empty && usize::from(self.floors[top * across + left]) <= index + 1 {
                    self.seen.push(Seen::new(left * CELL, mesh.corners(col, row), cover));
                }
            }
            let lines = surface.pixels.chunks_exact_mut(width).enumerate().skip(top * CELL).take(CELL);
            for (y, line) in lines {
                let open = stencil.map(|stencil| stencil.row(y));
                self.seen.iter_mut().for_each(|cell| cell.lay_line(&drawing.art.texture, open, line));
            }
        }
    }

    fn paint(&mut self, rig: &Rig, layer: usize, (shapes, opacity): (&[usize], u32), surface: &mut Surface) {
        for &index in shapes {
            let shape = &rig.shapes[index];
            let find = |shape: usize| rig.stencils.iter().position(|stencil| stencil.shape == shape);
            let colour = Colour { opacity: (shape.colour.opacity * opacity) >> 8, ..shape.colour };
            let clip = shape.clip.and_then(find).map(|stencil| &self.stencils[stencil]);
            let own = find(index).filter(|stencil| rig.stencils[*stencil].layer == layer);
            if let Some(own) = own {
                paint(surface, colour, &self.stencils[own], clip);
                continue;
            }
            let pull = self.head.pull(&rig.layers[layer].warp);
            self.pen.trace_own(&Posed { shape, states: &self.resolved.states, pull, view: &self.view });
            paint(surface, colour, &self.pen.coverage, clip);
        }
    }
}

impl Pen {
    /// The pixels that a shape covers.
    fn trace(&mut self, posed: &Posed<'_>, coverage: &mut Coverage) {
        posed.shape.morph(posed.states, &mut self.points);
        self.outline.clear();
        self.outline.extend(self.points.iter().map(|point| posed.view.point(posed.pull.place(*point).at)));
        self.outliner.fill(&self.outline, posed.view.size, coverage);
    }

    /// The same, into the pen's own coverage.
    fn trace_own(&mut self, posed: &Posed<'_>) {
        let mut coverage = std::mem::take(&mut self.coverage);
        self.trace(posed, &mut coverage);
        self.coverage = coverage;
    }
}

impl Seen {
    fn new(left: usize, [a, b, c, d]: [[i32; 2]; 4], cover: Occlusion) -> Self {
        let side = CELL as i32;
        let down = |from: [i32; 2], to: [i32; 2]| [0, 1].map(|axis| (to[axis] - from[axis]) / side);
        let across = [0, 1].map(|axis| (b[axis] - a[axis]) / side);
        let (left_down, right_down) = (down(a, c), down(b, d));
        let turn = [0, 1].map(|axis| (right_down[axis] - left_down[axis]) / side);
        Self { left, walk: Walk { at: a, step: across }, down: left_down, turn, cover }
    }

    /// Lays its next line down.
    #[inline]
    fn lay_line(&mut self, texture: &Texture, open: Option<(usize, &[u8])>, line: &mut [[u8; 4]]) {
        let right = (self.left + CELL).min(line.len());
        match (self.cover, open) {
            (_, Some((open_left, open))) => {
                let (from, to) = (self.left.max(open_left), right.min(open_left + open.len()));
                if from < to {
                    let walk = self.walk.skip((from - self.left) as i32);
                    texture.blend_through(walk, &mut line[from..to], &open[from - open_left..to - open_left]);
                }
            }
            (Occlusion::Opaque, None) => texture.replace(self.walk, &mut line[self.left..right]),
            _ => texture.blend(self.walk, &mut line[self.left..right]),
        }
        for axis in 0..2 {
            self.walk.at[axis] += self.down[axis];
            self.walk.step[axis] += self.turn[axis];
        }
    }
}
