//! What is nearest at each pixel's centre.
//!
//! A sample is one word: 18 bits of depth above 14 bits that name a triangle, so that the nearest is the smallest.
//! Edges are made smooth afterwards, by the outlines.

use super::triangle_setup::{Planes, Window, scan};

const NAME_BITS: u32 = 14;
/// Names of triangles that are not skin have this bit.
pub const INNER: u32 = 1 << (NAME_BITS - 1);
/// All bits of a name; this name itself means "nothing".
pub const NAME: u32 = (1 << NAME_BITS) - 1;
/// A sample that sees nothing.
pub const NOTHING: u32 = u32::MAX;

/// A sample for each pixel of a box.
#[derive(Debug, Default)]
pub struct Samples {
    /// The box in pixels.
    pub area: [i32; 4],
    stride: usize,
    words: Vec<u32>,
    near: f32,
    scale: f32,
}

/// A corner on screen: x, y in pixels, depth in units.
pub type Corner = [f32; 3];

impl Samples {
    /// Clears the samples over `area` (left, top, right, bottom in pixels); depths from `near` to `far` are told apart.
    pub fn clear(&mut self, area: [i32; 4], near: f32, far: f32) {
        self.area = area;
        self.stride = (area[2] - area[0]).max(0) as usize;
        self.words.clear();
        self.words.resize(self.stride * (area[3] - area[1]).max(0) as usize, NOTHING);
        (self.near, self.scale) = (near, u32::MAX as f32 / (far - near).max(1e-3));
    }

    /// The samples of a row of pixels.
    pub fn row(&self, y: i32) -> &[u32] {
        let start = (y - self.area[1]).max(0) as usize * self.stride;
        self.words.get(start..start + self.stride).unwrap_or_default()
    }

    /// The same, to be changed.
    pub fn row_mut(&mut self, y: i32) -> &mut [u32] {
        let start = (y - self.area[1]).max(0) as usize * self.stride;
        self.words.get_mut(start..start + self.stride).unwrap_or_default()
    }

    /// The sample of the pixel (x, y); none outside the box.
    pub fn at(&self, [x, y]: [i32; 2]) -> Option<u32> {
        let [left, top, right, bottom] = self.area;
        let is_inside = (left..right).contains(&x) && (top..bottom).contains(&y);
        is_inside.then(|| self.words[(y - top) as usize * self.stride + (x - left) as usize])
    }

    /// The word of a depth, without a name.
    pub fn depth(&self, z: f32) -> u32 {
        ((z - self.near) * self.scale) as u32 & !NAME
    }

    /// Depth units of a difference.
    pub fn spread(&self, units: f32) -> u32 {
        (units * self.scale) as u32
    }

    /// Draws a triangle under a name, pushed `back` from the viewer.
    pub fn draw(&mut self, corners: [Corner; 3], back: f32, name: u32) {
        let [x0, y0] = [self.area[0] as f32, self.area[1] as f32];
        let flat = corners.map(|corner| [corner[0] - x0, corner[1] - y0]);
        let Some((planes, area)) = Planes::new(flat) else { return };
        let depths = corners.map(|corner| (corner[2] + back - self.near) * self.scale);
        let slopes = planes.unless_sliver(area).slopes(depths);
        let bottom = self.area[3] - self.area[1];
        let window = Window { left: 0, top: 0, right: self.stride as i32, bottom };
        let step = slopes[0] as i32 as u32;
        scan(flat, window, |y, from, to| {
            let [dx, dy] = [from as f32 + 0.5 - flat[0][0], y as f32 + 0.5 - flat[0][1]];
            let mut depth = (depths[0] + slopes[0] * dx + slopes[1] * dy).max(0.0) as u32;
            let row = y as usize * self.stride;
            for word in &mut self.words[row + from as usize..row + to as usize] {
                *word = (*word).min(depth & !NAME | name);
                depth = depth.wrapping_add(step);
            }
        });
    }
}
