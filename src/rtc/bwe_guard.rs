//! How far the library's estimate of the way out is believed.
//!
//! It takes jitter for a queue that grows and every loss for congestion, so that a wire that shakes and loses takes it down
//! to nothing; and it averages, so that a wire that narrows at once is overfilled for seconds. The receiver's feedback says
//! which of the two it is. A machine: time is given.

use std::time::{Duration, Instant};

use super::twcc_history::View;

/// With less a call cannot be watched: while nothing queues on the way, pictures, voice and repairs get so many bits a
/// second, whatever the estimate says.
pub const LEAST_BPS: u64 = 400_000;
/// Packets that wait for longer than this wait in a queue.
const QUEUE: Duration = Duration::from_millis(100);
/// Where packets overtake each other the quickest are late by chance: there the queue must be longer.
const QUEUE_AMONG_OVERTAKEN: Duration = Duration::from_millis(250);
/// It is believed again when it is clearly above the least, in percent.
const BELIEVED_PERCENT: u64 = 125;
/// Where more than this is lost, even the least may be too much.
const MOST_LOST: f64 = 0.5;
/// A way without a queue for this long is free: what is lost meanwhile is not lost to a queue that was full.
const FREE_FOR: Duration = Duration::from_millis(1_500);
/// A free way that loses more than this, or where more packets overtake others, is one that the library gets wrong.
const SHAKING_RATIO: f64 = 0.04;
/// A way that has narrowed is not held to be free for so long.
const NARROW_FOR: Duration = Duration::from_secs(10);
/// A way has narrowed if it queues and carries less than this share of what the estimate says,
const NARROWED_RATIO: f64 = 0.6;
/// and is judged again after this.
const NARROWED_AGAIN: Duration = Duration::from_secs(2);
/// What is sent while the queue empties, as a share of what comes through.
const EMPTYING_RATIO: f64 = 0.7;

/// What is to be made of the estimate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// It is about right.
    Believed,
    /// It is too low: the way carries [`LEAST_BPS`] without a queue.
    Shaken,
    /// It is too high, from now on: the way has become narrow. Begin anew with so many bits a second.
    Narrowed {
        /// Bits a second.
        begin_bps: u64,
        /// Whether packets were lost over it.
        has_lost: bool,
    },
}

/// What led to the judgement.
#[derive(Clone, Copy, Debug, Default)]
pub struct BweGuard {
    free_since: Option<Instant>,
    narrowed_at: Option<Instant>,
    is_shaken: bool,
}

impl BweGuard {
    /// Whether pictures get [`LEAST_BPS`], whatever the estimate says.
    #[must_use]
    pub fn is_shaken(&self) -> bool {
        self.is_shaken
    }

    /// Judges the estimate by what the receiver tells.
    pub fn judge(&mut self, view: View, estimate_bps: u64, now: Instant) -> LinkState {
        let is_overtaken = view.overtaken_ratio > SHAKING_RATIO;
        if view.queue > (if is_overtaken { QUEUE_AMONG_OVERTAKEN } else { QUEUE }) {
            self.free_since = None;
            self.is_shaken = false;
            return if is_overtaken { LinkState::Believed } else { self.narrowed(view, estimate_bps, now) };
        }
        let since = *self.free_since.get_or_insert(now);
        let is_past = |at: Instant, time: Duration| now.saturating_duration_since(at) >= time;
        let is_free = is_past(since, FREE_FOR) && self.narrowed_at.is_none_or(|at| is_past(at, NARROW_FOR));
        let shakes = (is_overtaken || view.lost_ratio > SHAKING_RATIO) && view.lost_ratio < MOST_LOST;
        let believed_bps = if self.is_shaken { LEAST_BPS * BELIEVED_PERCENT / 100 } else { LEAST_BPS };
        self.is_shaken = is_free && shakes && estimate_bps < believed_bps;
        if self.is_shaken { LinkState::Shaken } else { LinkState::Believed }
    }

    fn narrowed(&mut self, view: View, estimate_bps: u64, now: Instant) -> LinkState {
        let is_soon = self.narrowed_at.is_some_and(|at| now.saturating_duration_since(at) < NARROWED_AGAIN);
        if is_soon || view.carried_bps as f64 > estimate_bps as f64 * NARROWED_RATIO {
            return LinkState::Believed;
        }
        self.narrowed_at = Some(now);
        let begin_bps = (view.carried_bps as f64 * EMPTYING_RATIO) as u64;
        LinkState::Narrowed { begin_bps, has_lost: view.lost_ratio > 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Wall;

    /// The judgements of three seconds of the same view, one every 100 ms.
    fn judged(view: View, estimate_bps: u64) -> Vec<LinkState> {
        let (start, mut trust) = (Wall.now(), BweGuard::default());
        (0..30).map(|n| trust.judge(view, estimate_bps, start + Duration::from_millis(n * 100))).collect()
    }

    fn view(lost_ratio: f64, overtaken_ratio: f64, queue_ms: u64) -> View {
        View { carried_bps: 100_000, lost_ratio, overtaken_ratio, queue: Duration::from_millis(queue_ms) }
    }

    #[test]
    fn an_estimate_that_a_storm_took_down_is_not_believed_and_one_that_a_queue_did_is() {
        assert_eq!(judged(view(0.2, 0.5, 60), 40_000).last(), Some(&LinkState::Shaken));
        assert_eq!(judged(view(0.0, 0.5, 60), 40_000).last(), Some(&LinkState::Shaken));
        let believed = [view(0.0, 0.0, 20), view(0.2, 0.0, 200), view(0.8, 0.5, 60)];
        assert!(believed.iter().all(|view| !judged(*view, 90_000).contains(&LinkState::Shaken)));
        assert!(!judged(view(0.2, 0.5, 60), 600_000).contains(&LinkState::Shaken), "it is high enough");
    }

    #[test]
    fn a_way_that_queues_and_carries_far_less_has_narrowed_once_in_two_seconds() {
        let narrowed = LinkState::Narrowed { begin_bps: 70_000, has_lost: true };
        let judged_ = judged(view(0.5, 0.0, 300), 2_000_000);
        let at: Vec<usize> = (0..30).filter(|n| judged_[*n] == narrowed).collect();
        assert_eq!(at, [0, 20]);
        assert!(judged(view(0.5, 0.5, 200), 2_000_000).iter().all(|one| *one == LinkState::Believed));
    }
}
