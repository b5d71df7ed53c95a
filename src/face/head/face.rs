//! One session's head: the scratch of its frames, and the order in which a frame is drawn.
//!
//! Background, hair behind and body, then skin, eyes and mouth (nearest wins, their ends made smooth), lashes, collar, hair before.

use std::sync::Arc;

use super::backdrop::Stage;
use super::camera::{HeadTurn, Mat3, Vec3};
use super::edge_aa::Outline;
use super::eyes::{Eye, Eyes};
use super::front_hair::Front;
use super::key_weights::VertexLayers;
use super::lashes::Lashes;
use super::model::{HeadModel, Inside, InsideLook};
use super::resolve::Resolve;
use super::skin::Facets;
use super::texture::lay_over;
use super::triangle_setup::Planes;
use super::visibility::{Corner, INNER, NOTHING, Samples};
use crate::face::raster::Occlusion;
use crate::face::{Face, Pose, Surface};

const MAX_YAW: f32 = 7.0;
const MAX_PITCH: f32 = 4.0;
const MAX_ROLL: f32 = 5.0;
/// Coarse lids and lips cut corners: eyes and teeth are tested a little further away.
const EYES_BACK: f32 = 0.05;
const MOUTH_BACK: f32 = 0.015;
/// Lips round freely up to this sum of weights, and no further than that.
const ROUND_FREELY: f32 = 0.7;
const ROUNDEST: f32 = 1.0;
const TEETH_SINK: f32 = 0.036;
/// The dark behind teeth and tongue is tested so much further away: its corners would come through a round mouth's chin.
const CAVITY_BACK: f32 = 0.25;

/// A head that draws.
#[derive(Debug)]
pub struct HeadFace {
    model: Arc<HeadModel>,
    stage: Arc<Stage>,
    layers: VertexLayers,
    points: Vec<Vec3>,
    corners: Vec<Corner>,
    samples: Samples,
    facets: Facets,
    outline: Outline,
    front: Front,
    hidden: Vec<u8>,
    lashes: Lashes,
}

/// A pose in the terms of the rig, and the scale of the picture.
#[derive(Clone, Copy)]
struct Moment {
    pose: Pose,
    turn: HeadTurn,
    /// Pixels of the picture per pixel of the canvas.
    scale: f32,
    side: usize,
}

impl HeadFace {
    /// A face for one session.
    #[must_use]
    pub fn new(model: Arc<HeadModel>) -> Self {
        let stage = model.prepared_stage();
        Self {
            stage,
            model,
            layers: VertexLayers::default(),
            points: Vec::new(),
            corners: Vec::new(),
            samples: Samples::default(),
            facets: Facets::default(),
            outline: Outline::default(),
            front: Front::default(),
            hidden: Vec::new(),
            lashes: Lashes::default(),
        }
    }

    fn set_stage(&mut self, moment: &Moment) {
        if self.stage.side != moment.side {
            self.stage = self.model.stage(moment.side);
        }
    }

    /// Moves the skin and notes which of its triangles is nearest at each sample.
    fn place_skin(&mut self, moment: &Moment) {
        let model = Arc::clone(&self.model);
        model.skin.morph(&moment.pose.weights, &mut self.points);
        let mut matrices: [Option<Mat3>; 256] = [None; 256];
        self.corners.clear();
        for (point, share) in self.points.iter().zip(&model.turn_shares) {
            let slot = &mut matrices[(share * 255.0 + 0.5) as usize & 255];
            let matrix = slot.get_or_insert_with(|| moment.turn.matrix(&model.camera, *share));
            self.corners.push(see(&model, moment, matrix, *point));
        }
        self.outline.clear();
        self.outline.add(&model.skin.edges, &model.skin.triangles, &self.corners, 0.0);
        let (area, near, far) = extent(&self.corners, moment.side);
        self.samples.clear(area, near - 0.2, far + 0.6);
        let inner = model.first_eye();
        self.facets.clear(model.skin.triangles.len() + inner);
        for (name, triangle) in model.skin.triangles.iter().enumerate() {
            let names = [usize::from(triangle[0]), usize::from(triangle[1]), usize::from(triangle[2])];
            let corners = [self.corners[names[0]], self.corners[names[1]], self.corners[names[2]]];
            let [a, b, c] = corners;
            let Some((planes, area)) = Planes::new([[a[0], a[1]], [b[0], b[1]], [c[0], c[1]]]) else { continue };
            if area > 0.0 && !self.front.hides(bounds(&corners)) {
                self.facets.add_skin(name, planes.unless_sliver(area), names, (&self.layers, &model.atlas.uv));
                self.samples.draw(corners, 0.0, name as u32);
            }
        }
    }

