//! Which pixels lie inside a triangle.

/// Half-open ranges of columns and rows that may be touched.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    pub left: i32,
    pub top: i32,
    pub right: i32,
    pub bottom: i32,
}

/// Calls `span(y, from, to)` for each row of the triangle: the columns whose centres lie inside. Triangles that share an edge
/// neither overlap nor leave a gap. Nothing is called for corners that are not finite.
#[inline]
pub fn scan(corners: [[f32; 2]; 3], window: Window, mut span: impl FnMut(i32, i32, i32)) {
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

/// The first centre (k + 0.5) at or after `value` (below a million), up to ties that fall the same way for all.
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

/// The barycentric coordinates of the second and third corner as planes over the screen.
#[derive(Clone, Copy, Debug, Default)]
pub struct Planes {
    origin: [f32; 2],
    second: [f32; 2],
    third: [f32; 2],
}

impl Planes {
    /// None for a triangle without area. Positive area only where `x` grows right and `y` down, clockwise.
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

    /// The same, or for a sliver (whose slopes say nothing) the first corner's values everywhere.
    #[inline]
    pub fn unless_sliver(self, area: f32) -> Self {
        let is_sliver = area.abs() < 0.05;
        if is_sliver { Self { origin: self.origin, ..Self::default() } } else { self }
    }

    /// Where the first corner is.
    #[inline]
    pub fn origin(&self) -> [f32; 2] {
        self.origin
    }

    /// Rises of the second and third corner's shares per x, then per y.
    #[inline]
    pub fn rises(&self) -> [[f32; 2]; 2] {
        [[self.second[0], self.third[0]], [self.second[1], self.third[1]]]
    }

    /// Shares of the second and third corner at a place.
    #[inline]
    pub fn at(&self, x: f32, y: f32) -> [f32; 2] {
        let (x, y) = (x - self.origin[0], y - self.origin[1]);
        [self.second[0] * x + self.second[1] * y, self.third[0] * x + self.third[1] * y]
    }

    /// A corner value's slopes: (value at the corner a, change per x, change per y).
    #[inline]
    pub fn slopes(&self, values: [f32; 3]) -> [f32; 2] {
        let (second, third) = (values[1] - values[0], values[2] - values[0]);
        [second * self.second[0] + third * self.third[0], second * self.second[1] + third * self.third[1]]
    }
}
