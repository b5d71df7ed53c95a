//! Coverage of outlines, exact to 1/255 of a pixel, by accumulated signed areas.

use super::{blend, faded};

/// Coverage of one outline inside its box.
#[derive(Clone, Debug, Default)]
pub struct Mask {
    left: i32,
    top: i32,
    width: usize,
    cover: Vec<u8>,
}

impl Mask {
    /// Coverage of the pixel at `(x, y)`, 0 to 256.
    #[inline]
    #[must_use]
    pub fn share(&self, x: i32, y: i32) -> u32 {
        let (x, y) = (x - self.left, y - self.top);
        if x < 0 || y < 0 || x as usize >= self.width {
            return 0;
        }
        let cover = self.cover.get(y as usize * self.width + x as usize).copied().unwrap_or(0);
        u32::from(cover) + u32::from(cover >> 7)
    }

    /// Lays `colour` (opaque) over `pixels` where the outline covers, at `opacity` (0 to 256), cut by `clip`.
    pub fn paint(&self, pixels: &mut [[u8; 4]], width: usize, colour: [u8; 3], opacity: u32, clip: Option<&Self>) {
        let height = pixels.len() / width;
        let [r, g, b] = colour;
        let rows = self.cover.chunks_exact(self.width.max(1)).enumerate();
        for (y, row) in rows.map(|(y, row)| (self.top + y as i32, row)) {
            if y < 0 || y as usize >= height {
                continue;
            }
            let out = &mut pixels[y as usize * width..][..width];
            for (x, cover) in (self.left..).zip(row).filter(|(x, cover)| **cover > 0 && *x >= 0) {
                let Some(pixel) = out.get_mut(x as usize) else { break };
                let share = ((u32::from(*cover) + u32::from(*cover >> 7)) * opacity) >> 8;
                let share = clip.map_or(share, |clip| (clip.share(x, y) * share) >> 8);
                *pixel = blend(*pixel, faded([r, g, b, 255], share));
            }
        }
    }
}

/// Makes masks; keeps its scratch between calls.
#[derive(Clone, Debug, Default)]
pub struct MaskPainter {
    areas: Vec<f32>,
}

impl MaskPainter {
    /// The coverage of the closed outline through `points` (pixels), nonzero, cut to a surface of `width` by `height`.
    pub fn fill(&mut self, points: &[[f32; 2]], width: usize, height: usize, mask: &mut Mask) {
        mask.width = 0;
        mask.cover.clear();
        if points.len() < 3 || points.iter().flatten().any(|value| !value.is_finite()) {
            return;
        }
        let least = |i: usize| points.iter().map(|point| point[i]).fold(f32::MAX, f32::min);
        let most = |i: usize| points.iter().map(|point| point[i]).fold(f32::MIN, f32::max);
        let left = (least(0).floor() as i32).clamp(0, width as i32);
        let right = (most(0).ceil() as i32 + 1).clamp(left, width as i32);
        let top = (least(1).floor() as i32).clamp(0, height as i32);
        let bottom = (most(1).ceil() as i32).clamp(top, height as i32);
        let (columns, rows) = ((right - left) as usize, (bottom - top) as usize);
        if columns == 0 || rows == 0 {
            return;
        }
        (mask.left, mask.top, mask.width) = (left, top, columns);
        self.areas.clear();
        self.areas.resize(columns * rows + 2, 0.0);
        let local = |point: &[f32; 2]| [point[0] - left as f32, point[1] - top as f32];
        for (from, to) in points.iter().zip(points.iter().cycle().skip(1)) {
            self.edge(local(from), local(to), columns, rows);
        }
        for row in self.areas[..columns * rows].chunks_exact(columns) {
            let mut sum = 0.0;
            mask.cover.extend(row.iter().map(|area| {
                sum += area;
                (f32::min(f32::abs(sum), 1.0) * 255.0 + 0.5) as u8
            }));
        }
    }

    /// Adds one edge's signed area to the pixels it passes, row by row; what is left of the box counts at its edge.
    fn edge(&mut self, from: [f32; 2], to: [f32; 2], columns: usize, rows: usize) {
        let (sign, upper, lower) = if from[1] < to[1] { (1.0, from, to) } else { (-1.0, to, from) };
        let tall = lower[1] - upper[1];
        if tall < 1e-9 {
            return;
        }
        let slope = (lower[0] - upper[0]) / tall;
        let first = upper[1].max(0.0);
        let last = lower[1].min(rows as f32);
        let mut y = first;
        while y < last {
            let row = y.floor();
            let next = (row + 1.0).min(last);
            let (x0, x1) = (upper[0] + (y - upper[1]) * slope, upper[0] + (next - upper[1]) * slope);
            let start = row as usize * columns;
            spread(&mut self.areas[start..start + columns], x0.min(x1), x0.max(x1), sign * (next - y));
            y = next;
        }
    }
}

/// Spreads an edge of signed height `tall` that runs from `x0` to `x1` (in order) over one row of areas: each pixel gets
/// the change of coverage that the edge makes there, so that the running sum is the coverage.
fn spread(row: &mut [f32], x0: f32, x1: f32, tall: f32) {
    let (x0, x1) = (x0.max(0.0), x1.max(0.0));
    let first = x0.floor();
    let (start, end) = (first as usize, x1.ceil() as usize);
    let mut add = |x: usize, area: f32| {
        if let Some(cell) = row.get_mut(x) {
            *cell += area;
        }
    };
    if end <= start + 1 {
        let middle = f32::midpoint(x0, x1) - first;
        add(start, tall * (1.0 - middle));
        add(start + 1, tall * middle);
        return;
    }
    let per_pixel = 1.0 / (x1 - x0);
    // Coverage right of the edge, pixel by pixel: a triangle, then trapezoids, then a triangle again.
    let enter = 1.0 - (x0 - first);
    let mut before = 0.0;
    for x in start..end {
        let right = (x + 1) as f32;
        let covered = if right <= x1 {
            if x == start { per_pixel * enter * enter / 2.0 } else { per_pixel * (right - 0.5 - x0) }
        } else {
            let rest = x1 - x as f32;
            1.0 - per_pixel * rest * rest / 2.0
        };
        add(x, tall * (covered - before));
        before = covered;
    }
    add(end, tall * (1.0 - before));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(points: &[[f32; 2]]) -> f32 {
        let mut mask = Mask::default();
        MaskPainter::default().fill(points, 64, 64, &mut mask);
        mask.cover.iter().map(|cover| f32::from(*cover) / 255.0).sum()
    }

    #[test]
    fn coverage_adds_up_to_the_area() {
        let square = [[3.25, 4.5], [10.75, 4.5], [10.75, 9.25], [3.25, 9.25]];
        assert!((area(&square) - 7.5 * 4.75).abs() < 0.1, "{}", area(&square));
        let triangle = [[2.0, 2.0], [30.0, 5.0], [11.0, 40.0]];
        assert!((area(&triangle) - 503.5).abs() < 1.0, "{}", area(&triangle));
    }

    #[test]
    fn an_outline_of_no_area_draws_nothing() {
        assert!(area(&[[3.0, 3.0], [9.0, 5.0], [20.0, 5.5], [9.0, 5.0]]) < 0.01);
        assert!(area(&[[f32::NAN, 0.0], [1.0, 1.0], [2.0, 0.0]]).abs() < 0.01);
    }

    #[test]
    fn what_lies_left_of_the_surface_still_covers_what_lies_on_it() {
        let square = [[-10.0, 10.0], [10.0, 10.0], [10.0, 20.0], [-10.0, 20.0]];
        assert!((area(&square) - 100.0).abs() < 0.5);
    }
}
