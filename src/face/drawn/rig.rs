//! A loaded drawn avatar: validated, layers rasterised, names resolved to indices.
//!
//! Decides what a damaged rig is. Immutable once loaded, and shared by all sessions.

use super::art::{Art, Canvas};
use super::check::check;
use super::error::{RigError, format_error};
use super::format::{LayerFile, RigFile};
use super::parameters::ParameterTable;
use super::shape::Shape;
use super::warp::{HeadFrame, HeightTables, LayerWarp};

/// Output resolutions, in pixels.
const SIDES: std::ops::RangeInclusive<u32> = 64..=2048;

/// A drawn avatar, rasterised for one output resolution. Other resolutions work with lower quality.
#[derive(Debug)]
pub struct Rig {
    pub(super) background: [u8; 4],
    /// The visible square of the canvas: left, top, side.
    pub(super) view: [f32; 3],
    pub(super) head: HeadFrame,
    pub(super) layers: Vec<Layer>,
    pub(super) height_tables: Vec<HeightTables>,
    pub(super) shapes: Vec<Shape>,
    /// Shapes that clip others, and the layers that draw them.
    pub(super) stencils: Vec<Stencil>,
    pub(super) states: ParameterTable,
}

/// A layer; the rig lists them from back to front.
#[derive(Debug)]
pub(super) struct Layer {
    pub warp: LayerWarp,
    pub content: LayerContent,
}

/// Content of a layer.
#[derive(Debug)]
pub(super) enum LayerContent {
    /// A rasterised drawing.
    Drawing(Drawing),
    /// Indices of vector shapes, and an opacity of 0 to 256.
    Shapes(Vec<usize>, u32),
}

/// A drawing, optionally clipped by a stencil and moved by the gaze.
#[derive(Debug)]
pub(super) struct Drawing {
    pub art: Art,
    /// Index into [`Rig::stencils`].
    pub stencil: Option<usize>,
    /// The eye (0: the subject's left) and the fraction of its motion that the drawing takes.
    pub gaze: Option<(usize, f32)>,
}

/// A shape that clips others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Stencil {
    pub shape: usize,
    pub layer: usize,
}

/// Files of an avatar's folder, by path.
type Files<'a, 'b> = &'b dyn Fn(&str) -> Option<&'a [u8]>;

impl Rig {
    /// Memory of its rasterised drawings, which is nearly all that it takes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        let size = |layer: &Layer| match &layer.content {
            LayerContent::Drawing(drawing) => drawing.art.size_bytes(),
            LayerContent::Shapes(..) => 0,
        };
        self.layers.iter().map(size).sum()
    }

    /// Reads `rig.json` and the drawings that it names from `files`, for square output of `side_px` pixels (64 to 2048) on
    /// `background`.
    ///
    /// # Errors
    /// If a file is missing or damaged.
    pub fn load(files: Files<'_, '_>, side_px: u32, background: [u8; 3]) -> Result<Self, RigError> {
        let bytes = wanted_file(files, "rig.json")?;
        let file: RigFile = serde_json::from_slice(bytes).map_err(|error| format_error(error.to_string()))?;
        check(&file)?;
        let side_px = side_px.clamp(*SIDES.start(), *SIDES.end());
        let side = file.canvas[0];
        let view = file.view.unwrap_or([0.0, 0.0, side]);
        let [r, g, b] = background;
        let states = ParameterTable::new(&file)?;
        let mut names = ShapeIndex::new(&file);
        let shapes =
            file.shapes.iter().map(|(name, shape)| Shape::read(name, shape, &states, &|name| names.shape(name)));
        let shapes = shapes.collect::<Result<Vec<_>, _>>()?;
        shapes.iter().filter_map(|shape| shape.clip).for_each(|clip| names.cut_by(clip));
        let mut height_tables = Vec::new();
        let canvas = Canvas { side, pixels: side_px as f32 / view[2] };
        let mut layers = Vec::new();
        for layer in &file.layers {
            let warp = LayerWarp::new(&file, layer, &mut height_tables)?;
            layers.push(Layer { warp, content: read_content(files, layer, canvas, &mut names)? });
        }
        let pivot = file.anchors.get("neck_pivot").copied().unwrap_or([side * 0.5, side * 0.7]);
        Ok(Self {
            background: [r, g, b, 255],
            view,
            head: HeadFrame { breath: file.breath_px, pivot, canvas: side },
            layers,
            height_tables,
            shapes,
            stencils: names.stencils(),
            states,
        })
    }
}

/// Indices of shapes by name, and which shapes clip others.
struct ShapeIndex<'a> {
    shapes: Vec<&'a str>,
    /// For each shape, the first layer that draws it.
    drawn_by: Vec<Option<usize>>,
    cutting: Vec<usize>,
}

impl<'a> ShapeIndex<'a> {
    fn new(file: &'a RigFile) -> Self {
        let shapes: Vec<&str> = file.shapes.keys().map(String::as_str).collect();
        let drawn = |name: &str| file.layers.iter().position(|layer| layer.shapes.iter().any(|shape| shape == name));
        let drawn_by = shapes.iter().map(|name| drawn(name)).collect();
        Self { shapes, drawn_by, cutting: Vec::new() }
    }

    fn shape(&self, name: &str) -> Result<usize, RigError> {
        let found = self.shapes.binary_search(&name);
        found.map_err(|_place| format_error(format!("unknown shape \"{name}\"")))
    }

    fn cut_by(&mut self, shape: usize) {
        if !self.cutting.contains(&shape) {
            self.cutting.push(shape);
        }
    }

    fn stencils(&self) -> Vec<Stencil> {
        let layer = |shape: usize| self.drawn_by[shape].unwrap_or(0);
        self.cutting.iter().map(|&shape| Stencil { shape, layer: layer(shape) }).collect()
    }
}

fn read_content(
    files: Files<'_, '_>,
    layer: &LayerFile,
    canvas: Canvas,
    names: &mut ShapeIndex<'_>,
) -> Result<LayerContent, RigError> {
    let opacity = (layer.opacity * 256.0).round() as u32;
    if layer.kind == "shapes" {
        let shapes = layer.shapes.iter().map(|name| names.shape(name)).collect::<Result<_, _>>()?;
        return Ok(LayerContent::Shapes(shapes, opacity));
    }
    let art = Art::rasterise(wanted_file(files, &layer.file)?, &layer.file, canvas, opacity)?;
    let clip = layer.clip.as_deref().map(|name| names.shape(name)).transpose()?;
    let stencil = clip.map(|shape| {
        names.cut_by(shape);
        names.cutting.iter().position(|cutting| *cutting == shape).unwrap_or(0)
    });
    let gaze = layer.gaze.as_ref().map(|gaze| (usize::from(gaze.eye != "L"), gaze.k));
    // An empty drawing becomes a layer without shapes.
    Ok(art.map_or(LayerContent::Shapes(Vec::new(), 0), |art| LayerContent::Drawing(Drawing { art, stencil, gaze })))
}

fn wanted_file<'a>(files: Files<'a, '_>, path: &str) -> Result<&'a [u8], RigError> {
    files(path).ok_or_else(|| RigError::Missing { path: path.to_owned() })
}