    fn place_mouth(&mut self, moment: &Moment, head: &Mat3) {
        let model = Arc::clone(&self.model);
        let sunk = sunk_teeth(&moment.pose);
        for inside in &model.interior {
            inside.part.morph(&moment.pose.weights, &mut self.points);
            if inside.is_lower_teeth {
                self.points.iter_mut().for_each(|point| point[1] += sunk);
            }
            let seen = |point: &Vec3| see(&model, moment, head, *point);
            self.corners.clear();
            self.corners.extend(self.points.iter().map(seen));
            let back = if matches!(inside.look, InsideLook::Cavity) { CAVITY_BACK } else { MOUTH_BACK };
            self.outline.add(&inside.part.edges, &inside.part.triangles, &self.corners, back);
            self.place_inside(inside, back);
        }
    }

    fn place_inside(&mut self, inside: &Inside, back: f32) {
        let skin = self.model.skin.triangles.len();
        for (index, triangle) in inside.part.triangles.iter().enumerate() {
            let names = triangle.map(usize::from);
            let corners = names.map(|index| self.corners[index]);
            let name = inside.first + index;
            self.samples.draw(corners, back, INNER | name as u32);
            let planes = Planes::new(corners.map(|[x, y, _]| [x, y]));
            if let (Some((planes, area)), InsideLook::Textured { texture, uv }) = (planes, &inside.look) {
                let planes = planes.unless_sliver(area);
                self.facets.add_plain(skin + name, planes, *texture, names.map(|index| uv[index]));
            }
        }
    }

    fn place_eyes(&mut self, moment: &Moment) -> [Eye; 2] {
        let model = &self.model;
        let eyes = model.eyes.look(&model.camera, moment.turn, &moment.pose);
        for (side, eye) in eyes.iter().enumerate() {
            let first = model.first_eye() + side * Eyes::TRIANGLES;
            for (index, triangle) in model.eyes.surface(&model.camera, eye).into_iter().enumerate() {
                let corners = triangle.map(|point| seen_at(model, moment, point));
                self.samples.draw(corners, EYES_BACK, INNER | (first + index) as u32);
            }
        }
        eyes
    }

    /// Marks pixels where the hair before the face is opaque (2) and where the face is (1); behind the hair nothing is seen.
    fn mark_hidden(&mut self, moment: &Moment) {
        self.hidden.clear();
        self.hidden.resize(moment.side * moment.side, 0);
        let area = self.samples.area;
        for y in 0..moment.side {
            let (left, row) = self.front.row(y);
            for (hidden, pixel) in self.hidden[y * moment.side + left..].iter_mut().zip(row) {
                *hidden = u8::from(pixel[3] == 255) * 2;
            }
        }
        for y in area[1]..area[3] {
            let start = y as usize * moment.side + area[0] as usize;
            for (hidden, word) in self.hidden[start..].iter_mut().zip(self.samples.row_mut(y)) {
                *word |= if *hidden == 0 { 0 } else { NOTHING };
                *hidden |= u8::from(*word != NOTHING);
            }
        }
    }

