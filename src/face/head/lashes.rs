//! Upper lashes, drawn over the face.
//!
//! Viewed along their length they are thinner than a pixel. Each row is sampled several times, so that they fade instead of
//! breaking into dashes.

use super::model::Lash;
use super::texture::{over, plate_lanes_of};
use super::triangle_setup::{BarycentricPlanes, Window, rasterize};
use super::visibility::{Corner, EMPTY, VisibilityBuffer};
use crate::face::Surface;

/// Depth bias of the lashes: the mesh of the lids is coarse and would hide them.
const DEPTH_BIAS: f32 = 0.05;
/// Depth over which a lash fades into the lid.
const FADE_DEPTH: f32 = 0.03;
/// Vertical samples per pixel.
const ROWS: i32 = 4;

/// The lashes of one frame.
#[derive(Debug, Default)]
pub struct Lashes {
    /// Bounding box in pixels: left, top, right, bottom.
    area: [i32; 4],
    /// Sum of the premultiplied samples of each pixel, one 16-bit lane per channel.
    sums: Vec<u64>,
}

impl Lashes {
    /// Rasterises the lashes with projected `corners` against the visibility buffer.
    pub fn draw(&mut self, lash: &Lash, corners: &[Corner], visibility: &VisibilityBuffer) {
        self.clear(corners, visibility.area);
        for triangle in &lash.part.triangles {
            let names = triangle.map(usize::from);
            self.add(lash, names.map(|name| corners[name]), names.map(|name| lash.uv[name]), visibility);
        }
    }

    /// Blends the lashes over a frame.
    pub fn cover(&self, surface: &mut Surface) {
        let [left, top, right, _] = self.area;
        let (side, width) = (surface.size().width(), (right - left).max(1) as usize);
        for (sums, y) in self.sums.chunks_exact(width).zip(top as usize..) {
            let row = surface.pixels[y * side + left as usize..].iter_mut();
            for (pixel, sum) in row.zip(sums).filter(|(_, sum)| **sum != 0) {
                *pixel = over(plate_lanes_of(*sum, ROWS as u64), *pixel);
            }
        }
    }

    fn clear(&mut self, corners: &[Corner], within: [i32; 4]) {
        let bound = |axis: usize, least: i32, most: i32| {
            let values = corners.iter().map(|corner| corner[axis]);
            let (low, high) = values.fold((f32::MAX, f32::MIN), |(low, high), value| (low.min(value), high.max(value)));
            let low = (low.floor() as i32).clamp(least, most);
            (low, (high.ceil() as i32).clamp(low, most))
        };
        let ((left, right), (top, bottom)) = (bound(0, within[0], within[2]), bound(1, within[1], within[3]));
        self.area = [left, top, right, bottom];
        self.sums.clear();
        self.sums.resize((right - left) as usize * (bottom - top) as usize, 0);
    }

    fn add(&mut self, lash: &Lash, corners: [Corner; 3], uv: [[f32; 2]; 3], visibility: &VisibilityBuffer) {
        let fine = corners.map(|[x, y, _]| [x, y * ROWS as f32]);
        let Some((planes, _)) = BarycentricPlanes::new(fine) else { return };
        let soft = visibility.spread(FADE_DEPTH);
        let [left, top, right, bottom] = self.area;
        rasterize(fine, Window { left, top: top * ROWS, right, bottom: bottom * ROWS }, |fine_y, from, to| {
            let y = fine_y / ROWS;
            let behind = &visibility.row(y)[(from - visibility.area[0]) as usize..];
            let start = ((y - top) * (right - left) + from - left) as usize;
            for ((sum, behind), x) in self.sums[start..].iter_mut().zip(behind).zip(from..to) {
                let [second, third] = planes.at(x as f32 + 0.5, fine_y as f32 + 0.5);
                let mix = |a: f32, b: f32, c: f32| a + (b - a) * second + (c - a) * third;
                let depth = visibility.depth(mix(corners[0][2], corners[1][2], corners[2][2]) - DEPTH_BIAS);
                if *behind != EMPTY {
                    // A lash fades where it enters the lid.
                    let seen = u64::from(behind.saturating_sub(depth).min(soft) / (soft / 256 + 1));
                    let [u, v] = std::array::from_fn(|i| (mix(uv[0][i], uv[1][i], uv[2][i]) * 256.0) as i32);
                    let lanes = lash.plate.tap(u, v);
                    // Overlapping lashes do not exceed full opacity.
                    let room = (ROWS as u64 * 255).saturating_sub(*sum >> 48) * 256 / (lanes >> 48).max(1);
                    *sum += (lanes * seen.min(room)) >> 8 & 0x00ff_00ff_00ff_00ff;
                }
            }
        });
    }
}
