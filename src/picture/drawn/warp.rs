//! How a layer follows the head: depth gives parallax, tables say how much each height turns, nods and tilts.
//!
//! Formulas in canvas units, `x` and `y` from the top left; the rig's README in the pack gives them.

use super::format::{LayerFile, RigFile, Table};
use super::rig::{RigError, format_error};
use crate::picture::Pose;

/// Rows at which the tables are sampled: one for each two canvas units is finer than any of them.
const ROWS: usize = 512;

/// A layer's depth and tables.
#[derive(Debug)]
pub(super) struct LayerWarp {
    pub cols: usize,
    pub rows: usize,
    pub step: f32,
    depth: Vec<f32>,
    row_unit: f32,
    table: Vec<RowShares>,
}

/// What a height does.
#[derive(Clone, Copy, Debug)]
struct RowShares {
    turn: f32,
    nod: f32,
    tilt: f32,
    /// Pixels at full lag, and at an open jaw.
    lag: f32,
    jaw: f32,
}

/// The head at one moment, sines taken.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadTurn {
    sin_yaw: f32,
    cos_yaw_1: f32,
    sin_pitch: f32,
    cos_pitch_1: f32,
    roll: f32,
    lag: f32,
    jaw: f32,
    breath: f32,
    pivot: [f32; 2],
    middle: [f32; 2],
    canvas: f32,
}

impl HeadTurn {
    /// The head of `pose`; `jaw` 0 to 1, `breath` in canvas units at full breath.
    pub(super) fn new(pose: &Pose, jaw: f32, breath: f32, pivot: [f32; 2], canvas: f32) -> Self {
        let limit = |degrees: f32, most: f32| degrees.clamp(-most, most).to_radians();
        let (yaw, pitch) = (limit(pose.yaw_degrees, 12.0), limit(pose.pitch_degrees, 10.0));
        Self {
            sin_yaw: yaw.sin(),
            cos_yaw_1: yaw.cos() - 1.0,
            sin_pitch: pitch.sin(),
            cos_pitch_1: pitch.cos() - 1.0,
            roll: limit(pose.roll_degrees, 10.0),
            lag: pose.lag.clamp(-1.0, 1.0),
            jaw,
            breath: breath * pose.breath.clamp(0.0, 1.0),
            pivot,
            middle: [canvas * 0.5, canvas * 0.625],
            canvas,
        }
    }
}

impl LayerWarp {
    pub(super) fn new(rig: &RigFile, layer: &LayerFile) -> Result<Self, RigError> {
        let missing = || format_error(format!("the depth \"{}\" of layer {} is not there", layer.depth, layer.id));
        let depth = rig.depth.grids.get(&layer.depth).ok_or_else(missing)?.clone();
        let row_unit = rig.canvas[1] / (ROWS - 1) as f32;
        let row = |index: usize| {
            let y = index as f32 * row_unit;
            let lag = layer.lag.as_ref().map_or(0.0, |lag| lag.px * smoothstep(lag.y0, lag.y1, y).powf(lag.pow));
            let jaw = layer.jaw.as_ref().map_or(0.0, |jaw| jaw.px * smoothstep(jaw.y0, jaw.y1, y));
            RowShares { turn: look_up(&layer.fx, y), nod: look_up(&layer.fy, y), tilt: look_up(&layer.fr, y), lag, jaw }
        };
        let table = (0..ROWS).map(row).collect();
        Ok(Self { cols: rig.depth.cols, rows: rig.depth.rows, step: rig.depth.step, depth, row_unit, table })
    }

    /// Where the canvas point `(x, y)` of this layer goes.
    pub(super) fn place(&self, [x, y]: [f32; 2], head: &HeadTurn) -> [f32; 2] {
        let shares = self.shares(y);
        let depth = self.depth_at(x, y);
        let across =
            x + depth * head.sin_yaw + (x - head.middle[0]) * head.cos_yaw_1 * shares.turn + head.lag * shares.lag;
        let down = y
            + depth * head.sin_pitch * shares.nod
            + (y - head.middle[1]) * head.cos_pitch_1 * shares.nod
            + shares.jaw * head.jaw;
        let (sin, cos) = (head.roll * shares.tilt).sin_cos();
        let (dx, dy) = (across - head.pivot[0], down - head.pivot[1]);
        let tilted = [head.pivot[0] + dx * cos - dy * sin, head.pivot[1] + dx * sin + dy * cos];
        let high = if shares.tilt > 0.0 { y.min(head.middle[1]) } else { y };
        [tilted[0], tilted[1] - head.breath * (1.0 - high / head.canvas)]
    }

    fn shares(&self, y: f32) -> RowShares {
        let index = (y / self.row_unit).clamp(0.0, (ROWS - 1) as f32) as usize;
        self.table[index]
    }

    fn depth_at(&self, x: f32, y: f32) -> f32 {
        let u = (x / self.step).clamp(0.0, self.cols as f32 - 1.001);
        let v = (y / self.step).clamp(0.0, self.rows as f32 - 1.001);
        let (i, j) = (u as usize, v as usize);
        let (a, b) = (u - i as f32, v - j as f32);
        let at = |i: usize, j: usize| self.depth[j * self.cols + i];
        let upper = at(i, j) * (1.0 - a) + at(i + 1, j) * a;
        let lower = at(i, j + 1) * (1.0 - a) + at(i + 1, j + 1) * a;
        upper * (1.0 - b) + lower * b
    }
}

/// 0 at `from`, 1 at `to`, smooth between; the ends may be in either order.
pub(super) fn smoothstep(from: f32, to: f32, x: f32) -> f32 {
    let share = ((x - from) / (to - from)).clamp(0.0, 1.0);
    if share.is_nan() { 0.0 } else { share * share * (3.0 - 2.0 * share) }
}

fn look_up(table: &Table, y: f32) -> f32 {
    let Some(after) = table.iter().position(|[at, _]| *at >= y) else {
        return table.last().map_or(0.0, |[_, value]| *value);
    };
    let [end, to] = table[after];
    let Some([start, from]) = after.checked_sub(1).map(|before| table[before]) else { return to };
    from + (to - from) * ((y - start) / (end - start).max(1e-6))
}
