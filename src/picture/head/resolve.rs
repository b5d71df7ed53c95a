//! From samples to pixels: skin is coloured once a pixel, edges once for each thing that a pixel sees.

use super::eyes::{Eye, Eyes};
use super::model::{HeadModel, InsideLook};
use super::samples::{INNER, NAME, NOTHING, Samples};
use super::skin::{Facets, RUN};
use super::texture::{skin_bytes, skin_lanes};
use crate::picture::Surface;

/// The colour of the mouth's inside in the light.
const CAVITY: [f32; 3] = [78.0, 28.0, 25.0];
/// Samples of one pixel whose depths differ by less (in units) belong to one surface.
const ONE_SURFACE: f32 = 0.04;

/// All that a frame's pixels are made from.
pub struct Resolve<'a> {
    pub model: &'a HeadModel,
    pub samples: &'a Samples,
    pub facets: &'a Facets,
    /// 2 is set where the hair before the face is opaque.
    pub hidden: &'a [u8],
    pub eyes: [Eye; 2],
    /// Brightness of teeth and tongue.
    pub teeth: f32,
    /// Brightness of the dark behind them.
    pub cavity: f32,
    /// Pixels of the canvas per pixel of the picture.
    pub scale: f32,
}

impl Resolve<'_> {
    /// Draws the face over the surface.
    pub fn draw(&self, surface: &mut Surface) {
        let [left, top, right, bottom] = self.samples.area;
        let side = surface.size().width();
        let spread = self.samples.spread(ONE_SURFACE);
        for y in top..bottom {
            let (upper, lower) = self.samples.rows(y);
            let row = y as usize * side + left as usize..y as usize * side + right as usize;
            let (upper, lower) = (upper.as_chunks::<2>().0, lower.as_chunks::<2>().0);
            let (pixels, hidden) = (&mut surface.pixels[row.clone()], &self.hidden[row]);
            let square = |x: usize| [upper[x][0], upper[x][1], lower[x][0], lower[x][1]];
            let is_plain = |x: usize| hidden[x] == 1 && far_from_near(square(x)) < spread;
            let mut x = 0;
            while x < pixels.len() {
                let name = upper[x][0] & NAME;
                if is_plain(x) {
                    let limit = pixels.len().min(x + RUN);
                    let end = (x + 1..limit).find(|&next| upper[next][0] & NAME != name || !is_plain(next));
                    let end = end.unwrap_or(limit);
                    let at = [(x as i32 + left) as f32 + 0.5, y as f32 + 0.5];
                    self.facets.colour_run(&self.model.textures, name as usize, at, &mut pixels[x..end]);
                    x = end;
                    continue;
                }
                if hidden[x] & 2 == 0 && square(x) != [NOTHING; 4] {
                    pixels[x] = self.mix(square(x), [(x as i32 + left) as f32, y as f32], pixels[x]);
                }
                x += 1;
            }
        }
    }

    /// A pixel that sees more than one thing.
    fn mix(&self, square: [u32; 4], corner: [f32; 2], behind: [u8; 4]) -> [u8; 4] {
        const PLACES: [[f32; 2]; 4] = [[0.25, 0.25], [0.75, 0.25], [0.25, 0.75], [0.75, 0.75]];
        let mut sum = 2 | 2 << 21 | 2 << 42;
        let mut last = (NOTHING, skin_lanes([behind[0], behind[1], behind[2]]));
        let back = last.1;
        for (word, place) in square.into_iter().zip(PLACES) {
            if word == NOTHING {
                sum += back;
                continue;
            }
            if word & NAME != last.0 {
                last = (word & NAME, self.shade(word & NAME, [corner[0] + place[0], corner[1] + place[1]]));
            }
            sum += last.1;
        }
        let [r, g, b] = skin_bytes(sum >> 2);
        [r, g, b, 255]
    }

    fn shade(&self, name: u32, at: [f32; 2]) -> u64 {
        if name & INNER == 0 {
            return self.facets.colour(&self.model.textures, name as usize, at);
        }
        let name = (name & !INNER) as usize;
        let first_eye = self.model.first_eye();
        if name >= first_eye {
            let eye = &self.eyes[((name - first_eye) / Eyes::TRIANGLES).min(1)];
            let at = [at[0] * self.scale, at[1] * self.scale];
            return skin_lanes(self.model.eyes.colour(&self.model.camera, eye, at));
        }
        let inside = self.model.interior.iter().rfind(|inside| inside.first <= name);
        if inside.is_some_and(|inside| matches!(inside.look, InsideLook::Textured { .. })) {
            let slot = self.model.skin.triangles.len() + name;
            let lanes = self.facets.colour(&self.model.textures, slot, at);
            return skin_lanes(skin_bytes(lanes).map(|value| (f32::from(value) * self.teeth + 0.5) as u8));
        }
        skin_lanes(CAVITY.map(|value| (value * self.cavity + 0.5) as u8))
    }
}

/// How far the depths of a pixel's samples lie apart.
#[inline]
fn far_from_near([a, b, c, d]: [u32; 4]) -> u32 {
    a.max(b).max(c.max(d)) - a.min(b).min(c.min(d))
}
