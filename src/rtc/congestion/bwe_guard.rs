//! Cross-checks str0m's bandwidth estimate with the receiver's feedback.
//!
//! The estimator takes jitter for a growing queue and loss for congestion, so it collapses on a path with random loss; and it
//! averages, so a path whose capacity drops is overfilled for seconds. The feedback separates the two cases. A state
//! machine: time is passed in.

use std::time::{Duration, Instant};

use super::twcc_history::PathStats;

/// Minimum usable bitrate of video, audio and retransmissions, in bits per second. It is the floor while loss looks random.
pub const MIN_USABLE_BPS: u64 = 400_000;
/// A longer delay above the baseline is a queue.
const QUEUING_DELAY: Duration = Duration::from_millis(100);
/// On a path that reorders packets even the fastest of them may be late by chance, so the limit is higher.
const QUEUING_DELAY_WITH_REORDERING: Duration = Duration::from_millis(250);
/// The estimate is followed again once it exceeds the floor by this factor, in percent.
const RECOVERED_PERCENT: u64 = 125;
/// With more loss than this the floor itself may be too much.
const MAX_RANDOM_LOSS: f64 = 0.5;
/// After this time without a queue, loss is not the loss of a full queue.
const UNQUEUED_FOR: Duration = Duration::from_millis(1_500);
/// Without a queue, more loss or reordering than this is random, and the estimator gets it wrong.
const MIN_RANDOM_RATIO: f64 = 0.04;
/// For this long after a drop of capacity, loss does not count as random.
const AFTER_DROP: Duration = Duration::from_secs(10);
/// The capacity has dropped if there is a queue and less than this share of the estimate is acknowledged,
const DROP_RATIO: f64 = 0.6;
/// and at most once within this time.
const MIN_DROP_INTERVAL: Duration = Duration::from_secs(2);
/// What is sent while the queue drains, as a share of the acknowledged bitrate.
const DRAIN_RATIO: f64 = 0.7;

/// What limits the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// The estimate is plausible.
    Normal,
    /// Loss or reordering without a queue: the estimate is too low, the path carries [`MIN_USABLE_BPS`].
    RandomLoss,
    /// A queue while far less than the estimate is acknowledged: the estimate is too high.
    CapacityDrop {
        /// Where the estimator is to restart, in bits per second.
        reset_bwe_bps: u64,
        /// Whether packets were lost.
        has_lost: bool,
    },
}

/// State of the cross-check.
#[derive(Clone, Copy, Debug, Default)]
pub struct BweGuard {
    unqueued_since: Option<Instant>,
    dropped_at: Option<Instant>,
    has_random_loss: bool,
}

impl BweGuard {
    /// Whether the floor applies.
    #[must_use]
    pub fn has_random_loss(&self) -> bool {
        self.has_random_loss
    }

    /// Takes the newest feedback and the newest estimate.
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

    /// The states of three seconds with the same feedback every 100 ms.
    fn states(stats: PathStats, estimate_bps: u64) -> Vec<LinkState> {
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
    fn an_estimate_lowered_by_random_loss_is_not_followed_and_one_lowered_by_a_queue_is() {
        assert_eq!(states(stats(0.2, 0.5, 60), 40_000).last(), Some(&LinkState::RandomLoss));
        assert_eq!(states(stats(0.0, 0.5, 60), 40_000).last(), Some(&LinkState::RandomLoss));
        let others = [stats(0.0, 0.0, 20), stats(0.2, 0.0, 200), stats(0.8, 0.5, 60)];
        assert!(others.iter().all(|stats| !states(*stats, 90_000).contains(&LinkState::RandomLoss)));
        assert!(!states(stats(0.2, 0.5, 60), 600_000).contains(&LinkState::RandomLoss), "the estimate is high enough");
    }

    #[test]
    fn a_queue_with_a_low_acknowledged_bitrate_is_a_capacity_drop_at_most_every_two_seconds() {
        let dropped = LinkState::CapacityDrop { reset_bwe_bps: 70_000, has_lost: true };
        let all = states(stats(0.5, 0.0, 300), 2_000_000);
        let at: Vec<usize> = (0..30).filter(|n| all[*n] == dropped).collect();
        assert_eq!(at, [0, 20]);
        assert!(states(stats(0.5, 0.5, 200), 2_000_000).iter().all(|one| *one == LinkState::Normal));
    }
}
