//! Sound files.

use std::time::Duration;

use crate::media::PcmBlock;

/// A whole sound, mono at 48 kHz.
#[derive(Debug)]
pub struct Sound;

/// Why not.
#[derive(Debug, thiserror::Error)]
#[error("not yet")]
pub struct SoundError;

impl Sound {
    /// Length.
    #[must_use]
    pub fn duration(&self) -> Duration {
        Duration::ZERO
    }
    /// Whether it ended early.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        false
    }
    /// Block.
    #[must_use]
    pub fn block(&self, _n: usize) -> Option<PcmBlock> {
        None
    }
}

/// Decodes.
///
/// # Errors
/// Always.
pub fn decode_sound(_bytes: &[u8], _limit: Duration) -> Result<Sound, SoundError> {
    Err(SoundError)
}
