//! The contract between a session and whatever produces its frames.
//!
//! Decides how audio goes in, how frames come out and when they are due. Knows no threads, codecs or networks.

use std::time::Duration;

use super::ModelError;
use crate::media::{PcmBlock, VideoFrame};
use crate::telemetry::Marks;
use crate::time::{Rate, SPEECH_HZ, SampleIndex, Wall};

/// When the frames of an animator are due. Constant for the life of the animator.
///
/// ```
/// use visage::model::Cadence;
/// use visage::time::{Rate, SampleIndex};
/// // Frames for display at 25 fps, 50 of them from each window of 2 s; the model has 2 s to compute a window.
/// let cadence = Cadence::windowed(Rate::new(25, 1).unwrap(), 64_000, 50);
/// assert_eq!(cadence.window_samples(), 32_000);
/// assert_eq!(cadence.frame_time(3), SampleIndex(1920));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cadence {
    /// Frames per second.
    pub frame_rate: Rate,
    /// Audio that is pushed after a frame's time before that frame is due: the audio that the model needs, and time to
    /// compute. A session delays its own audio by the same amount, so that audio and video stay in sync.
    pub look_ahead_samples: u64,
    /// Frames that the model computes together. Their audio must be complete before the first of them is computed.
    pub frames_per_window: u32,
}

impl Cadence {
    /// Frames computed one by one.
    #[must_use]
    pub fn per_frame(frame_rate: Rate, look_ahead_samples: u64) -> Self {
        Self::windowed(frame_rate, look_ahead_samples, 1)
    }

    /// Frames computed `frames_per_window` at a time.
    #[must_use]
    pub fn windowed(frame_rate: Rate, look_ahead_samples: u64, frames_per_window: u32) -> Self {
        Self { frame_rate, look_ahead_samples, frames_per_window }
    }

    /// The time of frame `n` on the session's timeline, rounded down to a sample.
    #[must_use]
    pub fn frame_time(self, n: u64) -> SampleIndex {
        self.frame_rate.event_time(n)
    }

    /// The first frame at or after `at`.
    #[must_use]
    pub fn first_frame_from(self, at: SampleIndex) -> u64 {
        self.frame_rate.first_event_from(at)
    }

    /// Audio of one window in samples, rounded down.
    #[must_use]
    pub fn window_samples(self) -> u64 {
        self.frame_time(u64::from(self.frames_per_window)).0
    }

    /// Time from one frame to the next.
    #[must_use]
    pub fn frame_interval(self) -> Duration {
        self.frame_rate.interval()
    }

    /// The look-ahead as a duration.
    #[must_use]
    pub fn look_ahead(self) -> Duration {
        SampleIndex(self.look_ahead_samples).since_start()
    }

    /// Time that is left to compute a window after its last sample was pushed and before its first frame is due.
    /// `None` if the look-ahead is shorter than the window: then no frame can be on time.
    #[must_use]
    pub fn compute_budget(self) -> Option<Duration> {
        let rest = self.look_ahead_samples.checked_sub(self.window_samples())?;
        Some(Duration::from_secs_f64(rest as f64 / f64::from(SPEECH_HZ)))
    }
}

/// What [`Animator::poll`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum FramePoll {
    /// The frame was written.
    Ready,
    /// The frame is still being computed; poll again.
    NotYet,
}

/// One avatar in one session: takes the session's audio block by block and gives one frame for each time on its cadence.
///
/// No method waits for a device: work is submitted and polled. An animator bounds what it queues. Times passed to
/// [`Animator::poll`] never decrease, and a frame before the last polled time is never requested again: windows that lie
/// entirely before it are discarded, computed or not.
pub trait Animator: Send {
    /// When its frames are due.
    fn cadence(&self) -> Cadence;

    /// Takes the 20 ms of audio that begin at `at`. Blocks come in order and without gaps.
    ///
    /// # Errors
    /// If inference fails. The animator continues with the next block, except after [`ModelError::Lost`].
    fn push_audio(&mut self, block: &PcmBlock, at: SampleIndex) -> Result<(), ModelError>;

    /// Writes the frame of time `at` into `frame` if it is computed. Then stamps `Inferred` and `Rendered` and
    /// records the times of the step that a device measured.
    ///
    /// # Errors
    /// As for [`Animator::push_audio`]; the frame at `at` is lost.
    fn poll(
        &mut self,
        at: SampleIndex,
        frame: &mut VideoFrame,
        marks: &mut Marks,
        wall: Wall,
    ) -> Result<FramePoll, ModelError>;

    /// Discards all audio pushed so far, windows being computed and frames not yet polled: speech was interrupted. From
    /// now on, frames of times whose audio is discarded are ready at once and show the avatar with its mouth closed.
    fn reset(&mut self);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn frame_times_are_strictly_increasing_and_found_again(n in 0_u64..1 << 30, count in 1_u32..60_000, seconds in 1_u32..1002) {
            prop_assume!(count <= seconds * 60);
            let cadence = Cadence::per_frame(Rate::new(count, seconds).expect("above zero"), 0);
            let at = cadence.frame_time(n);
            prop_assert!(at < cadence.frame_time(n + 1));
            prop_assert_eq!(cadence.first_frame_from(at), n);
            prop_assert_eq!(cadence.first_frame_from(at + 1), n + 1);
        }
    }

    #[test]
    fn a_window_longer_than_the_look_ahead_leaves_no_time_to_compute() {
        let rate = Rate::new(25, 1).expect("above zero");
        assert_eq!(Cadence::windowed(rate, 32_000, 25).compute_budget(), Some(Duration::from_secs(1)));
        assert_eq!(Cadence::windowed(rate, 15_999, 25).compute_budget(), None);
        assert_eq!(Cadence::per_frame(rate, 1280).frame_interval(), Duration::from_millis(40));
    }
}
