//! Warp of a layer by the head's rotation: depth gives parallax; tables over the height scale yaw, pitch and roll.
//!
//! In canvas units from the top left, with D the layer's depth at (x, y):
//! x' = x + D sin(yaw) + (x - 1/2) (cos(yaw) - 1) fx(y) + lag(y);
//! y' = y + D sin(pitch) fy(y) + (y - 5/8) (cos(pitch) - 1) fy(y) + jaw(y);
//! then a rotation by roll fr(y) about the pivot; then the breath's lift, which decreases downwards. 1/2 and 5/8 are fractions of
//! the canvas.

use super::error::{RigError, format_error};
use super::format::{LagFile, LayerFile, RigFile, Table};
use crate::face::Pose;

/// Rows at which the tables are sampled, over the canvas and an eighth of it above and below; linear interpolation between them.
const ROWS: usize = 161;
const ABOVE: f32 = 16.0;
const ROWS_PER_CANVAS: f32 = 128.0;

/// Limits of yaw, pitch and roll in degrees: the range for which avatars are drawn, and some more.
const DEGREES_MAX: [f32; 3] = [14.0, 12.0, 12.0];

/// Yaw, pitch and roll factors over the height. Layers with equal tables share them.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct HeightTables {
    turn: Table,
    nod: Table,
    tilt: Table,
}

/// A layer's depth and tables.
#[derive(Debug)]
pub(super) struct LayerWarp {
    depth: Depth,
    /// Index of its height tables.
    tables: usize,
    /// Displacement at full lag by row, in canvas units; and the periodic motion.
    lag: Option<(Vec<f32>, Sway)>,
    /// Displacement at an open jaw by row, in canvas units.
    jaw: Option<Vec<f32>>,
}

#[derive(Debug)]
struct Sway {
    share: f32,
    period_s: f32,
}

/// Depth map in canvas units.
#[derive(Clone, Debug)]
struct Depth {
    cols: usize,
    rows: usize,
    per_unit: f32,
    values: Vec<f32>,
}

/// The head's pose, evaluated for each set of height tables.
#[derive(Clone, Debug, Default)]
pub(super) struct PosedHead {
    sin_yaw: f32,
    rows: Vec<Vec<Row>>,
    lag: f32,
    jaw: f32,
    seconds: f32,
    pivot: [f32; 2],
    canvas: f32,
}

/// Factors of one row.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    /// (cos(yaw) - 1) fx
    turn: f32,
    /// sin(pitch) fy
    nod: f32,
    /// (cos(pitch) - 1) fy
    squash: f32,
    cos: f32,
    sin: f32,
    breath: f32,
}

/// The warp of one layer for the current pose.
#[derive(Clone, Copy, Debug)]
pub(super) struct PosedWarp<'a> {
    warp: &'a LayerWarp,
    rows: &'a [Row],
    lag: f32,
    jaw: f32,
    sin_yaw: f32,
    pivot: [f32; 2],
    canvas: f32,
}

/// A warped point, and the approximate inverse of the warp's derivative there.
#[derive(Clone, Copy, Debug)]
pub(super) struct WarpedPoint {
    pub at: [f32; 2],
    cos: f32,
    sin: f32,
    /// Vertical stretch by the jaw.
    stretch: f32,
}

impl WarpedPoint {
    /// Step on the layer that moves the warped point by about `error` (one Newton step).
    #[inline]
    pub(super) fn undo(&self, error: [f32; 2]) -> [f32; 2] {
        [error[0] * self.cos + error[1] * self.sin, (error[1] * self.cos - error[0] * self.sin) / self.stretch]
    }
}

impl PosedHead {
    /// Evaluates `pose`. `jaw` is 0 to 1.
    pub(super) fn set_pose(&mut self, height_tables: &[HeightTables], pose: &Pose, jaw: f32, frame: &HeadFrame) {
        let angles = [pose.yaw_degrees, pose.pitch_degrees, pose.roll_degrees];
        let [yaw, pitch, roll] = [0, 1, 2].map(|axis| within(angles[axis], DEGREES_MAX[axis]).to_radians());
        self.sin_yaw = yaw.sin();
        self.lag = within(pose.lag, 1.2);
        self.jaw = within(jaw, 1.0).max(0.0);
        self.seconds = within(pose.seconds, 1e7);
        (self.pivot, self.canvas) = (frame.pivot, frame.canvas);
        let breath = frame.breath * within(pose.breath, 1.0).max(0.0);
        self.rows.resize(height_tables.len(), Vec::new());
        for (tables, rows) in height_tables.iter().zip(&mut self.rows) {
            rows.clear();
            rows.extend(
                (0..ROWS).map(|index| tables.row(height(index, frame.canvas), [yaw, pitch, roll], breath, frame)),
            );
        }
    }

    /// The warp of one layer.
    pub(super) fn posed_warp<'a>(&'a self, warp: &'a LayerWarp) -> PosedWarp<'a> {
        let sway = warp.lag.as_ref().map_or(0.0, |(_, sway)| sway.at(self.seconds));
        PosedWarp {
            warp,
            rows: &self.rows[warp.tables],
            lag: self.lag + sway,
            jaw: self.jaw,
            sin_yaw: self.sin_yaw,
            pivot: self.pivot,
            canvas: self.canvas,
        }
    }
}

/// Constants of a rig's head.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadFrame {
    pub breath: f32,
    pub pivot: [f32; 2],
    pub canvas: f32,
}

