//! PCM to log-mel spectra: for the portrait's mouth network, and for Whisper.
//!
//! Decides the launches. The spectrum is a plain DFT: for frames of 400 samples a GPU needs about as long as the launches of an FFT.

mod tables;

use super::arguments::kernels;
use super::launch::{Launch, Scalar, SizeError, Work};

pub use tables::{Mel, MelScale, MelTables};

impl Mel {
    /// The spectra of frames: see [`Power`].
    #[must_use]
    pub fn power(&self, samples: u32, frames: u32, lead: u32) -> Power {
        let Self { window_samples: window, hop_samples: hop, fft_samples: fft, .. } = *self;
        Power { samples, frames, window, hop, fft, lead }
    }

    /// The bands of frames: see [`Bands`].
    #[must_use]
    pub fn bands_of(&self, frames: u32, floor: f32) -> Bands {
        Bands { frames, bins: self.bins(), bands: self.bands, floor }
    }
}

/// Samples to the power of each bin, frame by frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Power {
    samples: u32,
    frames: u32,
    window: u32,
    hop: u32,
    fft: u32,
    /// How many samples before the first sample the first frame begins; missing samples are reflected.
    lead: u32,
}

impl Power {
    /// Buffers: samples, window, twiddle factors, powers (`frames` rows of `bins`).
    ///
    /// # Errors
    /// If one is empty or too large.
    pub fn launch(&self) -> Result<Launch, SizeError> {
        let end = u64::from(self.frames) * u64::from(self.hop) + u64::from(self.window);
        if end > i32::MAX as u64 || self.lead > self.window || self.window > 1 << 15 || self.fft > 1 << 16 {
            return Err(SizeError { wanted: "at most a day of audio", found: format!("{self:?}") });
        }
        Launch::new(&KERNELS[0], self)
    }

    /// The reference implementation.
    pub fn compute(&self, pcm: &[f32], hann: &[f32], twiddles: &[f32], power: &mut [f32]) {
        let (bins, fft) = ((self.fft / 2 + 1) as usize, self.fft as usize);
        for (frame, row) in power.chunks_mut(bins).enumerate() {
            let start = (frame * self.hop as usize) as i64 - i64::from(self.lead);
            for (bin, power) in row.iter_mut().enumerate() {
                let (mut real, mut imaginary) = (0.0, 0.0);
                for (n, gain) in hann.iter().enumerate() {
                    let value = gain * reflected(pcm, start + n as i64);
                    let angle = bin * n % fft;
                    real += value * twiddles[angle];
                    imaginary += value * twiddles[fft + angle];
                }
                *power = real * real + imaginary * imaginary;
            }
        }
    }
}

/// The sample at `at`, reflected at both ends without repeating the end sample.
fn reflected(pcm: &[f32], at: i64) -> f32 {
    let (at, count) = (at.abs(), pcm.len() as i64);
    let at = if at >= count { 2 * (count - 1) - at } else { at };
    usize::try_from(at).ok().and_then(|at| pcm.get(at)).copied().unwrap_or(0.0)
}

impl Work for Power {
    const SCALARS: usize = 6;

    fn of(bits: &[u32]) -> Self {
        let [samples, frames, window, hop, fft, lead] = [0, 1, 2, 3, 4, 5].map(|at| bits[at]);
        Self { samples, frames, window, hop, fft, lead }
    }

    fn scalars(&self) -> Vec<Scalar> {
        [self.samples, self.frames, self.window, self.hop, self.fft, self.lead].map(Scalar::U32).into()
    }

    fn lengths(&self) -> Vec<u64> {
        let [samples, window, fft] = [self.samples, self.window, self.fft].map(u64::from);
        vec![samples, window, 2 * fft, u64::from(self.frames) * (fft / 2 + 1)]
    }

    fn threads(&self) -> [u32; 3] {
        [self.fft / 2 + 1, self.frames, 1]
    }
}

/// Powers to log-mel bands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bands {
    frames: u32,
    bins: u32,
    bands: u32,
    floor: f32,
}

impl Bands {
    /// For the portrait: `frames` rows of bands, natural logarithm, the floor is added. Buffers: powers, weights, values.
    ///
    /// # Errors
    /// If one is empty or too large.
    pub fn natural(&self) -> Result<Launch, SizeError> {
        Launch::new(&KERNELS[1], &Natural(*self))
    }

    /// For Whisper: `bands` rows of frames, decimal logarithm, clamped to the floor. Buffers: powers, weights, values and one
    /// integer, which is initialised for [`MaxReduce`].
    ///
    /// # Errors
    /// If one is empty or too large.
    pub fn decimal(&self) -> Result<Launch, SizeError> {
        Launch::new(&KERNELS[2], &Decimal(*self))
    }

    fn sums<'a>(&'a self, power: &'a [f32], weights: &'a [f32]) -> impl Iterator<Item = (usize, usize, f32)> + 'a {
        let bins = self.bins as usize;
        let sum =
            |row: &[f32], power: &[f32]| row.iter().zip(power).fold(0.0, |sum, (weight, power)| sum + weight * power);
        power.chunks(bins).enumerate().flat_map(move |(frame, power)| {
            weights.chunks(bins).enumerate().map(move |(band, row)| (frame, band, sum(row, power)))
        })
    }

    /// The reference implementation of [`Bands::natural`].
    pub fn compute_natural(&self, power: &[f32], weights: &[f32], out: &mut [f32]) {
        for (frame, band, sum) in self.sums(power, weights) {
            out[frame * self.bands as usize + band] = (sum + self.floor).ln();
        }
    }

    /// The reference implementation of [`Bands::decimal`].
    pub fn compute_decimal(&self, power: &[f32], weights: &[f32], out: &mut [f32], max_key: &mut [i32]) {
        max_key[0] = i32::MIN;
        for (frame, band, sum) in self.sums(power, weights) {
            let kept = if sum < self.floor { self.floor } else { sum };
            out[band * self.frames as usize + frame] = kept.log10();
        }
    }

    fn of(bits: &[u32]) -> Self {
        Self { frames: bits[0], bins: bits[1], bands: bits[2], floor: f32::from_bits(bits[3]) }
    }

    fn scalars(&self) -> Vec<Scalar> {
        let sizes = [self.frames, self.bins, self.bands].map(Scalar::U32);
        sizes.into_iter().chain([Scalar::F32(self.floor)]).collect()
    }

    fn lengths(&self) -> [u64; 3] {
        let [frames, bins, bands] = [self.frames, self.bins, self.bands].map(u64::from);
        [frames * bins, bands * bins, frames * bands]
    }
}

