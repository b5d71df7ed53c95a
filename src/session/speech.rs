//! A speech source: audio that a session speaks in place of the microphone, as a bounded queue with an end mark.
//!
//! Decides the bound, what replaces audio of a late producer, and when a producer counts as stalled. Does not know the
//! producer: an uploaded file, a streaming body, a socket, text to speech.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::mpsc::error::{TryRecvError, TrySendError};
use tokio::sync::{mpsc, watch};

use super::event::SessionEvent;
use crate::media::{BLOCK_MS, PcmBlock, Utterance};

/// Maximum number of queued blocks: 2 s. A faster producer waits.
pub const SPEECH_QUEUE_BLOCKS: usize = 100;
/// A source that gives nothing for this long is abandoned.
pub const SPEECH_STALL: Duration = Duration::from_secs(10);

const STALL_BLOCKS: u64 = SPEECH_STALL.as_millis() as u64 / BLOCK_MS;
/// Length of the fade at a gap, which avoids a click: 5 ms.
const FADE_PARTS: usize = 4;

/// The state of a source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SpeechState {
    /// It has not started.
    #[default]
    Waiting,
    /// It is being spoken.
    Speaking,
    /// It was spoken completely.
    Finished,
    /// Everything that arrived was spoken, but the producer ended without an end mark.
    Truncated,
    /// A newer utterance, an interrupt or the end of the session cut it short.
    Interrupted,
    /// The producer gave nothing for [`SPEECH_STALL`].
    Stalled,
}

impl SpeechState {
    /// Whether it has ended.
    #[must_use]
    pub fn is_over(self) -> bool {
        !matches!(self, Self::Waiting | Self::Speaking)
    }
}

/// The state of a source, and how much of it was spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpeechProgress {
    /// Its state.
    pub state: SpeechState,
    /// Number of spoken blocks of 20 ms.
    pub spoken_blocks: u64,
}

impl SpeechProgress {
    /// Spoken duration in milliseconds.
    #[must_use]
    pub fn spoken_ms(&self) -> u64 {
        self.spoken_blocks * BLOCK_MS
    }
}

/// The session accepts no more of this source: it was interrupted, or the session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session no longer speaks this")]
pub struct SpeechClosed;

/// An empty queue: the end for the producer, and the end for the session.
#[must_use]
pub fn speech_queue() -> (SpeechSink, SpeechSource) {
    let (sender, blocks) = mpsc::channel(SPEECH_QUEUE_BLOCKS);
    let (report, progress) = watch::channel(SpeechProgress::default());
    let is_complete = Arc::<AtomicBool>::default();
    let sink = SpeechSink { blocks: sender, progress, is_complete: Arc::clone(&is_complete) };
    let source = SpeechSource {
        blocks,
        is_complete,
        report,
        utterance: Utterance::default(),
        missing_blocks: 0,
        last: (0.0, 0.0),
        event: None,
    };
    (sink, source)
}

/// The producer's end of a speech source. Dropping it without [`SpeechSink::finish`] means that the audio is incomplete.
#[derive(Debug)]
pub struct SpeechSink {
    blocks: mpsc::Sender<PcmBlock>,
    progress: watch::Receiver<SpeechProgress>,
    is_complete: Arc<AtomicBool>,
}

impl SpeechSink {
    /// Adds a block; waits while the queue is full.
    ///
    /// # Errors
    /// If the session accepts no more of it.
    pub async fn push(&self, block: PcmBlock) -> Result<(), SpeechClosed> {
        self.blocks.send(block).await.map_err(|_closed| SpeechClosed)
    }

    /// As [`SpeechSink::push`], for a thread outside the async runtime.
    ///
    /// # Errors
    /// If the session accepts no more of it.
    pub fn blocking_push(&self, block: PcmBlock) -> Result<(), SpeechClosed> {
        self.blocks.blocking_send(block).map_err(|_closed| SpeechClosed)
    }

