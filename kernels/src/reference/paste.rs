//! Pastes a generated face crop back into the image it was cut from.
//!
//! Decides how its edges blend: by a smoothstep of the distance to the nearest edge.

use super::arguments::kernels;
use super::colour::FloatType;
use super::launch::{Launch, Scalar, SizeError, Work};
use crate::dtype::{Half, Real};

/// A face crop to paste, of three planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paste {
    /// Width and height of the crop, in pixels.
    pub face: (u32, u32),
    /// Width and height of the image, in pixels.
    pub image: (u32, u32),
    /// Position of the crop's corner in the image: left, top. What reaches beyond the image is clipped.
    pub at: (i32, i32),
    /// Width of the blended edge in pixels.
    pub feather_px: u32,
}

/// The largest side in pixels: positions stay within signed 32-bit integers.
const MAX_SIDE_PX: u32 = 1 << 20;

impl Paste {
    /// Buffers: the crop, the image that it is blended into.
    ///
    /// # Errors
    /// If either is empty or larger than a million pixels a side, or the position is further away.
    pub fn launch(&self, float_type: FloatType) -> Result<Launch, SizeError> {
        let lengths = [self.face.0, self.face.1, self.image.0, self.image.1];
        let far = [self.at.0, self.at.1].map(i32::unsigned_abs);
        if lengths.into_iter().chain(far).any(|length| length > MAX_SIDE_PX) {
            return Err(SizeError { wanted: "a crop within a million pixels", found: format!("{self:?}") });
        }
        Launch::new(&KERNELS[usize::from(float_type == FloatType::F16)], self)
    }

    /// The reference implementation.
    pub fn compute<T: Real>(&self, face: &[T], image: &mut [T]) {
        let (planes, size) = (face.chunks((self.face.0 * self.face.1) as usize), self.image.0 * self.image.1);
        for (face, image) in planes.zip(image.chunks_mut(size as usize)) {
            for (at, over) in (0..).zip(face) {
                let (x, y) = (at % self.face.0, at / self.face.0);
                let Some(index) = self.index(x, y) else { continue };
                let (under, over) = (image[index].get(), over.get());
                image[index] = T::put(under + self.alpha(x, y) * (over - under));
            }
        }
    }

    /// The index in a plane of the image of a pixel of the crop, if it is inside.
    fn index(&self, x: u32, y: u32) -> Option<usize> {
        let x = self.at.0.checked_add_unsigned(x).and_then(|x| u32::try_from(x).ok())?;
        let y = self.at.1.checked_add_unsigned(y).and_then(|y| u32::try_from(y).ok())?;
        (x < self.image.0 && y < self.image.1).then(|| (y * self.image.0 + x) as usize)
    }

    /// The crop's opacity at a pixel of it.
    fn alpha(&self, x: u32, y: u32) -> f32 {
        let edge = x.min(self.face.0 - 1 - x).min(y.min(self.face.1 - 1 - y));
        if edge >= self.feather_px {
            return 1.0;
        }
        let t = (edge as f32 + 0.5) / self.feather_px as f32;
        t * t * (3.0 - 2.0 * t)
    }
}

impl Work for Paste {
    const SCALARS: usize = 7;

    fn of(bits: &[u32]) -> Self {
        Self {
            face: (bits[0], bits[1]),
            image: (bits[2], bits[3]),
            at: (bits[4].cast_signed(), bits[5].cast_signed()),
            feather_px: bits[6],
        }
    }

    fn scalars(&self) -> Vec<Scalar> {
        let sizes = [self.face.0, self.face.1, self.image.0, self.image.1].map(Scalar::U32);
        let place = [self.at.0, self.at.1].map(Scalar::I32);
        sizes.into_iter().chain(place).chain([Scalar::U32(self.feather_px)]).collect()
    }

    fn lengths(&self) -> Vec<u64> {
        [self.face, self.image].map(|(width, height)| 3 * u64::from(width) * u64::from(height)).into()
    }

    fn threads(&self) -> [u32; 3] {
        [self.face.0, self.face.1, 3]
    }
}

kernels! {
    Paste;
    paste_f32(face: read f32, image: write f32): Paste => |work, face, image| work.compute(face, image);
    paste_f16(face: read Half, image: write Half): Paste => |work, face, image| work.compute(face, image);
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "arithmetic without rounding is exact")]
mod tests {
    use super::*;

    fn pasted(paste: Paste) -> Vec<f32> {
        let mut image = vec![0.0; (3 * paste.image.0 * paste.image.1) as usize];
        paste.compute(&vec![1.0; (3 * paste.face.0 * paste.face.1) as usize], &mut image);
        image
    }

    #[test]
    fn a_crop_without_a_feather_replaces_the_image_and_is_clipped_at_its_borders() {
        let found = pasted(Paste { face: (3, 2), image: (4, 3), at: (2, -1), feather_px: 0 });
        let plane = [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        assert_eq!(found, [plane; 3].concat());
        let away = pasted(Paste { face: (3, 2), image: (4, 3), at: (-3, 0), feather_px: 0 });
        assert!(away.iter().all(|value| *value == 0.0));
    }

    #[test]
    fn edges_blend_smoothly_and_symmetrically() {
        let (side, feather) = (32_u32, 8);
        let found = pasted(Paste { face: (side, side), image: (side, side), at: (0, 0), feather_px: feather });
        let at = |x: u32, y: u32| found[(y * side + x) as usize];
        for n in 0..side {
            assert_eq!(
                [at(n, 16), at(16, n), at(n, n)],
                [at(side - 1 - n, 15), at(15, side - 1 - n), at(n, side - 1 - n)]
            );
            let edge = f64::from(n.min(side - 1 - n));
            // The integral of 6 t (1 - t), summed instead of solved.
            let t = ((edge + 0.5) / f64::from(feather)).min(1.0);
            let summed: f64 =
                (0..10_000).map(|k| (f64::from(k) + 0.5) / 1e4 * t).map(|s| 6.0 * s * (1.0 - s) * t / 1e4).sum();
            assert!((f64::from(at(n, 16)) - summed).abs() < 1e-6, "{n}: {} {summed}", at(n, 16));
        }
    }

    #[test]
    fn an_empty_crop_or_a_far_position_is_refused() {
        let paste = Paste { face: (3, 2), image: (4, 3), at: (0, 0), feather_px: 1 };
        assert!(paste.launch(FloatType::F32).is_ok());
        assert!(Paste { at: (i32::MIN, 0), ..paste }.launch(FloatType::F32).is_err());
        assert!(Paste { face: (0, 2), ..paste }.launch(FloatType::F16).is_err());
    }
}
