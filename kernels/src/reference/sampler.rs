//! Sonic's sampler around its network: what goes in, and one Euler step with both guidances in one kernel, latents in 32 bits.
//!
//! Decides the noise levels and the coefficients, reckoned in double precision. The sampler is an Euler one over the ODE of
//! Karras et al. 2022 ("Elucidating the Design Space of Diffusion-Based Generative Models"), the network predicts v.
//!
//! With c = s^2 + 1 at noise s, the network's v means the clean latents `x0 = x / c - s / sqrt(c) v`, and a step to noise t is
//! `x + (x - x0) (t - s) / s`. Both are linear in x and v, so that a step is `keep x + push v`.

use super::colour::Depth;
use super::half::{Half, Real};
use super::launch::{Launch, Number, SizeError, Work, kernels};

/// The most and the least noise, and how levels between them are bent.
const MOST_NOISE: f64 = 700.0;
const LEAST_NOISE: f64 = 0.002;
const BEND: f64 = 7.0;

/// The noise levels of a run of `steps` steps, the clean end with them.
#[must_use]
pub fn noise_levels(steps: u32) -> Vec<f64> {
    let [most, least] = [MOST_NOISE, LEAST_NOISE].map(|noise| noise.powf(BEND.recip()));
    let last = f64::from(steps.saturating_sub(1).max(1));
    let level = |n: u32| (most + f64::from(n) / last * (least - most)).powf(BEND);
    (0..steps).map(level).chain([0.0]).collect()
}

/// The number that tells the network how much noise there is.
#[must_use]
pub fn timestep(noise: f64) -> f64 {
    0.25 * noise.ln()
}

/// A window of frames on the circle that a film is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Values of a frame's latents.
    pub values: u32,
    /// Frames of the window: 25.
    pub window: u32,
    /// Frames of the film.
    pub frames: u32,
    /// Where the window begins, before the shift: 0, 25, 50 ...
    pub start: u32,
    /// How far all windows of the step are moved back: 7 frames for each step done.
    pub shift: u32,
}

impl Window {
    const NUMBERS: usize = 5;

    fn of(bits: &[u32]) -> Self {
        Self { values: bits[0], window: bits[1], frames: bits[2], start: bits[3], shift: bits[4] }
    }

    fn numbers(&self) -> [Number; 5] {
        [self.values, self.window, self.frames, self.start, self.shift].map(Number::U32)
    }

    fn check(&self) -> Result<(), SizeError> {
        let sum = u64::from(self.start) + u64::from(self.window) + u64::from(self.frames);
        if self.frames > 0 && self.start < self.frames && sum < u64::from(u32::MAX) {
            return Ok(());
        }
        Err(SizeError { wanted: "a window that begins within its film", found: format!("{self:?}") })
    }

    /// The frame on the circle at which the window's frame `at` stands.
    fn on_circle(&self, at: usize) -> usize {
        let [start, shift, frames] = [self.start, self.shift, self.frames].map(|number| number as usize);
        (start + at + frames - shift % frames) % frames
    }

    fn lengths_of(&self) -> [u64; 3] {
        let [values, window, frames] = [self.values, self.window, self.frames].map(u64::from);
        [values, window * values, frames * values]
    }
}

/// How strongly the portrait and the voice guide.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guidance {
    /// Of the portrait: 2.
    pub appearance: f32,
    /// Of the voice: 7.5.
    pub audio: f32,
}

/// One Euler step over one window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GuidedEuler {
    window: Window,
    guidance: Guidance,
    keep: f32,
    push: f32,
}

impl GuidedEuler {
    /// The step from one noise level to the next.
    #[must_use]
    pub fn new(window: Window, guidance: Guidance, (noise, next): (f64, f64)) -> Self {
        let (c, ratio) = (noise * noise + 1.0, (next - noise) / noise);
        let keep = 1.0 + ratio * (1.0 - c.recip());
        let push = ratio * noise / c.sqrt();
        Self { window, guidance, keep: keep as f32, push: push as f32 }
    }

    /// Over buffers of the network's three rows, of all latents, and of all latents of the next step. Windows of a step go in
    /// order of their starts, on one stream.
    ///
    /// # Errors
    /// If there is nothing in one, or too much, or the window begins outside of the film.
    pub fn order(&self, depth: Depth) -> Result<Launch, SizeError> {
        self.window.check()?;
        Launch::new(&KERNELS[usize::from(depth == Depth::F16)], self)
    }

