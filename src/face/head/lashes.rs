//! Upper lashes, over everything of the face.
//!
//! Seen along their length they are thinner than a pixel: each row is sampled several times, so that they thin out instead of
//! breaking into dashes.

use super::model::Lash;
use super::texture::{over, plate_lanes_of};
use super::triangle_setup::{Planes, Window, scan};
use super::visibility::{Corner, NOTHING, Samples};
use crate::face::Surface;

/// Coarse lids cut corners: lashes are tested a little nearer.
const NEARER: f32 = 0.05;
/// A lash fades over so much depth.
const SOFT: f32 = 0.03;
/// Samples of a pixel, one below the other.
const ROWS: i32 = 4;

/// The lashes of one frame.
#[derive(Debug, Default)]
pub struct Lashes {
    /// Left, top, right, bottom in pixels.
    area: [i32; 4],
    /// Premultiplied lanes of each pixel of the area, summed over its samples.
    sums: Vec<u64>,
}

impl Lashes {
    /// Draws the lashes whose corners are seen there, before and behind what was sampled.
    pub fn draw(&mut self, lash: &Lash, corners: &[Corner], samples: &Samples) {
        self.clear(corners, samples.area);
        for triangle in &lash.part.triangles {
            let names = triangle.map(usize::from);
            self.add(lash, names.map(|name| corners[name]), names.map(|name| lash.uv[name]), samples);
        }
    }

    /// Puts them over a picture.
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

    fn add(&mut self, lash: &Lash, corners: [Corner; 3], uv: [[f32; 2]; 3], samples: &Samples) {
        let fine = corners.map(|[x, y, _]| [x, y * ROWS as f32]);
        let Some((planes, _)) = Planes::new(fine) else { return };
        let soft = samples.spread(SOFT);
        let [left, top, right, bottom] = self.area;
        scan(fine, Window { left, top: top * ROWS, right, bottom: bottom * ROWS }, |fine_y, from, to| {
            let y = fine_y / ROWS;
            let behind = &samples.row(y)[(from - samples.area[0]) as usize..];
            let start = ((y - top) * (right - left) + from - left) as usize;
            for ((sum, behind), x) in self.sums[start..].iter_mut().zip(behind).zip(from..to) {
                let [second, third] = planes.at(x as f32 + 0.5, fine_y as f32 + 0.5);
                let mix = |a: f32, b: f32, c: f32| a + (b - a) * second + (c - a) * third;
                let depth = samples.depth(mix(corners[0][2], corners[1][2], corners[2][2]) - NEARER);
                if *behind != NOTHING {
                    // Where a lash dips into the lid it fades.
                    let seen = u64::from(behind.saturating_sub(depth).min(soft) / (soft / 256 + 1));
                    let [u, v] = std::array::from_fn(|i| (mix(uv[0][i], uv[1][i], uv[2][i]) * 256.0) as i32);
                    let lanes = lash.plate.tap(u, v);
                    // Folded lashes cover a pixel once.
                    let room = (ROWS as u64 * 255).saturating_sub(*sum >> 48) * 256 / (lanes >> 48).max(1);
                    *sum += (lanes * seen.min(room)) >> 8 & 0x00ff_00ff_00ff_00ff;
                }
            }
        });
    }
}
