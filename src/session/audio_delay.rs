//! The voice on its way out: held back by the model's look-ahead, so that it leaves with the picture of its moment.

use std::collections::VecDeque;

use crate::media::{BLOCK_OPUS_SAMPLES, BLOCK_SPEECH_SAMPLES, Timed, Utterance};
use crate::telemetry::{Loss, LossCounts, Marks};
use crate::time::SampleIndex;

/// 20 ms of voice waiting for its moment.
pub(super) type WaitingVoice = Timed<Box<[f32; BLOCK_OPUS_SAMPLES]>>;

/// A queue that is never longer than the look-ahead plus one block, because every block pushed lets one go.
#[derive(Debug, Default)]
pub(super) struct DelayLine {
    waiting: VecDeque<WaitingVoice>,
}

impl DelayLine {
    pub(super) fn push(&mut self, voice: WaitingVoice) {
        self.waiting.push_back(voice);
    }

    /// The next block whose moment can be shown once the line is heard up to `heard`.
    pub(super) fn next_due(&mut self, heard: SampleIndex, look_ahead_samples: u64) -> Option<WaitingVoice> {
        let is_due = self.waiting.front().is_some_and(|voice| voice.at + look_ahead_samples <= heard);
        if is_due { self.waiting.pop_front() } else { None }
    }

    /// Silences everything older than `utterance`: the line of samples stays whole.
    pub(super) fn hush(&mut self, utterance: Utterance, losses: &mut LossCounts) {
        for voice in self.waiting.iter_mut().filter(|voice| voice.utterance < utterance) {
            voice.value.fill(0.0);
            voice.utterance = utterance;
            voice.marks = Marks::default();
            losses.count(Loss::StaleUtterance);
        }
    }
}

/// When the packets that hold the last second of the line arrived.
#[derive(Debug, Default)]
pub(super) struct ArrivalTimes(VecDeque<(SampleIndex, Option<std::time::Instant>)>);

const REMEMBERED_BLOCKS: usize = 50;

impl ArrivalTimes {
    /// Forgets them: the voice they belong to is not heard any more.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn push(&mut self, at: SampleIndex, arrived: Option<std::time::Instant>) {
        self.0.push_back((at, arrived));
        while self.0.len() > REMEMBERED_BLOCKS {
            self.0.pop_front();
        }
    }

    /// Arrival of the packet that holds sample `at`, if a packet did.
    pub(super) fn of(&self, at: SampleIndex) -> Option<std::time::Instant> {
        let holds = |start: SampleIndex| start <= at && at < start + BLOCK_SPEECH_SAMPLES as u64;
        self.0.iter().rev().find(|(start, _)| holds(*start)).and_then(|(_, arrived)| *arrived)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voice(at: u64, utterance: u64) -> WaitingVoice {
        let value = Box::new([0.5; BLOCK_OPUS_SAMPLES]);
        Timed { at: SampleIndex(at), utterance: Utterance(utterance), marks: Marks::default(), value }
    }

    #[test]
    fn voice_leaves_when_its_moment_can_be_shown() {
        let mut out = DelayLine::default();
        out.push(voice(0, 0));
        assert!(out.next_due(SampleIndex(960), 1280).is_none());
        assert_eq!(out.next_due(SampleIndex(1280), 1280).map(|voice| voice.at), Some(SampleIndex(0)));
    }

    #[test]
    fn a_raised_utterance_silences_what_waits() {
        let (mut out, mut losses) = (DelayLine::default(), LossCounts::default());
        out.push(voice(0, 0));
        out.push(voice(320, 1));
        out.hush(Utterance(1), &mut losses);
        assert_eq!(losses.of(Loss::StaleUtterance), 1);
        assert!(out.next_due(SampleIndex(9999), 0).is_some_and(|old| old.value[0] == 0.0));
        assert!(out.next_due(SampleIndex(9999), 0).is_some_and(|new| new.value[0] > 0.0));
    }
}
