//! A voice in blocks of 20 ms.

use crate::listen::{Downsampler, LINE_DELAY_SAMPLES};
use crate::media::{BLOCK_LINE_SAMPLES, BLOCK_VOICE_SAMPLES, PcmBlock};

/// Blocks of a voice at 48 kHz with their 16 kHz line; the last is filled up with silence.
#[derive(Debug)]
pub struct Blocks<'a> {
    voice: &'a [f32],
    /// The next block.
    next: usize,
    downsampler: Downsampler,
    /// The line, ahead of the next block by what the resampler is late.
    line: Vec<f32>,
    /// The next block that is resampled.
    resampled: usize,
}

impl<'a> Blocks<'a> {
    pub(super) fn new(voice: &'a [f32]) -> Self {
        let mut blocks =
            Self { voice, next: 0, downsampler: Downsampler::new(), line: Vec::with_capacity(1_024), resampled: 0 };
        blocks.resample();
        blocks.line.drain(..LINE_DELAY_SAMPLES);
        blocks
    }

    /// Block number `n` at 48 kHz, silence beyond the end.
    fn voice_block(&self, n: usize) -> [f32; BLOCK_VOICE_SAMPLES] {
        let mut block = [0.0; BLOCK_VOICE_SAMPLES];
        let rest = self.voice.get(n * BLOCK_VOICE_SAMPLES..).unwrap_or(&[]);
        let there = rest.len().min(BLOCK_VOICE_SAMPLES);
        block[..there].copy_from_slice(&rest[..there]);
        block
    }

    fn resample(&mut self) {
        let voice = self.voice_block(self.resampled);
        let mut line = [0.0; BLOCK_LINE_SAMPLES];
        self.downsampler.push(&voice, &mut line);
        self.line.extend_from_slice(&line);
        self.resampled += 1;
    }
}

impl Iterator for Blocks<'_> {
    type Item = PcmBlock;

    fn next(&mut self) -> Option<PcmBlock> {
        if self.next * BLOCK_VOICE_SAMPLES >= self.voice.len() {
            return None;
        }
        self.resample();
        let mut block = PcmBlock::silence();
        *block.voice = self.voice_block(self.next);
        block.line.copy_from_slice(&self.line[..BLOCK_LINE_SAMPLES]);
        self.line.drain(..BLOCK_LINE_SAMPLES);
        self.next += 1;
        Some(block)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.voice.len().div_ceil(BLOCK_VOICE_SAMPLES).saturating_sub(self.next);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Blocks<'_> {}
