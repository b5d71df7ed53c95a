//! Textured triangles over a surface of premultiplied pixels.

use super::{Mask, Texture, blend, faded};

/// A corner of a triangle: its place on the surface in pixels, and in the texture ([`Texture::place`]).
#[derive(Clone, Copy, Debug)]
pub struct Corner {
    /// Across and down.
    pub at: [f32; 2],
    /// Texture coordinates.
    pub texture: [f32; 2],
}

/// How a mesh is laid over what is there.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// What is drawn.
    pub texture: &'a Texture,
    /// Share of its opacity, 0 to 256.
    pub opacity: u32,
    /// Where it may be seen; none: everywhere.
    pub mask: Option<&'a Mask>,
}

/// Draws one triangle over rows of `width` pixels. Neighbours that share an edge never draw a pixel twice.
pub fn draw_triangle(pixels: &mut [[u8; 4]], width: usize, corners: [Corner; 3], look: &Look<'_>) {
    let Some(plane) = Plane::through(&corners) else { return };
    let [a, b, c] = corners.map(|corner| corner.at);
    let height = (pixels.len() / width) as i32;
    let top = a[1].min(b[1]).min(c[1]);
    let bottom = a[1].max(b[1]).max(c[1]);
    let rows = centre(top).max(0)..centre(bottom).min(height);
    for y in rows {
        let line = y as f32 + 0.5;
        let (mut left, mut right) = (f32::MAX, f32::MIN);
        for (from, to) in [(a, b), (b, c), (c, a)] {
            if (from[1] <= line) != (to[1] <= line) {
                let x = from[0] + (to[0] - from[0]) * ((line - from[1]) / (to[1] - from[1]));
                left = left.min(x);
                right = right.max(x);
            }
        }
        let (start, end) = (centre(left).max(0), centre(right).min(width as i32));
        if start < end {
            let row = &mut pixels[y as usize * width..][start as usize..end as usize];
            draw_span(row, start, y, &plane, look);
        }
    }
}

/// The first pixel whose centre is at or after `x`.
fn centre(x: f32) -> i32 {
    (x - 0.5).ceil().clamp(-1e6, 1e6) as i32
}

fn draw_span(row: &mut [[u8; 4]], start: i32, y: i32, plane: &Plane, look: &Look<'_>) {
    let [mut u, mut v] = plane.at(start as f32 + 0.5, y as f32 + 0.5);
    let [du, dv] = plane.step;
    let is_plain = look.opacity >= 256 && look.mask.is_none();
    for (x, pixel) in (start..).zip(row) {
        let sample = look.texture.sample(u, v);
        u += du;
        v += dv;
        if sample[3] == 0 {
            continue;
        }
        if is_plain {
            *pixel = if sample[3] == 255 { sample } else { blend(*pixel, sample) };
            continue;
        }
        let share = (look.mask.map_or(256, |mask| mask.share(x, y)) * look.opacity) >> 8;
        *pixel = blend(*pixel, faded(sample, share));
    }
}

/// Texture coordinates as a plane over the surface.
struct Plane {
    origin: [f32; 2],
    start: [f32; 2],
    across: [f32; 2],
    down: [f32; 2],
    step: [i32; 2],
}

impl Plane {
    fn through(corners: &[Corner; 3]) -> Option<Self> {
        let [a, b, c] = corners;
        let (ab, ac) = (minus(b.at, a.at), minus(c.at, a.at));
        let area = ab[0] * ac[1] - ab[1] * ac[0];
        if !area.is_finite() || area.abs() < 1e-6 {
            return None;
        }
        let (tb, tc) = (minus(b.texture, a.texture), minus(c.texture, a.texture));
        let across = [0, 1].map(|i| (tb[i] * ac[1] - tc[i] * ab[1]) / area);
        let down = [0, 1].map(|i| (tc[i] * ab[0] - tb[i] * ac[0]) / area);
        Some(Self { origin: a.at, start: a.texture, across, down, step: across.map(|slope| slope as i32) })
    }

    fn at(&self, x: f32, y: f32) -> [i32; 2] {
        let (dx, dy) = (x - self.origin[0], y - self.origin[1]);
        [0, 1].map(|i| (self.start[i] + self.across[i] * dx + self.down[i] * dy) as i32)
    }
}

fn minus(a: [f32; 2], b: [f32; 2]) -> [f32; 2] {
    [a[0] - b[0], a[1] - b[1]]
}
