//! Resizes planes, to the whole target or letterboxed.
//!
//! Decides the pixel grid (pixel centres at half-integers) and the rectangle that keeps the aspect ratio.

use super::arguments::kernels;
use super::colour::{FloatType, clamp};
use super::launch::{Launch, Scalar, SizeError, Work};
use crate::dtype::{Half, Real};

/// How a target pixel is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// From the four nearest pixels: for enlarging.
    Bilinear,
    /// The mean of the area that it covers: for shrinking.
    Area,
}

/// Planes to resize.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Resize {
    planes: u32,
    from: [u32; 2],
    to: [u32; 2],
    /// The target rectangle: left and top, width and height.
    start: [u32; 2],
    size: [u32; 2],
    fill: f32,
}

/// The two pixels around a sampling point, and the weight of the second.
struct Neighbours {
    first: usize,
    second: usize,
    weight: f32,
}

impl Resize {
    /// `planes` planes of `from` (width, height) to all of `to`.
    #[must_use]
    pub fn whole(planes: u32, from: (u32, u32), to: (u32, u32)) -> Self {
        Self { planes, from: from.into(), to: to.into(), start: [0; 2], size: to.into(), fill: 0.0 }
    }

    /// The same with the aspect ratio kept, centred; the rest of `to` becomes `fill`.
    #[must_use]
    pub fn letterbox(planes: u32, from: (u32, u32), to: (u32, u32), fill: f32) -> Self {
        let ([from_width, from_height], [width, height]) =
            ([from.0, from.1].map(u64::from), [to.0, to.1].map(u64::from));
        let scaled = |length: u64, by: u64, of: u64| (length * by + of / 2) / of.max(1);
        let size = if from_width * height > width * from_height {
            [width, scaled(from_height, width, from_width).clamp(1, height.max(1))]
        } else {
            [scaled(from_width, height, from_height).clamp(1, width.max(1)), height]
        };
        let size = size.map(|length| length as u32);
        let start = [(to.0 - size[0].min(to.0)) / 2, (to.1 - size[1].min(to.1)) / 2];
        Self { start, size, fill, ..Self::whole(planes, from, to) }
    }

    /// The target rectangle: left, top, width, height.
    #[must_use]
    pub fn rectangle(&self) -> [u32; 4] {
        [self.start[0], self.start[1], self.size[0], self.size[1]]
    }

    /// Buffers: source planes, target planes.
    ///
    /// # Errors
    /// If either is empty or too large.
    pub fn launch(&self, float_type: FloatType, filter: Filter) -> Result<Launch, SizeError> {
        let kernel = match (filter, float_type) {
            (Filter::Bilinear, FloatType::F32) => 0,
            (Filter::Bilinear, FloatType::F16) => 1,
            (Filter::Area, FloatType::F32) => 2,
            (Filter::Area, FloatType::F16) => 3,
        };
        Launch::new(&KERNELS[kernel], self)
    }

    /// The reference implementation.
    pub fn compute<T: Real>(&self, filter: Filter, from: &[T], to: &mut [T]) {
        let [from_size, to_size] = [self.from, self.to].map(|[width, height]| (width * height) as usize);
        for (from, to) in from.chunks(from_size).zip(to.chunks_mut(to_size)) {
            for (y, row) in (0..).zip(to.chunks_mut(self.to[0] as usize)) {
                for (x, pixel) in (0..).zip(row) {
                    *pixel = T::put(self.pixel(filter, from, x, y).unwrap_or(self.fill));
                }
            }
        }
    }

    fn pixel<T: Real>(&self, filter: Filter, from: &[T], x: u32, y: u32) -> Option<f32> {
        let x = x.checked_sub(self.start[0]).filter(|x| *x < self.size[0])?;
        let y = y.checked_sub(self.start[1]).filter(|y| *y < self.size[1])?;
        Some(match filter {
            Filter::Bilinear => self.bilinear(from, x, y),
            Filter::Area => self.area(from, x, y),
        })
    }