    /// Adds a block if there is room; otherwise returns it.
    ///
    /// # Errors
    /// If the session accepts no more of it.
    pub fn try_push(&self, block: PcmBlock) -> Result<Option<PcmBlock>, SpeechClosed> {
        match self.blocks.try_send(block) {
            Ok(()) => Ok(None),
            Err(TrySendError::Full(block)) => Ok(Some(block)),
            Err(TrySendError::Closed(_)) => Err(SpeechClosed),
        }
    }

    /// Sets the end mark: the audio is complete.
    pub fn finish(self) {
        self.is_complete.store(true, Ordering::Release);
    }

    /// Number of queued blocks.
    #[must_use]
    pub fn queued_blocks(&self) -> usize {
        self.blocks.max_capacity() - self.blocks.capacity()
    }

    /// The progress of the session; valid after this end was dropped as well.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<SpeechProgress> {
        self.progress.clone()
    }
}

/// The session's end of a speech source.
#[derive(Debug)]
pub struct SpeechSource {
    blocks: mpsc::Receiver<PcmBlock>,
    is_complete: Arc<AtomicBool>,
    report: watch::Sender<SpeechProgress>,
    utterance: Utterance,
    /// Blocks of silence since the last block of audio.
    missing_blocks: u64,
    /// The last spoken samples, at 16 and 48 kHz: a gap fades out from them.
    last: (f32, f32),
    event: Option<SessionEvent>,
}

impl SpeechSource {
    /// Starts to speak it as `utterance`.
    pub(super) fn begin(&mut self, utterance: Utterance) {
        self.utterance = utterance;
    }

    /// The next 20 ms: silence while the producer is late, `None` at the end.
    pub(super) fn next_block(&mut self) -> Option<PcmBlock> {
        match self.blocks.try_recv() {
            Ok(block) => Some(self.spoken(block)),
            Err(TryRecvError::Empty) if self.missing_blocks < STALL_BLOCKS => Some(self.gap()),
            Err(TryRecvError::Empty) => self.over(SpeechState::Stalled),
            Err(TryRecvError::Disconnected) if self.is_complete.load(Ordering::Acquire) => {
                self.over(SpeechState::Finished)
            }
            Err(TryRecvError::Disconnected) => self.over(SpeechState::Truncated),
        }
    }

    /// The next 20 ms from the producer; waits for it.
    #[cfg(test)]
    pub fn blocking_next_block(&mut self) -> Option<PcmBlock> {
        self.blocks.blocking_recv()
    }

    /// Whether the last block was silence because the producer is late.
    pub(super) fn is_late(&self) -> bool {
        self.missing_blocks > 0
    }

    /// Events since the last call.
    pub(super) fn take_event(&mut self) -> Option<SessionEvent> {
        self.event.take()
    }

    /// Interrupts it and returns the event.
    pub(super) fn interrupt(mut self) -> Option<SessionEvent> {
        self.over(SpeechState::Interrupted);
        self.event.take()
    }

    fn spoken(&mut self, mut block: PcmBlock) -> PcmBlock {
        if self.missing_blocks > 0 {
            fade_in(&mut *block.speech_16k);
            fade_in(&mut *block.playback_48k);
        }
        self.missing_blocks = 0;
        self.last = (block.speech_16k[block.speech_16k.len() - 1], block.playback_48k[block.playback_48k.len() - 1]);
        if self.report.borrow().state == SpeechState::Waiting {
            self.event = Some(SessionEvent::SpeechStarted { utterance: self.utterance.0 });
        }
        self.report.send_modify(|progress| {
            progress.state = SpeechState::Speaking;
            progress.spoken_blocks += 1;
        });
        block
    }

    fn gap(&mut self) -> PcmBlock {
        let (speech, playback) = std::mem::take(&mut self.last);
        self.missing_blocks += 1;
        let mut block = PcmBlock::silence();
        fade_out(&mut *block.speech_16k, speech);
        fade_out(&mut *block.playback_48k, playback);
        block
    }

    fn over(&mut self, state: SpeechState) -> Option<PcmBlock> {
        self.report.send_modify(|progress| progress.state = state);
        let spoken_ms = self.report.borrow().spoken_ms();
        self.event = Some(SessionEvent::SpeechEnded { utterance: self.utterance.0, outcome: state, spoken_ms });
        None
    }
}

