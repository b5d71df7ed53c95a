//! AudioClip to log-mel: as the portrait's networks hear it, and as Whisper does.
//!
//! Decides the launches. A spectrum is a plain sum over samples: for frames of 400 samples a card has that done before a faster
//! way would have been set up.

mod tables;

use super::launch::{Launch, Number, SizeError, Work, kernels};

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

/// Samples to the power of each bin, frame after frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Power {
    samples: u32,
    frames: u32,
    window: u32,
    hop: u32,
    fft: u32,
    /// How far before the first sample the first frame begins; what is not there is mirrored.
    lead: u32,
}

impl Power {
    /// Over buffers of samples, window, circle and powers.
    ///
    /// # Errors
    /// If there is nothing in one, or too much.
    pub fn order(&self) -> Result<Launch, SizeError> {
        let end = u64::from(self.frames) * u64::from(self.hop) + u64::from(self.window);
        if end > i32::MAX as u64 || self.lead > self.window || self.window > 1 << 15 || self.fft > 1 << 16 {
            return Err(SizeError { wanted: "sound of a day at most", found: format!("{self:?}") });
        }
        Launch::new(&KERNELS[0], self)
    }

    /// The twin.
    pub fn reckon(&self, pcm: &[f32], hann: &[f32], turn: &[f32], power: &mut [f32]) {
        let (bins, fft) = ((self.fft / 2 + 1) as usize, self.fft as usize);
        for (frame, row) in power.chunks_mut(bins).enumerate() {
            let start = (frame * self.hop as usize) as i64 - i64::from(self.lead);
            for (bin, power) in row.iter_mut().enumerate() {
                let (mut real, mut imaginary) = (0.0, 0.0);
                for (n, gain) in hann.iter().enumerate() {
                    let value = gain * mirrored(pcm, start + n as i64);
                    let angle = bin * n % fft;
                    real += value * turn[angle];
                    imaginary += value * turn[fft + angle];
                }
                *power = real * real + imaginary * imaginary;
            }
        }
    }
}

/// The sample at `at`, mirrored at both ends without repeating the end itself.
fn mirrored(pcm: &[f32], at: i64) -> f32 {
    let (at, count) = (at.abs(), pcm.len() as i64);
    let at = if at >= count { 2 * (count - 1) - at } else { at };
    usize::try_from(at).ok().and_then(|at| pcm.get(at)).copied().unwrap_or(0.0)
}

impl Work for Power {
    const NUMBERS: usize = 6;

    fn of(bits: &[u32]) -> Self {
        let [samples, frames, window, hop, fft, lead] = [0, 1, 2, 3, 4, 5].map(|at| bits[at]);
        Self { samples, frames, window, hop, fft, lead }
    }

    fn numbers(&self) -> Vec<Number> {
        [self.samples, self.frames, self.window, self.hop, self.fft, self.lead].map(Number::U32).into()
    }

    fn lengths(&self) -> Vec<u64> {
        let [samples, window, fft] = [self.samples, self.window, self.fft].map(u64::from);
        vec![samples, window, 2 * fft, u64::from(self.frames) * (fft / 2 + 1)]
    }

    fn threads(&self) -> [u32; 3] {
        [self.fft / 2 + 1, self.frames, 1]
    }
}

/// Powers to the logarithms of bands.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bands {
    frames: u32,
    bins: u32,
    bands: u32,
    floor: f32,
}

impl Bands {
    /// The portrait's: frame after frame, natural, the floor added. Over buffers of powers, weights and values.
    ///
    /// # Errors
    /// If there is nothing in one, or too much.
    pub fn natural(&self) -> Result<Launch, SizeError> {
        Launch::new(&KERNELS[1], &Natural(*self))
    }

    /// Whisper's: band after band, decimal, the floor kept to. Over buffers of powers, weights, values and one integer, which
    /// is made ready for [`Loudest`].
    ///
    /// # Errors
    /// If there is nothing in one, or too much.
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

    /// The twin of [`Bands::natural`].
    pub fn reckon_natural(&self, power: &[f32], weights: &[f32], out: &mut [f32]) {
        for (frame, band, sum) in self.sums(power, weights) {
            out[frame * self.bands as usize + band] = (sum + self.floor).ln();
        }
    }

    /// The twin of [`Bands::decimal`].
    pub fn reckon_decimal(&self, power: &[f32], weights: &[f32], out: &mut [f32], loudest: &mut [i32]) {
        loudest[0] = i32::MIN;
        for (frame, band, sum) in self.sums(power, weights) {
            let kept = if sum < self.floor { self.floor } else { sum };
            out[band * self.frames as usize + frame] = kept.log10();
        }
    }

    fn of(bits: &[u32]) -> Self {
        Self { frames: bits[0], bins: bits[1], bands: bits[2], floor: f32::from_bits(bits[3]) }
    }

