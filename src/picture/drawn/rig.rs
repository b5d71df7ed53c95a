//! A drawn character made ready: checked, its layers rasterised, its names turned into numbers.
//!
//! Decides what a damaged rig is. Immutable afterwards and shared by all sessions.

use std::collections::BTreeMap;

use resvg::{tiny_skia, usvg};
use thiserror::Error;

use super::format::{LayerFile, RigFile, ShapeFile};
use super::states::StateTable;
use super::warp::LayerWarp;
use crate::picture::raster::Texture;

/// Why a rig cannot be used.
#[derive(Debug, Error)]
pub enum RigError {
    /// A file is missing.
    #[error("wanted the file {path}, found none")]
    Missing {
        /// Its path inside the avatar's folder.
        path: String,
    },
    /// `rig.json` is no rig.
    #[error("wanted a rig in rig.json, found: {found}")]
    Format {
        /// What was wrong.
        found: String,
    },
    /// A layer's drawing cannot be read.
    #[error("wanted a drawing in {path}, found: {found}")]
    Drawing {
        /// The layer's file.
        path: String,
        /// What was wrong.
        found: String,
    },
}

/// Sides that a rig can be made for, in pixels.
const SIDES: std::ops::RangeInclusive<u32> = 64..=2048;
const MOST_POINTS: usize = 4096;
const MOST_GRID: usize = 129;

/// A drawn character, made for pictures of one size.
#[derive(Debug)]
pub struct Rig {
    /// Canvas units to pixels.
    pub(super) scale: f32,
    pub(super) side_px: u32,
    pub(super) background: [u8; 4],
    pub(super) layers: Vec<Layer>,
    pub(super) shapes: Vec<Shape>,
    pub(super) states: StateTable,
    pub(super) gaze: [f32; 2],
    pub(super) breath: f32,
    pub(super) pivot: [f32; 2],
    pub(super) iris_anchors: [[f32; 2]; 2],
}

/// One layer, back to front.
#[derive(Debug)]
pub(super) struct Layer {
    pub warp: LayerWarp,
    /// 0 to 256.
    pub opacity: u32,
    pub art: Art,
}

/// What a layer shows.
#[derive(Debug)]
pub(super) enum Art {
    /// A rasterised drawing, cut by a shape where one is named; eye 0 is the subject's left.
    Drawing { texture: Texture, clip: Option<usize>, gaze: Option<(usize, f32)> },
    /// Shapes that change.
    Shapes(Vec<usize>),
}

/// An outline that changes with the states of its group.
#[derive(Debug)]
pub(super) struct Shape {
    pub colour: [u8; 3],
    /// 0 to 256.
    pub opacity: u32,
    pub clip: Option<usize>,
    pub rest: Vec<[f32; 2]>,
    /// For each state that moves it: its number and the points' offsets.
    pub states: Vec<(usize, Vec<[f32; 2]>)>,
    /// Whether crossing edges close up, as lips do.
    pub is_cavity: bool,
    /// The warp of the layer that draws it (the first one that names it).
    pub layer: usize,
}

impl Rig {
    /// Reads `rig.json` and the drawings it names from `files`, for square pictures of `side_px` pixels on `background`.
    ///
    /// # Errors
    /// If a file is missing or damaged.
    pub fn load<'a>(
        files: &dyn Fn(&str) -> Option<&'a [u8]>,
        side_px: u32,
        background: [u8; 3],
    ) -> Result<Self, RigError> {
        let side_px = side_px.clamp(*SIDES.start(), *SIDES.end());
        let bytes = wanted(files, "rig.json")?;
        let file: RigFile = serde_json::from_slice(bytes).map_err(|error| format_error(error.to_string()))?;
        check(&file)?;
        let scale = side_px as f32 / file.canvas[0];
        let names: Vec<&String> = file.shapes.keys().collect();
        let number = |name: &str| {
            let found = names.iter().position(|known| *known == name);
            found.ok_or_else(|| format_error(format!("a shape called \"{name}\" that is not there")))
        };
        let states = StateTable::new(&file)?;
        let layers = file.layers.iter().map(|layer| read_layer(files, &file, layer, side_px, &number));
        let layers = layers.collect::<Result<Vec<_>, _>>()?;
        let shapes = file.shapes.iter().map(|(name, shape)| read_shape(name, shape, &states, &number, &layers, &names));
        let shapes = shapes.collect::<Result<Vec<_>, _>>()?;
        let anchor = |name: &str| file.anchors.get(name).copied().unwrap_or([file.canvas[0] / 2.0; 2]);
        let [r, g, b] = background;
        Ok(Self {
            scale,
            side_px,
            background: [r, g, b, 255],
            layers: layers.into_iter().flatten().collect(),
            shapes,
            states,
            gaze: [file.gaze.gx, file.gaze.gy],
            breath: file.breath_px,
            pivot: anchor("neck_pivot"),
            iris_anchors: [anchor("iris_L"), anchor("iris_R")],
        })
    }

    /// Side of the pictures it was made for, in pixels.
    #[must_use]
    pub fn side_px(&self) -> u32 {
        self.side_px
    }
}

pub(super) fn format_error(found: String) -> RigError {
    RigError::Format { found }
}

fn wanted<'a>(files: &dyn Fn(&str) -> Option<&'a [u8]>, path: &str) -> Result<&'a [u8], RigError> {
    files(path).ok_or_else(|| RigError::Missing { path: path.to_owned() })
}

