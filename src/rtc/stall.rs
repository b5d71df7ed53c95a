//! Detects time in which the network thread did not run: a stopped process, a paused virtual machine, a frozen cgroup.
//!
//! A peer must not count as silent because its datagrams were not read. A state machine: time is passed in.

use std::time::{Duration, Instant};

/// The event loop iterates at least this often, because of its housekeeping.
const TURN: Duration = Duration::from_millis(100);
/// A longer iteration is a stall. A shorter delay does not matter to timeouts of seconds.
const LONGEST_TURN: Duration = Duration::from_millis(500);

/// When the event loop last iterated.
#[derive(Clone, Copy, Debug, Default)]
pub struct StallDetector {
    last_turn: Option<Instant>,
}

impl StallDetector {
    /// Called at every iteration of the event loop. Returns the missed time, if any.
    pub fn on_turn(&mut self, now: Instant) -> Option<Duration> {
        let since = now.saturating_duration_since(self.last_turn.replace(now)?);
        (since > LONGEST_TURN).then(|| since - TURN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Wall;

    #[test]
    fn only_a_long_iteration_is_a_stall() {
        let (start, mut stalls) = (Wall.now(), StallDetector::default());
        let mut turn = |ms: u64| stalls.on_turn(start + Duration::from_millis(ms));
        assert_eq!([0, 100, 190, 690].map(&mut turn), [None; 4]);
        assert_eq!(turn(8_690), Some(Duration::from_millis(7_900)));
        assert_eq!(turn(8_700), None);
    }
}
