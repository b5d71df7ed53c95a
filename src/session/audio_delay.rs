//! The audio half of a session: audio is delayed by the animator's look-ahead, so that it is sent with its frame.
//!
//! Decides when a block of audio is sent and what is discarded when an utterance ends. Does not send.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use crate::adapt::AudioPlan;
use crate::codec::{CodecError, OpusEncoder};
use crate::media::{BLOCK_OPUS_SAMPLES, BLOCK_SPEECH_SAMPLES, Timed, Utterance};
use crate::telemetry::{Loss, LossCounts, Marks, Stage};
use crate::time::{SampleIndex, Wall};

/// 20 ms of audio waiting for its time.
pub(super) type DelayedAudio = Timed<Box<[f32; BLOCK_OPUS_SAMPLES]>>;

/// A queue that is never longer than the look-ahead plus one block, because each block pushed releases one.
#[derive(Debug, Default)]
pub(super) struct DelayLine {
    waiting: VecDeque<DelayedAudio>,
}

impl DelayLine {
    pub(super) fn push(&mut self, audio: DelayedAudio) {
        self.waiting.push_back(audio);
    }

    /// The next block that is due once audio up to `pushed` was pushed.
    pub(super) fn next_due(&mut self, pushed: SampleIndex, look_ahead_samples: u64) -> Option<DelayedAudio> {
        let is_due = self.waiting.front().is_some_and(|audio| audio.at + look_ahead_samples <= pushed);
        if is_due { self.waiting.pop_front() } else { None }
    }

    /// Replaces everything older than `utterance` with silence, so that the timeline has no gap.
    pub(super) fn silence_before(&mut self, utterance: Utterance, losses: &mut LossCounts) {
        for audio in self.waiting.iter_mut().filter(|audio| audio.utterance < utterance) {
            audio.value.fill(0.0);
            audio.utterance = utterance;
            audio.marks = Marks::default();
            losses.count(Loss::StaleUtterance);
        }
    }

    /// Drops the blocks before `at`: the look-ahead has become shorter.
    fn drop_before(&mut self, at: SampleIndex, losses: &mut LossCounts) {
        let overdue = self.waiting.iter().take_while(|audio| audio.at < at).count();
        self.waiting.drain(..overdue);
        losses.count_many(Loss::TrimmedBlock, overdue as u64);
    }
}

/// Arrival times of the packets of the last second of audio.
#[derive(Debug, Default)]
pub(super) struct ArrivalTimes(VecDeque<(SampleIndex, Option<Instant>)>);

/// Number of blocks kept: the look-ahead plus one second.
const KEPT_BLOCKS: usize = 50;

impl ArrivalTimes {
    /// Discards them, with their audio.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn push(&mut self, at: SampleIndex, arrived: Option<Instant>, look_ahead_samples: u64) {
        self.0.push_back((at, arrived));
        let kept = KEPT_BLOCKS + look_ahead_samples.div_ceil(BLOCK_SPEECH_SAMPLES as u64) as usize;
        while self.0.len() > kept {
            self.0.pop_front();
        }
    }

    /// Arrival of the packet with sample `at`; `None` if the sample came from no packet.
    pub(super) fn of(&self, at: SampleIndex) -> Option<Instant> {
        let holds = |start: SampleIndex| start <= at && at < start + BLOCK_SPEECH_SAMPLES as u64;
        self.0.iter().rev().find(|(start, _)| holds(*start)).and_then(|(_, arrived)| *arrived)
    }
}

/// Audio delay and encoder of one session.
pub(super) struct AudioOut {
    encoder: OpusEncoder,
    delay: DelayLine,
    pub arrivals: ArrivalTimes,
    is_muted: bool,
}

impl AudioOut {
    pub(super) fn new() -> Result<Self, CodecError> {
        Ok(Self {
            encoder: OpusEncoder::new()?,
            delay: DelayLine::default(),
            arrivals: ArrivalTimes::default(),
            is_muted: false,
        })
    }

    /// Mutes the output.
    pub(super) fn mute(&mut self) {
        self.is_muted = true;
    }

    pub(super) fn is_muted(&self) -> bool {
        self.is_muted
    }

    /// Applies an audio plan. If the encoder refuses it, its settings stay.
    pub(super) fn follow(&mut self, plan: AudioPlan) {
        drop(self.encoder.follow(plan));
    }

    pub(super) fn push(&mut self, audio: DelayedAudio) {
        self.delay.push(audio);
    }

    pub(super) fn next_due(&mut self, pushed: SampleIndex, look_ahead_samples: u64) -> Option<DelayedAudio> {
        self.delay.next_due(pushed, look_ahead_samples)
    }

    /// Opus packet of a due block.
    pub(super) fn encode(&mut self, mut audio: DelayedAudio, wall: Wall) -> Result<Timed<Bytes>, CodecError> {
        audio.marks.stamp(Stage::Started, wall.now());
        let packet = self.encoder.encode(&audio.value)?;
        audio.marks.stamp(Stage::Encoded, wall.now());
        Ok(audio.map(|_samples| packet))
    }

    /// Discards audio of older utterances.
    pub(super) fn begin_utterance(&mut self, utterance: Utterance, losses: &mut LossCounts) {
        self.arrivals.clear();
        self.delay.silence_before(utterance, losses);
    }

    /// Applies another look-ahead: what is overdue by it is dropped.
    pub(super) fn switch_look_ahead(&mut self, samples: u64, pushed: SampleIndex, losses: &mut LossCounts) {
        self.delay.drop_before(pushed - samples, losses);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn audio(at: u64, utterance: u64) -> DelayedAudio {
        let value = Box::new([0.5; BLOCK_OPUS_SAMPLES]);
        Timed { at: SampleIndex(at), utterance: Utterance(utterance), marks: Marks::default(), value }
    }

    #[test]
    fn audio_is_sent_when_its_frame_is_due() {
        let mut delay = DelayLine::default();
        delay.push(audio(0, 0));
        assert!(delay.next_due(SampleIndex(960), 1280).is_none());
        assert_eq!(delay.next_due(SampleIndex(1280), 1280).map(|audio| audio.at), Some(SampleIndex(0)));
    }

    #[test]
    fn a_new_utterance_silences_queued_audio() {
        let (mut delay, mut losses) = (DelayLine::default(), LossCounts::default());
        delay.push(audio(0, 0));
        delay.push(audio(320, 1));
        delay.silence_before(Utterance(1), &mut losses);
        assert_eq!(losses.of(Loss::StaleUtterance), 1);
        assert!(delay.next_due(SampleIndex(9999), 0).is_some_and(|old| old.value[0] == 0.0));
        assert!(delay.next_due(SampleIndex(9999), 0).is_some_and(|new| new.value[0] > 0.0));
    }

    #[test]
    fn a_shorter_look_ahead_drops_overdue_audio() {
        let (mut delay, mut losses) = (DelayLine::default(), LossCounts::default());
        (0..100).for_each(|n| delay.push(audio(n * 320, 0)));
        delay.drop_before(SampleIndex(32_000 - 1280), &mut losses);
        assert_eq!((delay.waiting.len(), losses.of(Loss::TrimmedBlock)), (4, 96));
    }

    #[test]
    fn arrivals_are_kept_for_the_whole_look_ahead() {
        let (mut arrivals, start) = (ArrivalTimes::default(), Wall.now());
        (0..400).for_each(|n| arrivals.push(SampleIndex(n * 320), Some(start), 32_000));
        assert_eq!(arrivals.of(SampleIndex(400 * 320 - 32_000 - 640)), Some(start));
    }
}
