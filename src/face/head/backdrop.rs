//! Background and body. The body moves only with the breath.

use super::rig::Rig;
use super::texture::{Plate, blend_over, grade, plate_bytes};

/// Lift of the collar by a full breath, as a fraction of the frame's side.
const LIFT: f32 = 0.0032;
/// Pixels of a row with the same background colour: the gradient changes by less than one level over them.
const BACKGROUND_RUN: usize = 4;

/// Background and body, scaled to one resolution.
#[derive(Debug)]
pub struct Backdrop {
    /// Side of the frame in pixels.
    pub side: usize,
    background: Vec<[u8; 4]>,
    body: Option<ScaledPlate>,
    collar: Option<ScaledPlate>,
}

/// A plate scaled to the frame: premultiplied pixels in a box (left, top, right, bottom).
#[derive(Clone, Debug)]
struct ScaledPlate {
    area: [usize; 4],
    pixels: Vec<[u8; 4]>,
}

impl Backdrop {
    /// Scales background and body to `side` pixels.
    pub fn new(rig: &Rig, plates: [Option<&Plate>; 2], side: usize) -> Self {
        let [body, collar] = plates.map(|plate| plate.map(|plate| ScaledPlate::new(plate, rig.canvas as f32, side)));
        Self { side, background: background(rig, side), body, collar }
    }

    /// Draws the background over a whole square frame.
    pub fn draw_background(&self, frame: &mut [[u8; 4]]) {
        let across = self.side.div_ceil(BACKGROUND_RUN);
        for (row, colours) in frame.chunks_exact_mut(self.side).zip(self.background.chunks_exact(across)) {
            let (runs, rest) = row.as_chunks_mut::<BACKGROUND_RUN>();
            runs.iter_mut().zip(colours).for_each(|(run, colour)| *run = [*colour; BACKGROUND_RUN]);
            rest.fill(colours[across - 1]);
        }
    }

    /// Draws the body at a breath of 0 to 1.
    pub fn draw_body(&self, frame: &mut [[u8; 4]], breath: f32) {
        if let Some(body) = &self.body {
            body.draw(frame, self, [0, 0, self.side, self.side], breath);
        }
    }

    /// Draws the part of the body in front of the neck, inside `window` (left, top, right, bottom).
    pub fn draw_collar(&self, frame: &mut [[u8; 4]], window: [usize; 4], breath: f32) {
        if let Some(collar) = &self.collar {
            collar.draw(frame, self, window, breath);
        }
    }
}

impl ScaledPlate {
    /// Four samples per pixel. The box is two rows higher than the plate, for the breath.
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

    /// Draws the part inside `window` (left, top, right, bottom). The breath lifts the upper edge; the lower edge is fixed.
    fn draw(&self, frame: &mut [[u8; 4]], backdrop: &Backdrop, window: [usize; 4], breath: f32) {
        let (left, right) = (self.area[0].max(window[0]), self.area[2].min(window[2]));
        let (width, height) = (self.area[2] - self.area[0], self.area[3] - self.area[1]);
        let lift = breath.clamp(0.0, 1.0) * LIFT * backdrop.side as f32;
        for y in self.area[1].max(window[1])..self.area[3].min(window[3]) {
            if left >= right {
                return;
            }
            let row = (y - self.area[1]) as f32;
            let from = row + lift * (1.0 - row / height as f32);
            let whole = (from as usize).min(height - 1);
            let share = ((from - whole as f32) * 256.0) as u16;
            let line = |row: usize| &self.pixels[row * width + left - self.area[0]..row * width + right - self.area[0]];
            let target = &mut frame[y * backdrop.side + left..y * backdrop.side + right];
            lay([line(whole), line((whole + 1).min(height - 1))], share, target);
        }
    }
}

/// Blends the interpolation of two lines over a row; `share` (of 256) is the weight of the second.
fn lay([above, below]: [&[[u8; 4]]; 2], share: u16, row: &mut [[u8; 4]]) {
    const RUN: usize = 32;
    let mut mixed = [[0_u8; 4]; RUN];
    for ((row, above), below) in row.chunks_mut(RUN).zip(above.chunks(RUN)).zip(below.chunks(RUN)) {
        let bytes = above.as_flattened().iter().zip(below.as_flattened());
        for (mixed, (a, b)) in mixed.as_flattened_mut().iter_mut().zip(bytes) {
            *mixed = ((u16::from(*a) * (256 - share) + u16::from(*b) * share) >> 8) as u8;
        }
        blend_over(&mixed, row);
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

/// Radial gradient with its centre above and left of the middle: colours of runs of pixels, row by row.
fn background(rig: &Rig, side: usize) -> Vec<[u8; 4]> {
    let [middle, edge] = rig.background;
    let across = side.div_ceil(BACKGROUND_RUN);
    let runs = (0..across * side).map(|index| {
        let column = (index % across) as f32 + 0.5;
        let (x, y) = (column * BACKGROUND_RUN as f32 / side as f32, (index / across) as f32 / side as f32);
        let far = ((x - 0.42).hypot(y - 0.40) / 0.75).clamp(0.0, 1.0);
        let far = far * far * (3.0 - 2.0 * far);
        let colour = std::array::from_fn(|i| (middle[i] * (1.0 - far) + edge[i] * far) * 255.0);
        let [r, g, b] = grade(colour, rig.grade.saturation).map(|value| (value + 0.5) as u8);
        [r, g, b, 255]
    });
    runs.collect()
}
