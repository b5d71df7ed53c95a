//! Schema of `rig.json`. Decides which keys are read; `rig` decides their meaning.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Piecewise linear function of y: rows of `[y, value]`, constant outside.
pub(super) type Table = Vec<[f32; 2]>;

/// Values by name.
pub(super) type ByName<T> = BTreeMap<String, T>;

#[derive(Deserialize)]
pub(super) struct RigFile {
    pub canvas: [f32; 2],
    /// The visible square: left, top, side. Default: the whole canvas.
    #[serde(default)]
    pub view: Option<[f32; 3]>,
    pub gaze: GazeFile,
    pub breath_px: f32,
    pub anchors: ByName<[f32; 2]>,
    pub layers: Vec<LayerFile>,
    pub shapes: ByName<ShapeFile>,
    pub params: ParamsFile,
    pub arkit: ByName<ByName<ByName<f32>>>,
    pub depth: DepthFile,
}

#[derive(Deserialize)]
pub(super) struct GazeFile {
    pub gx: f32,
    pub gy: f32,
}

#[derive(Deserialize)]
pub(super) struct LayerFile {
    pub id: String,
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub file: String,
    #[serde(default)]
    pub shapes: Vec<String>,
    pub depth: String,
    pub fx: Table,
    pub fy: Table,
    pub fr: Table,
    #[serde(default)]
    pub lag: Option<LagFile>,
    #[serde(default)]
    pub jaw: Option<JawFile>,
    #[serde(default)]
    pub clip: Option<String>,
    #[serde(default)]
    pub gaze: Option<LayerGazeFile>,
    #[serde(default = "opaque")]
    pub opacity: f32,
}

fn opaque() -> f32 {
    1.0
}

#[derive(Deserialize)]
pub(super) struct LagFile {
    pub px: f32,
    pub y0: f32,
    pub y1: f32,
    pub pow: f32,
    /// Periodic motion as a fraction of the full lag, and its period in seconds.
    #[serde(default)]
    pub sway: f32,
    #[serde(default = "some_seconds")]
    pub sway_s: f32,
}

fn some_seconds() -> f32 {
    4.0
}

#[derive(Deserialize)]
pub(super) struct JawFile {
    pub px: f32,
    pub y0: f32,
    pub y1: f32,
}

#[derive(Deserialize)]
pub(super) struct LayerGazeFile {
    pub eye: String,
    pub k: f32,
}

#[derive(Deserialize)]
pub(super) struct ShapeFile {
    pub group: String,
    pub fill: String,
    pub opacity: f32,
    pub clip: Option<String>,
    pub rest: Vec<f32>,
    pub states: ByName<Vec<f32>>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct ParamsFile {
    pub blink_keys: Vec<(f32, String)>,
    pub mouth_sum_max: f32,
    pub look_down_to_blink: f32,
    pub smile_eye: [f32; 3],
    pub iris_wide_scale: f32,
    pub close_to_mbp: f32,
    pub tongue_minus_jaw: f32,
}

#[derive(Deserialize)]
pub(super) struct DepthFile {
    pub step: f32,
    pub cols: usize,
    pub rows: usize,
    pub grids: ByName<Vec<f32>>,
}
