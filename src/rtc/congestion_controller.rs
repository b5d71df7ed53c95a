//! What is known of the way out to one peer, and what follows for what is sent on it.
//!
//! A machine: time is given. Puts together what the feedback says, how far the estimate is believed, what is missing at the
//! receiver and what the encoders are told.

use std::time::{Duration, Instant};

use str0m::rtp::RtpHeader;
use str0m::rtp::rtcp::Rtcp;

use super::bitrate_allocator::BitrateAllocator;
use super::bwe_guard::{BweGuard, LEAST_BPS, LinkState};
use super::nack::NackTracker;
use super::rtc_factory::Pacing;
use super::twcc_history::TwccHistory;

/// A queue on a way that has narrowed empties for so long before the key picture is begun: it would be lost in a full one.
const EMPTIES_IN: Duration = Duration::from_millis(250);
/// And what is made for so long after it, for the narrow way, leaves at once.
const AT_ONCE_FOR: Duration = Duration::from_secs(2);

/// The way out to one peer.
#[derive(Debug)]
pub struct CongestionController {
    /// What the encoders are told.
    pub teller: BitrateAllocator,
    passage: TwccHistory,
    trust: BweGuard,
    mending: NackTracker,
    round_trip: Duration,
    narrowed_at: Option<Instant>,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Action {
    /// Give a key picture.
    pub key: bool,
    /// Begin the estimation anew with so many bits a second, and send nothing again of what was lost.
    pub begin_bps: Option<u64>,
}

impl CongestionController {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            teller: BitrateAllocator::default(),
            passage: TwccHistory::new(now),
            trust: BweGuard::default(),
            mending: NackTracker::default(),
            round_trip: Duration::ZERO,
            narrowed_at: None,
        }
    }

    /// A packet left.
    pub fn send(&mut self, header: &RtpHeader, bytes: usize, now: Instant) {
        header.ext_vals.transport_cc.iter().for_each(|sequence| self.passage.send(*sequence, bytes, now));
    }

    /// The newest round trip.
    pub fn note_round_trip(&mut self, round_trip: Duration) {
        self.round_trip = round_trip;
    }

    /// When pictures leave. Where the estimate is not believed they are small, and it must not pace them; where the way has
    /// just narrowed, its pacer still makes up for what it let go before.
    #[must_use]
    pub fn pacing(&self, now: Instant) -> Pacing {
        let is_at_once = self.trust.is_shaken() || self.has_narrowed_within(AT_ONCE_FOR, now);
        if is_at_once { Pacing::AtOnce } else { Pacing::Paced }
    }

    /// Whether a queue on the way is left to empty before another picture is begun.
    #[must_use]
    pub fn holds_back(&self, now: Instant) -> bool {
        self.has_narrowed_within(EMPTIES_IN, now)
    }

    fn has_narrowed_within(&self, time: Duration, now: Instant) -> bool {
        self.narrowed_at.is_some_and(|at| now.saturating_duration_since(at) < time)
    }

    /// Takes what the receiver reports.
    pub fn hear(&mut self, report: &Rtcp, now: Instant) -> Action {
        match report {
            Rtcp::Nack(nack) => {
                let key = self.mending.ask(nack.reports.iter(), self.round_trip, now);
                Action { key, begin_bps: None }
            }
            Rtcp::Twcc(feedback) => {
                let view = self.passage.hear(feedback, now);
                let known = view.and_then(|view| Some((view, self.teller.newest_bps()?)));
                known.map_or_else(Action::default, |(view, estimate_bps)| {
                    let judgement = self.trust.judge(view, estimate_bps, now);
                    self.follow(judgement, now)
                })
            }
            _ => Action::default(),
        }
    }

    fn follow(&mut self, judgement: LinkState, now: Instant) -> Action {
        self.teller.hold((judgement == LinkState::Shaken).then_some(LEAST_BPS));
        let LinkState::Narrowed { begin_bps, has_lost } = judgement else { return Action::default() };
        self.teller.narrow(begin_bps, now);
        self.narrowed_at = Some(now);
        if has_lost {
            self.mending.give_key(now);
        }
        Action { key: has_lost, begin_bps: Some(begin_bps) }
    }
}
