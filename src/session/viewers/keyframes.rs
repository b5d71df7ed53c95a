//! When a viewer's keyframe request reaches the encoder.
//!
//! A keyframe is several times as large as other frames and goes to every viewer, so requests are coalesced: one keyframe
//! answers all requests since the previous one. A viewer that joins, and the leader, are answered at once (the
//! session itself keeps 300 ms between keyframes); repairs for the others wait until the last keyframe is a second old. A
//! state machine: time is an argument.

use std::time::{Duration, Instant};

/// Minimum interval of keyframes that repair video for viewers other than the leader: at 25 frames per second and a
/// keyframe of five times the mean size this costs the others at most a sixth of their bitrate.
const REPAIR_GAP: Duration = Duration::from_secs(1);

/// Why a viewer needs a keyframe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyframeReason {
    /// It just joined and has no frame to start from.
    Joined,
    /// It lost frames, or skipped some because its connection is slow (PLI or FIR, RFC 4585 and 5104; the loss check of visage).
    Repair,
}

/// Requests since the last keyframe.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct KeyframeRequests {
    last_keyframe_at: Option<Instant>,
    is_pending: bool,
}

impl KeyframeRequests {
    /// Records that a viewer needs a keyframe; true if the encoder is to be asked now.
    #[expect(clippy::fn_params_excessive_bools, reason = "the name states its meaning")]
    pub fn request(&mut self, reason: KeyframeReason, is_leader: bool, now: Instant) -> bool {
        let is_urgent = is_leader || reason == KeyframeReason::Joined;
        self.is_pending = true;
        is_urgent || self.poll(now)
    }

    /// True if a delayed request is due now.
    pub fn poll(&mut self, now: Instant) -> bool {
        let is_soon = self.last_keyframe_at.is_some_and(|at| now.saturating_duration_since(at) < REPAIR_GAP);
        self.is_pending && !is_soon
    }

    /// A keyframe was sent to all viewers.
    pub fn on_keyframe(&mut self, now: Instant) {
        *self = Self { last_keyframe_at: Some(now), is_pending: false };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Wall;

    #[test]
    fn repairs_of_many_viewers_cost_one_keyframe_a_second_and_joins_do_not_wait() {
        let (start, mut requests) = (Wall.now(), KeyframeRequests::default());
        let at = |ms: u64| start + Duration::from_millis(ms);
        requests.on_keyframe(at(0));
        let asked = (1..50).filter(|n| requests.request(KeyframeReason::Repair, false, at(n * 10))).count();
        assert_eq!(asked, 0);
        assert!(requests.request(KeyframeReason::Joined, false, at(500)));
        assert!(requests.request(KeyframeReason::Repair, true, at(500)));
        assert!(!requests.poll(at(999)) && requests.poll(at(1000)), "the repair is remembered");
        requests.on_keyframe(at(1040));
        assert!(!requests.poll(at(5000)), "and answered");
    }
}
