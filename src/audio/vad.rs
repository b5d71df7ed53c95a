//! Voice activity detection.
//!
//! Decides by the level of each 20 ms block relative to the noise floor, from past audio alone. Does not distinguish voices from
//! other intermittent sounds.

use std::collections::VecDeque;

use crate::media::PcmBlock;
use crate::time::SampleIndex;

/// Minimum level of speech in dB of full scale.
const SILENCE_DB: f32 = -52.0;
/// Minimum level of speech above the noise floor.
const ABOVE_NOISE_DB: f32 = 9.0;
/// Maximum rise of the noise floor in dB per block: 2 dB a second.
const RISE_DB: f32 = 0.04;
/// Fall of the noise floor per block, as a share of the distance.
const FALL_SHARE: f32 = 0.3;
/// Number of consecutive loud blocks that start speech: 40 ms. A single one is a click.
const START_BLOCKS: u32 = 2;
/// Number of consecutive quiet blocks that end speech: 300 ms, longer than the plosive pause in "stop" or "attack".
const STOP_BLOCKS: u32 = 15;
/// A sound whose level stays within this range for the time below is noise, however loud: speech varies more.
const STEADY_DB: f32 = 5.0;
/// 1.2 s.
const STEADY_BLOCKS: usize = 60;

/// Start or end of speech.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaking {
    /// Speech began with this sample.
    Started(SampleIndex),
    /// Speech ended before this sample.
    Stopped(SampleIndex),
}

/// Detects speech in one stream.
#[derive(Clone, Debug)]
pub struct VoiceActivityDetector {
    noise_db: f32,
    recent_db: VecDeque<f32>,
    is_speaking: bool,
    loud_blocks: u32,
    quiet_blocks: u32,
}

impl VoiceActivityDetector {
    /// The initial state: no speech.
    #[must_use]
    pub fn new() -> Self {
        Self {
            noise_db: SILENCE_DB - ABOVE_NOISE_DB,
            recent_db: VecDeque::with_capacity(STEADY_BLOCKS),
            is_speaking: false,
            loud_blocks: 0,
            quiet_blocks: 0,
        }
    }

    /// Whether the last block was speech.
    #[must_use]
    pub fn is_speaking(&self) -> bool {
        self.is_speaking
    }

    /// Processes the block that starts at `at`.
    pub fn push_block(&mut self, block: &PcmBlock, at: SampleIndex) -> Option<Speaking> {
        let level_db = 20.0 * block.level().max(1e-6).log10();
        let is_loud = level_db > SILENCE_DB && level_db > self.noise_db + ABOVE_NOISE_DB;
        self.follow_noise(level_db);
        self.loud_blocks = if is_loud { self.loud_blocks + 1 } else { 0 };
        self.quiet_blocks = if is_loud { 0 } else { self.quiet_blocks + 1 };
        let block_samples = block.speech_16k.len() as u64;
        if !self.is_speaking && self.loud_blocks >= START_BLOCKS {
            self.is_speaking = true;
            return Some(Speaking::Started(at - u64::from(START_BLOCKS - 1) * block_samples));
        }
        if self.is_speaking && self.quiet_blocks >= STOP_BLOCKS {
            self.is_speaking = false;
            return Some(Speaking::Stopped(at + block_samples));
        }
        None
    }

    /// Resets at `at`: reports the end of speech, if there was speech.
    pub fn reset(&mut self, at: SampleIndex) -> Option<Speaking> {
        (self.loud_blocks, self.quiet_blocks) = (0, 0);
        std::mem::take(&mut self.is_speaking).then_some(Speaking::Stopped(at))
    }

    fn follow_noise(&mut self, level_db: f32) {
        let lowest = SILENCE_DB - ABOVE_NOISE_DB;
        if level_db < self.noise_db {
            self.noise_db += (level_db - self.noise_db) * FALL_SHARE;
        } else {
            self.noise_db += RISE_DB;
        }
        if self.recent_db.len() == STEADY_BLOCKS {
            self.recent_db.pop_front();
        }
        self.recent_db.push_back(level_db);
        let loudest = self.recent_db.iter().copied().fold(f32::MIN, f32::max);
        let softest = self.recent_db.iter().copied().fold(f32::MAX, f32::min);
        if self.recent_db.len() == STEADY_BLOCKS && loudest - softest < STEADY_DB {
            self.noise_db = self.noise_db.max(f32::midpoint(loudest, softest));
        }
        self.noise_db = self.noise_db.clamp(lowest, 0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Room {
        activity: VoiceActivityDetector,
        random: fastrand::Rng,
        at: SampleIndex,
    }

    impl Room {
        fn new() -> Self {
            Self { activity: VoiceActivityDetector::new(), random: fastrand::Rng::with_seed(5), at: SampleIndex::ZERO }
        }

        /// Blocks of noise, plus four syllables per second if `voice` is not 0.
        fn push_block(&mut self, blocks: usize, noise: f32, voice: f32) -> Vec<Speaking> {
            let mut heard = Vec::new();
            for n in 0..blocks {
                let mut block = PcmBlock::silence();
                let syllable = 0.5 - 0.45 * (n as f32 * 0.02 * 4.0 * std::f32::consts::TAU).cos();
                for (i, sample) in block.speech_16k.iter_mut().enumerate() {
                    let tone = (i as f32 * 0.06).sin() * voice * syllable;
                    *sample = noise * (self.random.f32() * 2.0 - 1.0) + tone;
                }
                heard.extend(self.activity.push_block(&block, self.at));
                self.at = self.at + 320;
            }
            heard
        }
    }

    #[test]
    fn start_and_end_of_speech_are_detected_in_place() {
        let mut room = Room::new();
        assert_eq!(room.push_block(100, 0.001, 0.0), []);
        let started = room.push_block(100, 0.001, 0.2);
        assert!(
            matches!(started[..], [Speaking::Started(SampleIndex(at))] if (32_000..33_000).contains(&at)),
            "{started:?}"
        );
        let stopped = room.push_block(100, 0.001, 0.0);
        assert!(
            matches!(stopped[..], [Speaking::Stopped(SampleIndex(at))] if (68_000..70_000).contains(&at)),
            "{stopped:?}"
        );
    }

    #[test]
    fn steady_noise_is_not_speech_and_speech_above_it_is_detected() {
        let mut room = Room::new();
        room.push_block(50, 0.001, 0.0);
        room.push_block(100, 0.05, 0.0);
        assert_eq!(room.push_block(500, 0.05, 0.0), []);
        assert!(!room.activity.is_speaking());
        assert!(matches!(room.push_block(50, 0.05, 0.4)[..], [Speaking::Started(_)]));
    }

    #[test]
    fn a_click_is_not_speech() {
        let mut room = Room::new();
        room.push_block(50, 0.001, 0.0);
        assert_eq!(room.push_block(1, 0.3, 0.0), []);
        assert_eq!(room.push_block(50, 0.001, 0.0), []);
    }
}
