//! Sonic's sampler around its `UNet`: the network's input, and one Euler step with both guidances in one kernel. Latents are f32.
//!
//! Decides the noise schedule and the coefficients, in double precision. The sampler is the Euler method for the probability
//! flow ODE of Karras et al. 2022 ("Elucidating the Design Space of Diffusion-Based Generative Models"); the network predicts v.
//!
//! With c = s^2 + 1 at noise level s, a prediction v stands for the clean latents `x0 = x / c - s / sqrt(c) v`, and a step to
//! noise level t is `x + (x - x0) (t - s) / s`. Both are linear in x and v, so that a step is
//! `latent_weight x + velocity_weight v`.

use super::arguments::kernels;
use super::colour::FloatType;
use super::launch::{Launch, Scalar, SizeError, Work};
use crate::dtype::{Half, Real};

/// The schedule's largest and smallest noise levels and its exponent (rho), from the published scheduler configuration.
const SIGMA_MAX: f64 = 700.0;
const SIGMA_MIN: f64 = 0.002;
const RHO: f64 = 7.0;

/// The noise levels of `steps` steps, followed by zero (Karras et al., equation 5).
#[must_use]
pub fn sigmas(steps: u32) -> Vec<f64> {
    let [largest, smallest] = [SIGMA_MAX, SIGMA_MIN].map(|sigma| sigma.powf(RHO.recip()));
    let last = f64::from(steps.saturating_sub(1).max(1));
    let level = |n: u32| (largest + f64::from(n) / last * (smallest - largest)).powf(RHO);
    (0..steps).map(level).chain([0.0]).collect()
}

/// The network's timestep input for a noise level: ln(sigma) / 4.
#[must_use]
pub fn timestep(sigma: f64) -> f64 {
    0.25 * sigma.ln()
}

/// A window of frames of a clip, whose frames form a circle: windows wrap around.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Latent values per frame: channels x height x width.
    pub values: u32,
    /// Frames per window: 25.
    pub window: u32,
    /// Frames of the clip.
    pub frames: u32,
    /// First frame of the window before the shift: 0, 25, 50 ...
    pub start: u32,
    /// How many frames the windows of this step are shifted back: 7 for each step done.
    pub shift: u32,
}

impl Window {
    const SCALARS: usize = 5;

    fn of(bits: &[u32]) -> Self {
        Self { values: bits[0], window: bits[1], frames: bits[2], start: bits[3], shift: bits[4] }
    }

    fn scalars(&self) -> [Scalar; 5] {
        [self.values, self.window, self.frames, self.start, self.shift].map(Scalar::U32)
    }

    fn check(&self) -> Result<(), SizeError> {
        let sum = u64::from(self.start) + u64::from(self.window) + u64::from(self.frames);
        if self.frames > 0 && self.start < self.frames && sum < u64::from(u32::MAX) {
            return Ok(());
        }
        Err(SizeError { wanted: "a window that begins within its clip", found: format!("{self:?}") })
    }

    /// The clip's frame that is the window's frame `at`.
    fn frame(&self, at: usize) -> usize {
        let [start, shift, frames] = [self.start, self.shift, self.frames].map(|number| number as usize);
        (start + at + frames - shift % frames) % frames
    }

    fn lengths_of(&self) -> [u64; 3] {
        let [values, window, frames] = [self.values, self.window, self.frames].map(u64::from);
        [values, window * values, frames * values]
    }
}

/// Classifier-free guidance scales.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guidance {
    /// Of the portrait's appearance: 2.
    pub appearance: f32,
    /// Of the audio: 7.5.
    pub audio: f32,
}

/// One Euler step over one window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GuidedEuler {
    window: Window,
    guidance: Guidance,
    latent_weight: f32,
    velocity_weight: f32,
}

impl GuidedEuler {
    /// The step from one noise level to the next.
    #[must_use]
    pub fn new(window: Window, guidance: Guidance, (sigma, next): (f64, f64)) -> Self {
        let (c, ratio) = (sigma * sigma + 1.0, (next - sigma) / sigma);
        let latent_weight = (1.0 + ratio * (1.0 - c.recip())) as f32;
        let velocity_weight = (ratio * sigma / c.sqrt()) as f32;
        Self { window, guidance, latent_weight, velocity_weight }
    }

    /// Buffers: the network's three predictions, the clip's latents, the clip's next latents (read and written: windows that
    /// overlap are averaged). The windows of a step are launched in order of their starts.
    ///
    /// # Errors
    /// If a buffer is empty or too large, or the window begins outside of the clip.
    pub fn launch(&self, float_type: FloatType) -> Result<Launch, SizeError> {
        self.window.check()?;
        Launch::new(&KERNELS[usize::from(float_type == FloatType::F16)], self)
    }

