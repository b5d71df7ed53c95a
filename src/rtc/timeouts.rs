//! When a peer counts as gone. A machine: time is given.

use std::time::{Duration, Instant};

use crate::session::EndReason;

/// A peer that never connects is let go after this: its place is free within 10 s, with the time until somebody looks.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(9);
/// A connected peer that proves nothing for this long has vanished: reports come every second from browsers and at least every
/// seven from others (RFC 3550, section 6.3.1), and checks of consent every five (RFC 7675, section 5.1).
const SILENCE_TIMEOUT: Duration = Duration::from_secs(7);

/// What is known of a peer's timeouts.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    began: Instant,
    last_authenticated: Instant,
    is_connected: bool,
}

impl Timeouts {
    /// A peer whose offer was answered at `now`.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self { began: now, last_authenticated: now, is_connected: false }
    }

    /// Something arrived that only the peer can have sent.
    pub fn on_authenticated(&mut self, now: Instant) {
        self.last_authenticated = now;
    }

    /// The peer is connected.
    pub fn on_connected(&mut self) {
        self.is_connected = true;
    }

    /// Why the peer is to be let go, if it is.
    #[must_use]
    pub fn end_reason(&self, now: Instant) -> Option<EndReason> {
        if self.is_connected && now.saturating_duration_since(self.last_authenticated) > SILENCE_TIMEOUT {
            Some(EndReason::Silent)
        } else if !self.is_connected && now.saturating_duration_since(self.began) > CONNECT_TIMEOUT {
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
    fn a_vanished_peer_is_let_go_within_ten_seconds() {
        let start = Wall.now();
        let mut timeouts = Timeouts::new(start);
        assert_eq!(timeouts.end_reason(start + Duration::from_secs(9)), None);
        assert!(timeouts.end_reason(start + Duration::from_millis(9_100)).is_some());
        timeouts.on_connected();
        timeouts.on_authenticated(start + Duration::from_secs(20));
        assert_eq!(timeouts.end_reason(start + Duration::from_millis(26_900)), None);
        assert!(timeouts.end_reason(start + Duration::from_millis(27_100)).is_some());
    }
}
