//! Frames of any rate and number of channels to blocks of 20 ms at 48 and 16 kHz, as a stream.
//!
//! Decides resampling and alignment. Holds at most the frames of one reader call and 30 ms.

use std::collections::VecDeque;

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler as _};

use super::AudioFileError;
use super::downmix::Downmix;
use crate::audio::{DOWNSAMPLER_DELAY_SAMPLES, DOWNSAMPLER_STEP, Downsampler};
use crate::media::{BLOCK_OPUS_SAMPLES, BLOCK_SPEECH_SAMPLES, PcmBlock};
use crate::time::OPUS_HZ;

/// Supported sample rates.
const RATES_HZ: std::ops::RangeInclusive<u32> = 8_000..=192_000;
/// Maximum number of channels.
const MAX_CHANNELS: usize = 8;
/// Resampler steps per second: 6.7 ms each, a whole number of its blocks at all usual rates. The resampler delays sound by half
/// a step, and with it the first block of a stream.
const STEPS_PER_SECOND: u32 = 150;

/// Rate and channels of samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Frames per second.
    pub rate_hz: u32,
    /// Samples per frame.
    pub channels: usize,
    /// The speakers of the channels as a WAVE channel mask; `None`: the default mask.
    pub mask: Option<u32>,
}

impl Layout {
    /// Checks the values of a header.
    ///
    /// # Errors
    /// If the number of channels is not within 1 to 8, or the rate not within 8 to 192 kHz.
    pub fn new(rate_hz: u32, channels: usize, mask: Option<u32>) -> Result<Self, AudioFileError> {
        if !(1..=MAX_CHANNELS).contains(&channels) {
            let found = format!("{channels}");
            return Err(AudioFileError::Unsupported { wanted: "audio of 1 to 8 channels", found });
        }
        if !RATES_HZ.contains(&rate_hz) {
            let found = format!("{rate_hz} Hz");
            return Err(AudioFileError::Unsupported { wanted: "audio of 8 to 192 kHz", found });
        }
        Ok(Self { rate_hz, channels, mask })
    }
}

/// The result of one reader call: interleaved samples of one layout.
#[derive(Debug, Default)]
pub struct Frames {
    /// Their layout; `None` without samples.
    pub layout: Option<Layout>,
    /// Interleaved samples in [-1, 1].
    pub samples: Vec<f32>,
}

impl Frames {
    /// Removes everything.
    pub fn clear(&mut self) {
        self.layout = None;
        self.samples.clear();
    }

    /// The number of frames.
    #[must_use]
    pub fn count(&self) -> usize {
        self.layout.map_or(0, |layout| self.samples.len() / layout.channels)
    }
}

/// Converts frames to blocks.
#[derive(Default)]
pub struct BlockPipeline {
    part: Option<Part>,
    mono: Vec<f32>,
    blocks: Aligner,
}

/// A run of frames of one layout.
struct Part {
    layout: Layout,
    downmix: Downmix,
    resampler: Option<Upsampler>,
}

impl BlockPipeline {
    /// Takes frames. A change of layout finishes the run before it; none of its samples are lost.
    ///
    /// # Errors
    /// If the rate cannot be resampled.
    pub fn push(&mut self, frames: &Frames) -> Result<(), AudioFileError> {
        let Some(layout) = frames.layout else { return Ok(()) };
        if self.part.as_ref().is_none_or(|part| part.layout != layout) {
            self.end_part();
            self.part = Some(Part::new(layout)?);
        }
        let Some(part) = &mut self.part else { return Ok(()) };
        self.mono.clear();
        part.downmix.mix(&frames.samples, &mut self.mono);
        match &mut part.resampler {
            Some(resampler) => resampler.push(&self.mono, &mut self.blocks),
            None => self.blocks.push(&self.mono),
        }
        Ok(())
    }

    /// Pads the first block with silence before the sound, if at least half of it is available. The filters delay
    /// up to 7.5 ms, so that a block of 20 ms of sound would otherwise be complete only with the next 20 ms.
    pub fn complete_first_block(&mut self) {
        self.blocks.complete_first();
    }

    /// Ends the input: the remaining samples become blocks, the last one padded with silence.
    pub fn finish(&mut self) {
        self.end_part();
        self.blocks.finish();
    }

    /// The next 20 ms, if complete.
    pub fn next_block(&mut self) -> Option<PcmBlock> {
        self.blocks.next()
    }

    /// Samples at 48 kHz so far, including those that are not in a block yet.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.blocks.samples
    }

    fn end_part(&mut self) {
        if let Some(resampler) = self.part.take().and_then(|part| part.resampler) {
            resampler.finish(&mut self.blocks);
        }
    }
}

impl Part {
    fn new(layout: Layout) -> Result<Self, AudioFileError> {
        let resampler = (layout.rate_hz != OPUS_HZ).then(|| Upsampler::new(layout.rate_hz)).transpose()?;
        Ok(Self { layout, downmix: Downmix::new(layout), resampler })
    }
}

/// Resamples one channel of any rate to 48 kHz and removes the resampler's delay.
struct Upsampler {
    rate_hz: u32,
    resampler: Fft<f32>,
    step: usize,
    waiting: Vec<f32>,
    resampled: Vec<f32>,
    /// Samples of the delay that are still to be dropped.
    delay: usize,
    taken: u64,
    given: u64,
}

