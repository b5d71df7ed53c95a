//! The playout clock: when the next 20 ms are played.
//!
//! Decides how ticks follow the sender's clock: slewed by at most 1 ms each during playout, freely when idle. Does not decide
//! what is played.

use std::time::{Duration, Instant};

use crate::media::BLOCK_MS;

/// The length of a block.
pub(super) const BLOCK: Duration = Duration::from_millis(BLOCK_MS);
/// The most that a tick is slewed during playout.
const MOST_SLEW_S: f64 = 0.001;
/// The share of the error that one tick corrects.
const SLEW_SHARE: f64 = 0.1;
/// The least and the most time between two ticks when idle.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);
const LONGEST_WAIT: Duration = Duration::from_millis(30);

/// The clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlayoutClock {
    next: Instant,
    last: Option<Instant>,
}

impl PlayoutClock {
    /// The first tick is at `start`.
    pub fn new(start: Instant) -> Self {
        Self { next: start, last: None }
    }

    /// The next tick.
    pub fn next(&self) -> Instant {
        self.next
    }

    /// The next tick was executed: schedules the one after it a block later.
    pub fn advance(&mut self) {
        self.last = Some(self.next);
        self.next += BLOCK;
    }

    /// Slews the next tick towards `goal`.
    pub fn slew(&mut self, goal: Instant) {
        let ahead = goal.saturating_duration_since(self.next).as_secs_f64();
        let behind = self.next.saturating_duration_since(goal).as_secs_f64();
        let step = ((ahead - behind) * SLEW_SHARE).clamp(-MOST_SLEW_S, MOST_SLEW_S);
        let distance = Duration::from_secs_f64(step.abs());
        self.next =
            if step < 0.0 { self.next.checked_sub(distance).unwrap_or(self.next) } else { self.next + distance };
    }

    /// Aligns the next tick with `goal`, where playout starts, within the allowed distance between ticks. While the goal is
    /// farther away, ticks keep their interval.
    pub fn align(&mut self, goal: Instant) {
        let Some(last) = self.last else { return };
        if goal <= last + LONGEST_WAIT {
            self.next = goal.max(last + SHORTEST_WAIT);
        }
    }
}
