//! Deferred shading: from the visibility buffer to colours. Skin is shaded in runs of one triangle, eyes and mouth per pixel.

use super::eyes::{Eye, Eyes};
use super::model::{HeadModel, MouthMaterial};
use super::skin::Facets;
use super::visibility::{EMPTY, ID_MASK, INTERIOR_BIT, VisibilityBuffer};
use crate::face::Surface;

/// Colour of the lit mouth cavity.
const CAVITY: [f32; 3] = [78.0, 28.0, 25.0];

/// Inputs of the shading of one frame.
pub struct Resolve<'a> {
    pub model: &'a HeadModel,
    pub visibility: &'a VisibilityBuffer,
    pub facets: &'a Facets,
    pub eyes: [Eye; 2],
    /// Brightness of teeth and tongue.
    pub teeth: f32,
    /// Brightness of the mouth cavity.
    pub cavity: f32,
    /// Canvas pixels per frame pixel.
    pub scale: f32,
}

impl Resolve<'_> {
    /// Shades the face over the surface.
    pub fn draw(&self, surface: &mut Surface) {
        let [left, top, right, bottom] = self.visibility.area;
        let side = surface.size().width();
        for y in top..bottom {
            let pixels = &mut surface.pixels[y as usize * side + left as usize..y as usize * side + right as usize];
            self.draw_row([left as f32 + 0.5, y as f32 + 0.5], self.visibility.row(y), pixels);
        }
    }

    /// Shades a row whose first pixel has its centre at `origin`.
    fn draw_row(&self, origin: [f32; 2], words: &[u32], pixels: &mut [[u8; 4]]) {
        let mut x = 0;
        while let Some(&word) = words.get(x) {
            let at = [origin[0] + x as f32, origin[1]];
            if word == EMPTY {
                x += 1;
            } else if word & INTERIOR_BIT != 0 {
                let [r, g, b] = self.shade((word & ID_MASK & !INTERIOR_BIT) as usize, at);
                pixels[x] = [r, g, b, 255];
                x += 1;
            } else {
                let name = word & ID_MASK;
                let rest = &words[x..];
                let length = rest.iter().position(|word| word & ID_MASK != name).unwrap_or(rest.len());
                self.facets.colour_run(&self.model.textures, name as usize, at, &mut pixels[x..x + length]);
                x += length;
            }
        }
    }

    /// Colour of an eye or of the interior of the mouth.
    fn shade(&self, name: usize, at: [f32; 2]) -> [u8; 3] {
        let first_eye = self.model.first_eye();
        if name >= first_eye {
            let eye = &self.eyes[((name - first_eye) / Eyes::TRIANGLES).min(1)];
            return self.model.eyes.colour(&self.model.camera, eye, at.map(|value| value * self.scale));
        }
        let inside = self.model.interior.iter().rfind(|inside| inside.first <= name);
        if inside.is_some_and(|inside| matches!(inside.look, MouthMaterial::Textured { .. })) {
            let slot = self.model.skin.triangles.len() + name;
            let colour = self.facets.colour(&self.model.textures, slot, at);
            return colour.map(|value| (f32::from(value) * self.teeth + 0.5) as u8);
        }
        CAVITY.map(|value| (value * self.cavity + 0.5) as u8)
    }
}
