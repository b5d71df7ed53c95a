//! Downsampling from 48 to 16 kHz.
//!
//! Decides the filter: an FFT resampler over blocks of 5 ms, flat to 6.5 kHz, with a constant delay of 2.5 ms. The 48 kHz
//! samples are delayed by as much, so that both rates stay aligned.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler, WindowFunction};

use crate::media::{BLOCK_OPUS_SAMPLES, BLOCK_SPEECH_SAMPLES};
use crate::time::{OPUS_HZ, SPEECH_HZ};

/// One block of the resampler at 48 kHz: 5 ms.
pub const DOWNSAMPLER_STEP: usize = 240;

/// Delay of the 16 kHz samples relative to their 48 kHz samples, in samples at 16 kHz: 2.5 ms.
pub const DOWNSAMPLER_DELAY_SAMPLES: usize = DOWNSAMPLER_STEP / 6;

/// Blocks of 20 ms at 48 kHz to blocks at 16 kHz. One stream.
pub struct Downsampler(Fft<f32>);

impl std::fmt::Debug for Downsampler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Downsampler")
    }
}

impl Default for Downsampler {
    fn default() -> Self {
        Self::new()
    }
}

impl Downsampler {
    /// A resampler in its initial state.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "the library accepts these constants")]
    pub fn new() -> Self {
        let resampler = Fft::new_custom(
            OPUS_HZ as usize,
            SPEECH_HZ as usize,
            DOWNSAMPLER_STEP,
            1,
            1,
            WindowFunction::Hann2,
            FixedSync::Both,
        );
        Self(resampler.expect("5 ms at 48 kHz make whole blocks at 16 kHz"))
    }

    /// Resets the filter, as if only silence had been pushed.
    pub fn reset(&mut self) {
        self.0.reset();
    }

    /// Resamples 20 ms; the output is delayed by [`DOWNSAMPLER_DELAY_SAMPLES`].
    pub fn push(&mut self, input: &[f32; BLOCK_OPUS_SAMPLES], output: &mut [f32; BLOCK_SPEECH_SAMPLES]) {
        let steps = input.as_chunks::<DOWNSAMPLER_STEP>().0.iter().zip(output.as_chunks_mut().0);
        steps.for_each(|(input, output)| self.push_step(input, output));
    }

    /// Resamples 5 ms; the output is delayed by [`DOWNSAMPLER_DELAY_SAMPLES`].
    #[expect(clippy::missing_panics_doc, reason = "block lengths are fixed by the types")]
    pub fn push_step(&mut self, input: &[f32; DOWNSAMPLER_STEP], output: &mut [f32; DOWNSAMPLER_STEP / 3]) {
        let input = InterleavedSlice::new(&input[..], 1, DOWNSAMPLER_STEP).expect("one channel");
        let mut output = InterleavedSlice::new_mut(&mut output[..], 1, DOWNSAMPLER_STEP / 3).expect("one channel");
        self.0.process_into_buffer(&input, &mut output, None).expect("blocks of the resampler's own length");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(hz: f32) -> (Vec<f32>, Vec<f32>) {
        let at = |rate: u32, n: usize| (n as f32 / rate as f32 * hz * std::f32::consts::TAU).sin() * 0.5;
        let input: Vec<f32> = (0..BLOCK_OPUS_SAMPLES * 10).map(|n| at(OPUS_HZ, n)).collect();
        let mut downsampler = Downsampler::new();
        let mut output = Vec::new();
        for block in input.as_chunks::<BLOCK_OPUS_SAMPLES>().0 {
            let mut out = [0.0; BLOCK_SPEECH_SAMPLES];
            downsampler.push(block, &mut out);
            output.extend(out);
        }
        (output, (0..BLOCK_SPEECH_SAMPLES * 10).map(|n| at(SPEECH_HZ, n)).collect())
    }

    fn level(samples: &[f32]) -> f32 {
        (samples.iter().map(|s| s * s).sum::<f32>() / samples.len() as f32).sqrt()
    }

    #[test]
    fn a_tone_is_delayed_by_the_documented_delay_and_otherwise_unchanged() {
        for hz in [150.0, 1_000.0, 4_000.0, 6_000.0] {
            let (output, wanted) = tone(hz);
            let error: Vec<f32> = output[DOWNSAMPLER_DELAY_SAMPLES..]
                .iter()
                .zip(&wanted)
                .map(|(got, wanted)| got - wanted)
                .skip(320)
                .collect();
            assert!(level(&error) < 0.01, "{hz} Hz: {}", level(&error));
        }
    }

    #[test]
    fn frequencies_above_8_khz_do_not_alias() {
        for hz in [9_500.0, 12_000.0, 20_000.0] {
            assert!(level(&tone(hz).0[320..]) < 0.002, "{hz} Hz: {}", level(&tone(hz).0[320..]));
        }
    }
}
