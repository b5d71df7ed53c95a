//! Renderer of a drawn avatar for one session: buffers, and the order in which layers are drawn.

use std::sync::Arc;

use super::mesh::{CELL, Mesh, View};
use super::parameters::Resolved;
use super::rig::{Drawing, LayerContent, Rig};
use super::shape::Shape;
use super::warp::{PosedHead, PosedWarp};
use crate::face::raster::{Colour, Coverage, Occlusion, Outliner, SamplePath, Texture, paint};
use crate::face::{Face, Pose, Surface};

/// Renderer of a drawn avatar.
pub struct DrawnFace {
    rig: Arc<Rig>,
    /// Mapping to the current surface.
    view: View,
    resolved: Resolved,
    head: PosedHead,
    /// One per layer; empty for layers of shapes.
    meshes: Vec<Mesh>,
    /// For each cell of the surface, 1 + index of the topmost layer that is opaque there; layers below it are not drawn.
    occluders: Vec<u8>,
    /// Cells of the current row.
    visible: Vec<VisibleCell>,
    painter: ShapePainter,
    /// One per stencil of the rig.
    stencils: Vec<Coverage>,
}

/// Buffers for rasterising shapes.
#[derive(Default)]
struct ShapePainter {
    outliner: Outliner,
    points: Vec<[f32; 2]>,
    outline: Vec<[i32; 2]>,
    coverage: Coverage,
}

/// A shape with the transforms of the current pose.
struct Posed<'a> {
    shape: &'a Shape,
    states: &'a [f32],
    posed_warp: PosedWarp<'a>,
    view: &'a View,
}

impl DrawnFace {
    /// A renderer of `rig`.
    #[must_use]
    pub fn new(rig: Arc<Rig>) -> Self {
        Self {
            view: View::default(),
            resolved: Resolved::default(),
            head: PosedHead::default(),
            meshes: vec![Mesh::default(); rig.layers.len()],
            occluders: Vec::new(),
            visible: Vec::new(),
            painter: ShapePainter::default(),
            stencils: vec![Coverage::default(); rig.stencils.len()],
            rig,
        }
    }
}

/// A cell that a drawing touches, and its sample path through the next line.
struct VisibleCell {
    left: usize,
    path: SamplePath,
    /// Change from one line to the next, of the first sample and of the step.
    down: [i32; 2],
    turn: [i32; 2],
    occlusion: Occlusion,
}

impl Face for DrawnFace {
    fn draw(&mut self, pose: &Pose, surface: &mut Surface) {
        let rig = Arc::clone(&self.rig);
        self.view = View::new(rig.view, surface.size());
        rig.states.resolve(pose, &mut self.resolved);
        self.head.set_pose(&rig.height_tables, pose, self.resolved.jaw, &rig.head);
        self.solve_meshes(&rig);
        self.find_occluders();
        self.fill_background(&rig, surface);
        for (stencil, coverage) in rig.stencils.iter().zip(&mut self.stencils) {
            let posed_warp = self.head.posed_warp(&rig.layers[stencil.layer].warp);
            let states = &self.resolved.states;
            self.painter
                .trace(&Posed { shape: &rig.shapes[stencil.shape], states, posed_warp, view: &self.view }, coverage);
        }
        for (index, layer) in rig.layers.iter().enumerate() {
            match &layer.content {
                LayerContent::Drawing(drawing) => self.draw_layer(index, drawing, surface),
                LayerContent::Shapes(shapes, opacity) => self.paint(&rig, index, (shapes, *opacity), surface),
            }
        }
    }
}

impl DrawnFace {
    fn solve_meshes(&mut self, rig: &Rig) {
        for (layer, mesh) in rig.layers.iter().zip(&mut self.meshes) {
            if let LayerContent::Drawing(drawing) = &layer.content {
                let iris = drawing.gaze.map(|(eye, share)| self.resolved.irises[eye].with_share(share));
                mesh.solve(&drawing.art, &self.head.posed_warp(&layer.warp), iris, &self.view);
            }
        }
    }

    fn find_occluders(&mut self) {
        let [across, down] = self.view.cells();
        self.occluders.clear();
        self.occluders.resize(across * down, 0);
        let stencilled = |index: usize| match &self.rig.layers[index].content {
            LayerContent::Drawing(drawing) => drawing.stencil.is_some(),
            LayerContent::Shapes(..) => false,
        };
        for (index, mesh) in self.meshes.iter().enumerate().filter(|(index, _)| !stencilled(*index)) {
            for row in 0..mesh.cells[1] {
                for col in 0..mesh.cells[0] {
                    if mesh.occlusion(col, row) == Occlusion::Opaque {
                        self.occluders[(mesh.first[1] + row) * across + mesh.first[0] + col] = index as u8 + 1;
                    }
                }
            }
        }
    }