    /// The reference implementation.
    pub fn compute<T: Real>(&self, predicted: &[T], latents: &[f32], next: &mut [f32]) {
        let (values, row) = (self.window.values as usize, (self.window.window * self.window.values) as usize);
        for at in 0..self.window.window {
            let place = self.window.frame(at as usize) * values;
            let before = (self.window.start + at) / self.window.frames;
            for value in 0..values {
                let from = at as usize * values + value;
                let [none, image, all] = [0, 1, 2].map(|part| predicted[part * row + from].get());
                let v = none + self.guidance.appearance * (image - none) + self.guidance.audio * (all - image);
                let stepped = self.latent_weight * latents[place + value] + self.velocity_weight * v;
                let next = &mut next[place + value];
                *next = if before == 0 { stepped } else { (*next * before as f32 + stepped) / (before + 1) as f32 };
            }
        }
    }
}

impl Work for GuidedEuler {
    const SCALARS: usize = Window::SCALARS + 4;

    fn of(bits: &[u32]) -> Self {
        let [appearance, audio, latent_weight, velocity_weight] = [5, 6, 7, 8].map(|at| f32::from_bits(bits[at]));
        Self { window: Window::of(bits), guidance: Guidance { appearance, audio }, latent_weight, velocity_weight }
    }

    fn scalars(&self) -> Vec<Scalar> {
        let weights = [self.guidance.appearance, self.guidance.audio, self.latent_weight, self.velocity_weight];
        self.window.scalars().into_iter().chain(weights.map(Scalar::F32)).collect()
    }

    fn lengths(&self) -> Vec<u64> {
        let [_, window, clip] = self.window.lengths_of();
        vec![3 * window, clip, clip]
    }

    fn threads(&self) -> [u32; 3] {
        [self.window.values, self.window.window.min(self.window.frames), 1]
    }
}

/// The network's input for one window: three rows of frames (unconditional, without audio, full), each the scaled latents
/// followed by the portrait's latents, which are zero in the first row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WindowInput {
    window: Window,
    scale: f32,
}

impl WindowInput {
    /// The input at a noise level.
    #[must_use]
    pub fn new(window: Window, sigma: f64) -> Self {
        Self { window, scale: (sigma * sigma + 1.0).sqrt().recip() as f32 }
    }

    /// Buffers: the clip's latents, the portrait's latents, the input.
    ///
    /// # Errors
    /// As for [`GuidedEuler::launch`].
    pub fn launch(&self, float_type: FloatType) -> Result<Launch, SizeError> {
        self.window.check()?;
        Launch::new(&KERNELS[2 + usize::from(float_type == FloatType::F16)], self)
    }

    /// The reference implementation.
    pub fn compute<T: Real>(&self, latents: &[f32], portrait: &[f32], sample: &mut [T]) {
        let values = self.window.values as usize;
        for (n, frame) in sample.chunks_mut(2 * values).enumerate() {
            let (row, at) = (n / self.window.window as usize, n % self.window.window as usize);
            let place = self.window.frame(at) * values;
            let (noisy, still) = frame.split_at_mut(values);
            noisy.iter_mut().zip(&latents[place..]).for_each(|(to, from)| *to = T::put(from * self.scale));
            let seen = |value: &f32| if row == 0 { 0.0 } else { *value };
            still.iter_mut().zip(portrait).for_each(|(to, from)| *to = T::put(seen(from)));
        }
    }
}

impl Work for WindowInput {
    const SCALARS: usize = Window::SCALARS + 1;

    fn of(bits: &[u32]) -> Self {
        Self { window: Window::of(bits), scale: f32::from_bits(bits[5]) }
    }

    fn scalars(&self) -> Vec<Scalar> {
        self.window.scalars().into_iter().chain([Scalar::F32(self.scale)]).collect()
    }

    fn lengths(&self) -> Vec<u64> {
        let [values, window, clip] = self.window.lengths_of();
        vec![clip, values, 6 * window]
    }

    fn threads(&self) -> [u32; 3] {
        [self.window.values, self.window.window, 1]
    }
}

kernels! {
    Sampler;
    guided_euler_f32(predicted: read f32, latents: read f32, next: write f32): GuidedEuler
        => |work, predicted, latents, next| work.compute(predicted, latents, next);
    guided_euler_f16(predicted: read Half, latents: read f32, next: write f32): GuidedEuler
        => |work, predicted, latents, next| work.compute(predicted, latents, next);
    window_input_f32(latents: read f32, portrait: read f32, sample: write f32): WindowInput
        => |work, latents, portrait, sample| work.compute(latents, portrait, sample);
    window_input_f16(latents: read f32, portrait: read f32, sample: write Half): WindowInput
        => |work, latents, portrait, sample| work.compute(latents, portrait, sample);
}

#[cfg(test)]
mod tests;
