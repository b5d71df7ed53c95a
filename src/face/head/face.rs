//! Renderer of a head for one session: buffers, and the order in which a frame is drawn.
//!
//! Background, back hair, body; then skin, eyes and mouth (depth tested, edges anti-aliased); then lashes, collar, front hair.

use std::sync::Arc;

use super::backdrop::Backdrop;
use super::camera::{HeadTurn, Mat3, Vec3};
use super::edge_aa::Silhouettes;
use super::eyes::{Eye, Eyes};
use super::front_hair::FrontHair;
use super::key_weights::VertexLayers;
use super::lashes::Lashes;
use super::model::{HeadModel, MouthMaterial, MouthPart};
use super::resolve::Resolve;
use super::skin::Facets;
use super::texture::blend_over;
use super::triangle_setup::BarycentricPlanes;
use super::visibility::{Corner, EMPTY, INTERIOR_BIT, VisibilityBuffer};
use crate::face::raster::Occlusion;
use crate::face::{Face, Pose, Surface};

const MAX_YAW: f32 = 7.0;
const MAX_PITCH: f32 = 4.0;
const MAX_ROLL: f32 = 5.0;
/// Depth bias of eyes and teeth: the mesh of lids and lips is coarse and would let them through.
const EYES_DEPTH_BIAS: f32 = 0.05;
const MOUTH_DEPTH_BIAS: f32 = 0.015;
/// Sum of the rounding weights up to which they apply unchanged, and the sum that they approach beyond it.
const ROUNDING_FREE: f32 = 0.7;
const ROUNDING_MAX: f32 = 1.0;
const TEETH_SINK: f32 = 0.036;
/// Depth bias of the mouth cavity: its corners would be visible through the chin of a rounded mouth.
const CAVITY_DEPTH_BIAS: f32 = 0.25;

/// Renderer of a head.
#[derive(Debug)]
pub struct HeadFace {
    model: Arc<HeadModel>,
    backdrop: Arc<Backdrop>,
    layers: VertexLayers,
    points: Vec<Vec3>,
    corners: Vec<Corner>,
    visibility: VisibilityBuffer,
    facets: Facets,
    silhouettes: Silhouettes,
    front: FrontHair,
    hidden: Vec<u8>,
    lashes: Lashes,
}

/// The pose within the rig's limits, and the scale of the frame.
#[derive(Clone, Copy)]
struct FrameState {
    pose: Pose,
    turn: HeadTurn,
    /// Frame pixels per canvas pixel.
    scale: f32,
    side: usize,
}

impl HeadFace {
    /// A renderer for one session.
    #[must_use]
    pub fn new(model: Arc<HeadModel>) -> Self {
        let backdrop = model.prepared_backdrop();
        Self {
            backdrop,
            model,
            layers: VertexLayers::default(),
            points: Vec::new(),
            corners: Vec::new(),
            visibility: VisibilityBuffer::default(),
            facets: Facets::default(),
            silhouettes: Silhouettes::default(),
            front: FrontHair::default(),
            hidden: Vec::new(),
            lashes: Lashes::default(),
        }
    }

    fn set_backdrop(&mut self, frame: &FrameState) {
        if self.backdrop.side != frame.side {
            self.backdrop = self.model.backdrop(frame.side);
        }
    }