    fn bilinear<T: Real>(&self, from: &[T], x: u32, y: u32) -> f32 {
        let (across, down) =
            (Neighbours::at(x, self.size[0], self.from[0]), Neighbours::at(y, self.size[1], self.from[1]));
        let [above, below] = [down.first, down.second].map(|row| &from[row * self.from[0] as usize..]);
        let [above, below] = [above, below].map(|row| {
            let (first, second) = (row[across.first].get(), row[across.second].get());
            first + across.weight * (second - first)
        });
        above + down.weight * (below - above)
    }

    fn area<T: Real>(&self, from: &[T], x: u32, y: u32) -> f32 {
        let [wide, high] = [0, 1].map(|axis| self.from[axis] as f32 / self.size[axis] as f32);
        let (left, top, right, bottom) =
            (x as f32 * wide, y as f32 * high, (x + 1) as f32 * wide, (y + 1) as f32 * high);
        let (mut sum, mut weights) = (0.0, 0.0);
        for row in (top as u32..self.from[1]).take_while(|row| (*row as f32) < bottom) {
            let down = covered(row, top, bottom);
            for column in (left as u32..self.from[0]).take_while(|column| (*column as f32) < right) {
                let weight = down * covered(column, left, right);
                sum += weight * from[(row * self.from[0] + column) as usize].get();
                weights += weight;
            }
        }
        sum / weights
    }
}

impl Neighbours {
    fn at(at: u32, length: u32, from_length: u32) -> Self {
        let place = (at as f32 + 0.5) * (from_length as f32 / length as f32) - 0.5;
        let place = clamp(place, 0.0, (from_length - 1) as f32);
        let first = place as u32;
        let second = (first + 1).min(from_length - 1);
        Self { first: first as usize, second: second as usize, weight: place - first as f32 }
    }
}

/// The overlap of the pixel `at` with the interval from `low` to `high`.
fn covered(at: u32, low: f32, high: f32) -> f32 {
    ((at + 1) as f32).min(high) - (at as f32).max(low)
}

impl Work for Resize {
    const SCALARS: usize = 10;

    fn of(bits: &[u32]) -> Self {
        let pair = |at: usize| [bits[at], bits[at + 1]];
        let fill = f32::from_bits(bits[9]);
        Self { planes: bits[0], from: pair(1), to: pair(3), start: pair(5), size: pair(7), fill }
    }

    fn scalars(&self) -> Vec<Scalar> {
        let sizes = [self.from, self.to, self.start, self.size];
        let whole = std::iter::once(self.planes).chain(sizes.into_iter().flatten()).map(Scalar::U32);
        whole.chain([Scalar::F32(self.fill)]).collect()
    }

    fn lengths(&self) -> Vec<u64> {
        let values = |[width, height]: [u32; 2]| u64::from(width) * u64::from(height) * u64::from(self.planes);
        vec![values(self.from), values(self.to)]
    }

    fn threads(&self) -> [u32; 3] {
        [self.to[0], self.to[1], self.planes]
    }
}

