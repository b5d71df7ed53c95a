//! Whether a frame of the session is sent to one viewer.
//!
//! A session is encoded once, so a viewer with a slow connection cannot have frames of its own size. Its pacer fills up;
//! from then on it skips frames, until its pacer is empty and a keyframe arrives. The session's leader never skips: for it
//! the session itself begins no frame while its pacer is full. A state machine: time is passed in.

use std::time::{Duration, Instant};

use crate::session::MAX_UNSENT_FRAMES;

/// Delay after which a viewer that fell behind requests a keyframe. It doubles each time it falls
/// behind again soon, so that a connection that is permanently too slow costs the others one keyframe in 16 s.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(16);
/// A viewer that kept up for this long starts with the first delay again.
const KEPT_UP: Duration = Duration::from_secs(10);

/// The decision about a frame for one viewer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The frame is sent.
    Send,
    /// The frame is skipped and counted as dropped.
    Skip,
    /// As `Skip`, and the viewer needs a keyframe to continue.
    SkipAndRequestKeyframe,
    /// The viewer has not started: it waits for its first keyframe, and the frame is not counted.
    NotStarted,
}

/// The state of one viewer.
#[derive(Clone, Copy, Debug)]
pub struct FrameGate {
    state: GateState,
    /// Delay of its last keyframe request; zero before it fell behind for the first time.
    retry: Duration,
    opened_at: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GateState {
    NotStarted,
    Open,
    /// Skipping since this time, or since the last request.
    Skipping(Instant),
}

/// The input of a decision besides time.
#[derive(Clone, Copy, Debug)]
pub struct FrameContext {
    /// Whether the frame is a keyframe.
    pub is_keyframe: bool,
    /// Whether the viewer is the session's leader.
    pub is_leader: bool,
    /// Frames that wait in its pacer.
    pub unsent: usize,
}

impl FrameGate {
    /// A viewer that has not started.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { state: GateState::NotStarted, retry: Duration::ZERO, opened_at: now }
    }

    /// Decides about the next frame.
    pub fn on_frame(&mut self, frame: FrameContext, now: Instant) -> Verdict {
        let has_room = frame.is_leader || frame.unsent < MAX_UNSENT_FRAMES;
        match self.state {
            GateState::NotStarted if !frame.is_keyframe => Verdict::NotStarted,
            GateState::NotStarted => self.open(now),
            GateState::Open if has_room => Verdict::Send,
            GateState::Open => self.fall_behind(now),
            GateState::Skipping(_) if frame.is_keyframe && has_room => self.open(now),
            GateState::Skipping(since) => self.skip(frame, since, now),
        }
    }

    fn open(&mut self, now: Instant) -> Verdict {
        (self.state, self.opened_at) = (GateState::Open, now);
        Verdict::Send
    }

    fn fall_behind(&mut self, now: Instant) -> Verdict {
        let has_kept_up = now.saturating_duration_since(self.opened_at) >= KEPT_UP;
        self.retry = if has_kept_up { FIRST_RETRY } else { (self.retry * 2).clamp(FIRST_RETRY, LAST_RETRY) };
        self.state = GateState::Skipping(now);
        Verdict::Skip
    }

    fn skip(&mut self, frame: FrameContext, since: Instant, now: Instant) -> Verdict {
        let is_time = frame.is_leader || now.saturating_duration_since(since) >= self.retry;
        if !is_time || frame.unsent > 0 && !frame.is_leader {
            return Verdict::Skip;
        }
        self.state = GateState::Skipping(now);
        Verdict::SkipAndRequestKeyframe
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Wall;

    #[expect(clippy::fn_params_excessive_bools, reason = "a table of cases")]
    fn frame(is_keyframe: bool, unsent: usize) -> FrameContext {
        FrameContext { is_keyframe, is_leader: false, unsent }
    }

    #[test]
    fn a_viewer_starts_with_a_keyframe_skips_while_behind_and_continues_with_a_keyframe() {
        let start = Wall.now();
        let mut gate = FrameGate::new(start);
        let mut at = |ms: u64, frame| gate.on_frame(frame, start + Duration::from_millis(ms));
        assert_eq!(at(0, frame(false, 0)), Verdict::NotStarted);
        assert_eq!([at(40, frame(true, 0)), at(80, frame(false, 1))], [Verdict::Send; 2]);
        assert_eq!([at(120, frame(false, 2)), at(160, frame(false, 0))], [Verdict::Skip; 2]);
        assert_eq!(at(200, frame(true, 2)), Verdict::Skip, "a keyframe without room is skipped as well");
        assert_eq!(at(1080, frame(false, 0)), Verdict::Skip, "the first request comes after a second");
        assert_eq!(at(1120, frame(false, 1)), Verdict::Skip, "its pacer is not empty yet");
        assert_eq!(at(1160, frame(false, 0)), Verdict::SkipAndRequestKeyframe);
        assert_eq!(at(1200, frame(false, 0)), Verdict::Skip, "once");
        assert_eq!([at(1240, frame(true, 0)), at(1280, frame(false, 1))], [Verdict::Send; 2]);
    }

    #[test]
    fn the_leader_never_skips() {
        let start = Wall.now();
        let mut gate = FrameGate::new(start);
        let leader = FrameContext { is_keyframe: false, is_leader: true, unsent: 9 };
        assert_eq!(gate.on_frame(frame(true, 0), start), Verdict::Send);
        assert_eq!(gate.on_frame(leader, start), Verdict::Send);
    }

    #[test]
    fn a_permanently_slow_connection_requests_one_keyframe_in_16_s() {
        let start = Wall.now();
        let mut gate = FrameGate::new(start);
        let mut asked = Vec::new();
        gate.on_frame(frame(true, 0), start);
        let mut wants_keyframe = false;
        for n in 0..25 * 120 {
            let now = start + Duration::from_millis(n * 40);
            // Every keyframe fills its pacer.
            let unsent = if gate.state == GateState::Open { 2 } else { 0 };
            let verdict = gate.on_frame(frame(std::mem::take(&mut wants_keyframe), unsent), now);
            if verdict == Verdict::SkipAndRequestKeyframe {
                wants_keyframe = true;
                asked.push(n / 25);
            }
        }
        assert!((8..=13).contains(&asked.len()), "{asked:?}");
        assert!(asked.windows(2).last().is_some_and(|pair| pair[1] - pair[0] >= 16), "{asked:?}");
    }
}