    /// The twin.
    pub fn reckon<T: Real>(&self, predicted: &[T], latents: &[f32], next: &mut [f32]) {
        let (values, row) = (self.window.values as usize, (self.window.window * self.window.values) as usize);
        for at in 0..self.window.window {
            let place = self.window.on_circle(at as usize) * values;
            let before = (self.window.start + at) / self.window.frames;
            for value in 0..values {
                let from = at as usize * values + value;
                let [none, image, all] = [0, 1, 2].map(|part| predicted[part * row + from].get());
                let v = none + self.guidance.appearance * (image - none) + self.guidance.audio * (all - image);
                let went = self.keep * latents[place + value] + self.push * v;
                let next = &mut next[place + value];
                *next = if before == 0 { went } else { (*next * before as f32 + went) / (before + 1) as f32 };
            }
        }
    }
}

impl Work for GuidedEuler {
    const NUMBERS: usize = Window::NUMBERS + 4;

    fn of(bits: &[u32]) -> Self {
        let [appearance, audio, keep, push] = [5, 6, 7, 8].map(|at| f32::from_bits(bits[at]));
        Self { window: Window::of(bits), guidance: Guidance { appearance, audio }, keep, push }
    }

    fn numbers(&self) -> Vec<Number> {
        let by = [self.guidance.appearance, self.guidance.audio, self.keep, self.push];
        self.window.numbers().into_iter().chain(by.map(Number::F32)).collect()
    }

    fn lengths(&self) -> Vec<u64> {
        let [_, window, film] = self.window.lengths_of();
        vec![3 * window, film, film]
    }

    fn threads(&self) -> [u32; 3] {
        [self.window.values, self.window.window.min(self.window.frames), 1]
    }
}

/// What the network is given for one window: three rows of frames, each the scaled latents and then the portrait's, which the
/// first row does not see.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WindowInput {
    window: Window,
    scale: f32,
}

impl WindowInput {
    /// The input at this noise level.
    #[must_use]
    pub fn new(window: Window, noise: f64) -> Self {
        Self { window, scale: (noise * noise + 1.0).sqrt().recip() as f32 }
    }

    /// Over buffers of all latents, of the portrait's, and of the input.
    ///
    /// # Errors
    /// As for [`GuidedEuler::order`].
    pub fn order(&self, depth: Depth) -> Result<Launch, SizeError> {
        self.window.check()?;
        Launch::new(&KERNELS[2 + usize::from(depth == Depth::F16)], self)
    }

    /// The twin.
    pub fn reckon<T: Real>(&self, latents: &[f32], portrait: &[f32], sample: &mut [T]) {
        let values = self.window.values as usize;
        for (n, frame) in sample.chunks_mut(2 * values).enumerate() {
            let (row, at) = (n / self.window.window as usize, n % self.window.window as usize);
            let place = self.window.on_circle(at) * values;
            let (noisy, still) = frame.split_at_mut(values);
            noisy.iter_mut().zip(&latents[place..]).for_each(|(to, from)| *to = T::put(from * self.scale));
            let seen = |value: &f32| if row == 0 { 0.0 } else { *value };
            still.iter_mut().zip(portrait).for_each(|(to, from)| *to = T::put(seen(from)));
        }
    }
}

impl Work for WindowInput {
    const NUMBERS: usize = Window::NUMBERS + 1;

    fn of(bits: &[u32]) -> Self {
        Self { window: Window::of(bits), scale: f32::from_bits(bits[5]) }
    }

    fn numbers(&self) -> Vec<Number> {
        self.window.numbers().into_iter().chain([Number::F32(self.scale)]).collect()
    }

    fn lengths(&self) -> Vec<u64> {
        let [values, window, film] = self.window.lengths_of();
        vec![film, values, 6 * window]
    }

    fn threads(&self) -> [u32; 3] {
        [self.window.values, self.window.window, 1]
    }
}

kernels! {
    Sampler;
    guided_euler_f32(predicted: read f32, latents: read f32, next: write f32): GuidedEuler
        => |work, predicted, latents, next| work.reckon(predicted, latents, next);
    guided_euler_f16(predicted: read Half, latents: read f32, next: write f32): GuidedEuler
        => |work, predicted, latents, next| work.reckon(predicted, latents, next);
    window_input_f32(latents: read f32, portrait: read f32, sample: write f32): WindowInput
        => |work, latents, portrait, sample| work.reckon(latents, portrait, sample);
    window_input_f16(latents: read f32, portrait: read f32, sample: write Half): WindowInput
        => |work, latents, portrait, sample| work.reckon(latents, portrait, sample);
}

#[cfg(test)]
mod tests;