kernels! {
    Resize;
    resize_bilinear_f32(from: read f32, to: write f32): Resize => |work, from, to| work.compute(Filter::Bilinear, from, to);
    resize_bilinear_f16(from: read Half, to: write Half): Resize => |work, from, to| work.compute(Filter::Bilinear, from, to);
    resize_area_f32(from: read f32, to: write f32): Resize => |work, from, to| work.compute(Filter::Area, from, to);
    resize_area_f16(from: read Half, to: write Half): Resize => |work, from, to| work.compute(Filter::Area, from, to);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(count: usize) -> Vec<f32> {
        (0..count).map(|n| ((n * 7919 + 13) % 1009) as f32 / 504.0 - 1.0).collect()
    }

    fn resized(filter: Filter, from: (u32, u32), to: (u32, u32), image: &[f32]) -> Vec<f32> {
        let mut out = vec![9.0; (to.0 * to.1) as usize];
        Resize::whole(1, from, to).compute(filter, image, &mut out);
        out
    }

    /// Bilinear as a tent over all pixels, area as overlaps with all pixels: axis by axis, in double precision.
    fn naive(filter: Filter, from: (u32, u32), to: (u32, u32), image: &[f32]) -> Vec<f64> {
        let weight = |at: u32, length: u32, pixel: u32, pixels: u32| {
            let scale = f64::from(pixels) / f64::from(length);
            let (low, pixel) = (f64::from(at) * scale, f64::from(pixel));
            match filter {
                Filter::Area => ((low + scale).min(pixel + 1.0) - low.max(pixel)).max(0.0) / scale,
                Filter::Bilinear => {
                    let middle = (low + scale / 2.0).clamp(0.5, f64::from(pixels) - 0.5);
                    (1.0 - (middle - pixel - 0.5).abs()).max(0.0)
                }
            }
        };
        let pixel = |x: u32, y: u32| -> f64 {
            let all = (0..from.1).flat_map(|row| (0..from.0).map(move |column| (column, row)));
            all.map(|(column, row)| {
                let share = weight(x, to.0, column, from.0) * weight(y, to.1, row, from.1);
                share * f64::from(image[(row * from.0 + column) as usize])
            })
            .sum()
        };
        (0..to.1).flat_map(|y| (0..to.0).map(move |x| (x, y))).map(|(x, y)| pixel(x, y)).collect()
    }

    #[test]
    fn both_filters_match_their_definitions() {
        for (from, to) in
            [((7, 5), (16, 9)), ((31, 17), (8, 5)), ((13, 29), (13, 4)), ((1, 1), (3, 2)), ((9, 9), (1, 1))]
        {
            let image = noise((from.0 * from.1) as usize);
            for filter in [Filter::Bilinear, Filter::Area] {
                let found = resized(filter, from, to, &image);
                let wanted = naive(filter, from, to, &image);
                let worst = wanted.iter().zip(&found).map(|(a, b)| (a - f64::from(*b)).abs()).fold(0.0, f64::max);
                assert!(worst < 2e-5, "{filter:?} {from:?} {to:?}: {worst}");
            }
        }
    }

    #[test]
    fn a_row_enlarged_twofold_has_known_values() {
        let wanted = [0.0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3.0];
        assert_eq!(resized(Filter::Bilinear, (4, 1), (8, 1), &[0.0, 1.0, 2.0, 3.0]), wanted);
        assert_eq!(resized(Filter::Area, (4, 1), (2, 1), &[0.0, 1.0, 2.0, 3.0]), [0.5, 2.5]);
    }

    #[test]
    fn an_unchanged_size_keeps_the_image_and_area_keeps_the_mean() {
        let image = noise(35);
        assert_eq!(resized(Filter::Bilinear, (7, 5), (7, 5), &image), image);
        assert_eq!(resized(Filter::Area, (7, 5), (7, 5), &image), image);
        let mean = |values: &[f32]| values.iter().sum::<f32>() / values.len() as f32;
        for to in [(3, 2), (5, 4), (11, 13)] {
            assert!((mean(&resized(Filter::Area, (7, 5), to, &image)) - mean(&image)).abs() < 1e-5);
        }
    }

    #[test]
    fn a_letterbox_keeps_the_aspect_ratio_and_fills_the_rest() {
        for (from, to, wanted) in [
            ((1920, 1080), (512, 512), [0, 112, 512, 288]),
            ((1080, 1920), (512, 512), [112, 0, 288, 512]),
            ((512, 512), (512, 512), [0, 0, 512, 512]),
            ((10_000, 1), (64, 64), [0, 31, 64, 1]),
        ] {
            assert_eq!(Resize::letterbox(3, from, to, -1.0).rectangle(), wanted);
        }
        let mut out = [9.0; 2 * 16];
        Resize::letterbox(2, (4, 2), (4, 4), -0.5).compute(Filter::Bilinear, &[1.0; 16], &mut out);
        let plane = [[-0.5; 4], [1.0; 4], [1.0; 4], [-0.5; 4]].concat();
        assert_eq!(out[..], [plane.clone(), plane].concat());
    }
}