impl HeightTables {
    fn row(&self, y: f32, [yaw, pitch, roll]: [f32; 3], breath: f32, frame: &HeadFrame) -> Row {
        let (nod, tilt) = (look_up(&self.nod, y), look_up(&self.tilt, y));
        let (sin, cos) = (roll * tilt).sin_cos();
        // The whole head is lifted as its lower edge is: breath does not compress it.
        let lifted_at = if tilt > 0.0 { y.min(frame.canvas * 0.625) } else { y };
        Row {
            turn: (yaw.cos() - 1.0) * look_up(&self.turn, y),
            nod: pitch.sin() * nod,
            squash: (pitch.cos() - 1.0) * nod,
            cos,
            sin,
            breath: breath * (1.0 - lifted_at / frame.canvas),
        }
    }
}

impl Sway {
    fn at(&self, seconds: f32) -> f32 {
        self.share * (seconds / self.period_s * std::f32::consts::TAU).sin()
    }
}

impl PosedWarp<'_> {
    /// Whether it varies quickly between neighbouring points.
    pub(super) fn varies_quickly(&self) -> bool {
        self.warp.jaw.is_some() && self.jaw > 0.0
    }

    /// Warps the point (x, y) of the layer.
    #[inline]
    pub(super) fn apply(&self, [x, y]: [f32; 2]) -> WarpedPoint {
        let row = (y / self.canvas * ROWS_PER_CANVAS + ABOVE).clamp(0.0, ROWS as f32 - 1.001);
        let index = row as i32 as usize;
        let share = row - index as f32;
        let [above, below] = [self.rows[index], self.rows[index + 1]];
        let between = |from: f32, to: f32| from + (to - from) * share;
        let depth = self.warp.depth.at(x, y);
        let mut across = x + depth * self.sin_yaw + (x - self.canvas * 0.5) * between(above.turn, below.turn);
        let mut down =
            y + depth * between(above.nod, below.nod) + (y - self.canvas * 0.625) * between(above.squash, below.squash);
        if let Some((lag, _)) = &self.warp.lag {
            across += self.lag * between(lag[index], lag[index + 1]);
        }
        let mut stretch = 1.0;
        if let Some(jaw) = &self.warp.jaw {
            down += self.jaw * between(jaw[index], jaw[index + 1]);
            stretch += (self.jaw * (jaw[index + 1] - jaw[index]) * ROWS_PER_CANVAS / self.canvas).max(0.0);
        }
        let (cos, sin) = (between(above.cos, below.cos), between(above.sin, below.sin));
        let (dx, dy) = (across - self.pivot[0], down - self.pivot[1]);
        let lift = between(above.breath, below.breath);
        let at = [self.pivot[0] + dx * cos - dy * sin, self.pivot[1] + dx * sin + dy * cos - lift];
        WarpedPoint { at, cos, sin, stretch }
    }
}

impl LayerWarp {
    /// Reads a layer's warp. Height tables that are not known yet are appended.
    pub(super) fn new(
        rig: &RigFile,
        layer: &LayerFile,
        height_tables: &mut Vec<HeightTables>,
    ) -> Result<Self, RigError> {
        let missing = || format_error(format!("no depth \"{}\" for layer {}", layer.depth, layer.id));
        let values = rig.depth.grids.get(&layer.depth).ok_or_else(missing)?.clone();
        let tables = HeightTables { turn: layer.fx.clone(), nod: layer.fy.clone(), tilt: layer.fr.clone() };
        let known = height_tables.iter().position(|known| *known == tables);
        let tables = known.unwrap_or_else(|| {
            height_tables.push(tables);
            height_tables.len() - 1
        });
        let canvas = rig.canvas[0];
        let by_height = |of: &dyn Fn(f32) -> f32| (0..ROWS).map(|index| of(height(index, canvas))).collect::<Vec<_>>();
        let lag = layer.lag.as_ref().map(|lag| (by_height(&|y| lag_at(lag, y)), lag.sway()));
        let jaw = layer.jaw.as_ref().map(|jaw| by_height(&|y| jaw.px * smoothstep(jaw.y0, jaw.y1, y)));
        let depth = Depth { cols: rig.depth.cols, rows: rig.depth.rows, per_unit: 1.0 / rig.depth.step, values };
        Ok(Self { depth, tables, lag, jaw })
    }
}

impl LagFile {
    fn sway(&self) -> Sway {
        Sway { share: self.sway, period_s: self.sway_s }
    }
}

impl Depth {
    /// Depth at a point, by bilinear interpolation; the border value outside the grid.
    #[inline]
    fn at(&self, x: f32, y: f32) -> f32 {
        let u = (x * self.per_unit).clamp(0.0, self.cols as f32 - 1.001);
        let v = (y * self.per_unit).clamp(0.0, self.rows as f32 - 1.001);
        let (col, row) = (u as i32, v as i32);
        let first = row as usize * self.cols + col as usize;
        let Some(square) = self.values.get(first..first + self.cols + 2) else { return 0.0 };
        let (right, down) = (u - col as f32, v - row as f32);
        let upper = square[0] + (square[1] - square[0]) * right;
        let lower = square[self.cols] + (square[self.cols + 1] - square[self.cols]) * right;
        upper + (lower - upper) * down
    }
}

fn height(index: usize, canvas: f32) -> f32 {
    (index as f32 - ABOVE) * canvas / ROWS_PER_CANVAS
}

fn lag_at(lag: &LagFile, y: f32) -> f32 {
    lag.px * smoothstep(lag.y0, lag.y1, y).powf(lag.pow)
}

/// `value` clamped to +-`most`; 0 for NaN.
pub(super) fn within(value: f32, most: f32) -> f32 {
    if value.is_nan() { 0.0 } else { value.clamp(-most, most) }
}

/// Smoothstep from 0 at `from` to 1 at `to`; the ends may be in either order.
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