    /// Morphs and rotates the skin and rasterises it into the visibility buffer.
    fn rasterize_skin(&mut self, frame: &FrameState) {
        let model = Arc::clone(&self.model);
        model.skin.morph(&frame.pose.weights, &mut self.points);
        let mut matrices: [Option<Mat3>; 256] = [None; 256];
        self.corners.clear();
        for (point, share) in self.points.iter().zip(&model.turn_shares) {
            let slot = &mut matrices[(share * 255.0 + 0.5) as usize & 255];
            let matrix = slot.get_or_insert_with(|| frame.turn.matrix(&model.camera, *share));
            self.corners.push(project_turned(&model, frame, matrix, *point));
        }
        self.silhouettes.clear();
        self.silhouettes.add(&model.skin.edges, &model.skin.triangles, &self.corners, 0.0);
        let (area, near, far) = extent(&self.corners, frame.side);
        self.visibility.clear(area, near - 0.2, far + 0.6);
        let inner = model.first_eye();
        self.facets.clear(model.skin.triangles.len() + inner);
        for (name, triangle) in model.skin.triangles.iter().enumerate() {
            let names = [usize::from(triangle[0]), usize::from(triangle[1]), usize::from(triangle[2])];
            let corners = [self.corners[names[0]], self.corners[names[1]], self.corners[names[2]]];
            let [a, b, c] = corners;
            let Some((planes, area)) = BarycentricPlanes::new([[a[0], a[1]], [b[0], b[1]], [c[0], c[1]]]) else {
                continue;
            };
            if area > 0.0 && !self.front.hides(bounds(&corners)) {
                self.facets.add_skin(name, planes.unless_sliver(area), names, (&self.layers, &model.atlas.uv));
                self.visibility.draw(corners, 0.0, name as u32);
            }
        }
    }

    fn rasterize_mouth(&mut self, frame: &FrameState, head: &Mat3) {
        let model = Arc::clone(&self.model);
        let sunk = lower_teeth_offset(&frame.pose);
        for inside in &model.interior {
            inside.part.morph(&frame.pose.weights, &mut self.points);
            if inside.is_lower_teeth {
                self.points.iter_mut().for_each(|point| point[1] += sunk);
            }
            let seen = |point: &Vec3| project_turned(&model, frame, head, *point);
            self.corners.clear();
            self.corners.extend(self.points.iter().map(seen));
            let back = if matches!(inside.look, MouthMaterial::Cavity) { CAVITY_DEPTH_BIAS } else { MOUTH_DEPTH_BIAS };
            self.silhouettes.add(&inside.part.edges, &inside.part.triangles, &self.corners, back);
            self.rasterize_mouth_part(inside, back);
        }
    }

    fn rasterize_mouth_part(&mut self, inside: &MouthPart, back: f32) {
        let skin = self.model.skin.triangles.len();
        for (index, triangle) in inside.part.triangles.iter().enumerate() {
            let names = triangle.map(usize::from);
            let corners = names.map(|index| self.corners[index]);
            let name = inside.first + index;
            self.visibility.draw(corners, back, INTERIOR_BIT | name as u32);
            let planes = BarycentricPlanes::new(corners.map(|[x, y, _]| [x, y]));
            if let (Some((planes, area)), MouthMaterial::Textured { texture, uv }) = (planes, &inside.look) {
                let planes = planes.unless_sliver(area);
                self.facets.add_plain(skin + name, planes, *texture, names.map(|index| uv[index]));
            }
        }
    }

    fn rasterize_eyes(&mut self, frame: &FrameState) -> [Eye; 2] {
        let model = &self.model;
        let eyes = model.eyes.look(&model.camera, frame.turn, &frame.pose);
        for (side, eye) in eyes.iter().enumerate() {
            let first = model.first_eye() + side * Eyes::TRIANGLES;
            for (index, triangle) in model.eyes.surface(&model.camera, eye).into_iter().enumerate() {
                let corners = triangle.map(|point| project(model, frame, point));
                self.visibility.draw(corners, EYES_DEPTH_BIAS, INTERIOR_BIT | (first + index) as u32);
            }
        }
        eyes
    }

    /// Marks pixels with opaque front hair (2) and with the face (1), and removes the face behind the hair.
    fn mark_hidden(&mut self, frame: &FrameState) {
        self.hidden.clear();
        self.hidden.resize(frame.side * frame.side, 0);
        let area = self.visibility.area;
        for y in 0..frame.side {
            let (left, row) = self.front.row(y);
            for (hidden, pixel) in self.hidden[y * frame.side + left..].iter_mut().zip(row) {
                *hidden = u8::from(pixel[3] == 255) * 2;
            }
        }
        for y in area[1]..area[3] {
            let start = y as usize * frame.side + area[0] as usize;
            for (hidden, word) in self.hidden[start..].iter_mut().zip(self.visibility.row_mut(y)) {
                *word |= if *hidden == 0 { 0 } else { EMPTY };
                *hidden |= u8::from(*word != EMPTY);
            }
        }
    }

