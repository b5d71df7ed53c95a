//! One session's drawing of a rig: scratch, and the order in which layers are laid down.

use std::sync::Arc;

use super::rig::{Art, Layer, Rig, Shape};
use super::states::Resolved;
use super::warp::HeadTurn;
use crate::picture::raster::{Corner, Look, Mask, MaskPainter, draw_triangle};
use crate::picture::{Face, Pose, Surface};

/// A rig at work.
pub struct DrawnFace {
    rig: Arc<Rig>,
    resolved: Resolved,
    painter: MaskPainter,
    /// One mask for each shape; those of stencils are kept for the whole frame.
    masks: Vec<Mask>,
    points: Vec<[f32; 2]>,
    grid: Vec<[f32; 2]>,
}

impl DrawnFace {
    /// A face of `rig`.
    #[must_use]
    pub fn new(rig: Arc<Rig>) -> Self {
        let masks = vec![Mask::default(); rig.shapes.len()];
        Self {
            rig,
            resolved: Resolved::default(),
            painter: MaskPainter::default(),
            masks,
            points: Vec::new(),
            grid: Vec::new(),
        }
    }
}

impl Face for DrawnFace {
    fn draw(&mut self, pose: &Pose, surface: &mut Surface) {
        let rig = Arc::clone(&self.rig);
        surface.pixels.fill(rig.background);
        if surface.size().width() != rig.side_px as usize {
            return;
        }
        rig.states.resolve(pose, &mut self.resolved);
        let canvas = rig.side_px as f32 / rig.scale;
        let head = HeadTurn::new(pose, self.resolved.jaw, rig.breath, rig.pivot, canvas);
        self.fill_masks(&rig, &head);
        let width = surface.size().width();
        for layer in &rig.layers {
            match &layer.art {
                Art::Shapes(shapes) => self.paint_shapes(&rig, layer, shapes, &mut surface.pixels, width),
                Art::Drawing { texture, clip, gaze } => {
                    self.lay_grid(&rig, layer, *gaze, &head);
                    let mask = clip.map(|shape| &self.masks[shape]);
                    let look = Look { texture, opacity: layer.opacity, mask };
                    draw_grid(&mut surface.pixels, width, &self.grid, (&rig, layer), &look);
                }
            }
        }
    }
}

impl DrawnFace {
    fn fill_masks(&mut self, rig: &Rig, head: &HeadTurn) {
        for (shape, mask) in rig.shapes.iter().zip(&mut self.masks) {
            morph(shape, &self.resolved.states, &mut self.points);
            let warp = &rig.layers[shape.layer].warp;
            for point in &mut self.points {
                let at = warp.place(*point, head);
                *point = [at[0] * rig.scale, at[1] * rig.scale];
            }
            let side = rig.side_px as usize;
            self.painter.fill(&self.points, side, side, mask);
        }
    }

    fn paint_shapes(&self, rig: &Rig, layer: &Layer, shapes: &[usize], pixels: &mut [[u8; 4]], width: usize) {
        for index in shapes {
            let shape = &rig.shapes[*index];
            let clip = shape.clip.map(|clip| &self.masks[clip]);
            let opacity = (shape.opacity * layer.opacity) >> 8;
            self.masks[*index].paint(pixels, width, shape.colour, opacity, clip);
        }
    }

    /// Places the corners of the layer's grid on the surface.
    fn lay_grid(&mut self, rig: &Rig, layer: &Layer, gaze: Option<(usize, f32)>, head: &HeadTurn) {
        let warp = &layer.warp;
        self.grid.clear();
        for row in 0..warp.rows {
            for col in 0..warp.cols {
                let mut at = [col as f32 * warp.step, row as f32 * warp.step];
                if let Some((eye, reach)) = gaze {
                    let (offset, size) = self.resolved.irises[eye];
                    let anchor = rig.iris_anchors[eye];
                    at = [0, 1].map(|i| anchor[i] + (at[i] - anchor[i]) * size + offset[i] * rig.gaze[i] * reach);
                }
                let place = warp.place(at, head);
                self.grid.push([place[0] * rig.scale, place[1] * rig.scale]);
            }
        }
    }
}

/// Draws every cell of a grid in which the texture shows something.
fn draw_grid(pixels: &mut [[u8; 4]], width: usize, grid: &[[f32; 2]], (rig, layer): (&Rig, &Layer), look: &Look<'_>) {
    let warp = &layer.warp;
    let unit = warp.step * rig.scale;
    for row in 0..warp.rows - 1 {
        for col in 0..warp.cols - 1 {
            let (left, top) = (col as f32 * unit, row as f32 * unit);
            let is_seen = look.texture.is_seen(
                left.floor() as i32 - 1,
                top.floor() as i32 - 1,
                (left + unit).ceil() as i32 + 1,
                (top + unit).ceil() as i32 + 1,
            );
            if !is_seen {
                continue;
            }
            let corner = |right: usize, down: usize| Corner {
                at: grid[(row + down) * warp.cols + col + right],
                texture: look.texture.place(left + right as f32 * unit, top + down as f32 * unit),
            };
            let [a, b, c, d] = [corner(0, 0), corner(1, 0), corner(0, 1), corner(1, 1)];
            draw_triangle(pixels, width, [a, b, c], look);
            draw_triangle(pixels, width, [b, d, c], look);
        }
    }
}

/// The outline of `shape` under the states' weights.
fn morph(shape: &Shape, states: &[f32], points: &mut Vec<[f32; 2]>) {
    points.clear();
    points.extend_from_slice(&shape.rest);
    for (state, offsets) in shape.states.iter().filter(|(state, _)| states[*state] != 0.0) {
        let weight = states[*state];
        for (point, offset) in points.iter_mut().zip(offsets) {
            point[0] += weight * offset[0];
            point[1] += weight * offset[1];
        }
    }
    if shape.is_cavity {
        close(points);
    }
}

/// Where the lower edge of a cavity is above its upper one, both meet halfway.
fn close(points: &mut [[f32; 2]]) {
    let count = points.len();
    for upper in 0..count / 2 {
        let lower = count - 1 - upper;
        if points[lower][1] < points[upper][1] {
            let middle = [0, 1].map(|i| f32::midpoint(points[lower][i], points[upper][i]));
            (points[lower], points[upper]) = (middle, middle);
        }
    }
}
