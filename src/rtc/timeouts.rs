//! When a peer counts as gone. A state machine: time is passed in.
//!
//! Only time in which the network thread ran is counted: [`Timeouts::on_stall`] subtracts the rest.

use std::time::{Duration, Instant};

use crate::session::EndReason;

/// A peer that has not connected after this is removed. With the housekeeping interval its slot is free again within 10 s.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(9);
/// A connected peer without a sign of life for this long has disappeared: browsers send RTCP every second, others at least every
/// seven (RFC 3550, section 6.3.1), and a consent check every five (RFC 7675, section 5.1).
const SILENCE_TIMEOUT: Duration = Duration::from_secs(7);
/// A peer whose last candidate pair has expired gets the time of one consent check to open another. The library (is 0.12,
/// `RECENT_BINDING_REQUEST`) expires a pair 15 s after its last STUN request, even where this process did not run meanwhile.
const ICE_RECOVERY_TIMEOUT: Duration = Duration::from_secs(5);

/// Evidence of a peer's presence.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    began: Instant,
    last_authenticated: Instant,
    is_connected: bool,
    ice_lost_at: Option<Instant>,
}

impl Timeouts {
    /// A peer whose offer was answered at `now`.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { began: now, last_authenticated: now, is_connected: false, ice_lost_at: None }
    }

    /// A datagram arrived that only the peer can have sent.
    pub fn on_authenticated(&mut self, now: Instant) {
        self.last_authenticated = now;
    }

    /// The peer is connected.
    pub fn on_connected(&mut self) {
        self.is_connected = true;
    }

    /// The ICE agent has lost its last candidate pair.
    pub fn on_ice_lost(&mut self, now: Instant) {
        self.ice_lost_at = self.ice_lost_at.or(Some(now));
    }

    /// The ICE agent has a candidate pair.
    pub fn on_ice_usable(&mut self) {
        self.ice_lost_at = None;
    }

    /// The network thread did not run for `missed`, which is not counted.
    pub fn on_stall(&mut self, missed: Duration) {
        self.began += missed;
        self.last_authenticated += missed;
        self.ice_lost_at = self.ice_lost_at.map(|at| at + missed);
    }

    /// Why the peer must be removed, if so.
    #[must_use]
    pub fn end_reason(&self, now: Instant) -> Option<EndReason> {
        let is_past = |since: Instant, limit: Duration| now.saturating_duration_since(since) > limit;
        if self.is_connected && is_past(self.last_authenticated, SILENCE_TIMEOUT) {
            Some(EndReason::Silent)
        } else if self.is_connected && self.ice_lost_at.is_some_and(|at| is_past(at, ICE_RECOVERY_TIMEOUT)) {
            Some(EndReason::Unreachable)
        } else if !self.is_connected && is_past(self.began, CONNECT_TIMEOUT) {
            Some(EndReason::NeverConnected)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Wall;

    #[test]
    fn a_peer_that_disappears_is_removed_within_ten_seconds() {
        let start = Wall.now();
        let mut timeouts = Timeouts::new(start);
        let at = |ms: u64| start + Duration::from_millis(ms);
        assert_eq!(timeouts.end_reason(at(9_000)), None);
        assert_eq!(timeouts.end_reason(at(9_100)), Some(EndReason::NeverConnected));
        timeouts.on_connected();
        timeouts.on_authenticated(at(20_000));
        assert_eq!(timeouts.end_reason(at(26_900)), None);
        assert_eq!(timeouts.end_reason(at(27_100)), Some(EndReason::Silent));
    }

    #[test]
    fn a_lost_candidate_pair_ends_a_call_unless_another_one_opens() {
        let start = Wall.now();
        let mut timeouts = Timeouts::new(start);
        let at = |ms: u64| start + Duration::from_millis(ms);
        timeouts.on_connected();
        timeouts.on_ice_lost(at(1_000));
        timeouts.on_ice_lost(at(4_000));
        timeouts.on_authenticated(at(4_000));
        assert_eq!(timeouts.end_reason(at(5_900)), None);
        assert_eq!(timeouts.end_reason(at(6_100)), Some(EndReason::Unreachable));
        timeouts.on_ice_usable();
        assert_eq!(timeouts.end_reason(at(6_300)), None);
    }

    #[test]
    fn time_in_which_the_thread_did_not_run_is_not_silence() {
        let start = Wall.now();
        let mut timeouts = Timeouts::new(start);
        let at = |ms: u64| start + Duration::from_millis(ms);
        timeouts.on_stall(Duration::from_secs(30));
        assert_eq!(timeouts.end_reason(at(38_900)), None);
        timeouts.on_connected();
        timeouts.on_authenticated(at(40_000));
        timeouts.on_stall(Duration::from_mins(1));
        assert_eq!(timeouts.end_reason(at(106_900)), None);
        assert_eq!(timeouts.end_reason(at(107_100)), Some(EndReason::Silent));
    }
}
