//! Numbers of 16 bits (IEEE 754), which Rust has no type for yet, and what else kernels read and write.
//!
//! Decides how values are rounded: to the nearest, ties to even, as the card does.

/// A number of 16 bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Half(pub u16);

/// 2^-14, below which halves have fewer digits; 2^16, which none reaches.
const LEAST_WHOLE: u32 = 0x3880_0000;
const TOO_LARGE: u32 = 0x4780_0000;
/// The step between the smallest halves is 2^-24.
const STEPS: f32 = 16_777_216.0;

impl Half {
    /// The nearest half.
    #[must_use]
    pub fn of(value: f32) -> Self {
        let (sign, size) = ((value.to_bits() >> 16) as u16 & 0x8000, value.abs().to_bits());
        let rounded = match size {
            _ if value.is_nan() => 0x7fff,
            TOO_LARGE.. => 0x7c00,
            LEAST_WHOLE.. => {
                let rebased = size - (112 << 23);
                ((rebased + 0xfff + (rebased >> 13 & 1)) >> 13) as u16
            }
            _ => (value.abs() * STEPS).round_ties_even() as u16,
        };
        Self(sign | rounded)
    }

    /// The same number in 32 bits.
    #[must_use]
    pub fn value(self) -> f32 {
        let (exponent, digits) = (u32::from(self.0 >> 10 & 31), u32::from(self.0 & 0x3ff));
        let size = match exponent {
            0 => digits as f32 / STEPS,
            31 => f32::from_bits(0x7f80_0000 | digits << 13),
            _ => f32::from_bits((exponent + 112) << 23 | digits << 13),
        };
        if self.0 & 0x8000 == 0 { size } else { -size }
    }
}

/// What a buffer consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Element {
    /// `unsigned char`.
    U8,
    /// `short`.
    I16,
    /// `int`.
    I32,
    /// Half precision.
    F16,
    /// `float`.
    F32,
}

impl Element {
    /// Length of one.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::U8 => 1,
            Self::I16 | Self::F16 => 2,
            Self::I32 | Self::F32 => 4,
        }
    }
}

/// A type that kernels find in buffers.
pub trait Plain: Copy {
    /// Which.
    const ELEMENT: Element;
}

/// One of the two that pictures and tensors consist of.
pub trait Real: Plain + Default {
    /// As `f32`.
    fn get(self) -> f32;
    /// Rounded from `f32`.
    fn put(value: f32) -> Self;
}

macro_rules! plain {
    ($($type:ty: $element:ident),*) => { $(impl Plain for $type { const ELEMENT: Element = Element::$element; })* };
}

plain!(u8: U8, i16: I16, i32: I32, f32: F32, Half: F16);

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
    fn every_half_comes_back_from_32_bits() {
        for bits in 0..=u16::MAX {
            let half = Half(bits);
            assert!(half.value().is_nan() || Half::of(half.value()) == half, "{bits:#06x}");
        }
    }

    #[test]
    fn what_lies_between_goes_to_the_nearer_and_ties_go_to_even() {
        for bits in (0..0x7bff_u16).step_by(7) {
            let (low, high) = (Half(bits), Half(bits + 1));
            let (below, above) = (f64::from(low.value()), f64::from(high.value()));
            let at = |share: f64| Half::of((below + share * (above - below)) as f32);
            assert_eq!((at(0.25), at(0.75)), (low, high), "{bits:#06x}");
            assert_eq!(at(0.5), if bits % 2 == 0 { low } else { high }, "{bits:#06x}");
        }
    }

    #[test]
    fn known_numbers_have_known_bits() {
        let known = [(1.0, 0x3c00), (-2.0, 0xc000), (65504.0, 0x7bff), (65520.0, 0x7c00), (1e9, 0x7c00)];
        let small = [(5.960_464_5e-8, 1), (6.103_515_6e-5, 0x0400), (0.333_251_95, 0x3555), (-0.0, 0x8000)];
        for (value, bits) in known.into_iter().chain(small) {
            assert_eq!(Half::of(value), Half(bits), "{value}");
        }
    }
}
