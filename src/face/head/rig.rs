//! Schema of `rig.json` of a head.
//!
//! Decides the structure of the file and the limits of its values. Reads neither images nor the mesh.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::HeadError;
use super::camera::{Camera, Mat3, Vec3};
use crate::face::arkit_index;

/// Maximum number of key poses (a bit each in one word).
pub const MAX_KEYS: usize = 32;
/// Rows and columns of the hair depth grids.
pub const DEPTH_CELLS: usize = 20;

/// Left, top, right, bottom in canvas pixels.
pub type CanvasBox = [i32; 4];

/// The whole file.
#[derive(Debug, Deserialize)]
pub struct Rig {
    /// Side of the canvas in pixels.
    pub canvas: u32,
    pub camera: CameraEntry,
    pub turn: TurnEntry,
    /// Names of the blend shapes, in the order of all deltas.
    pub shapes: Vec<String>,
    pub keys: Vec<KeyEntry>,
    /// Key family of each masked region of the skin.
    pub regions: BTreeMap<String, String>,
    pub plates: Plates,
    pub hair_depth: HairDepth,
    pub eyes: EyesEntry,
    pub interior: InteriorEntry,
    /// Brightness of teeth and tongue for each mouth key; `None` where the mouth is closed.
    #[serde(default)]
    pub gains: BTreeMap<String, Option<f32>>,
    /// Colours of the background's centre and edge, sRGB 0 to 1.
    pub background: [[f32; 3]; 2],
    pub grade: Grade,
    /// Scale of the int16 deltas of each part.
    pub delta_scale: BTreeMap<String, f32>,
    /// Scale of the int16 texture coordinates.
    pub uv_scale: f32,
    /// Table of contents of `mesh.bin`.
    pub mesh: Vec<ArrayEntry>,
}

#[derive(Debug, Deserialize)]
pub struct CameraEntry {
    pub focal_px: f32,
    pub world_to_camera: Mat3,
}

#[derive(Debug, Deserialize)]
pub struct TurnEntry {
    pub pivot: Vec3,
}

/// A key pose: rendered offline.
#[derive(Debug, Deserialize)]
pub struct KeyEntry {
    pub region: String,
    pub name: String,
    pub image: String,
    #[serde(default)]
    pub weights: BTreeMap<String, f32>,
    /// Degrees; for keys of a turned head only.
    #[serde(default)]
    pub yaw: Option<f32>,
}

#[derive(Debug, Deserialize)]
pub struct Plates {
    pub body: Option<PlateEntry>,
    pub bodyfull: Option<PlateEntry>,
    pub hairback: Option<PlateEntry>,
    pub hairfront: Option<PlateEntry>,
}

#[derive(Debug, Deserialize)]
pub struct PlateEntry {
    pub image: String,
    #[serde(rename = "box")]
    pub bounds: CanvasBox,
}

/// Depth of the hair plates over the canvas, row by row.
#[derive(Debug, Deserialize)]
pub struct HairDepth {
    pub front: Vec<Vec<f32>>,
    pub back: Vec<Vec<f32>>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct EyesEntry {
    #[serde(rename = "box")]
    pub bounds: CanvasBox,
    pub sclera: String,
    pub iris: String,
    pub glint: String,
    /// The subject's left, then right.
    pub center: [Vec3; 2],
    pub radius: f32,
    pub iris_radius: f32,
    /// Brightness of the sclera where the iris was rendered.
    pub iris_ref: f32,
    /// Downward rotation of the eye by a closing lid, in radians.
    #[serde(default)]
    pub blink_pitch: f32,
}

#[derive(Debug, Deserialize)]
pub struct InteriorEntry {
    pub image: String,
    #[serde(default)]
    pub tongue: Option<String>,
}

#[derive(Debug, Deserialize)]
pub struct Grade {
    pub saturation: f32,
}

/// Entry of the table of contents of `mesh.bin`.
#[derive(Debug, Deserialize)]
pub struct ArrayEntry {
    pub name: String,
    /// numpy dtype, little endian.
    pub dtype: String,
    pub shape: Vec<usize>,
    /// Offset in bytes.
    pub offset: usize,
}

impl Rig {
    /// Reads and checks the file.
    pub fn parse(json: &[u8]) -> Result<Self, HeadError> {
        let rig: Self = serde_json::from_slice(json).map_err(|error| HeadError::rig(error.to_string()))?;
        rig.check_keys()?;
        rig.check_numbers()?;
        Ok(rig)
    }

    /// The camera of the canvas.
    pub fn camera(&self) -> Camera {
        Camera {
            focal: self.camera.focal_px,
            half: self.canvas as f32 / 2.0,
            basis: self.camera.world_to_camera,
            pivot: self.turn.pivot,
        }
    }

    fn check_keys(&self) -> Result<(), HeadError> {
        if self.keys.first().is_none_or(|key| key.region != "neutral") {
            return Err(HeadError::rig("the first key is not neutral"));
        }
        if self.keys.len() > MAX_KEYS || self.regions.len() > 8 || self.shapes.len() > 256 {
            return Err(HeadError::rig("more than 32 keys, 8 regions or 256 shapes"));
        }
        let named = self.keys.iter().flat_map(|key| key.weights.keys());
        match self.shapes.iter().chain(named).find(|name| arkit_index(name).is_none()) {
            Some(name) => Err(HeadError::rig(format!("unknown shape {name}"))),
            None => Ok(()),
        }
    }

    fn check_numbers(&self) -> Result<(), HeadError> {
        let within = |value: f32, low: f32, high: f32| (low..=high).contains(&value);
        let wanted = [
            ("canvas", within(self.canvas as f32, 64.0, 2048.0)),
            ("camera.focal_px", within(self.camera.focal_px, 1.0, 1e5)),
            ("uv_scale", within(self.uv_scale, 1e-4, 1.0)),
            ("grade.saturation", within(self.grade.saturation, 0.0, 4.0)),
            ("eyes.radius", within(self.eyes.radius, 1e-3, 10.0)),
            ("eyes.iris_radius", within(self.eyes.iris_radius, 0.0, self.eyes.radius * 0.9)),
            ("eyes.center", self.eyes.center.iter().all(|eye| eye[2] > 0.5)),
            ("hair_depth", [&self.hair_depth.front, &self.hair_depth.back].into_iter().all(|grid| is_depth_grid(grid))),
            ("turn.pivot", self.turn.pivot.iter().all(|value| value.abs() < 1e3)),
            ("keys.yaw", self.keys.iter().filter_map(|key| key.yaw).all(|yaw| within(yaw.abs(), 0.5, 90.0))),
        ];
        match wanted.iter().find(|(_, is_sound)| !is_sound) {
            Some((name, _)) => Err(HeadError::rig(format!("{name} is out of range"))),
            None => Ok(()),
        }
    }
}

fn is_depth_grid(grid: &[Vec<f32>]) -> bool {
    let side = DEPTH_CELLS + 1;
    grid.len() == side && grid.iter().all(|row| row.len() == side && row.iter().all(|z| (0.5..1e3).contains(z)))
}
