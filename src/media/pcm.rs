//! Voice, 20 ms at a time.

use crate::time::{OPUS_HZ, SPEECH_HZ};

/// Length of a block of voice.
pub const BLOCK_MS: u64 = 20;
/// Samples of a block on the 16 kHz line.
pub const BLOCK_SPEECH_SAMPLES: usize = (SPEECH_HZ as usize / 1000) * BLOCK_MS as usize;
/// Samples of a block at 48 kHz.
pub const BLOCK_OPUS_SAMPLES: usize = (OPUS_HZ as usize / 1000) * BLOCK_MS as usize;

/// 20 ms of one voice, mono, in [-1, 1]: as the models hear it and as the listener does.
#[derive(Clone, Debug, PartialEq)]
pub struct PcmBlock {
    /// 320 samples at 16 kHz.
    pub line: Box<[f32; BLOCK_SPEECH_SAMPLES]>,
    /// 960 samples at 48 kHz.
    pub voice: Box<[f32; BLOCK_OPUS_SAMPLES]>,
}

impl PcmBlock {
    /// 20 ms of nothing.
    #[must_use]
    pub fn silence() -> Self {
        Self { line: Box::new([0.0; BLOCK_SPEECH_SAMPLES]), voice: Box::new([0.0; BLOCK_OPUS_SAMPLES]) }
    }

    /// Root mean square of the 16 kHz samples, 0 to 1.
    #[must_use]
    pub fn level(&self) -> f32 {
        let sum: f32 = self.line.iter().map(|sample| sample * sample).sum();
        (sum / BLOCK_SPEECH_SAMPLES as f32).sqrt()
    }
}
