//! When the next 20 ms are played.
//!
//! Decides how ticks follow the sender's clock: moved by at most a millisecond each while a voice plays, freely while
//! nothing does. Does not decide what is played.

use std::time::{Duration, Instant};

use crate::media::BLOCK_MS;

/// The length of a block.
pub(super) const BLOCK: Duration = Duration::from_millis(BLOCK_MS);
/// The most a tick is moved while a voice plays.
const MOST_SLEW_S: f64 = 0.001;
/// The share of the way to the goal that one tick goes.
const SLEW_SHARE: f64 = 0.1;
/// The least and the most between two ticks while nothing plays.
const SHORTEST_WAIT: Duration = Duration::from_millis(10);
const LONGEST_WAIT: Duration = Duration::from_millis(30);

/// The row of ticks.
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

    /// The next tick has been. The one after is a block later.
    pub fn advance(&mut self) {
        self.last = Some(self.next);
        self.next += BLOCK;
    }

    /// Moves the next tick a little towards `goal`.
    pub fn slew(&mut self, goal: Instant) {
        let ahead = goal.saturating_duration_since(self.next).as_secs_f64();
        let behind = self.next.saturating_duration_since(goal).as_secs_f64();
        let step = ((ahead - behind) * SLEW_SHARE).clamp(-MOST_SLEW_S, MOST_SLEW_S);
        let distance = Duration::from_secs_f64(step.abs());
        self.next =
            if step < 0.0 { self.next.checked_sub(distance).unwrap_or(self.next) } else { self.next + distance };
    }

    /// Nothing plays, and the voice begins at `goal`: moves the next tick there, as far as ticks may be apart. While
    /// the goal is farther off, ticks go on at their usual distance.
    pub fn meet(&mut self, goal: Instant) {
        let Some(last) = self.last else { return };
        if goal <= last + LONGEST_WAIT {
            self.next = goal.max(last + SHORTEST_WAIT);
        }
    }
}
