//! Visibility buffer: the nearest triangle at each pixel's centre.
//!
//! A sample is a 32-bit word: 18 bits of depth above 14 bits of triangle ID, so that the nearest sample is the minimum. Edges are
//! anti-aliased after shading (`edge_aa`).

use super::triangle_setup::{BarycentricPlanes, Window, rasterize};

const ID_BITS: u32 = 14;
/// Bit of IDs of triangles that are not skin.
pub const INTERIOR_BIT: u32 = 1 << (ID_BITS - 1);
/// Mask of the ID; all bits set means empty.
pub const ID_MASK: u32 = (1 << ID_BITS) - 1;
/// An empty sample.
pub const EMPTY: u32 = u32::MAX;

/// One sample per pixel of a box.
#[derive(Debug, Default)]
pub struct VisibilityBuffer {
    /// Box in pixels: left, top, right, bottom.
    pub area: [i32; 4],
    stride: usize,
    words: Vec<u32>,
    near: f32,
    scale: f32,
}

/// A projected vertex: x, y in pixels, depth in units.
pub type Corner = [f32; 3];

impl VisibilityBuffer {
    /// Clears the buffer for `area` (left, top, right, bottom in pixels) and depths from `near` to `far`.
    pub fn clear(&mut self, area: [i32; 4], near: f32, far: f32) {
        self.area = area;
        self.stride = (area[2] - area[0]).max(0) as usize;
        self.words.clear();
        self.words.resize(self.stride * (area[3] - area[1]).max(0) as usize, EMPTY);
        (self.near, self.scale) = (near, u32::MAX as f32 / (far - near).max(1e-3));
    }

    /// `VisibilityBuffer` of a row.
    pub fn row(&self, y: i32) -> &[u32] {
        let start = (y - self.area[1]).max(0) as usize * self.stride;
        self.words.get(start..start + self.stride).unwrap_or_default()
    }

    /// Mutable samples of a row.
    pub fn row_mut(&mut self, y: i32) -> &mut [u32] {
        let start = (y - self.area[1]).max(0) as usize * self.stride;
        self.words.get_mut(start..start + self.stride).unwrap_or_default()
    }

    /// Sample of the pixel (x, y); `None` outside the box.
    pub fn at(&self, [x, y]: [i32; 2]) -> Option<u32> {
        let [left, top, right, bottom] = self.area;
        let is_inside = (left..right).contains(&x) && (top..bottom).contains(&y);
        is_inside.then(|| self.words[(y - top) as usize * self.stride + (x - left) as usize])
    }

    /// Sample word of a depth, without an ID.
    pub fn depth(&self, z: f32) -> u32 {
        ((z - self.near) * self.scale) as u32 & !ID_MASK
    }

    /// A depth difference in sample units.
    pub fn spread(&self, units: f32) -> u32 {
        (units * self.scale) as u32
    }

    /// Rasterises a triangle with ID `name` and depth bias `back`.
    pub fn draw(&mut self, corners: [Corner; 3], back: f32, name: u32) {
        let [x0, y0] = [self.area[0] as f32, self.area[1] as f32];
        let flat = corners.map(|corner| [corner[0] - x0, corner[1] - y0]);
        let Some((planes, area)) = BarycentricPlanes::new(flat) else { return };
        let depths = corners.map(|corner| (corner[2] + back - self.near) * self.scale);
        let gradients = planes.unless_sliver(area).gradients(depths);
        let bottom = self.area[3] - self.area[1];
        let window = Window { left: 0, top: 0, right: self.stride as i32, bottom };
        let step = gradients[0] as i32 as u32;
        rasterize(flat, window, |y, from, to| {
            let [dx, dy] = [from as f32 + 0.5 - flat[0][0], y as f32 + 0.5 - flat[0][1]];
            let mut depth = (depths[0] + gradients[0] * dx + gradients[1] * dy).max(0.0) as u32;
            let row = y as usize * self.stride;
            for word in &mut self.words[row + from as usize..row + to as usize] {
                *word = (*word).min(depth & !ID_MASK | name);
                depth = depth.wrapping_add(step);
            }
        });
    }
}
