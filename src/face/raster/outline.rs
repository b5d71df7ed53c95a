//! Polygon rasteriser: closed polygons to 8-bit coverage, by exact signed areas.
//!
//! Every edge accumulates the signed area to its right, in integers. An edge and its reverse cancel exactly, so
//! that a polygon without area draws nothing. Where a polygon overlaps itself in the same direction, it is filled once (non-zero rule).

/// A point on the surface in pixels x 256.
pub type Point = [i32; 2];

/// Log2 of a pixel's area in the unit of the accumulators: 256 sub-rows x 2 x 256 sub-columns.
const AREA_LOG: u32 = 17;

/// Coverage (0 to 255) of a box of pixels within the surface.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    /// Left column and top row of the box.
    pub from: [usize; 2],
    /// Columns of the box.
    pub width: usize,
    /// `width * rows` values.
    pub values: Vec<u8>,
    /// For each row, the half-open range of columns that are not zero.
    pub spans: Vec<[u32; 2]>,
}

impl Coverage {
    /// First column and values of surface row `y`; empty outside the box.
    #[must_use]
    pub fn row(&self, y: usize) -> (usize, &[u8]) {
        let row = y.wrapping_sub(self.from[1]);
        match self.spans.get(row) {
            Some(&[first, end]) if first < end => {
                let start = row * self.width;
                (self.from[0] + first as usize, &self.values[start + first as usize..start + end as usize])
            }
            _ => (self.from[0], &[]),
        }
    }
}

/// Accumulators, reused between polygons.
#[derive(Clone, Debug, Default)]
pub struct Outliner {
    sums: Vec<i32>,
    touched: Vec<[i32; 2]>,
    columns: i32,
    rows: i32,
}

impl Outliner {
    /// Rasterises `outline` into `out`, clipped to a surface of `size` pixels (at most 16384 each).
    pub fn fill(&mut self, outline: &[Point], size: [usize; 2], out: &mut Coverage) {
        out.values.clear();
        out.spans.clear();
        let Some((from, to)) = pixel_box(outline, size) else { return };
        self.columns = to[0] - from[0];
        self.rows = to[1] - from[1];
        // Two more columns: an edge extends into the next pixel, and area beyond the box accumulates there.
        self.sums.resize(((self.columns + 2) * self.rows) as usize, 0);
        self.touched.clear();
        self.touched.resize(self.rows as usize, [i32::MAX, -1]);
        let place = |point: Point| [point[0] - (from[0] << 8), point[1] - (from[1] << 8)];
        let mut previous = outline.last().copied().map(place).unwrap_or_default();
        for &point in outline {
            let point = place(point);
            self.edge(previous, point);
            previous = point;
        }
        out.from = from.map(|side| side as usize);
        out.width = self.columns as usize;
        self.gather(out);
    }

    /// Adds an edge. It is always traversed downwards, so that both directions round equally.
    fn edge(&mut self, a: Point, b: Point) {
        let (top, bottom, sign) = if a[1] <= b[1] { (a, b, 1) } else { (b, a, -1) };
        let (first, last) = (top[1].max(0), bottom[1].min(self.rows << 8));
        if first >= last {
            return;
        }
        let (wide, high) = (i64::from(bottom[0] - top[0]), i64::from(bottom[1] - top[1]));
        let column = |y: i32| top[0] + ((wide * i64::from(y - top[1])) / high) as i32;
        let (mut y, mut x) = (first, column(first));
        while y < last {
            let next = last.min(((y >> 8) + 1) << 8);
            let beyond = column(next);
            self.strip(y >> 8, [x, beyond], sign * (next - y));
            (y, x) = (next, beyond);
        }
    }

    /// Adds the part of an edge within one row, from column `x[0]` to `x[1]`; `cover` is its signed height.
    fn strip(&mut self, row: i32, x: [i32; 2], cover: i32) {
        let limit = self.columns << 8;
        let (left, right) = (x[0].min(x[1]).clamp(0, limit), x[0].max(x[1]).clamp(0, limit));
        let (first, last) = (left >> 8, right >> 8);
        let touched = &mut self.touched[row as usize];
        *touched = [touched[0].min(first), touched[1].max(last + 1)];
        let start = (row * (self.columns + 2)) as usize;
        let sums = &mut self.sums[start..start + self.columns as usize + 2];
        if first == last {
            add(sums, first, cover, (left & 255) + (right & 255));
            return;
        }
        // Each column takes its part of the height, the last one the remainder.
        let mut rest = cover;
        let (mut from, width) = (left, right - left);
        for cell in first..=last {
            let to = right.min((cell + 1) << 8);
            let share = if cell == last { rest } else { cover * (to - from) / width };
            add(sums, cell, share, (from - (cell << 8)) + (to - (cell << 8)));
            rest -= share;
            from = to;
        }
    }

