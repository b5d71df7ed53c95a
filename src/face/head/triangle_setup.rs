//! Triangle rasterisation: scan conversion and barycentric setup.

/// Clip rectangle: half-open ranges of columns and rows.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub left: i32,
    pub top: i32,
    pub right: i32,
    pub bottom: i32,
}

/// Calls `span(y, from, to)` for each row of the triangle, with the columns whose centres are inside. Triangles that share an edge
/// neither overlap nor leave a gap. Corners that are not finite are skipped.
#[inline]
pub fn rasterize(corners: [[f32; 2]; 3], window: Window, mut span: impl FnMut(i32, i32, i32)) {
    let [mut a, mut b, mut c] = corners;
    if a[1] > b[1] {
        std::mem::swap(&mut a, &mut b);
    }
    if b[1] > c[1] {
        std::mem::swap(&mut b, &mut c);
    }
    if a[1] > b[1] {
        std::mem::swap(&mut a, &mut b);
    }
    let reach = a[0].abs() + b[0].abs() + c[0].abs() + a[1].abs() + c[1].abs();
    if reach >= 1e6 || reach.is_nan() {
        return;
    }
    let (top, bottom) = (round(a[1]).max(window.top), round(c[1]).min(window.bottom));
    let long = Edge::new(a, c);
    let (upper, lower) = (Edge::new(a, b), Edge::new(b, c));
    let turn = round(b[1]);
    for y in top..bottom {
        let short = if y < turn { upper } else { lower };
        let (p, q) = (round(long.at(y)), round(short.at(y)));
        let (from, to) = (p.min(q).max(window.left), p.max(q).min(window.right));
        if from < to {
            span(y, from, to);
        }
    }
}

/// Index of the first pixel centre (k + 0.5) at or after `value` (below 10^6). Ties round equally for all edges.
/// Adding 1.5 * 2^23 rounds without a conversion.
#[inline]
pub fn round(value: f32) -> i32 {
    const SHIFT: f32 = 12_582_912.0;
    (value + SHIFT).to_bits() as i32 - SHIFT.to_bits() as i32
}

#[derive(Clone, Copy)]
struct Edge {
    x: f32,
    y: f32,
    slope: f32,
}

impl Edge {
    #[inline]
    fn new(from: [f32; 2], to: [f32; 2]) -> Self {
        let height = to[1] - from[1];
        Self { x: from[0], y: from[1], slope: if height > 0.0 { (to[0] - from[0]) / height } else { 0.0 } }
    }

    #[inline]
    fn at(self, y: i32) -> f32 {
        self.x + (y as f32 + 0.5 - self.y) * self.slope
    }
}

/// Barycentric coordinates of the second and third corner, as linear functions of the screen position.
#[derive(Clone, Copy, Debug, Default)]
pub struct BarycentricPlanes {
    origin: [f32; 2],
    second: [f32; 2],
    third: [f32; 2],
}

impl BarycentricPlanes {
    /// Coordinates and twice the signed area; `None` for a degenerate triangle. Clockwise triangles (y down) have a positive area.
    #[inline]
    pub fn new(corners: [[f32; 2]; 3]) -> Option<(Self, f32)> {
        let [a, b, c] = corners;
        let area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);
        if area.abs() <= 1e-6 || area.is_nan() {
            return None;
        }
        let scale = 1.0 / area;
        let planes = Self {
            origin: a,
            second: [(c[1] - a[1]) * scale, (a[0] - c[0]) * scale],
            third: [(a[1] - b[1]) * scale, (b[0] - a[0]) * scale],
        };
        Some((planes, area))
    }

    /// For a sliver, whose gradients are not reliable, constant coordinates of the first corner; otherwise unchanged.
    #[inline]
    pub fn unless_sliver(self, area: f32) -> Self {
        let is_sliver = area.abs() < 0.05;
        if is_sliver { Self { origin: self.origin, ..Self::default() } } else { self }
    }

    /// Position of the first corner.
    #[inline]
    pub fn origin(&self) -> [f32; 2] {
        self.origin
    }

    /// Derivatives of both coordinates by x, then by y.
    #[inline]
    pub fn derivatives(&self) -> [[f32; 2]; 2] {
        [[self.second[0], self.third[0]], [self.second[1], self.third[1]]]
    }

    /// Coordinates of the second and third corner at a point.
    #[inline]
    pub fn at(&self, x: f32, y: f32) -> [f32; 2] {
        let (x, y) = (x - self.origin[0], y - self.origin[1]);
        [self.second[0] * x + self.second[1] * y, self.third[0] * x + self.third[1] * y]
    }

    /// Gradient (by x, by y) of a value that is given at the corners.
    #[inline]
    pub fn gradients(&self, values: [f32; 3]) -> [f32; 2] {
        let (second, third) = (values[1] - values[0], values[2] - values[0]);
        [second * self.second[0] + third * self.third[0], second * self.second[1] + third * self.third[1]]
    }
}
