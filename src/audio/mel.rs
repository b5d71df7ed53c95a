//! Log-mel spectra of 16 kHz audio, one frame per 10 ms, for the mouth network.
//!
//! Decides only the transform: no clock, no I/O, no resampling, no normalisation over time (the network does that).
//! It computes the same as `engines/packs/portrait/mouth/train/mel.py`; the golden files beside the network verify that.
//!
//! Alignment: frame `i` covers samples `[hop * i, hop * i + window)` of everything pushed since `new`; nothing is padded before the first
//! sample. The window is a *periodic* Hann (`0.5 - 0.5 cos(2 pi n / window)`); `fft - window` zeros follow it. The spectrum is the unscaled power
//! `|X|^2` of a real FFT. Bands are triangles of peak 1 whose corners are equally spaced in HTK mel (`2595 log10(1 + f / 700)`) between
//! `low_hz` and `high_hz`, evaluated at the bins' frequencies. A value is `ln(power + floor)`; PCM is in -1..1.

use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};
use serde::Deserialize;

/// Parameters of the transform, under the names of `mouth.json`.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
pub struct MelSpec {
    /// Samples per second.
    #[serde(rename = "sample_rate_hz")]
    pub rate_hz: u32,
    /// Length of the Hann window.
    pub window_samples: usize,
    /// Distance between frames.
    pub hop_samples: usize,
    /// Length of the transform, at least the window.
    #[serde(rename = "n_fft")]
    pub fft_samples: usize,
    /// Values per frame.
    #[serde(rename = "mel_bands")]
    pub bands: usize,
    /// Lower corner of the first triangle.
    #[serde(rename = "f_min_hz")]
    pub low_hz: f64,
    /// Upper corner of the last triangle.
    #[serde(rename = "f_max_hz")]
    pub high_hz: f64,
    /// Added to the power before the logarithm.
    #[serde(rename = "log_floor")]
    pub floor: f32,
}

impl MelSpec {
    /// The front end of `engines/packs/portrait/mouth/mouth.onnx` (see `mouth.json`).
    #[cfg(test)]
    const fn mouth() -> Self {
        Self {
            rate_hz: 16_000,
            window_samples: 400,
            hop_samples: 160,
            fft_samples: 512,
            bands: 48,
            low_hz: 60.0,
            high_hz: 7600.0,
            floor: 1e-7,
        }
    }
}

/// One triangle: its first bin and the weights from there on (most bins have weight 0).
struct Band {
    first: usize,
    weights: Vec<f32>,
}

/// The streaming front end for one stream. Memory is allocated in `new`; `push` allocates only if `frames` must grow.
pub struct LogMel {
    spec: MelSpec,
    transform: Arc<dyn RealToComplex<f32>>,
    hann: Vec<f32>,
    bands: Vec<Band>,
    /// The newest samples of the next frame, in order; never more than one window.
    held: Vec<f32>,
    /// Samples to ignore before the next frame begins (only when the hop is longer than the window).
    skip: usize,
    padded: Vec<f32>,
    spectrum: Vec<Complex<f32>>,
    scratch: Vec<Complex<f32>>,
    power: Vec<f32>,
}

impl LogMel {
    /// A front end in its initial state. The spec is a constant of visage: `fft_samples` is at least `window_samples`, the hop is not 0.
    #[must_use]
    pub fn new(spec: MelSpec) -> Self {
        let transform = RealFftPlanner::<f32>::new().plan_fft_forward(spec.fft_samples);
        Self {
            spec,
            hann: hann(spec.window_samples),
            bands: bands(&spec),
            held: Vec::with_capacity(spec.window_samples),
            skip: 0,
            padded: transform.make_input_vec(),
            spectrum: transform.make_output_vec(),
            scratch: transform.make_scratch_vec(),
            power: vec![0.0; spec.fft_samples / 2 + 1],
            transform,
        }
    }

    /// Takes samples in -1..1 and appends `bands` values to `frames` for every frame that they complete.
    ///
    /// The block lengths do not affect the result. After `n` samples in total, `(n - window) / hop + 1` frames were appended.
    pub fn push(&mut self, pcm: &[f32], frames: &mut Vec<f32>) {
        let mut rest = pcm;
        while !rest.is_empty() {
            let skipped = self.skip.min(rest.len());
            self.skip -= skipped;
            rest = &rest[skipped..];
            let taken = (self.spec.window_samples - self.held.len()).min(rest.len());
            self.held.extend_from_slice(&rest[..taken]);
            rest = &rest[taken..];
            if self.held.len() == self.spec.window_samples {
                self.frame(frames);
                self.advance();
            }
        }
    }

    /// Discards the audio as if it had been silence: frame times stay the same.
    pub fn reset(&mut self) {
        self.held.fill(0.0);
    }

    /// The value of silence in every band.
    #[must_use]
    pub fn silence(&self) -> f32 {
        self.spec.floor.ln()
    }

    fn advance(&mut self) {
        let gone = self.spec.hop_samples.min(self.held.len());
        self.held.drain(..gone);
        self.skip = self.spec.hop_samples - gone;
    }

