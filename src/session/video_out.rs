//! The video half of a session: which frame is due, and how it is encoded.
//!
//! Decides the frame's size and when a keyframe is encoded. Does not compute frames and does not send them.

use std::time::{Duration, Instant};

use crate::adapt::{ResolutionLadder, shrink};
use crate::codec::{CodecError, EncodedFrame, FrameKind, VideoEncoder};
use crate::media::VideoFrame;
use crate::model::Cadence;
use crate::telemetry::Marks;
use crate::time::{SPEECH_HZ, SampleIndex};

/// Minimum distance between two requested keyframes, in samples of the timeline: a request repeated
/// before the first keyframe can have arrived would only load the link.
const KEYFRAME_GAP: u64 = SPEECH_HZ as u64 * 3 / 10;

/// The frames of a cadence, in order.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameSchedule {
    cadence: Cadence,
    next: u64,
}

impl FrameSchedule {
    pub(super) fn new(cadence: Cadence) -> Self {
        Self { cadence, next: 0 }
    }

    pub(super) fn cadence(&self) -> Cadence {
        self.cadence
    }

    /// The next frame that is due once audio up to `pushed` was pushed. Each frame is returned once.
    pub(super) fn next_due(&mut self, pushed: SampleIndex) -> Option<SampleIndex> {
        let at = self.cadence.frame_time(self.next);
        let is_due = at + self.cadence.look_ahead_samples <= pushed;
        self.next += u64::from(is_due);
        is_due.then_some(at)
    }

    /// Continues with another cadence: no frame twice, and none that would be overdue at once.
    pub(super) fn switch_to(&mut self, cadence: Cadence, pushed: SampleIndex) {
        let from = self.cadence.frame_time(self.next);
        // Frames before this time are due already.
        let earliest = pushed - cadence.look_ahead_samples;
        *self = Self { cadence, next: cadence.first_frame_from(from.max(earliest)) };
    }
}

/// A due frame that is not encoded yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct DueFrame {
    /// Its time.
    pub at: SampleIndex,
    /// When it was due.
    pub due: Instant,
    /// The time of sample `at` on the clock shared with the audio.
    pub clock: Instant,
    /// Its stamps so far.
    pub marks: Marks,
}

/// When keyframes are encoded.
#[derive(Clone, Copy, Debug)]
struct Keyframes {
    wanted: FrameKind,
    last: Option<SampleIndex>,
}

impl Keyframes {
    fn kind_at(&self, at: SampleIndex) -> FrameKind {
        let is_soon = self.last.is_some_and(|last| at < last + KEYFRAME_GAP);
        if is_soon { FrameKind::Any } else { self.wanted }
    }
}

/// Encoder, canvas and frame size of one session.
pub(super) struct VideoOut {
    pub schedule: FrameSchedule,
    /// The frame that the animator has not finished: at most one, because the next one replaces it.
    pub pending: Option<DueFrame>,
    pub canvas: VideoFrame,
    ladder: ResolutionLadder,
    scaled: Option<VideoFrame>,
    encoder: Box<dyn VideoEncoder>,
    keyframes: Keyframes,
}

impl VideoOut {
    pub(super) fn new(encoder: Box<dyn VideoEncoder>, canvas: VideoFrame, cadence: Cadence, bitrate_bps: u32) -> Self {
        Self {
            schedule: FrameSchedule::new(cadence),
            pending: None,
            ladder: ResolutionLadder::new(bitrate_bps, canvas.size()),
            canvas,
            scaled: None,
            encoder,
            keyframes: Keyframes { wanted: FrameKind::Key, last: None },
        }
    }

    /// Sets the target bitrate.
    pub(super) fn set_bitrate(&mut self, bits_per_second: u32) {
        self.ladder.set_bitrate(bits_per_second);
        self.encoder.set_bitrate(bits_per_second);
    }

    pub(super) fn bitrate_bps(&self) -> u32 {
        self.ladder.bitrate_bps()
    }

    /// Side of the encoded frame in pixels.
    pub(super) fn side_px(&self) -> u32 {
        self.ladder.size().width() as u32
    }

    /// Requests a keyframe, for a receiver that cannot decode without one.
    pub(super) fn request_keyframe(&mut self) {
        self.keyframes.wanted = FrameKind::Key;
    }

    /// Makes the next frame a keyframe: an encoded frame was lost, so that no later one can be decoded.
    pub(super) fn on_frame_lost(&mut self) {
        self.keyframes = Keyframes { wanted: FrameKind::Key, last: None };
    }

    /// How late a frame may be: until the next one is due.
    pub(super) fn patience(&self) -> Duration {
        self.schedule.cadence().frame_interval()
    }

    /// Encodes the canvas as the frame of time `at`.
    pub(super) fn encode(&mut self, at: SampleIndex) -> Result<EncodedFrame, CodecError> {
        let frame = shrink(&self.canvas, self.ladder.size(), &mut self.scaled);
        let encoded = self.encoder.encode(frame, self.keyframes.kind_at(at));
        match &encoded {
            Ok(frame) if frame.is_key => self.keyframes = Keyframes { wanted: FrameKind::Any, last: Some(at) },
            Ok(_) => {}
            Err(_) => self.request_keyframe(),
        }
        encoded
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Rate;

    fn cadence(fps: u32, look_ahead_samples: u64) -> Cadence {
        Cadence::per_frame(Rate::new(fps, 1).expect("above zero"), look_ahead_samples)
    }

    fn due(schedule: &mut FrameSchedule, pushed: u64) -> Vec<u64> {
        std::iter::from_fn(|| schedule.next_due(SampleIndex(pushed))).map(|at| at.0).collect()
    }

    #[test]
    fn a_frame_is_due_once_its_look_ahead_is_pushed() {
        let mut schedule = FrameSchedule::new(cadence(25, 1280));
        assert!(due(&mut schedule, 1279).is_empty());
        assert_eq!(due(&mut schedule, 1280), [0]);
        assert_eq!(due(&mut schedule, 3200), [640, 1280, 1920]);
    }

    #[test]
    fn rates_that_do_not_divide_the_timeline_lose_no_frame() {
        let mut schedule = FrameSchedule::new(cadence(30, 0));
        let times: Vec<u64> = (0..=500).flat_map(|tick| due(&mut schedule, tick * 320)).collect();
        assert_eq!((times.len(), &times[..4]), (301, &[0, 533, 1066, 1600][..]));
    }

    #[test]
    fn after_a_change_of_cadence_no_frame_is_repeated_or_overdue() {
        let mut schedule = FrameSchedule::new(cadence(25, 32_000));
        assert_eq!(due(&mut schedule, 33_280), [0, 640, 1280]);
        schedule.switch_to(cadence(25, 1280), SampleIndex(33_280));
        assert_eq!(due(&mut schedule, 33_280), [32_000]);
        schedule.switch_to(cadence(50, 32_000), SampleIndex(33_280));
        assert!(due(&mut schedule, 33_280).is_empty());
        assert_eq!(due(&mut schedule, 64_960), [32_640, 32_960]);
    }
}