    /// Integrates the accumulators to coverage and resets them.
    fn gather(&mut self, out: &mut Coverage) {
        let width = self.columns as usize;
        out.values.resize(width * self.rows as usize, 0);
        let rows = self.sums.chunks_exact_mut(width + 2).zip(out.values.chunks_exact_mut(width));
        for ((sums, values), &[first, last]) in rows.zip(&self.touched) {
            if last < 0 {
                out.spans.push([0, 0]);
                continue;
            }
            let (first, end) = (first as usize, (last as usize + 1).min(width + 2));
            let mut sum = 0_i32;
            for (area, value) in sums[first..].iter().zip(&mut values[first.min(width)..]).take(end - first) {
                sum += area;
                *value = (sum.unsigned_abs() >> (AREA_LOG - 8)).min(255) as u8;
            }
            sums[first..end].fill(0);
            out.spans.push([first.min(width) as u32, end.min(width) as u32]);
        }
    }
}

/// Adds `cover` at a mean distance of `twice_in / 2` sub-columns within `cell`.
#[inline]
fn add(sums: &mut [i32], cell: i32, cover: i32, twice_in: i32) {
    sums[cell as usize] += cover * (512 - twice_in);
    sums[cell as usize + 1] += cover * twice_in;
}

/// Bounding box of a polygon in pixels, clipped to the surface.
fn pixel_box(outline: &[Point], size: [usize; 2]) -> Option<([i32; 2], [i32; 2])> {
    let mut from = [i32::MAX; 2];
    let mut to = [i32::MIN; 2];
    for point in outline {
        for axis in 0..2 {
            from[axis] = from[axis].min(point[axis]);
            to[axis] = to[axis].max(point[axis]);
        }
    }
    if outline.len() < 3 {
        return None;
    }
    let from = from.map(|side| (side >> 8).max(0));
    let to = [0, 1].map(|axis| ((to[axis] >> 8) + 1).min(size[axis] as i32));
    (from[0] < to[0] && from[1] < to[1]).then_some((from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(outline: &[Point]) -> Coverage {
        let mut coverage = Coverage::default();
        Outliner::default().fill(outline, [32, 32], &mut coverage);
        coverage
    }

    fn area(coverage: &Coverage) -> f32 {
        coverage.values.iter().map(|&value| f32::from(value) / 255.0).sum()
    }

    #[test]
    fn a_rectangle_covers_its_area() {
        let coverage = fill(&[[640, 640], [1664, 640], [1664, 1408], [640, 1408]]);
        assert!((area(&coverage) - 12.0).abs() < 0.1, "{}", area(&coverage));
        assert_eq!(coverage.row(2).0, 2);
        assert_eq!(coverage.row(2).1[0], 64);
    }

    #[test]
    fn a_triangle_covers_its_area_in_either_winding_order() {
        let mut outline = [[300, 333], [7000, 1999], [1234, 7777]];
        let wanted = 0.5 * ((6700.0 * 7444.0) - (934.0 * 1666.0)) / 65_536.0;
        assert!((area(&fill(&outline)) - wanted).abs() < 1.0, "{} {wanted}", area(&fill(&outline)));
        outline.reverse();
        assert!((area(&fill(&outline)) - wanted).abs() < 1.0);
    }

    #[test]
    fn a_polygon_without_area_covers_nothing() {
        let there = [[100, 200], [900, 1733], [4000, 1500], [6001, 3000]];
        let outline: Vec<Point> = there.iter().chain(there.iter().rev()).copied().collect();
        assert!(fill(&outline).values.iter().all(|&value| value == 0));
    }

    #[test]
    fn polygons_are_clipped_to_the_surface() {
        let coverage = fill(&[[-9000, -9000], [20_000, -9000], [20_000, 20_000], [-9000, 20_000]]);
        assert_eq!((coverage.values.len(), area(&coverage) as u32), (1024, 1024));
        assert!(fill(&[[-9000, 0], [-500, 0], [-500, 900]]).values.is_empty());
    }
}
