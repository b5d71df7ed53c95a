//! Frames of any rate and number of channels to one voice at 48 kHz.
//!
//! Decides mixing (the mean of the channels), resampling and the limit on length.

use std::time::Duration;

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler};

use super::AudioFileError;
use crate::time::OPUS_HZ;

/// Rates that are taken.
const RATES_HZ: std::ops::RangeInclusive<u32> = 8_000..=192_000;
/// The most channels.
const MOST_CHANNELS: usize = 8;
/// Samples that are resampled at a time.
const STEP: usize = 1_024;

/// How a file's samples are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub rate_hz: u32,
    pub channels: usize,
}

impl Layout {
    /// Checks what a header says.
    pub fn new(rate_hz: u32, channels: usize) -> Result<Self, AudioFileError> {
        if !(1..=MOST_CHANNELS).contains(&channels) {
            let found = format!("{channels}");
            return Err(AudioFileError::Unsupported { wanted: "a sound of 1 to 8 channels", found });
        }
        if !RATES_HZ.contains(&rate_hz) {
            let found = format!("{rate_hz} Hz");
            return Err(AudioFileError::Unsupported { wanted: "a sound of 8 to 192 kHz", found });
        }
        Ok(Self { rate_hz, channels })
    }
}

/// Gathers the voice.
pub(super) struct Collector {
    most: Duration,
    layout: Option<Layout>,
    resampler: Option<Fft<f32>>,
    /// Mono samples at the file's rate that wait to be resampled.
    waiting: Vec<f32>,
    /// Mono samples at the file's rate, all in all.
    frames: u64,
    voice: Vec<f32>,
    resampled: Vec<f32>,
}

impl Collector {
    pub fn new(most: Duration) -> Self {
        Self {
            most,
            layout: None,
            resampler: None,
            waiting: Vec::new(),
            frames: 0,
            voice: Vec::new(),
            resampled: Vec::new(),
        }
    }

    /// Sets the layout, which stays for the whole file.
    pub fn begin(&mut self, layout: Layout) -> Result<(), AudioFileError> {
        self.layout = Some(layout);
        if layout.rate_hz != OPUS_HZ {
            let (from, to) = (layout.rate_hz as usize, OPUS_HZ as usize);
            let resampler = Fft::new(from, to, STEP, 1, FixedSync::Input)
                .map_err(|error| AudioFileError::Unsupported { wanted: "a usual rate", found: error.to_string() })?;
            self.resampled = vec![0.0; resampler.output_frames_max()];
            self.resampler = Some(resampler);
        }
        Ok(())
    }

    /// What was begun with, if it was.
    pub fn layout(&self) -> Option<Layout> {
        self.layout
    }

    /// Frames taken so far, at the file's rate.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Takes interleaved samples; a last, incomplete frame is left out.
    pub fn push(&mut self, interleaved: &[f32]) -> Result<(), AudioFileError> {
        let Some(layout) = self.layout else { return Err(AudioFileError::NoTrack) };
        for frame in interleaved.chunks_exact(layout.channels) {
            let mean = frame.iter().sum::<f32>() / layout.channels as f32;
            self.waiting.push(if mean.is_finite() { mean.clamp(-1.0, 1.0) } else { 0.0 });
        }
        self.frames += (interleaved.len() / layout.channels) as u64;
        if self.frames > self.most_frames(layout) {
            return Err(AudioFileError::TooLong { most: self.most });
        }
        self.drain();
        Ok(())
    }

    fn most_frames(&self, layout: Layout) -> u64 {
        u64::try_from(self.most.as_millis()).unwrap_or(u64::MAX).saturating_mul(u64::from(layout.rate_hz)) / 1000
    }

    /// Keeps no more than `frames`, as a file may ask that was coded in whole packets.
    pub fn keep(&mut self, frames: u64) {
        self.frames = self.frames.min(frames);
    }

    fn drain(&mut self) {
        if self.resampler.is_none() {
            self.voice.append(&mut self.waiting);
            return;
        }
        let whole = self.waiting.len() / STEP * STEP;
        let steps = std::mem::take(&mut self.waiting);
        steps[..whole].chunks_exact(STEP).for_each(|step| self.resample(step));
        self.waiting.extend_from_slice(&steps[whole..]);
    }

    fn resample(&mut self, step: &[f32]) {
        let Some(resampler) = &mut self.resampler else { return };
        let room = self.resampled.len();
        let input = InterleavedSlice::new(step, 1, step.len()).expect("one channel");
        let mut output = InterleavedSlice::new_mut(&mut self.resampled, 1, room).expect("one channel");
        let (_, made) = resampler.process_into_buffer(&input, &mut output, None).expect("a step of its own length");
        self.voice.extend_from_slice(&self.resampled[..made]);
    }

    /// All of the voice: the resampler's delay taken off its head, its rest pressed out.
    pub fn finish(mut self) -> Result<Vec<f32>, AudioFileError> {
        let Some(layout) = self.layout else { return Err(AudioFileError::NoTrack) };
        let wanted = self.frames * u64::from(OPUS_HZ) / u64::from(layout.rate_hz);
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        if let Some(delay) = self.resampler.as_ref().map(Resampler::output_delay) {
            while self.voice.len() < wanted.saturating_add(delay) {
                self.waiting.resize(self.waiting.len() + STEP, 0.0);
                self.drain();
            }
            self.voice.drain(..delay);
        }
        self.voice.truncate(wanted);
        self.voice.iter_mut().for_each(|sample| *sample = sample.clamp(-1.0, 1.0));
        Ok(self.voice)
    }
}
