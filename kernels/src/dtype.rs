//! Half precision (IEEE 754 binary16), which stable Rust has no type for, and the Rust types of buffer elements.
//!
//! Decides how values are rounded to half precision: to nearest, ties to even, as the GPU does.

use visage_engines::DType;

/// A half-precision number, as its 16 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Half(pub u16);

/// The bits of 2^-14, the smallest normal half, and of 2^16, which is beyond the largest half.
const SMALLEST_NORMAL: u32 = 0x3880_0000;
const OVERFLOW: u32 = 0x4780_0000;
/// Subnormal halves are multiples of 2^-24.
const SUBNORMAL_STEPS: f32 = 16_777_216.0;

impl Half {
    /// Rounds to the nearest half, ties to even.
    ///
    /// The exponent of an `f32` has a bias of 127, that of a half one of 15: subtracting 112 from the exponent rebases it.
    /// Of the 23 bits of the mantissa 13 are dropped; adding `0xfff` plus the lowest bit that stays rounds a tie to the even
    /// neighbour, and a carry into the exponent is correct. Subnormals are multiples of 2^-24, so that scaling and
    /// rounding gives their bits. `Half::of(1.0) == Half(0x3c00)`, `Half::of(65520.0)` is infinity.
    #[must_use]
    pub fn of(value: f32) -> Self {
        let (sign, size) = ((value.to_bits() >> 16) as u16 & 0x8000, value.abs().to_bits());
        let rounded = match size {
            _ if value.is_nan() => 0x7fff,
            OVERFLOW.. => 0x7c00,
            SMALLEST_NORMAL.. => {
                let rebased = size - (112 << 23);
                ((rebased + 0xfff + (rebased >> 13 & 1)) >> 13) as u16
            }
            _ => (value.abs() * SUBNORMAL_STEPS).round_ties_even() as u16,
        };
        Self(sign | rounded)
    }

    /// The same number as `f32`, exactly.
    #[must_use]
    pub fn value(self) -> f32 {
        let (exponent, mantissa) = (u32::from(self.0 >> 10 & 31), u32::from(self.0 & 0x3ff));
        let size = match exponent {
            0 => mantissa as f32 / SUBNORMAL_STEPS,
            31 => f32::from_bits(0x7f80_0000 | mantissa << 13),
            _ => f32::from_bits((exponent + 112) << 23 | mantissa << 13),
        };
        if self.0 & 0x8000 == 0 { size } else { -size }
    }
}

/// A Rust type of buffer elements.
pub trait Elem: Copy {
    /// Its element type.
    const DTYPE: DType;
}

/// An element type that represents a real number: `f32` or [`Half`].
pub trait Real: Elem + Default {
    /// The value as `f32`.
    fn get(self) -> f32;
    /// Rounded from `f32`.
    fn put(value: f32) -> Self;
}

macro_rules! elem {
    ($($type:ty: $dtype:ident),*) => { $(impl Elem for $type { const DTYPE: DType = DType::$dtype; })* };
}

elem!(u8: U8, i16: I16, i32: I32, i64: I64, f32: F32, Half: F16);

impl Real for f32 {
    fn get(self) -> f32 {
        self
    }

    fn put(value: f32) -> Self {
        value
    }
}

impl Real for Half {
    fn get(self) -> f32 {
        self.value()
    }

    fn put(value: f32) -> Self {
        Self::of(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_survives_a_round_trip_through_f32() {
        for bits in 0..=u16::MAX {
            let half = Half(bits);
            assert!(half.value().is_nan() || Half::of(half.value()) == half, "{bits:#06x}");
        }
    }

    #[test]
    fn values_between_two_halves_round_to_the_nearest_and_ties_to_even() {
        for bits in (0..0x7bff_u16).step_by(7) {
            let (low, high) = (Half(bits), Half(bits + 1));
            let (below, above) = (f64::from(low.value()), f64::from(high.value()));
            let at = |share: f64| Half::of((below + share * (above - below)) as f32);
            assert_eq!((at(0.25), at(0.75)), (low, high), "{bits:#06x}");
            assert_eq!(at(0.5), if bits % 2 == 0 { low } else { high }, "{bits:#06x}");
        }
    }

    #[test]
    fn known_values_have_known_bits() {
        let known = [(1.0, 0x3c00), (-2.0, 0xc000), (65504.0, 0x7bff), (65520.0, 0x7c00), (1e9, 0x7c00)];
        let small = [(5.960_464_5e-8, 1), (6.103_515_6e-5, 0x0400), (0.333_251_95, 0x3555), (-0.0, 0x8000)];
        for (value, bits) in known.into_iter().chain(small) {
            assert_eq!(Half::of(value), Half(bits), "{value}");
        }
    }
}
