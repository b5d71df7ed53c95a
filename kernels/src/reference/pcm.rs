//! 16-bit PCM to floats.
//!
//! Decides the scale: full scale is the gain.

use super::arguments::kernels;
use super::launch::{Launch, Scalar, SizeError, Work};

/// Samples to convert.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PcmToF32 {
    /// How many samples.
    pub samples: u32,
    /// The value of one PCM step: the gain over 32768.
    scale: f32,
}

impl PcmToF32 {
    /// `samples` samples, with full scale mapped to `gain_ratio`.
    #[must_use]
    pub fn new(samples: u32, gain_ratio: f32) -> Self {
        Self { samples, scale: gain_ratio / 32768.0 }
    }

    /// Buffers: samples (`i16`), floats (`f32`).
    ///
    /// # Errors
    /// If there are no samples.
    pub fn launch(&self) -> Result<Launch, SizeError> {
        Launch::new(&KERNELS[0], self)
    }

    /// The reference implementation.
    pub fn compute(&self, pcm: &[i16], out: &mut [f32]) {
        pcm.iter().zip(out).for_each(|(sample, out)| *out = f32::from(*sample) * self.scale);
    }
}

impl Work for PcmToF32 {
    const SCALARS: usize = 2;

    fn of(bits: &[u32]) -> Self {
        Self { samples: bits[0], scale: f32::from_bits(bits[1]) }
    }

    fn scalars(&self) -> Vec<Scalar> {
        vec![Scalar::U32(self.samples), Scalar::F32(self.scale)]
    }

    fn lengths(&self) -> Vec<u64> {
        vec![u64::from(self.samples); 2]
    }

    fn threads(&self) -> [u32; 3] {
        [self.samples, 1, 1]
    }
}

kernels! {
    Pcm;
    pcm_to_f32(pcm: read i16, out: write f32): PcmToF32 => |work, pcm, out| work.compute(pcm, out);
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "arithmetic without rounding is exact")]
mod tests {
    use super::*;

    #[test]
    fn full_scale_becomes_the_gain() {
        let mut out = [0.0; 4];
        PcmToF32::new(4, 2.0).compute(&[i16::MIN, -1, 16384, i16::MAX], &mut out);
        assert_eq!(out, [-2.0, -2.0 / 32768.0, 1.0, 2.0 - 2.0 / 32768.0]);
    }
}
