//! Edge anti-aliasing: pixels on a silhouette edge blend both surfaces by their area.
//!
//! Decides which mesh edges are silhouettes in a frame, and blends the shaded colours across them. This costs less
//! than more samples per pixel, because only pixels on silhouettes are touched.

use std::collections::HashMap;

use super::triangle_setup::round;
use super::visibility::{Corner, EMPTY, VisibilityBuffer};
use crate::face::Surface;

/// A sample further behind an edge than this (in units) belongs to another surface.
const BEHIND: f32 = 0.03;
/// Within a pixel of its silhouette, a surface is nearer than the edge by less than this (in units).
const BULGE: f32 = 0.25;
const NO_TRIANGLE: u32 = u32::MAX;

/// Edges of a mesh.
#[derive(Debug)]
pub struct Edges {
    edges: Vec<Edge>,
}

/// Two vertices and the triangles on both sides.
#[derive(Clone, Copy, Debug)]
struct Edge {
    ends: [u16; 2],
    sides: [u32; 2],
}

/// A silhouette edge in a frame: one side faces the viewer, the other does not.
#[derive(Clone, Copy, Debug)]
struct Silhouette {
    ends: [Corner; 2],
    /// A point on the side of the surface.
    inside: Corner,
}

/// Silhouette edges of one frame.
#[derive(Debug, Default)]
pub struct Silhouettes {
    lines: Vec<Silhouette>,
    faces_viewer: Vec<bool>,
}

impl Edges {
    /// Collects the edges of `triangles`.
    pub fn of(triangles: &[[u16; 3]]) -> Self {
        let mut edges: Vec<Edge> = Vec::new();
        let mut open: HashMap<[u16; 2], usize> = HashMap::new();
        for (side, [a, b, c]) in (0_u32..).zip(triangles) {
            for (from, to) in [(a, b), (b, c), (c, a)] {
                let ends = [*from.min(to), *from.max(to)];
                if let Some(known) = open.remove(&ends) {
                    edges[known].sides[1] = side;
                } else {
                    open.insert(ends, edges.len());
                    edges.push(Edge { ends, sides: [side, NO_TRIANGLE] });
                }
            }
        }
        Self { edges }
    }
}

impl Silhouettes {
    /// Starts a new frame.
    pub fn clear(&mut self) {
        self.lines.clear();
    }

    /// Adds the silhouette edges of a mesh with projected `corners`; `back` is its depth bias.
    pub fn add(&mut self, edges: &Edges, triangles: &[[u16; 3]], corners: &[Corner], back: f32) {
        let faces = |triangle: &[u16; 3]| {
            let [a, b, c] = triangle.map(|name| corners[usize::from(name)]);
            (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]) > 0.0
        };
        self.faces_viewer.clear();
        self.faces_viewer.extend(triangles.iter().map(faces));
        for Edge { ends, sides } in &edges.edges {
            let [first, second] = sides.map(|side| self.faces_viewer.get(side as usize).is_some_and(|faces| *faces));
            if first != second {
                let triangle = triangles[sides[usize::from(second)] as usize];
                let third = triangle.into_iter().find(|name| !ends.contains(name)).unwrap_or(ends[0]);
                let place = |name: u16| {
                    let [x, y, z] = corners[usize::from(name)];
                    [x, y, z + back]
                };
                self.lines.push(Silhouette { ends: ends.map(place), inside: place(third) });
            }
        }
    }

    /// Blends colours across all visible silhouette edges. Bit 2 in `hidden` marks pixels behind opaque hair.
    pub fn smooth(&self, visibility: &VisibilityBuffer, hidden: &[u8], surface: &mut Surface) {
        let side = surface.size().width();
        let index = |[x, y]: [i32; 2]| y as usize * side + x as usize;
        for line in &self.lines {
            line.cross(|crossing| {
                let Crossing { pixels: [own, other], inside, shares, depth } = crossing;
                let (here, there) = if inside == 0 { (own, other) } else { (other, own) };
                let is_end = visibility.at(here).is_some_and(|word| is_surface(visibility, word, depth))
                    && visibility.at(there).is_some_and(|word| is_other(visibility, word, depth));
                if is_end && hidden[index(other)] & 2 == 0 {
                    let colours = [own, other].map(|place| surface.pixels[index(place)]);
                    surface.pixels[index(own)] = mix(colours, shares[0]);
                    surface.pixels[index(other)] = mix([colours[1], colours[0]], shares[1]);
                }
            });
        }
    }
}

/// A pixel that a silhouette edge crosses.
struct Crossing {
    /// The crossed pixel, and its neighbour across the edge.
    pixels: [[i32; 2]; 2],
    /// Index of the pixel that shows the surface.
    inside: usize,
    /// Area of each that belongs to the other side, up to a half.
    shares: [f32; 2],
    /// Depth of the edge.
    depth: f32,
}

