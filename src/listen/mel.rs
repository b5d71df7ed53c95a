//! Log-mel frames of the 16 kHz line, the twin of the training's `mel.py`.
//!
//! Frame `i` covers samples `[hop i, hop i + window)`: no padding before the first sample. The window is a periodic
//! Hann, followed by zeros up to the transform's length; the power of each bin goes through triangles of peak 1 whose
//! corners are equally spaced on the HTK mel scale; the value is `ln(power + floor)`.

use std::collections::VecDeque;
use std::f64::consts::PI;
use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};
use serde::Deserialize;

/// What both sides must agree on.
#[derive(Clone, Debug, Deserialize)]
pub struct MelSpec {
    /// Samples a second.
    pub sample_rate_hz: u32,
    /// Samples of a window.
    pub window_samples: usize,
    /// Samples from one frame to the next.
    pub hop_samples: usize,
    /// Samples of a transform, zeros included.
    pub n_fft: usize,
    /// Values of a frame.
    pub mel_bands: usize,
    /// Lowest frequency of the first band.
    pub f_min_hz: f64,
    /// Highest frequency of the last band.
    pub f_max_hz: f64,
    /// Added to the power before the logarithm.
    pub log_floor: f32,
}

/// Turns samples into frames as they come.
pub struct LogMel {
    spec: MelSpec,
    fft: Arc<dyn RealToComplex<f32>>,
    window: Vec<f32>,
    /// For each band its first bin and the weights from there on.
    bands: Vec<(usize, Vec<f32>)>,
    waiting: VecDeque<f32>,
    frame: Vec<f32>,
    spectrum: Vec<Complex<f32>>,
    scratch: Vec<Complex<f32>>,
    power: Vec<f32>,
}

impl LogMel {
    /// A front end that has heard nothing.
    #[must_use]
    pub fn new(spec: MelSpec) -> Self {
        let fft = RealFftPlanner::new().plan_fft_forward(spec.n_fft);
        let length = spec.window_samples as f64;
        let hann = |n: usize| (0.5 - 0.5 * (2.0 * PI * n as f64 / length).cos()) as f32;
        Self {
            window: (0..spec.window_samples).map(hann).collect(),
            bands: triangles(&spec),
            waiting: VecDeque::new(),
            frame: fft.make_input_vec(),
            spectrum: fft.make_output_vec(),
            scratch: fft.make_scratch_vec(),
            power: vec![0.0; spec.n_fft / 2 + 1],
            fft,
            spec,
        }
    }

    /// Takes samples in [-1, 1] and appends `mel_bands` values to `frames` for every frame they complete.
    pub fn push(&mut self, pcm: &[f32], frames: &mut Vec<f32>) {
        self.waiting.extend(pcm);
        while self.waiting.len() >= self.spec.window_samples {
            self.transform();
            let power = &self.power;
            let floor = self.spec.log_floor;
            frames.extend(self.bands.iter().map(|(first, weights)| {
                let sum: f32 = weights.iter().zip(&power[*first..]).map(|(weight, power)| weight * power).sum();
                (sum + floor).ln()
            }));
            self.waiting.drain(..self.spec.hop_samples.min(self.waiting.len()));
        }
    }

    fn transform(&mut self) {
        self.frame.fill(0.0);
        let windowed = self.waiting.iter().zip(&self.window).map(|(sample, window)| sample * window);
        self.frame.iter_mut().zip(windowed).for_each(|(out, sample)| *out = sample);
        let transformed = self.fft.process_with_scratch(&mut self.frame, &mut self.spectrum, &mut self.scratch);
        transformed.expect("buffers were made by the transform itself");
        self.power.iter_mut().zip(&self.spectrum).for_each(|(power, bin)| *power = bin.norm_sqr());
    }
}

/// Triangles of peak 1, corners equally spaced in mel (HTK: 2595 log10(1 + f / 700)).
fn triangles(spec: &MelSpec) -> Vec<(usize, Vec<f32>)> {
    let mel = |hz: f64| 2595.0 * (1.0 + hz / 700.0).log10();
    let hz = |mel: f64| 700.0 * (10.0_f64.powf(mel / 2595.0) - 1.0);
    let (low, high) = (mel(spec.f_min_hz), mel(spec.f_max_hz));
    let step = (high - low) / (spec.mel_bands + 1) as f64;
    let corner = |n: usize| hz(low + step * n as f64);
    let bin_hz = f64::from(spec.sample_rate_hz) / spec.n_fft as f64;
    let band = |n: usize| {
        let (left, peak, right) = (corner(n), corner(n + 1), corner(n + 2));
        let weight = |bin: usize| {
            let at = bin as f64 * bin_hz;
            ((at - left) / (peak - left)).min((right - at) / (right - peak)).max(0.0) as f32
        };
        let bins = || 0..=spec.n_fft / 2;
        let first = bins().find(|bin| weight(*bin) > 0.0).unwrap_or(0);
        let last = bins().rev().find(|bin| weight(*bin) > 0.0).unwrap_or(first);
        (first, (first..=last).map(weight).collect())
    };
    (0..spec.mel_bands).map(band).collect()
}