impl Upsampler {
    fn new(rate_hz: u32) -> Result<Self, AudioFileError> {
        let (from, to) = (rate_hz as usize, OPUS_HZ as usize);
        let step = (rate_hz / STEPS_PER_SECOND) as usize;
        let resampler = Fft::new(from, to, step, 1, FixedSync::Input).map_err(|error| AudioFileError::Unsupported {
            wanted: "a common sample rate",
            found: error.to_string(),
        })?;
        Ok(Self {
            rate_hz,
            step: resampler.input_frames_next(),
            waiting: Vec::new(),
            resampled: vec![0.0; resampler.output_frames_max()],
            delay: resampler.output_delay(),
            resampler,
            taken: 0,
            given: 0,
        })
    }

    fn push(&mut self, mono: &[f32], to: &mut Aligner) {
        self.taken += mono.len() as u64;
        self.waiting.extend_from_slice(mono);
        self.run(to);
    }

    fn run(&mut self, to: &mut Aligner) {
        let waiting = std::mem::take(&mut self.waiting);
        let steps = waiting.chunks_exact(self.step);
        self.waiting.extend_from_slice(steps.remainder());
        steps.for_each(|step| self.resample(step, to));
    }

    fn resample(&mut self, step: &[f32], to: &mut Aligner) {
        let room = self.resampled.len();
        let input = InterleavedSlice::new(step, 1, step.len()).expect("one channel");
        let mut output = InterleavedSlice::new_mut(&mut self.resampled, 1, room).expect("one channel");
        let made = self.resampler.process_into_buffer(&input, &mut output, None).expect("a step of its own length").1;
        let late = self.delay.min(made);
        self.delay -= late;
        let left = self.taken * u64::from(OPUS_HZ) / u64::from(self.rate_hz) - self.given;
        let given = usize::try_from(left).unwrap_or(usize::MAX).min(made - late);
        self.given += given as u64;
        to.push(&self.resampled[late..late + given]);
    }

    /// Flushes the remaining samples.
    fn finish(mut self, to: &mut Aligner) {
        let wanted = self.taken * u64::from(OPUS_HZ) / u64::from(self.rate_hz);
        while self.given < wanted {
            self.waiting.resize(self.step, 0.0);
            self.run(to);
        }
    }
}

/// Combines samples at 48 kHz and their downsampled copy into blocks with both rates of the same time.
struct Aligner {
    playback: VecDeque<f32>,
    /// Number of samples of `playback` that went through the downsampler.
    downsampled: usize,
    speech: VecDeque<f32>,
    /// Samples of the downsampler's delay that are still to be dropped.
    delay: usize,
    downsampler: Downsampler,
    samples: u64,
    has_given: bool,
}

impl Default for Aligner {
    fn default() -> Self {
        Self {
            playback: VecDeque::new(),
            downsampled: 0,
            speech: VecDeque::new(),
            delay: DOWNSAMPLER_DELAY_SAMPLES,
            downsampler: Downsampler::new(),
            samples: 0,
            has_given: false,
        }
    }
}

impl Aligner {
    fn push(&mut self, playback: &[f32]) {
        self.samples += playback.len() as u64;
        self.extend(playback.iter().map(|sample| sample.clamp(-1.0, 1.0)));
    }

    fn extend(&mut self, playback: impl Iterator<Item = f32>) {
        self.playback.extend(playback);
        while self.playback.len() - self.downsampled >= DOWNSAMPLER_STEP {
            let (mut step, mut speech) = ([0.0; DOWNSAMPLER_STEP], [0.0; DOWNSAMPLER_STEP / 3]);
            let next = self.playback.range(self.downsampled..self.downsampled + DOWNSAMPLER_STEP);
            step.iter_mut().zip(next).for_each(|(to, sample)| *to = *sample);
            self.downsampler.push_step(&step, &mut speech);
            self.downsampled += DOWNSAMPLER_STEP;
            let late = self.delay.min(speech.len());
            self.delay -= late;
            self.speech.extend(&speech[late..]);
        }
    }

    fn next(&mut self) -> Option<PcmBlock> {
        if self.playback.len() < BLOCK_OPUS_SAMPLES || self.speech.len() < BLOCK_SPEECH_SAMPLES {
            return None;
        }
        let mut block = PcmBlock::silence();
        block
            .playback_48k
            .iter_mut()
            .zip(self.playback.drain(..BLOCK_OPUS_SAMPLES))
            .for_each(|(to, sample)| *to = sample);
        block
            .speech_16k
            .iter_mut()
            .zip(self.speech.drain(..BLOCK_SPEECH_SAMPLES))
            .for_each(|(to, sample)| *to = sample);
        self.downsampled -= BLOCK_OPUS_SAMPLES;
        self.has_given = true;
        Some(block)
    }

    /// Puts as much silence before the samples of both rates as the first block lacks.
    fn complete_first(&mut self) {
        if self.has_given || self.playback.len() < BLOCK_OPUS_SAMPLES / 2 {
            return;
        }
        let missing_playback = BLOCK_OPUS_SAMPLES.saturating_sub(self.playback.len()).div_ceil(3);
        let missing = BLOCK_SPEECH_SAMPLES.saturating_sub(self.speech.len()).max(missing_playback);
        (0..missing).for_each(|_| self.speech.push_front(0.0));
        (0..3 * missing).for_each(|_| self.playback.push_front(0.0));
        self.downsampled += 3 * missing;
    }

    /// Pads the last block with silence, and flushes the downsampler.
    fn finish(&mut self) {
        let rest = self.playback.len() % BLOCK_OPUS_SAMPLES;
        if self.playback.is_empty() {
            return;
        }
        let missing = if rest == 0 { 0 } else { BLOCK_OPUS_SAMPLES - rest };
        self.extend(std::iter::repeat_n(0.0, missing + DOWNSAMPLER_STEP));
    }
}
