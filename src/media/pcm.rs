//! Audio, 20 ms at a time.

use crate::time::{OPUS_HZ, SPEECH_HZ};

/// Length of a block of audio.
pub const BLOCK_MS: u64 = 20;
/// Samples of a block at 16 kHz.
pub const BLOCK_SPEECH_SAMPLES: usize = (SPEECH_HZ as usize / 1000) * BLOCK_MS as usize;
/// Samples of a block at 48 kHz.
pub const BLOCK_OPUS_SAMPLES: usize = (OPUS_HZ as usize / 1000) * BLOCK_MS as usize;

/// 20 ms of mono audio in [-1, 1], at the two rates that a session needs. Both cover the same time.
#[derive(Clone, Debug, PartialEq)]
pub struct PcmBlock {
    /// 320 samples at 16 kHz, for the models.
    pub speech_16k: Box<[f32; BLOCK_SPEECH_SAMPLES]>,
    /// 960 samples at 48 kHz, for the listeners.
    pub playback_48k: Box<[f32; BLOCK_OPUS_SAMPLES]>,
}

impl PcmBlock {
    /// 20 ms of silence.
    #[must_use]
    pub fn silence() -> Self {
        Self { speech_16k: Box::new([0.0; BLOCK_SPEECH_SAMPLES]), playback_48k: Box::new([0.0; BLOCK_OPUS_SAMPLES]) }
    }

    /// Root mean square of the 16 kHz samples, 0 to 1.
    #[must_use]
    pub fn level(&self) -> f32 {
        let sum: f32 = self.speech_16k.iter().map(|sample| sample * sample).sum();
        (sum / BLOCK_SPEECH_SAMPLES as f32).sqrt()
    }
}