    fn draw_back_hair(&self, frame: &FrameState, surface: &mut Surface) {
        let Some(hair) = &self.model.hair_back else { return };
        let side = frame.side;
        let mut mixed = [[0; 4]; 64];
        hair.spans(&self.model.camera, frame.turn, side, |span| {
            // Hidden pixels are overwritten later; at both ends of a span they are skipped.
            let hidden = &self.hidden[span.y * side + span.from..span.y * side + span.to];
            let Some(first) = hidden.iter().position(|hidden| *hidden == 0) else { return };
            let last = hidden.iter().rposition(|hidden| *hidden == 0).unwrap_or(first);
            let row = &mut surface.pixels[span.y * side + span.from + first..=span.y * side + span.from + last];
            if span.cover == Occlusion::Opaque {
                hair.replace(&span.skip(first), row);
                return;
            }
            for (index, row) in row.chunks_mut(mixed.len()).enumerate() {
                hair.replace(&span.skip(first + index * 64), &mut mixed[..row.len()]);
                blend_over(&mixed, row);
            }
        });
    }

    fn draw_lashes(&mut self, frame: &FrameState, head: &Mat3, surface: &mut Surface) {
        let model = Arc::clone(&self.model);
        let lash = &model.lash;
        lash.part.morph(&frame.pose.weights, &mut self.points);
        self.corners.clear();
        self.corners.extend(self.points.iter().map(|point| project_turned(&model, frame, head, *point)));
        self.lashes.draw(lash, &self.corners, &self.visibility);
        self.lashes.cover(surface);
    }

    fn draw_front_layers(&self, frame: &FrameState, surface: &mut Surface) {
        let area = self.visibility.area.map(|value| value as usize);
        self.backdrop.draw_collar(&mut surface.pixels, area, frame.pose.breath);
        self.front.cover(&mut surface.pixels);
    }

    /// Brightness of teeth and tongue, and of the mouth cavity.
    fn mouth_brightness(&self) -> [f32; 2] {
        let gains = &self.model.rig.gains;
        let (mut open, mut light) = (0.0, 0.0);
        for &(key, weight) in &self.layers.mouth {
            let name = self.model.atlas.names.get(key);
            if let Some(gain) = name.and_then(|name| gains.get(name).copied().flatten()) {
                open += weight;
                light += weight * gain;
            }
        }
        let shut = (0.2_f32 - open).max(0.0);
        [(light + shut * 0.15) / (open + shut).max(1e-6), 1.0 - 0.7 * (2.0 * open).min(1.0)]
    }
}

impl Face for HeadFace {
    fn draw(&mut self, pose: &Pose, surface: &mut Surface) {
        let size = surface.size();
        let frame = FrameState::new(pose, size.width().min(size.height()), self.model.rig.canvas);
        self.set_backdrop(&frame);
        if size.width() != size.height() {
            surface.pixels.fill([0, 0, 0, 255]);
            return;
        }
        let model = Arc::clone(&self.model);
        model.atlas.compute(&frame.pose.weights, frame.turn.yaw.to_degrees(), &mut self.layers);
        let head = frame.turn.matrix(&model.camera, 1.0);
        self.front.draw(model.hair_front.as_ref(), &model.camera, frame.turn, frame.side);
        self.rasterize_skin(&frame);
        self.rasterize_mouth(&frame, &head);
        let eyes = self.rasterize_eyes(&frame);
        self.mark_hidden(&frame);
        self.backdrop.draw_background(&mut surface.pixels);
        self.draw_back_hair(&frame, surface);
        self.backdrop.draw_body(&mut surface.pixels, frame.pose.breath);
        let [teeth, cavity] = self.mouth_brightness();
        let resolve = Resolve {
            model: &model,
            visibility: &self.visibility,
            facets: &self.facets,
            eyes,
            teeth,
            cavity,
            scale: 1.0 / frame.scale,
        };
        resolve.draw(surface);
        self.silhouettes.smooth(&self.visibility, &self.hidden, surface);
        self.draw_lashes(&frame, &head, surface);
        self.draw_front_layers(&frame, surface);
    }
}