    fn numbers(&self) -> Vec<Number> {
        let sizes = [self.frames, self.bins, self.bands].map(Number::U32);
        sizes.into_iter().chain([Number::F32(self.floor)]).collect()
    }

    fn lengths(&self) -> [u64; 3] {
        let [frames, bins, bands] = [self.frames, self.bins, self.bands].map(u64::from);
        [frames * bins, bands * bins, frames * bands]
    }
}

/// The two kinds of bands as kernels take them.
#[derive(Clone, Copy)]
struct Natural(Bands);
#[derive(Clone, Copy)]
struct Decimal(Bands);

impl Work for Natural {
    const NUMBERS: usize = 4;

    fn of(bits: &[u32]) -> Self {
        Self(Bands::of(bits))
    }

    fn numbers(&self) -> Vec<Number> {
        self.0.numbers()
    }

    fn lengths(&self) -> Vec<u64> {
        self.0.lengths().into()
    }

    fn threads(&self) -> [u32; 3] {
        [self.0.bands, self.0.frames, 1]
    }
}

impl Work for Decimal {
    const NUMBERS: usize = 4;

    fn of(bits: &[u32]) -> Self {
        Self(Bands::of(bits))
    }

    fn numbers(&self) -> Vec<Number> {
        self.0.numbers()
    }

    fn lengths(&self) -> Vec<u64> {
        self.0.lengths().into_iter().chain([1]).collect()
    }

    fn threads(&self) -> [u32; 3] {
        [self.0.bands, self.0.frames, 1]
    }
}

/// Finds the loudest of Whisper's values, as an integer that is ordered as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loudest {
    /// How many frames there are.
    pub frames: u32,
    /// How many bands.
    pub bands: u32,
}

impl Loudest {
    /// Over buffers of values and the integer.
    ///
    /// # Errors
    /// If there are none, or too many.
    pub fn order(&self) -> Result<Launch, SizeError> {
        Launch::new(&KERNELS[3], self)
    }

    /// The twin.
    pub fn reckon(&self, out: &[f32], loudest: &mut [i32]) {
        loudest[0] = out.iter().map(|value| ordered(*value)).fold(loudest[0], i32::max);
    }
}

impl Work for Loudest {
    const NUMBERS: usize = 2;

    fn of(bits: &[u32]) -> Self {
        Self { frames: bits[0], bands: bits[1] }
    }

    fn numbers(&self) -> Vec<Number> {
        vec![Number::U32(self.frames), Number::U32(self.bands)]
    }

    fn lengths(&self) -> Vec<u64> {
        vec![u64::from(self.frames) * u64::from(self.bands), 1]
    }

    fn threads(&self) -> [u32; 3] {
        [self.frames, 1, 1]
    }
}

pub(super) fn ordered(value: f32) -> i32 {
    let bits = value.to_bits().cast_signed();
    if bits < 0 { bits ^ i32::MAX } else { bits }
}

pub(super) fn unordered(key: i32) -> f32 {
    f32::from_bits(if key < 0 { key ^ i32::MAX } else { key }.cast_unsigned())
}

/// Whisper's last step: nothing is further below the loudest than `below`, and all is scaled.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// How many values there are.
    pub values: u32,
    /// In decimal logarithms: 8.
    pub below: f32,
}

impl Span {
    /// Over buffers of values and the integer.
    ///
    /// # Errors
    /// If there are none, or too many.
    pub fn order(&self) -> Result<Launch, SizeError> {
        Launch::new(&KERNELS[4], self)
    }

    /// The twin.
    pub fn reckon(&self, out: &mut [f32], loudest: &[i32]) {
        let least = unordered(loudest[0]) - self.below;
        out.iter_mut().for_each(|value| *value = (if *value < least { least } else { *value } + 4.0) / 4.0);
    }
}

impl Work for Span {
    const NUMBERS: usize = 2;

    fn of(bits: &[u32]) -> Self {
        Self { values: bits[0], below: f32::from_bits(bits[1]) }
    }

    fn numbers(&self) -> Vec<Number> {
        vec![Number::U32(self.values), Number::F32(self.below)]
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
    mel_power(pcm: read f32, hann: read f32, turn: read f32, power: write f32): Power
        => |work, pcm, hann, turn, power| work.reckon(pcm, hann, turn, power);
    mel_natural(power: read f32, weights: read f32, out: write f32): Natural
        => |work, power, weights, out| work.0.reckon_natural(power, weights, out);
    mel_decimal(power: read f32, weights: read f32, out: write f32, loudest: write i32): Decimal
        => |work, power, weights, out, loudest| work.0.reckon_decimal(power, weights, out, loudest);
    mel_loudest(out: read f32, loudest: write i32): Loudest => |work, out, loudest| work.reckon(out, loudest);
    mel_range(out: write f32, loudest: read i32): Span => |work, out, loudest| work.reckon(out, loudest);
}

#[cfg(test)]
mod tests;
