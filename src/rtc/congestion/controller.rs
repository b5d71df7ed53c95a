//! What is known of the way out to one peer, and what follows for what is sent on it.
//!
//! A machine: time is given. Puts together what the feedback says, how far the estimate is believed, what is missing at the
//! receiver and what the encoders are told.

use std::time::{Duration, Instant};

use str0m::rtp::RtpHeader;
use str0m::rtp::rtcp::Rtcp;

use super::super::rtc_factory::Pacing;
use super::bitrate_allocator::BitrateAllocator;
use super::bwe_guard::{BweGuard, LinkState, MIN_USABLE_BPS};
use super::nack::NackTracker;
use super::twcc_history::TwccHistory;

/// A queue on a way that has narrowed empties for so long before the key picture is begun: it would be lost in a full one.
const DRAIN_TIME: Duration = Duration::from_millis(250);
/// And what is made for so long after it, for the narrow way, leaves at once.
const UNPACED_FOR: Duration = Duration::from_secs(2);

/// The way out to one peer.
#[derive(Debug)]
pub struct CongestionController {
    /// What the encoders are told.
    pub allocator: BitrateAllocator,
    history: TwccHistory,
    guard: BweGuard,
    nack: NackTracker,
    rtt: Duration,
    dropped_at: Option<Instant>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Action {
    /// Give a key picture.
    pub request_keyframe: bool,
    /// Begin the estimation anew with so many bits a second, and send nothing again of what was lost.
    pub reset_bwe_bps: Option<u64>,
}

impl CongestionController {
    /// Nothing is known yet.
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

    /// A packet left.
    pub fn on_sent(&mut self, header: &RtpHeader, bytes: usize, now: Instant) {
        header.ext_vals.transport_cc.iter().for_each(|sequence| self.history.on_sent(*sequence, bytes, now));
    }

    /// The newest round trip.
    pub fn on_rtt(&mut self, rtt: Duration) {
        self.rtt = rtt;
    }

    /// When pictures leave. Where the estimate is not believed they are small, and it must not pace them; where the way has
    /// just narrowed, its pacer still makes up for what it let go before.
    #[must_use]
    pub fn pacing(&self, now: Instant) -> Pacing {
        let is_at_once = self.guard.has_random_loss() || self.has_dropped_within(UNPACED_FOR, now);
        if is_at_once { Pacing::Unpaced } else { Pacing::Paced }
    }

    /// Whether a queue on the way is left to empty before another picture is begun.
    #[must_use]
    pub fn is_draining(&self, now: Instant) -> bool {
        self.has_dropped_within(DRAIN_TIME, now)
    }

    fn has_dropped_within(&self, time: Duration, now: Instant) -> bool {
        self.dropped_at.is_some_and(|at| now.saturating_duration_since(at) < time)
    }

    /// Takes what the receiver reports.
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
