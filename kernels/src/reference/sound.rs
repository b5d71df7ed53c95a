//! PCM of 16 bits to numbers.

use super::launch::{Launch, Number, SizeError, Work, kernels};

/// Samples to scale.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PcmToF32 {
    /// How many.
    pub samples: u32,
    /// What one step of PCM becomes: the gain over 32768.
    scale: f32,
}

impl PcmToF32 {
    /// `samples` of them, where full scale becomes `gain_ratio`.
    #[must_use]
    pub fn new(samples: u32, gain_ratio: f32) -> Self {
        Self { samples, scale: gain_ratio / 32768.0 }
    }

    /// Over buffers of PCM (`i16`) and of numbers (`f32`).
    ///
    /// # Errors
    /// If there are none.
    pub fn order(&self) -> Result<Launch, SizeError> {
        Launch::new(&KERNELS[0], self)
    }

    /// The twin.
    pub fn reckon(&self, pcm: &[i16], out: &mut [f32]) {
        pcm.iter().zip(out).for_each(|(sample, out)| *out = f32::from(*sample) * self.scale);
    }
}

impl Work for PcmToF32 {
    const NUMBERS: usize = 2;

    fn of(bits: &[u32]) -> Self {
        Self { samples: bits[0], scale: f32::from_bits(bits[1]) }
    }

    fn numbers(&self) -> Vec<Number> {
        vec![Number::U32(self.samples), Number::F32(self.scale)]
    }

    fn lengths(&self) -> Vec<u64> {
        vec![u64::from(self.samples); 2]
    }

    fn threads(&self) -> [u32; 3] {
        [self.samples, 1, 1]
    }
}

kernels! {
    AudioClip;
    pcm_to_f32(pcm: read i16, out: write f32): PcmToF32 => |work, pcm, out| work.reckon(pcm, out);
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "what is reckoned without rounding is equal")]
mod tests {
    use super::*;

    #[test]
    fn full_scale_becomes_the_gain() {
        let mut out = [0.0; 4];
        PcmToF32::new(4, 2.0).reckon(&[i16::MIN, -1, 16384, i16::MAX], &mut out);
        assert_eq!(out, [-2.0, -2.0 / 32768.0, 1.0, 2.0 - 2.0 / 32768.0]);
    }
}
