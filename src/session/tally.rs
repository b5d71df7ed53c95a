//! Counters and published figures of a session: losses, the figures of each second, and events.
//!
//! Decides when figures are published. Does not decide what is lost.

use std::sync::Arc;

use tokio::sync::broadcast;

use super::event::{Quality, SessionEvent};
use super::report::Meter;
use super::video_out::VideoOut;
use crate::audio::{AudioReceiverStats, Speaking};
use crate::telemetry::{Loss, LossCounts};
use crate::time::{SPEECH_HZ, SampleIndex};

/// Counters and events of one session.
pub(super) struct Tally {
    pub meter: Arc<Meter>,
    events: broadcast::Sender<SessionEvent>,
    pub losses: LossCounts,
    second: Second,
}

/// Counts of the current second, for the quality event.
#[derive(Debug, Default)]
struct Second {
    began: Option<SampleIndex>,
    frames: u32,
}

impl Tally {
    pub(super) fn new(meter: Arc<Meter>, events: broadcast::Sender<SessionEvent>) -> Self {
        Self { meter, events, losses: LossCounts::default(), second: Second::default() }
    }

    pub(super) fn lose_frame(&mut self, loss: Loss) {
        self.losses.count(loss);
        self.meter.frame_dropped();
    }

    pub(super) fn frame_encoded(&mut self) {
        self.second.frames += 1;
        self.meter.frame_encoded();
    }

    pub(super) fn note_speaking(&self, change: Option<Speaking>) {
        let Some(change) = change else { return };
        self.meter.note_speaking(change);
        self.publish(match change {
            Speaking::Started(at) => SessionEvent::SpeakingStarted { at_ms: millis(at) },
            Speaking::Stopped(at) => SessionEvent::SpeakingStopped { at_ms: millis(at) },
        });
    }

    pub(super) fn close_second(&mut self, video: &VideoOut, received: AudioReceiverStats, now: SampleIndex) {
        let began = *self.second.began.get_or_insert(now);
        let samples = now.samples_since(began);
        if samples < u64::from(SPEECH_HZ) {
            return;
        }
        let quality = Quality {
            audio_to_frame_ms: self.meter.take_recent(),
            fps: f64::from(self.second.frames) * f64::from(SPEECH_HZ) / samples as f64,
            bitrate_bps: video.bitrate_bps(),
            resolution_px: video.side_px(),
            audio_concealed_ratio: f64::from(received.concealed_ratio),
        };
        self.second = Second { began: Some(now), frames: 0 };
        self.meter.note(quality, video.schedule.cadence().look_ahead_samples, received);
        self.publish(SessionEvent::Quality(quality));
    }

    pub(super) fn report_losses(&mut self, received: LossCounts) {
        self.losses.add(&received);
        let counts = self.losses.take();
        if counts != LossCounts::default() {
            self.meter.lose(&counts);
        }
    }

    pub(super) fn publish(&self, event: SessionEvent) {
        // An error only means that there is no subscriber.
        let _ = self.events.send(event);
    }
}

fn millis(at: SampleIndex) -> u64 {
    u64::try_from(at.since_start().as_millis()).unwrap_or(u64::MAX)
}