impl FrameState {
    fn new(pose: &Pose, side: usize, canvas: u32) -> Self {
        let mut pose = *pose;
        for weight in &mut pose.weights {
            *weight = if weight.is_finite() { weight.clamp(0.0, 1.0) } else { 0.0 };
        }
        bound_rounding(&mut pose);
        let angle =
            |value: f32, limit: f32| if value.is_finite() { value.clamp(-limit, limit).to_radians() } else { 0.0 };
        let turn = HeadTurn {
            yaw: angle(pose.yaw_degrees, MAX_YAW),
            pitch: angle(pose.pitch_degrees, MAX_PITCH),
            roll: angle(pose.roll_degrees, MAX_ROLL),
        };
        Self { pose, turn, scale: side as f32 / canvas as f32, side }
    }
}

/// Limits the sum of funnel and pucker: beyond the range of the keys the lips tear. The sum approaches `ROUNDING_MAX`.
fn bound_rounding(pose: &mut Pose) {
    let [funnel, pucker] = ["mouthFunnel", "mouthPucker"].map(|name| pose.weight(name));
    let beyond = funnel + pucker - ROUNDING_FREE;
    if beyond > 0.0 {
        let left = ROUNDING_MAX - ROUNDING_FREE;
        let share = (ROUNDING_FREE + left * beyond / (beyond + left)) / (funnel + pucker);
        pose.set("mouthFunnel", funnel * share);
        pose.set("mouthPucker", pucker * share);
    }
}

/// Downward offset of the lower teeth in units: with a wide jaw their tips would show as a row of specks.
fn lower_teeth_offset(pose: &Pose) -> f32 {
    let wide = ((pose.weight("jawOpen") - 0.5) / 0.25).clamp(0.0, 1.0);
    let lowered = pose.weight("mouthLowerDownLeft").max(pose.weight("mouthLowerDownRight"));
    TEETH_SINK * wide * (1.0 - 1.5 * lowered).max(0.0)
}

fn project_turned(model: &HeadModel, frame: &FrameState, matrix: &Mat3, point: Vec3) -> Corner {
    project(model, frame, model.camera.turn(matrix, point))
}

fn project(model: &HeadModel, frame: &FrameState, point: Vec3) -> Corner {
    let [x, y] = model.camera.project(point);
    [x * frame.scale, y * frame.scale, point[2]]
}

/// Bounding box in pixels, nearest and farthest depth of all corners.
fn extent(corners: &[Corner], side: usize) -> ([i32; 4], f32, f32) {
    let mut low = [f32::MAX; 3];
    let mut high = [f32::MIN; 3];
    for corner in corners {
        low = std::array::from_fn(|i| low[i].min(corner[i]));
        high = std::array::from_fn(|i| high[i].max(corner[i]));
    }
    let limit = |value: f32| (value as i32).clamp(0, side as i32);
    let area = [limit(low[0]), limit(low[1]), limit(high[0].ceil()), limit(high[1].ceil())];
    ([area[0], area[1], area[2].max(area[0]), area[3].max(area[1])], low[2], high[2])
}

/// Bounding box of a triangle: left, top, right, bottom.
fn bounds([a, b, c]: &[Corner; 3]) -> [f32; 4] {
    [a[0].min(b[0]).min(c[0]), a[1].min(b[1]).min(c[1]), a[0].max(b[0]).max(c[0]), a[1].max(b[1]).max(c[1])]
}