    fn draw_hair_behind(&self, moment: &Moment, surface: &mut Surface) {
        let Some(hair) = &self.model.hair_back else { return };
        let side = moment.side;
        let mut mixed = [[0; 4]; 64];
        hair.spans(&self.model.camera, moment.turn, side, |span| {
            // What is hidden is drawn over later; at the ends it need not be drawn at all.
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
                lay_over(&mixed, row);
            }
        });
    }

    fn draw_lashes(&mut self, moment: &Moment, head: &Mat3, surface: &mut Surface) {
        let model = Arc::clone(&self.model);
        let lash = &model.lash;
        lash.part.morph(&moment.pose.weights, &mut self.points);
        self.corners.clear();
        self.corners.extend(self.points.iter().map(|point| see(&model, moment, head, *point)));
        self.lashes.draw(lash, &self.corners, &self.samples);
        self.lashes.cover(surface);
    }

    fn draw_before(&self, moment: &Moment, surface: &mut Surface) {
        let area = self.samples.area.map(|value| value as usize);
        self.stage.draw_collar(&mut surface.pixels, area, moment.pose.breath);
        self.front.cover(&mut surface.pixels);
    }

    /// Brightness of teeth and tongue, and of the dark behind them.
    fn mouth_light(&self) -> [f32; 2] {
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
        let moment = Moment::new(pose, size.width().min(size.height()), self.model.rig.canvas);
        self.set_stage(&moment);
        if size.width() != size.height() {
            surface.pixels.fill([0, 0, 0, 255]);
            return;
        }
        let model = Arc::clone(&self.model);
        model.atlas.weigh(&moment.pose.weights, moment.turn.yaw.to_degrees(), &mut self.layers);
        let head = moment.turn.matrix(&model.camera, 1.0);
        self.front.draw(model.hair_front.as_ref(), &model.camera, moment.turn, moment.side);
        self.place_skin(&moment);
        self.place_mouth(&moment, &head);
        let eyes = self.place_eyes(&moment);
        self.mark_hidden(&moment);
        self.stage.draw_background(&mut surface.pixels);
        self.draw_hair_behind(&moment, surface);
        self.stage.draw_body(&mut surface.pixels, moment.pose.breath);
        let [teeth, cavity] = self.mouth_light();
        let resolve = Resolve {
            model: &model,
            samples: &self.samples,
            facets: &self.facets,
            eyes,
            teeth,
            cavity,
            scale: 1.0 / moment.scale,
        };
        resolve.draw(surface);
        self.outline.smooth(&self.samples, &self.hidden, surface);
        self.draw_lashes(&moment, &head, surface);
        self.draw_before(&moment, surface);
    }
}

impl Moment {
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

/// Funnel and pucker add up: beyond what the keys show, lips tear. Their sum nears [`ROUNDEST`] and never passes it.
fn bound_rounding(pose: &mut Pose) {
    let [funnel, pucker] = ["mouthFunnel", "mouthPucker"].map(|name| pose.weight(name));
    let beyond = funnel + pucker - ROUND_FREELY;
    if beyond > 0.0 {
        let left = ROUNDEST - ROUND_FREELY;
        let share = (ROUND_FREELY + left * beyond / (beyond + left)) / (funnel + pucker);
        pose.set("mouthFunnel", funnel * share);
        pose.set("mouthPucker", pucker * share);
    }
}

/// How far (in units, down) the lower teeth sink behind the lip: of a wide jaw their tips would show as a row of specks.
fn sunk_teeth(pose: &Pose) -> f32 {
    let wide = ((pose.weight("jawOpen") - 0.5) / 0.25).clamp(0.0, 1.0);
    let lowered = pose.weight("mouthLowerDownLeft").max(pose.weight("mouthLowerDownRight"));
    TEETH_SINK * wide * (1.0 - 1.5 * lowered).max(0.0)
}

fn see(model: &HeadModel, moment: &Moment, matrix: &Mat3, point: Vec3) -> Corner {
    seen_at(model, moment, model.camera.turn(matrix, point))
}

fn seen_at(model: &HeadModel, moment: &Moment, point: Vec3) -> Corner {
    let [x, y] = model.camera.project(point);
    [x * moment.scale, y * moment.scale, point[2]]
}

/// The box in pixels that holds all corners, with the nearest and farthest depth.
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

/// Left, top, right, bottom of a triangle.
fn bounds([a, b, c]: &[Corner; 3]) -> [f32; 4] {
    [a[0].min(b[0]).min(c[0]), a[1].min(b[1]).min(c[1]), a[0].max(b[0]).max(c[0]), a[1].max(b[1]).max(c[1])]
}