/// The two kinds of bands, each the work of a kernel.
#[derive(Clone, Copy)]
struct Natural(Bands);
#[derive(Clone, Copy)]
struct Decimal(Bands);

impl Work for Natural {
    const SCALARS: usize = 4;

    fn of(bits: &[u32]) -> Self {
        Self(Bands::of(bits))
    }

    fn scalars(&self) -> Vec<Scalar> {
        self.0.scalars()
    }

    fn lengths(&self) -> Vec<u64> {
        self.0.lengths().into()
    }

    fn threads(&self) -> [u32; 3] {
        [self.0.bands, self.0.frames, 1]
    }
}

impl Work for Decimal {
    const SCALARS: usize = 4;

    fn of(bits: &[u32]) -> Self {
        Self(Bands::of(bits))
    }

    fn scalars(&self) -> Vec<Scalar> {
        self.0.scalars()
    }

    fn lengths(&self) -> Vec<u64> {
        self.0.lengths().into_iter().chain([1]).collect()
    }

    fn threads(&self) -> [u32; 3] {
        [self.0.bands, self.0.frames, 1]
    }
}

/// The largest of Whisper's values, as an integer key that orders like the floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxReduce {
    /// Number of frames.
    pub frames: u32,
    /// Number of bands.
    pub bands: u32,
}

impl MaxReduce {
    /// Buffers: values, the integer key.
    ///
    /// # Errors
    /// If there are none, or too many.
    pub fn launch(&self) -> Result<Launch, SizeError> {
        Launch::new(&KERNELS[3], self)
    }

    /// The reference implementation.
    pub fn compute(&self, out: &[f32], max_key: &mut [i32]) {
        max_key[0] = out.iter().map(|value| to_ordered(*value)).fold(max_key[0], i32::max);
    }
}

impl Work for MaxReduce {
    const SCALARS: usize = 2;

    fn of(bits: &[u32]) -> Self {
        Self { frames: bits[0], bands: bits[1] }
    }

    fn scalars(&self) -> Vec<Scalar> {
        vec![Scalar::U32(self.frames), Scalar::U32(self.bands)]
    }

    fn lengths(&self) -> Vec<u64> {
        vec![u64::from(self.frames) * u64::from(self.bands), 1]
    }

    fn threads(&self) -> [u32; 3] {
        [self.frames, 1, 1]
    }
}

/// A key whose order among integers is the value's order among floats.
pub(super) fn to_ordered(value: f32) -> i32 {
    let bits = value.to_bits().cast_signed();
    if bits < 0 { bits ^ i32::MAX } else { bits }
}

/// The value of a key.
pub(super) fn from_ordered(key: i32) -> f32 {
    f32::from_bits(if key < 0 { key ^ i32::MAX } else { key }.cast_unsigned())
}

/// Whisper's last step: values are clamped to `range` below the largest, then scaled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ClampRange {
    /// Number of values.
    pub values: u32,
    /// In decades: 8.
    pub range: f32,
}

impl ClampRange {
    /// Buffers: values, the integer key.
    ///
    /// # Errors
    /// If there are none, or too many.
    pub fn launch(&self) -> Result<Launch, SizeError> {
        Launch::new(&KERNELS[4], self)
    }

    /// The reference implementation.
    pub fn compute(&self, out: &mut [f32], max_key: &[i32]) {
        let least = from_ordered(max_key[0]) - self.range;
        out.iter_mut().for_each(|value| *value = (if *value < least { least } else { *value } + 4.0) / 4.0);
    }
}

impl Work for ClampRange {
    const SCALARS: usize = 2;

    fn of(bits: &[u32]) -> Self {
        Self { values: bits[0], range: f32::from_bits(bits[1]) }
    }

    fn scalars(&self) -> Vec<Scalar> {
        vec![Scalar::U32(self.values), Scalar::F32(self.range)]
    }

    fn lengths(&self) -> Vec<u64> {
        vec![u64::from(self.values), 1]
    }

    fn threads(&self) -> [u32; 3] {
        [self.values, 1, 1]
    }
}

kernels! {
    Mel;
    mel_power(pcm: read f32, hann: read f32, twiddles: read f32, power: write f32): Power
        => |work, pcm, hann, twiddles, power| work.compute(pcm, hann, twiddles, power);
    mel_natural(power: read f32, weights: read f32, out: write f32): Natural
        => |work, power, weights, out| work.0.compute_natural(power, weights, out);
    mel_decimal(power: read f32, weights: read f32, out: write f32, max_key: write i32): Decimal
        => |work, power, weights, out, max_key| work.0.compute_decimal(power, weights, out, max_key);
    mel_max(out: read f32, max_key: write i32): MaxReduce => |work, out, max_key| work.compute(out, max_key);
    mel_clamp(out: write f32, max_key: read i32): ClampRange => |work, out, max_key| work.compute(out, max_key);
}

#[cfg(test)]
mod tests;
