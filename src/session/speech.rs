//! A sound file being said: one block at each tick of the line.

use std::sync::Arc;

use crate::codec::audio_file::AudioClip;
use crate::media::{PcmBlock, Utterance};

/// A sound and how far it has been said.
#[derive(Debug)]
pub(super) struct Speech {
    sound: Arc<AudioClip>,
    next_block: usize,
    pub utterance: Utterance,
}

impl Speech {
    pub(super) fn new(sound: Arc<AudioClip>, utterance: Utterance) -> Self {
        Self { sound, next_block: 0, utterance }
    }

    /// The next 20 ms; none when all is said.
    pub(super) fn next_block(&mut self) -> Option<PcmBlock> {
        let block = self.sound.block(self.next_block);
        self.next_block += 1;
        block
    }
}
