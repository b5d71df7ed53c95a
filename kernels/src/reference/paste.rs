//! A face, drawn by itself, back into the picture it was cut from.
//!
//! Decides how its edges fade: by the distance to the nearest edge, in a curve that begins and ends flat.

use super::colour::Depth;
use super::half::{Half, Real};
use super::launch::{Launch, Number, SizeError, Work, kernels};

/// A face to paste, of three planes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Paste {
    /// Its width and height.
    pub face: (u32, u32),
    /// The picture's.
    pub picture: (u32, u32),
    /// Where the face's corner comes to lie: left, top. What reaches out of the picture is cut off.
    pub at: (i32, i32),
    /// Over how many pixels its edges fade.
    pub feather_px: u32,
}

/// No picture is larger, so that places are numbers of 32 bits with a sign.
const LONGEST: u32 = 1 << 20;

impl Paste {
    /// Over buffers of the face and of the picture that it goes into.
    ///
    /// # Errors
    /// If either is empty or too large, or the place far away.
    pub fn order(&self, depth: Depth) -> Result<Launch, SizeError> {
        let lengths = [self.face.0, self.face.1, self.picture.0, self.picture.1];
        let far = [self.at.0, self.at.1].map(i32::unsigned_abs);
        if lengths.into_iter().chain(far).any(|length| length > LONGEST) {
            return Err(SizeError { wanted: "a face within a million pixels", found: format!("{self:?}") });
        }
        Launch::new(&KERNELS[usize::from(depth == Depth::F16)], self)
    }

    /// The twin.
    pub fn reckon<T: Real>(&self, face: &[T], picture: &mut [T]) {
        let (planes, size) = (face.chunks((self.face.0 * self.face.1) as usize), self.picture.0 * self.picture.1);
        for (face, picture) in planes.zip(picture.chunks_mut(size as usize)) {
            for (at, over) in (0..).zip(face) {
                let (x, y) = (at % self.face.0, at / self.face.0);
                let Some(place) = self.place(x, y) else { continue };
                let (under, over) = (picture[place].get(), over.get());
                picture[place] = T::put(under + self.seen(x, y) * (over - under));
            }
        }
    }

    /// Where in a plane of the picture a pixel of the face comes to lie.
    fn place(&self, x: u32, y: u32) -> Option<usize> {
        let x = self.at.0.checked_add_unsigned(x).and_then(|x| u32::try_from(x).ok())?;
        let y = self.at.1.checked_add_unsigned(y).and_then(|y| u32::try_from(y).ok())?;
        (x < self.picture.0 && y < self.picture.1).then(|| (y * self.picture.0 + x) as usize)
    }

    /// How much of the face is seen at a pixel of it.
    fn seen(&self, x: u32, y: u32) -> f32 {
        let edge = x.min(self.face.0 - 1 - x).min(y.min(self.face.1 - 1 - y));
        if edge >= self.feather_px {
            return 1.0;
        }
        let t = (edge as f32 + 0.5) / self.feather_px as f32;
        t * t * (3.0 - 2.0 * t)
    }
}

impl Work for Paste {
    const NUMBERS: usize = 7;

    fn of(bits: &[u32]) -> Self {
        Self {
            face: (bits[0], bits[1]),
            picture: (bits[2], bits[3]),
            at: (bits[4].cast_signed(), bits[5].cast_signed()),
            feather_px: bits[6],
        }
    }

    fn numbers(&self) -> Vec<Number> {
        let sizes = [self.face.0, self.face.1, self.picture.0, self.picture.1].map(Number::U32);
        let place = [self.at.0, self.at.1].map(Number::I32);
        sizes.into_iter().chain(place).chain([Number::U32(self.feather_px)]).collect()
    }

    fn lengths(&self) -> Vec<u64> {
        [self.face, self.picture].map(|(width, height)| 3 * u64::from(width) * u64::from(height)).into()
    }

    fn threads(&self) -> [u32; 3] {
        [self.face.0, self.face.1, 3]
    }
}

kernels! {
    Paste;
    paste_f32(face: read f32, picture: write f32): Paste => |work, face, picture| work.reckon(face, picture);
    paste_f16(face: read Half, picture: write Half): Paste => |work, face, picture| work.reckon(face, picture);
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "what is reckoned without rounding is equal")]
mod tests {
    use super::*;

    fn pasted(paste: Paste) -> Vec<f32> {
        let mut picture = vec![0.0; (3 * paste.picture.0 * paste.picture.1) as usize];
        paste.reckon(&vec![1.0; (3 * paste.face.0 * paste.face.1) as usize], &mut picture);
        picture
    }

    #[test]
    fn a_face_without_a_feather_replaces_what_is_there_and_is_cut_off_at_the_edges() {
        let found = pasted(Paste { face: (3, 2), picture: (4, 3), at: (2, -1), feather_px: 0 });
        let plane = [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
        assert_eq!(found, [plane; 3].concat());
        let away = pasted(Paste { face: (3, 2), picture: (4, 3), at: (-3, 0), feather_px: 0 });
        assert!(away.iter().all(|value| *value == 0.0));
    }

    #[test]
    fn its_edges_rise_without_a_step_and_are_the_same_on_all_sides() {
        let (side, feather) = (32_u32, 8);
        let found = pasted(Paste { face: (side, side), picture: (side, side), at: (0, 0), feather_px: feather });
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
    fn what_is_far_away_or_nothing_is_refused() {
        let paste = Paste { face: (3, 2), picture: (4, 3), at: (0, 0), feather_px: 1 };
        assert!(paste.order(Depth::F32).is_ok());
        assert!(Paste { at: (i32::MIN, 0), ..paste }.order(Depth::F32).is_err());
        assert!(Paste { face: (0, 2), ..paste }.order(Depth::F16).is_err());
    }
}