fn check(file: &RigFile) -> Result<(), RigError> {
    let wrong = |what: &str| Err(format_error(what.to_owned()));
    if !(64.0..=8192.0).contains(&file.canvas[0]) || (file.canvas[0] - file.canvas[1]).abs() > 0.5 {
        return wrong("a canvas that is not a square of 64 to 8192");
    }
    let grid = &file.depth;
    if !(2..=MOST_GRID).contains(&grid.cols)
        || !(2..=MOST_GRID).contains(&grid.rows)
        || !(1.0..=1024.0).contains(&grid.step)
    {
        return wrong("a depth grid of impossible size");
    }
    if grid.grids.values().any(|values| values.len() != grid.cols * grid.rows) {
        return wrong("a depth grid with too few or too many values");
    }
    if file.params.blink_keys.len() != 3 {
        return wrong("other than three blink keys");
    }
    Ok(())
}

/// A layer; none if its drawing shows nothing.
fn read_layer<'a>(
    files: &dyn Fn(&str) -> Option<&'a [u8]>,
    rig: &RigFile,
    layer: &LayerFile,
    side_px: u32,
    number: &dyn Fn(&str) -> Result<usize, RigError>,
) -> Result<Option<Layer>, RigError> {
    let warp = LayerWarp::new(rig, layer)?;
    let opacity = opacity(layer.opacity);
    if layer.kind == "shapes" {
        let shapes = layer.shapes.iter().map(|name| number(name)).collect::<Result<_, _>>()?;
        return Ok(Some(Layer { warp, opacity, art: Art::Shapes(shapes) }));
    }
    let Some(texture) = rasterise(wanted(files, &layer.file)?, &layer.file, side_px)? else { return Ok(None) };
    let clip = layer.clip.as_deref().map(number).transpose()?;
    let gaze = layer.gaze.as_ref().map(|gaze| (usize::from(gaze.eye != "L"), gaze.k));
    Ok(Some(Layer { warp, opacity, art: Art::Drawing { texture, clip, gaze } }))
}

fn rasterise(svg: &[u8], path: &str, side_px: u32) -> Result<Option<Texture>, RigError> {
    let wrong = |found: String| RigError::Drawing { path: path.to_owned(), found };
    let tree = usvg::Tree::from_data(svg, &usvg::Options::default()).map_err(|error| wrong(error.to_string()))?;
    let size = tree.size();
    let mut canvas = tiny_skia::Pixmap::new(side_px, side_px).ok_or_else(|| wrong("no room to draw it".to_owned()))?;
    let scale = tiny_skia::Transform::from_scale(side_px as f32 / size.width(), side_px as f32 / size.height());
    resvg::render(&tree, scale, &mut canvas.as_mut());
    Ok(Texture::cut(canvas.data().as_chunks::<4>().0, side_px as usize))
}

fn read_shape(
    name: &str,
    shape: &ShapeFile,
    states: &StateTable,
    number: &dyn Fn(&str) -> Result<usize, RigError>,
    layers: &[Option<Layer>],
    names: &[&String],
) -> Result<Shape, RigError> {
    let rest = points(name, &shape.rest)?;
    let mut moved = Vec::new();
    for (state, at) in &shape.states {
        let at = points(name, at)?;
        if at.len() != rest.len() {
            return Err(format_error(format!(
                "{} points in state {state} of {name}, {} at rest",
                at.len(),
                rest.len()
            )));
        }
        let offsets = at.iter().zip(&rest).map(|(at, rest)| [at[0] - rest[0], at[1] - rest[1]]).collect();
        moved.extend(states.number(&shape.group, state).map(|state| (state, offsets)));
    }
    let own = names.iter().position(|known| *known == name);
    let draws =
        |layer: &Layer| matches!(&layer.art, Art::Shapes(shapes) if shapes.iter().any(|shape| Some(*shape) == own));
    Ok(Shape {
        colour: colour(name, &shape.fill)?,
        opacity: opacity(shape.opacity),
        clip: shape.clip.as_deref().map(number).transpose()?,
        is_cavity: name.ends_with("cavity"),
        layer: layers.iter().flatten().position(draws).unwrap_or(0),
        rest,
        states: moved,
    })
}

fn points(name: &str, flat: &[f32]) -> Result<Vec<[f32; 2]>, RigError> {
    let (pairs, odd) = flat.as_chunks::<2>();
    if !odd.is_empty() || pairs.len() < 4 || pairs.len() > MOST_POINTS {
        return Err(format_error(format!("{} numbers as points of {name}", flat.len())));
    }
    Ok(pairs.to_vec())
}

fn colour(name: &str, text: &str) -> Result<[u8; 3], RigError> {
    let wrong = || format_error(format!("the colour \"{text}\" of {name} instead of #rrggbb"));
    let hex = text.strip_prefix('#').filter(|hex| hex.len() == 6).ok_or_else(wrong)?;
    let value = u32::from_str_radix(hex, 16).map_err(|_not_hex| wrong())?;
    Ok([(value >> 16) as u8, (value >> 8) as u8, value as u8])
}

fn opacity(share: f32) -> u32 {
    (share.clamp(0.0, 1.0) * 256.0) as u32
}

/// Values by name, for tables of the rig.
pub(super) type ByName<T> = BTreeMap<String, T>;