impl Silhouette {
    fn cross(&self, mut meet: impl FnMut(Crossing)) {
        let [mut a, mut b] = self.ends;
        let is_upright = (b[0] - a[0]).abs() < (b[1] - a[1]).abs();
        let (along, across) = if is_upright { (1, 0) } else { (0, 1) };
        if a[along] > b[along] {
            std::mem::swap(&mut a, &mut b);
        }
        let length = b[along] - a[along];
        if !(1e-3..1e4).contains(&length) {
            return;
        }
        let [slope, deeper] = [(b[across] - a[across]) / length, (b[2] - a[2]) / length];
        let is_inside_after = self.inside[across] > a[across] + slope * (self.inside[along] - a[along]);
        for step in round(a[along])..round(b[along]) {
            let way = step as f32 + 0.5 - a[along];
            let at = a[across] + slope * way;
            let cell = at.floor();
            let part = at - cell;
            let other = if part < 0.5 { cell - 1.0 } else { cell + 1.0 };
            // A slanted edge takes more than a pixel to cross one.
            let share = |far: f32| (0.5 - far / (1.0 + slope.abs())).max(0.0);
            let far = (part - 0.5).abs();
            let place = |across: f32| if is_upright { [across as i32, step] } else { [step, across as i32] };
            meet(Crossing {
                pixels: [place(cell), place(other)],
                inside: usize::from(is_inside_after != (part < 0.5)),
                shares: [share(far), share(1.0 - far)],
                depth: a[2] + deeper * way,
            });
        }
    }
}

fn is_surface(visibility: &VisibilityBuffer, word: u32, depth: f32) -> bool {
    word != EMPTY && word < visibility.depth(depth + BEHIND) && word > visibility.depth(depth - BULGE)
}

fn is_other(visibility: &VisibilityBuffer, word: u32, depth: f32) -> bool {
    word > visibility.depth(depth + BEHIND)
}

fn mix([here, there]: [[u8; 4]; 2], part: f32) -> [u8; 4] {
    let part = (part * 256.0) as u16;
    std::array::from_fn(|i| ((u16::from(here[i]) * (256 - part) + u16::from(there[i]) * part + 128) >> 8) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::FrameSize;

    const SIDE: usize = 48;

    /// A white triangle on black, with anti-aliased edges.
    fn drawn(corners: [Corner; 3]) -> Surface {
        let (mut visibility, mut silhouettes) = (VisibilityBuffer::default(), Silhouettes::default());
        let mut surface = Surface::new(FrameSize::square(SIDE as u32));
        visibility.clear([0, 0, SIDE as i32, SIDE as i32], 0.0, 4.0);
        visibility.draw(corners, 0.0, 0);
        for y in 0..SIDE {
            let row = &mut surface.pixels[y * SIDE..(y + 1) * SIDE];
            row.iter_mut().zip(visibility.row(y as i32)).for_each(|(pixel, word)| {
                *pixel = if *word == EMPTY { [0, 0, 0, 255] } else { [255; 4] };
            });
        }
        silhouettes.add(&Edges::of(&[[0, 1, 2]]), &[[0, 1, 2]], &corners, 0.0);
        silhouettes.smooth(&visibility, &[0; SIDE * SIDE], &mut surface);
        surface
    }

    /// Area of a pixel inside the triangle, from 16 x 16 samples.
    fn covered([a, b, c]: [Corner; 3], x: usize, y: usize) -> f32 {
        let turn = |p: Corner, q: Corner, [x, y]: [f32; 2]| (q[0] - p[0]) * (y - p[1]) - (q[1] - p[1]) * (x - p[0]);
        let places = (0..256).map(|n| [x as f32 + (n % 16) as f32 / 16.0, y as f32 + (n / 16) as f32 / 16.0]);
        let inside = places.filter(|at| turn(a, b, *at) > 0.0 && turn(b, c, *at) > 0.0 && turn(c, a, *at) > 0.0);
        inside.count() as f32 / 256.0
    }

    #[test]
    fn the_brightness_at_an_edge_of_any_slope_is_its_area() {
        for slant in [0.0_f32, 0.3, 0.7, 1.0, 1.6, 4.0] {
            let far = |far: f32| [24.0 + far * slant.sin(), 24.2 + far * slant.cos(), 1.0];
            let [top, bottom] = [far(-90.0), far(90.0)];
            let corners = [top, [24.0 + 300.0 * slant.cos(), 24.2 - 300.0 * slant.sin(), 1.0], bottom];
            let surface = drawn(corners);
            for (x, y) in (2..SIDE - 2).flat_map(|y| (2..SIDE - 2).map(move |x| (x, y))) {
                let (found, wanted) = (surface.pixels[y * SIDE + x][0], covered(corners, x, y));
                let error = (f32::from(found) / 255.0 - wanted).abs();
                assert!(error < 0.16, "slant {slant}, pixel {x} {y}: {found} for a cover of {wanted}");
            }
        }
    }
}
