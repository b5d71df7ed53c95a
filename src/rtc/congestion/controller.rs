//! Congestion control of one peer: combines the feedback history, the cross-check of the estimate, NACK and the targets.
//!
//! A state machine: time is passed in. Decides pacing, keyframes and restarts of the estimator.

use std::time::{Duration, Instant};

use str0m::rtp::RtpHeader;
use str0m::rtp::rtcp::Rtcp;

use super::super::rtc_factory::Pacing;
use super::bitrate_allocator::BitrateAllocator;
use super::bwe_guard::{BweGuard, LinkState, MIN_USABLE_BPS};
use super::nack::NackTracker;
use super::twcc_history::TwccHistory;

/// After a drop of capacity no frame is encoded for this long, so that the queue drains: a full one would lose the keyframe.
const DRAIN_TIME: Duration = Duration::from_millis(250);
/// Frames are not paced for this long, because str0m's leaky bucket is still in debt for what it released before.
const UNPACED_FOR: Duration = Duration::from_secs(2);

/// Congestion control of one peer.
#[derive(Debug)]
pub struct CongestionController {
    /// Targets of the encoders.
    pub allocator: BitrateAllocator,
    history: TwccHistory,
    guard: BweGuard,
    nack: NackTracker,
    rtt: Duration,
    dropped_at: Option<Instant>,
}

/// The action to take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Action {
    /// The receiver needs a keyframe.
    pub request_keyframe: bool,
    /// Restart the estimator at this bitrate in bits per second, and discard what waits or was lost.
    pub reset_bwe_bps: Option<u64>,
}

impl CongestionController {
    /// The initial state.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            allocator: BitrateAllocator::default(),
            history: TwccHistory::new(now),
            guard: BweGuard::default(),
            nack: NackTracker::default(),
            rtt: Duration::ZERO,
            dropped_at: None,
        }
    }

    /// A packet was sent.
    pub fn on_sent(&mut self, header: &RtpHeader, bytes: usize, now: Instant) {
        header.ext_vals.transport_cc.iter().for_each(|sequence| self.history.on_sent(*sequence, bytes, now));
    }

    /// Takes the latest round-trip time.
    pub fn on_rtt(&mut self, rtt: Duration) {
        self.rtt = rtt;
    }

    /// How frames are paced. Neither while the floor applies, because the estimate is too low to pace by, nor just after a drop
    /// of capacity ([`UNPACED_FOR`]).
    #[must_use]
    pub fn pacing(&self, now: Instant) -> Pacing {
        let is_unpaced = self.guard.has_random_loss() || self.has_dropped_within(UNPACED_FOR, now);
        if is_unpaced { Pacing::Unpaced } else { Pacing::Paced }
    }

    /// Whether a queue on the path drains, so that no frame is to be encoded.
    #[must_use]
    pub fn is_draining(&self, now: Instant) -> bool {
        self.has_dropped_within(DRAIN_TIME, now)
    }

    fn has_dropped_within(&self, time: Duration, now: Instant) -> bool {
        self.dropped_at.is_some_and(|at| now.saturating_duration_since(at) < time)
    }

    /// Takes RTCP of the receiver.
    pub fn on_rtcp(&mut self, report: &Rtcp, now: Instant) -> Action {
        match report {
            Rtcp::Nack(nack) => {
                let request_keyframe = self.nack.on_nack(nack.reports.iter(), self.rtt, now);
                Action { request_keyframe, reset_bwe_bps: None }
            }
            Rtcp::Twcc(feedback) => {
                let stats = self.history.on_feedback(feedback, now);
                let known = stats.and_then(|stats| Some((stats, self.allocator.instant_bps()?)));
                known.map_or_else(Action::default, |(stats, estimate_bps)| {
                    let state = self.guard.update(stats, estimate_bps, now);
                    self.apply(state, now)
                })
            }
            _ => Action::default(),
        }
    }

    fn apply(&mut self, state: LinkState, now: Instant) -> Action {
        self.allocator.set_floor((state == LinkState::RandomLoss).then_some(MIN_USABLE_BPS));
        let LinkState::CapacityDrop { reset_bwe_bps, has_lost } = state else { return Action::default() };
        self.allocator.on_capacity_drop(reset_bwe_bps, now);
        self.dropped_at = Some(now);
        if has_lost {
            self.nack.on_keyframe(now);
        }
        Action { request_keyframe: has_lost, reset_bwe_bps: Some(reset_bwe_bps) }
    }
}