    fn frame(&mut self, frames: &mut Vec<f32>) {
        self.padded.fill(0.0);
        for (slot, (sample, gain)) in self.padded.iter_mut().zip(self.held.iter().zip(&self.hann)) {
            *slot = sample * gain;
        }
        let done = self.transform.process_with_scratch(&mut self.padded, &mut self.spectrum, &mut self.scratch);
        debug_assert!(done.is_ok(), "the buffers were made by this transform");
        for (power, bin) in self.power.iter_mut().zip(&self.spectrum) {
            *power = bin.norm_sqr();
        }
        let floor = self.spec.floor;
        frames.extend(self.bands.iter().map(|band| (band.sum(&self.power) + floor).ln()));
    }
}

impl Band {
    fn sum(&self, power: &[f32]) -> f32 {
        self.weights.iter().zip(&power[self.first..]).map(|(weight, power)| weight * power).sum()
    }
}

fn hann(length: usize) -> Vec<f32> {
    let turn = std::f64::consts::TAU / length as f64;
    (0..length).map(|n| (0.5 - 0.5 * (turn * n as f64).cos()) as f32).collect()
}

fn mel_of(hz: f64) -> f64 {
    2595.0 * (1.0 + hz / 700.0).log10()
}

fn hz_of(mel: f64) -> f64 {
    700.0 * (10f64.powf(mel / 2595.0) - 1.0)
}

fn bands(spec: &MelSpec) -> Vec<Band> {
    let (low, high) = (mel_of(spec.low_hz), mel_of(spec.high_hz));
    let step = (high - low) / (spec.bands + 1) as f64;
    let corner = |i: usize| hz_of(low + step * i as f64);
    (0..spec.bands).map(|i| triangle(spec, [corner(i), corner(i + 1), corner(i + 2)])).collect()
}

fn triangle(spec: &MelSpec, [low, peak, high]: [f64; 3]) -> Band {
    let hz_per_bin = f64::from(spec.rate_hz) / spec.fft_samples as f64;
    let height = |bin: usize| {
        let hz = bin as f64 * hz_per_bin;
        ((hz - low) / (peak - low)).min((high - hz) / (high - peak)).max(0.0) as f32
    };
    let first = (low / hz_per_bin).ceil() as usize;
    let last = ((high / hz_per_bin).floor() as usize).min(spec.fft_samples / 2);
    Band { first, weights: (first..=last).map(height).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOLDEN_WAV: &[u8] = include_bytes!("../../engines/packs/portrait/mouth/golden.wav");
    const GOLDEN_MEL: &[u8] = include_bytes!("../../engines/packs/portrait/mouth/golden.mel.f32");

    fn golden_pcm() -> Vec<f32> {
        GOLDEN_WAV[44..].chunks_exact(2).map(|b| f32::from(i16::from_le_bytes([b[0], b[1]])) / 32768.0).collect()
    }

    fn golden_mel() -> Vec<f32> {
        GOLDEN_MEL.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect()
    }

    fn frames_of(pcm: &[f32], piece: usize) -> Vec<f32> {
        let mut front = LogMel::new(MelSpec::mouth());
        let mut frames = Vec::new();
        for part in pcm.chunks(piece) {
            front.push(part, &mut frames);
        }
        frames
    }

    #[test]
    fn frames_match_the_training_data_of_the_network() {
        let (ours, theirs) = (frames_of(&golden_pcm(), 640), golden_mel());
        assert_eq!(ours.len(), theirs.len());
        let worst = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 2e-3, "largest difference {worst}");
    }

    #[test]
    fn block_lengths_do_not_affect_the_result() {
        let pcm = golden_pcm();
        let whole = frames_of(&pcm, pcm.len());
        for piece in [1, 7, 160, 399, 400, 401, 960] {
            assert_eq!(frames_of(&pcm, piece), whole, "pieces of {piece}");
        }
    }

    #[test]
    fn a_frame_is_complete_with_its_last_sample() {
        for (samples, frames) in [(0, 0), (399, 0), (400, 1), (559, 1), (560, 2), (880, 4), (1520, 8)] {
            assert_eq!(frames_of(&vec![0.1; samples], 64).len(), frames * MelSpec::mouth().bands, "{samples} samples");
        }
    }

    #[test]
    fn silence_is_the_floor() {
        let floor = MelSpec::mouth().floor.ln();
        assert!(frames_of(&[0.0; 1600], 160).iter().all(|value| (value - floor).abs() < 1e-6));
    }

    #[test]
    fn a_tone_has_its_maximum_in_its_band() {
        let pcm: Vec<f32> = (0..1600).map(|n| (n as f32 * 1000.0 * std::f32::consts::TAU / 16_000.0).sin()).collect();
        let frames = frames_of(&pcm, 160);
        let first = &frames[..48];
        let loudest = (0..48).max_by(|&a, &b| first[a].total_cmp(&first[b])).expect("48 bands");
        let step = (mel_of(7600.0) - mel_of(60.0)) / 49.0;
        let centre = hz_of(mel_of(60.0) + step * (loudest + 1) as f64);
        assert!((centre - 1000.0).abs() < 60.0, "loudest band is at {centre} Hz");
    }

    #[test]
    fn after_a_reset_frame_times_stay_and_earlier_audio_has_no_effect() {
        let (pcm, mut front, mut frames) = (golden_pcm(), LogMel::new(MelSpec::mouth()), Vec::new());
        front.push(&pcm[..1000], &mut frames);
        let before = frames.len();
        front.reset();
        front.push(&pcm[1000..4000], &mut frames);
        let after_silence = [&[0.0; 1000][..], &pcm[1000..4000]].concat();
        assert_eq!(frames[before..], frames_of(&after_silence, 640)[before..]);
    }
}
