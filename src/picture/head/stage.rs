//! What stands still: the background and the body, which only breathes.

use super::rig::Rig;
use super::texture::{Plate, grade, over, plate_bytes, plate_lanes};

/// How far a full breath lifts the collar, as a share of the picture's side.
const LIFT: f32 = 0.0032;
/// Breath is drawn in so many steps: each moves the collar by less than a thirtieth of a pixel.
const BREATH_STEPS: f32 = 48.0;

/// Background and body, scaled for one size of picture.
#[derive(Debug)]
pub struct Stage {
    /// Side of the picture in pixels.
    pub side: usize,
    background: Vec<[u8; 4]>,
    body: Option<Still>,
    collar: Option<Still>,
}

/// A plate scaled to the picture: premultiplied pixels in a box (left, top, right, bottom).
#[derive(Clone, Debug)]
pub struct Still {
    pub area: [usize; 4],
    pub pixels: Vec<[u8; 4]>,
}

/// The stage at one moment of the breath.
#[derive(Debug, Default)]
pub struct Breathing {
    step: Option<i32>,
    /// Background and whole body.
    pub frame: Vec<[u8; 4]>,
    /// The whole body alone.
    pub body: Option<Still>,
    /// The part of the body before the neck.
    pub collar: Option<Still>,
}

impl Stage {
    /// Scales everything to pictures of `side` pixels.
    pub fn new(rig: &Rig, plates: [Option<&Plate>; 2], side: usize) -> Self {
        let [body, collar] = plates.map(|plate| plate.map(|plate| Still::new(plate, rig.canvas as f32, side)));
        Self { side, background: background(rig, side), body, collar }
    }

    /// Brings `breathing` to a breath of 0 to 1.
    pub fn breathe(&self, breath: f32, breathing: &mut Breathing) {
        let step = (breath.clamp(0.0, 1.0) * BREATH_STEPS).round() as i32;
        if breathing.step == Some(step) && breathing.frame.len() == self.background.len() {
            return;
        }
        let lift = step as f32 / BREATH_STEPS * LIFT * self.side as f32;
        breathing.step = Some(step);
        breathing.frame.clone_from(&self.background);
        for (plate, lifted) in [(&self.body, &mut breathing.body), (&self.collar, &mut breathing.collar)] {
            if lifted.as_ref().map(|still| still.area) != plate.as_ref().map(|still| still.area) {
                lifted.clone_from(plate);
            }
            if let (Some(plate), Some(lifted)) = (plate, lifted) {
                plate.lift(lift, lifted);
            }
        }
        if let Some(body) = &breathing.body {
            body.draw(&mut breathing.frame, self.side, [0, 0, self.side, self.side]);
        }
    }
}

impl Breathing {
    /// Forgets the breath: the next one is drawn anew.
    pub fn forget(&mut self) {
        self.step = None;
    }
}

impl Still {
    /// Four taps a pixel; the box is two rows higher than the plate, for the breath.
    fn new(plate: &Plate, canvas: f32, side: usize) -> Self {
        let scale = side as f32 / canvas;
        let [left, top, right, bottom] = plate.bounds.map(|value| value as f32 * scale);
        let limit = |value: f32| (value.max(0.0) as usize).min(side);
        let area = [limit(left), limit(top - 3.0), limit(right.ceil()), limit(bottom.ceil())];
        let mut pixels = Vec::with_capacity((area[2] - area[0]) * (area[3] - area[1]));
        for y in area[1]..area[3] {
            pixels.extend((area[0]..area[2]).map(|x| shrink(plate, x as f32, y as f32, 1.0 / scale)));
        }
        Self { area, pixels }
    }

    fn width(&self) -> usize {
        self.area[2] - self.area[0]
    }

    /// This plate with its upper edge `lift` pixels higher and its lower edge where it was, into `out` of the same box.
    fn lift(&self, lift: f32, out: &mut Self) {
        let (width, height) = (self.width(), self.area[3] - self.area[1]);
        if width == 0 || height == 0 {
            return;
        }
        for (row, target) in out.pixels.chunks_exact_mut(width).enumerate() {
            let from = row as f32 + lift * (1.0 - row as f32 / height as f32);
            let whole = (from as usize).min(height - 1);
            let below = (whole + 1).min(height - 1);
            let share = ((from - whole as f32) * 256.0) as u16;
            let (a, b) = (&self.pixels[whole * width..][..width], &self.pixels[below * width..][..width]);
            let bytes = a.as_flattened().iter().zip(b.as_flattened());
            for (target, (a, b)) in target.as_flattened_mut().iter_mut().zip(bytes) {
                *target = ((u16::from(*a) * (256 - share) + u16::from(*b) * share) >> 8) as u8;
            }
        }
    }

    /// Draws the part inside `window` (left, top, right, bottom) over a frame of `side` pixels.
    pub fn draw(&self, frame: &mut [[u8; 4]], side: usize, window: [usize; 4]) {
        let (left, right) = (self.area[0].max(window[0]), self.area[2].min(window[2]));
        for y in self.area[1].max(window[1])..self.area[3].min(window[3]) {
            if left >= right {
                return;
            }
            let start = (y - self.area[1]) * self.width();
            let source = &self.pixels[start + left - self.area[0]..start + right - self.area[0]];
            for (target, pixel) in frame[y * side + left..y * side + right].iter_mut().zip(source) {
                match pixel[3] {
                    0 => {}
                    255 => *target = *pixel,
                    _ => *target = over(plate_lanes(*pixel), *target),
                }
            }
        }
    }
}

fn shrink(plate: &Plate, x: f32, y: f32, step: f32) -> [u8; 4] {
    let mut sum = [0_u32; 4];
    for (right, down) in [(0.25, 0.25), (0.75, 0.25), (0.25, 0.75), (0.75, 0.75)] {
        let u = (x + right) * step - plate.bounds[0] as f32;
        let v = (y + down) * step - plate.bounds[1] as f32;
        let is_inside = u > -0.5 && v > -0.5 && u < plate.width as f32 + 0.5 && v < plate.height as f32 + 0.5;
        if is_inside {
            let lanes = plate.tap(((u - 0.5) * 256.0) as i32, ((v - 0.5) * 256.0) as i32);
            sum = std::array::from_fn(|i| sum[i] + u32::from(plate_bytes(lanes)[i]));
        }
    }
    sum.map(|value| ((value + 2) / 4) as u8)
}

/// Light from a little left above the middle, falling off towards the edge.
fn background(rig: &Rig, side: usize) -> Vec<[u8; 4]> {
    let [middle, edge] = rig.background;
    let pixels = (0..side * side).map(|index| {
        let (x, y) = ((index % side) as f32 / side as f32, (index / side) as f32 / side as f32);
        let far = ((x - 0.42).hypot(y - 0.40) / 0.75).clamp(0.0, 1.0);
        let far = far * far * (3.0 - 2.0 * far);
        let colour = std::array::from_fn(|i| (middle[i] * (1.0 - far) + edge[i] * far) * 255.0);
        let [r, g, b] = grade(colour, rig.grade.saturation).map(|value| (value + 0.5) as u8);
        [r, g, b, 255]
    });
    pixels.collect()
}
