//! How far the library's estimate of the way out is believed.
//!
//! It takes jitter for a queue that grows and every loss for congestion, so that a wire that is_random and loses takes it down
//! to nothing; and it averages, so that a wire that narrows at once is overfilled for seconds. The receiver's feedback says
//! which of the two it is. A machine: time is given.

use std::time::{Duration, Instant};

use super::twcc_history::PathStats;

/// With less a call cannot be watched: while nothing queues on the way, pictures, voice and repairs get so many bits a
/// second, whatever the estimate says.
pub const MIN_USABLE_BPS: u64 = 400_000;
/// Packets that wait for longer than this wait in a queue.
const QUEUING_DELAY: Duration = Duration::from_millis(100);
/// Where packets overtake each other the quickest are late by chance: there the queue must be longer.
const QUEUING_DELAY_WITH_REORDERING: Duration = Duration::from_millis(250);
/// It is believed again when it is clearly above the least, in percent.
const RECOVERED_PERCENT: u64 = 125;
/// Where more than this is lost, even the least may be too much.
const MAX_RANDOM_LOSS: f64 = 0.5;
/// A way without a queue for this long is free: what is lost meanwhile is not lost to a queue that was full.
const UNQUEUED_FOR: Duration = Duration::from_millis(1_500);
/// A free way that loses more than this, or where more packets overtake others, is one that the library gets wrong.
const MIN_RANDOM_RATIO: f64 = 0.04;
/// A way that has narrowed is not held to be free for so long.
const AFTER_DROP: Duration = Duration::from_secs(10);
/// A way has narrowed if it queues and carries less than this share of what the estimate says,
const DROP_RATIO: f64 = 0.6;
/// and is judged again after this.
const MIN_DROP_INTERVAL: Duration = Duration::from_secs(2);
/// What is sent while the queue empties, as a share of what comes through.
const DRAIN_RATIO: f64 = 0.7;

/// What is to be made of the estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// It is about right.
    Normal,
    /// It is too low: the way carries [`MIN_USABLE_BPS`] without a queue.
    RandomLoss,
    /// It is too high, from now on: the way has become narrow. Begin anew with so many bits a second.
    CapacityDrop {
        /// Bits a second.
        reset_bwe_bps: u64,
        /// Whether packets were lost over it.
        has_lost: bool,
    },
}

/// What led to the judgement.
#[derive(Clone, Copy, Debug, Default)]
pub struct BweGuard {
    unqueued_since: Option<Instant>,
    dropped_at: Option<Instant>,
    has_random_loss: bool,
}

impl BweGuard {
    /// Whether pictures get [`MIN_USABLE_BPS`], whatever the estimate says.
    #[must_use]
    pub fn has_random_loss(&self) -> bool {
        self.has_random_loss
    }

    /// Judges the estimate by what the receiver tells.
    pub fn update(&mut self, stats: PathStats, estimate_bps: u64, now: Instant) -> LinkState {
        let is_reordered = stats.reordered_ratio > MIN_RANDOM_RATIO;
        if stats.queuing_delay > (if is_reordered { QUEUING_DELAY_WITH_REORDERING } else { QUEUING_DELAY }) {
            self.unqueued_since = None;
            self.has_random_loss = false;
            return if is_reordered { LinkState::Normal } else { self.capacity_drop(stats, estimate_bps, now) };
        }
        let since = *self.unqueued_since.get_or_insert(now);
        let is_past = |at: Instant, time: Duration| now.saturating_duration_since(at) >= time;
        let is_unqueued = is_past(since, UNQUEUED_FOR) && self.dropped_at.is_none_or(|at| is_past(at, AFTER_DROP));
        let is_random = (is_reordered || stats.loss_ratio > MIN_RANDOM_RATIO) && stats.loss_ratio < MAX_RANDOM_LOSS;
        let recovered_bps =
            if self.has_random_loss { MIN_USABLE_BPS * RECOVERED_PERCENT / 100 } else { MIN_USABLE_BPS };
        self.has_random_loss = is_unqueued && is_random && estimate_bps < recovered_bps;
        if self.has_random_loss { LinkState::RandomLoss } else { LinkState::Normal }
    }

    fn capacity_drop(&mut self, stats: PathStats, estimate_bps: u64, now: Instant) -> LinkState {
        let is_soon = self.dropped_at.is_some_and(|at| now.saturating_duration_since(at) < MIN_DROP_INTERVAL);
        if is_soon || stats.acked_bitrate_bps as f64 > estimate_bps as f64 * DROP_RATIO {
            return LinkState::Normal;
        }
        self.dropped_at = Some(now);
        let reset_bwe_bps = (stats.acked_bitrate_bps as f64 * DRAIN_RATIO) as u64;
        LinkState::CapacityDrop { reset_bwe_bps, has_lost: stats.loss_ratio > 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Wall;

    /// The judgements of three seconds of the same stats, one every 100 ms.
    fn judged(stats: PathStats, estimate_bps: u64) -> Vec<LinkState> {
        let (start, mut guard) = (Wall.now(), BweGuard::default());
        (0..30).map(|n| guard.update(stats, estimate_bps, start + Duration::from_millis(n * 100))).collect()
    }

    fn stats(loss_ratio: f64, reordered_ratio: f64, queue_ms: u64) -> PathStats {
        PathStats {
            acked_bitrate_bps: 100_000,
            loss_ratio,
            reordered_ratio,
            queuing_delay: Duration::from_millis(queue_ms),
        }
    }

    #[test]
    fn an_estimate_that_a_storm_took_down_is_not_believed_and_one_that_a_queue_did_is() {
        assert_eq!(judged(stats(0.2, 0.5, 60), 40_000).last(), Some(&LinkState::RandomLoss));
        assert_eq!(judged(stats(0.0, 0.5, 60), 40_000).last(), Some(&LinkState::RandomLoss));
        let believed = [stats(0.0, 0.0, 20), stats(0.2, 0.0, 200), stats(0.8, 0.5, 60)];
        assert!(believed.iter().all(|stats| !judged(*stats, 90_000).contains(&LinkState::RandomLoss)));
        assert!(!judged(stats(0.2, 0.5, 60), 600_000).contains(&LinkState::RandomLoss), "it is high enough");
    }

    #[test]
    fn a_way_that_queues_and_carries_far_less_has_narrowed_once_in_two_seconds() {
        let narrowed = LinkState::CapacityDrop { reset_bwe_bps: 70_000, has_lost: true };
        let judged_ = judged(stats(0.5, 0.0, 300), 2_000_000);
        let at: Vec<usize> = (0..30).filter(|n| judged_[*n] == narrowed).collect();
        assert_eq!(at, [0, 20]);
        assert!(judged(stats(0.5, 0.5, 200), 2_000_000).iter().all(|one| *one == LinkState::Normal));
    }
}