impl Drop for SpeechSource {
    fn drop(&mut self) {
        self.report.send_if_modified(|progress| {
            let is_cut = !progress.state.is_over();
            if is_cut {
                progress.state = SpeechState::Interrupted;
            }
            is_cut
        });
    }
}

fn fade_in(samples: &mut [f32]) {
    let length = samples.len() / FADE_PARTS;
    samples[..length].iter_mut().enumerate().for_each(|(n, sample)| *sample *= n as f32 / length as f32);
}

/// A fade from `last` to silence.
fn fade_out(samples: &mut [f32], last: f32) {
    let length = samples.len() / FADE_PARTS;
    samples[..length].iter_mut().enumerate().for_each(|(n, sample)| *sample = last * (1.0 - n as f32 / length as f32));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(level: f32) -> PcmBlock {
        let mut block = PcmBlock::silence();
        block.speech_16k.fill(level);
        block.playback_48k.fill(level);
        block
    }

    fn ended(source: &mut SpeechSource) -> Option<(SpeechState, u64)> {
        match source.take_event() {
            Some(SessionEvent::SpeechEnded { outcome, spoken_ms, .. }) => Some((outcome, spoken_ms)),
            _ => None,
        }
    }

    #[test]
    fn the_queue_holds_two_seconds_and_returns_further_blocks() {
        let (sink, mut source) = speech_queue();
        let taken = (0..300).filter(|_| sink.try_push(tone(0.5)).expect("open").is_none()).count();
        assert_eq!((taken, sink.queued_blocks()), (SPEECH_QUEUE_BLOCKS, SPEECH_QUEUE_BLOCKS));
        assert!(source.next_block().is_some());
        assert_eq!(sink.try_push(tone(0.5)), Ok(None), "a spoken block makes room for another");
    }

    #[test]
    fn the_end_mark_distinguishes_complete_from_aborted_audio() {
        for (is_whole, outcome) in [(true, SpeechState::Finished), (false, SpeechState::Truncated)] {
            let (sink, mut source) = speech_queue();
            let progress = sink.progress();
            sink.try_push(tone(0.5)).expect("open");
            if is_whole {
                sink.finish();
            } else {
                drop(sink);
            }
            assert_eq!(source.next_block(), Some(tone(0.5)));
            assert_eq!(source.next_block(), None);
            assert_eq!(ended(&mut source), Some((outcome, 20)));
            drop(source);
            assert_eq!(progress.borrow().state, outcome);
        }
    }

    #[test]
    fn a_late_producer_gives_silence_without_a_click_and_is_abandoned_after_ten_seconds() {
        let (sink, mut source) = speech_queue();
        sink.try_push(tone(0.5)).expect("open");
        source.next_block();
        let gap = source.next_block().expect("silence");
        assert!(
            source.is_late()
                && (gap.playback_48k[0] - 0.5).abs() < 0.01
                && gap.playback_48k[240..].iter().all(|s| *s == 0.0)
        );
        assert_eq!(source.next_block(), Some(PcmBlock::silence()));
        sink.try_push(tone(0.5)).expect("open");
        let next = source.next_block().expect("sound");
        assert!(!source.is_late() && next.playback_48k[0] == 0.0 && (next.playback_48k[500] - 0.5).abs() < 1e-6);
        let silence = std::iter::from_fn(|| source.next_block()).count();
        assert_eq!((silence, ended(&mut source)), (500, Some((SpeechState::Stalled, 40))));
    }

    #[test]
    fn a_producer_sees_that_its_audio_was_interrupted() {
        let (sink, source) = speech_queue();
        let interrupted = source.interrupt();
        assert!(
            matches!(interrupted, Some(SessionEvent::SpeechEnded { outcome: SpeechState::Interrupted, .. })),
            "{interrupted:?}"
        );
        assert_eq!(sink.try_push(tone(0.5)), Err(SpeechClosed));
        let (sink, source) = speech_queue();
        let progress = sink.progress();
        drop(source);
        assert_eq!(progress.borrow().state, SpeechState::Interrupted);
    }
}
