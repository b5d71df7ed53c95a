//! Smooth edges: where a surface ends before another, the pixel on the line shows both by their shares.
//!
//! Decides which edges of a mesh are such ends in a frame, and mixes the finished colours across them.

use std::collections::HashMap;

use super::triangle_setup::round;
use super::visibility::{Corner, NOTHING, Samples};
use crate::face::Surface;

/// What lies further behind an edge than this (in units) is another surface.
const BEHIND: f32 = 0.03;
/// A surface bulges towards the viewer by less than this within a pixel of its end.
const BULGE: f32 = 0.25;
const NOBODY: u32 = u32::MAX;

/// The edges of a mesh.
#[derive(Debug)]
pub struct Edges {
    edges: Vec<Edge>,
}

/// Two points and the triangles that share them.
#[derive(Clone, Copy, Debug)]
struct Edge {
    ends: [u16; 2],
    sides: [u32; 2],
}

/// An edge in a frame: in front on one side, with something else on the other.
#[derive(Clone, Copy, Debug)]
struct Line {
    ends: [Corner; 2],
    /// A place on the side where the surface is.
    inside: Corner,
}

/// The ends of all surfaces in one frame.
#[derive(Debug, Default)]
pub struct Outline {
    lines: Vec<Line>,
    faces_viewer: Vec<bool>,
}

impl Edges {
    /// Finds the edges of `triangles`.
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
                    edges.push(Edge { ends, sides: [side, NOBODY] });
                }
            }
        }
        Self { edges }
    }
}

impl Outline {
    /// Forgets the last frame.
    pub fn clear(&mut self) {
        self.lines.clear();
    }

    /// Adds the ends of a mesh whose corners are seen there, pushed `back` from the viewer.
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
                self.lines.push(Line { ends: ends.map(place), inside: place(third) });
            }
        }
    }

    /// Mixes the colours across all ends that are seen. `hidden` has 2 set where hair will cover the pixel.
    pub fn smooth(&self, samples: &Samples, hidden: &[u8], surface: &mut Surface) {
        let side = surface.size().width();
        let index = |[x, y]: [i32; 2]| y as usize * side + x as usize;
        for line in &self.lines {
            line.cross(|crossing| {
                let Crossing { pixels: [own, other], inside, shares, depth } = crossing;
                let (here, there) = if inside == 0 { (own, other) } else { (other, own) };
                let is_end = samples.at(here).is_some_and(|word| is_surface(samples, word, depth))
                    && samples.at(there).is_some_and(|word| is_other(samples, word, depth));
                if is_end && hidden[index(other)] & 2 == 0 {
                    let colours = [own, other].map(|place| surface.pixels[index(place)]);
                    surface.pixels[index(own)] = mix(colours, shares[0]);
                    surface.pixels[index(other)] = mix([colours[1], colours[0]], shares[1]);
                }
            });
        }
    }
}

/// Where a line crosses the pixels.
struct Crossing {
    /// The pixel that the line goes through, and its neighbour across the line.
    pixels: [[i32; 2]; 2],
    /// Which of them shows the surface that ends.
    inside: usize,
    /// How much of each belongs to the other's side, up to a half.
    shares: [f32; 2],
    /// Depth of the line.
    depth: f32,
}

impl Line {
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
            // A slanting line takes more than a pixel to get across one.
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

fn is_surface(samples: &Samples, word: u32, depth: f32) -> bool {
    word != NOTHING && word < samples.depth(depth + BEHIND) && word > samples.depth(depth - BULGE)
}

fn is_other(samples: &Samples, word: u32, depth: f32) -> bool {
    word > samples.depth(depth + BEHIND)
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

    /// A white triangle that is drawn, then made smooth, on black.
    fn drawn(corners: [Corner; 3]) -> Surface {
        let (mut samples, mut outline) = (Samples::default(), Outline::default());
        let mut surface = Surface::new(FrameSize::square(SIDE as u32));
        samples.clear([0, 0, SIDE as i32, SIDE as i32], 0.0, 4.0);
        samples.draw(corners, 0.0, 0);
        for y in 0..SIDE {
            let row = &mut surface.pixels[y * SIDE..(y + 1) * SIDE];
            row.iter_mut().zip(samples.row(y as i32)).for_each(|(pixel, word)| {
                *pixel = if *word == NOTHING { [0, 0, 0, 255] } else { [255; 4] };
            });
        }
        outline.add(&Edges::of(&[[0, 1, 2]]), &[[0, 1, 2]], &corners, 0.0);
        outline.smooth(&samples, &[0; SIDE * SIDE], &mut surface);
        surface
    }

    /// The share of a pixel inside the triangle, of 16 by 16 places.
    fn covered([a, b, c]: [Corner; 3], x: usize, y: usize) -> f32 {
        let turn = |p: Corner, q: Corner, [x, y]: [f32; 2]| (q[0] - p[0]) * (y - p[1]) - (q[1] - p[1]) * (x - p[0]);
        let places = (0..256).map(|n| [x as f32 + (n % 16) as f32 / 16.0, y as f32 + (n / 16) as f32 / 16.0]);
        let inside = places.filter(|at| turn(a, b, *at) > 0.0 && turn(b, c, *at) > 0.0 && turn(c, a, *at) > 0.0);
        inside.count() as f32 / 256.0
    }

    #[test]
    fn an_edge_of_any_slant_shows_as_much_as_it_covers() {
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