    fn fill_background(&self, rig: &Rig, surface: &mut Surface) {
        let width = surface.size().width();
        let bands = surface.pixels.chunks_mut(width * CELL).zip(self.occluders.chunks_exact(width.div_ceil(CELL)));
        for (band, occluders) in bands {
            for line in band.chunks_exact_mut(width) {
                for (pixels, _) in line.chunks_mut(CELL).zip(occluders).filter(|(_, occluder)| **occluder == 0) {
                    pixels.fill(rig.background);
                }
            }
        }
    }

    /// Draws a layer, line by line through all of its cells in a row: texels of a line are near each other in memory.
    fn draw_layer(&mut self, index: usize, drawing: &Drawing, surface: &mut Surface) {
        let mesh = &self.meshes[index];
        let stencil = drawing.stencil.map(|stencil| &self.stencils[stencil]);
        let width = surface.size().width();
        let across = width.div_ceil(CELL);
        for row in 0..mesh.cells[1] {
            let top = mesh.first[1] + row;
            self.visible.clear();
            for col in 0..mesh.cells[0] {
                let left = mesh.first[0] + col;
                let occlusion = mesh.occlusion(col, row);
                if occlusion != Occlusion::Empty && usize::from(self.occluders[top * across + left]) <= index + 1 {
                    self.visible.push(VisibleCell::new(left * CELL, mesh.corners(col, row), occlusion));
                }
            }
            let lines = surface.pixels.chunks_exact_mut(width).enumerate().skip(top * CELL).take(CELL);
            for (y, line) in lines {
                let open = stencil.map(|stencil| stencil.row(y));
                self.visible.iter_mut().for_each(|cell| cell.draw_line(&drawing.art.texture, open, line));
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
            let posed_warp = self.head.posed_warp(&rig.layers[layer].warp);
            self.painter.trace_own(&Posed { shape, states: &self.resolved.states, posed_warp, view: &self.view });
            paint(surface, colour, &self.painter.coverage, clip);
        }
    }
}

impl ShapePainter {
    /// Rasterises a shape to coverage.
    fn trace(&mut self, posed: &Posed<'_>, coverage: &mut Coverage) {
        posed.shape.morph(posed.states, &mut self.points);
        self.outline.clear();
        self.outline.extend(self.points.iter().map(|point| posed.view.point(posed.posed_warp.apply(*point).at)));
        self.outliner.fill(&self.outline, posed.view.size, coverage);
    }

    /// Rasterises a shape into the own coverage buffer.
    fn trace_own(&mut self, posed: &Posed<'_>) {
        let mut coverage = std::mem::take(&mut self.coverage);
        self.trace(posed, &mut coverage);
        self.coverage = coverage;
    }
}

impl VisibleCell {
    fn new(left: usize, [a, b, c, d]: [[i32; 2]; 4], occlusion: Occlusion) -> Self {
        let side = CELL as i32;
        let down = |from: [i32; 2], to: [i32; 2]| [0, 1].map(|axis| (to[axis] - from[axis]) / side);
        let across = [0, 1].map(|axis| (b[axis] - a[axis]) / side);
        let (left_down, right_down) = (down(a, c), down(b, d));
        let turn = [0, 1].map(|axis| (right_down[axis] - left_down[axis]) / side);
        Self { left, path: SamplePath { at: a, step: across }, down: left_down, turn, occlusion }
    }

    /// Draws its next line.
    #[inline]
    fn draw_line(&mut self, texture: &Texture, open: Option<(usize, &[u8])>, line: &mut [[u8; 4]]) {
        let right = (self.left + CELL).min(line.len());
        match (self.occlusion, open) {
            (_, Some((open_left, open))) => {
                let (from, to) = (self.left.max(open_left), right.min(open_left + open.len()));
                if from < to {
                    let path = self.path.skip((from - self.left) as i32);
                    texture.blend_through(path, &mut line[from..to], &open[from - open_left..to - open_left]);
                }
            }
            (Occlusion::Opaque, None) => texture.replace(self.path, &mut line[self.left..right]),
            _ => texture.blend(self.path, &mut line[self.left..right]),
        }
        for axis in 0..2 {
            self.path.at[axis] += self.down[axis];
            self.path.step[axis] += self.turn[axis];
        }
    }
}
