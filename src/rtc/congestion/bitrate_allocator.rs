//! Target bitrates of the encoders, from the estimates of what the path carries. A state machine: time is passed in.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use crate::adapt::{AudioLadder, AudioPlan};

/// Range of the video encoder's target, in bits per second.
pub const BITRATE_BPS: RangeInclusive<u64> = 40_000..=2_500_000;
/// Share of the estimate that is kept for packet headers, besides the audio.
const OVERHEAD_BPS: u64 = 20_000;
/// An estimate below this has collapsed under loss or jitter: no call with video fits into it, so it is restarted.
const COLLAPSED_BELOW_BPS: u64 = 100_000;
/// Least time between two restarts; the estimator needs it to converge.
const RESET_INTERVAL: Duration = Duration::from_secs(5);
/// Largest share of the estimate that is kept for retransmissions.
const MAX_RTX_RATIO: f64 = 0.5;
/// Smaller changes are not passed on.
const MIN_CHANGE_PERCENT: u64 = 10;
/// After a drop of capacity the target stays for this long,
const HOLD_AFTER_DROP: Duration = Duration::from_secs(2);
/// and then grows at most by this factor per second.
const RISE_PER_SECOND: f64 = 2.0;
/// Least time between two targets.
const MIN_UPDATE_INTERVAL: Duration = Duration::from_millis(250);

/// What is known of the path, and the targets that were passed on.
#[derive(Clone, Copy, Debug, Default)]
pub struct BitrateAllocator {
    estimate_bps: Option<u64>,
    instant_bps: Option<u64>,
    floor_bps: Option<u64>,
    /// What the path carried when its capacity dropped, and when that was.
    dropped_to: Option<(u64, Instant)>,
    audio: AudioLadder,
    sent_audio_plan: Option<AudioPlan>,
    loss_ratio: f64,
    sent_target_bps: u64,
    sent_at: Option<Instant>,
    reset_at: Option<Instant>,
}

impl BitrateAllocator {
    /// Takes the estimate of the capacity in bits per second, averaged over 3 s (str0m 0.25, `bwe/smoother.rs`).
    pub fn on_estimate(&mut self, estimate_bps: u64) {
        self.estimate_bps = Some(estimate_bps);
        self.audio.set_link_bitrate(self.floored(estimate_bps));
    }

    /// The newest estimate.
    #[must_use]
    pub fn instant_bps(&self) -> Option<u64> {
        self.instant_bps.or(self.estimate_bps)
    }

    /// Sets a minimum of the assumed capacity, whatever the estimates are; `None` to follow the estimates.
    pub fn set_floor(&mut self, floor_bps: Option<u64>) {
        if self.floor_bps != floor_bps {
            self.floor_bps = floor_bps;
            self.estimate_bps.into_iter().for_each(|estimate| self.audio.set_link_bitrate(self.floored(estimate)));
        }
    }

    /// The capacity dropped to this: the next target is due at once.
    pub fn on_capacity_drop(&mut self, estimate_bps: u64, now: Instant) {
        self.on_estimate(estimate_bps);
        self.dropped_to = Some((estimate_bps, now));
        (self.instant_bps, self.sent_at, self.loss_ratio) = (Some(estimate_bps), None, 0.0);
    }

    /// The limit after a drop of capacity, which rises slowly.
    fn ceiling_bps(&self, now: Instant) -> u64 {
        let Some((then_bps, at)) = self.dropped_to else { return u64::MAX };
        let risen_s = now.saturating_duration_since(at).saturating_sub(HOLD_AFTER_DROP).as_secs_f64();
        (then_bps as f64 * RISE_PER_SECOND.powf(risen_s)) as u64
    }

    fn floored(&self, capacity_bps: u64) -> u64 {
        capacity_bps.max(self.floor_bps.unwrap_or(0))
    }

    /// Takes the instant estimate. The target follows it down at once, and up only with the averaged one.
    pub fn on_instant_estimate(&mut self, estimate_bps: u64) {
        self.instant_bps = Some(estimate_bps);
    }

    /// Takes the share of audio packets that the receiver lost, 0 to 1.
    pub fn on_audio_loss(&mut self, loss_ratio: f64) {
        self.audio.on_loss(loss_ratio);
    }

    /// The audio plan, if it changed.
    pub fn poll_audio_plan(&mut self) -> Option<AudioPlan> {
        let plan = Some(self.audio.plan()).filter(|plan| self.sent_audio_plan != Some(*plan));
        self.sent_audio_plan = plan.or(self.sent_audio_plan);
        plan
    }

    /// Takes the share of sent packets that was lost recently, 0 to 1; most of them are retransmitted.
    pub fn on_loss(&mut self, loss_ratio: f64) {
        self.loss_ratio = loss_ratio.clamp(0.0, MAX_RTX_RATIO);
    }

    /// The video encoder's new target in bits per second, if it is due. A change within the least interval is passed on after it.
    pub fn poll_target(&mut self, now: Instant) -> Option<u32> {
        let wanted = self.target_bps(now)?;
        let is_significant =
            wanted.abs_diff(self.sent_target_bps) * 100 >= self.sent_target_bps.max(1) * MIN_CHANGE_PERCENT;
        let is_soon = self.sent_at.is_some_and(|at| now.saturating_duration_since(at) < MIN_UPDATE_INTERVAL);
        if !is_significant || is_soon {
            return None;
        }
        (self.sent_target_bps, self.sent_at) = (wanted, Some(now));
        u32::try_from(wanted).ok()
    }

    fn target_bps(&self, now: Instant) -> Option<u64> {
        let capacity_bps =
            self.floored(self.estimate_bps?.min(self.instant_bps.unwrap_or(u64::MAX)).min(self.ceiling_bps(now)));
        let once = (capacity_bps as f64 * (1.0 - self.loss_ratio)) as u64;
        let other = u64::from(self.audio.plan().bitrate_bps) + OVERHEAD_BPS;
        Some(once.saturating_sub(other).clamp(*BITRATE_BPS.start(), *BITRATE_BPS.end()))
    }

    /// The bitrate in bits per second from which the estimator is to restart, if it has collapsed.
    pub fn reset_if_collapsed(&mut self, now: Instant) -> Option<u64> {
        let is_soon = self.reset_at.is_some_and(|at| now.saturating_duration_since(at) < RESET_INTERVAL);
        if is_soon || self.estimate_bps? >= COLLAPSED_BELOW_BPS {
            return None;
        }
        self.reset_at = Some(now);
        Some(COLLAPSED_BELOW_BPS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Wall;

    #[test]
    fn the_target_changes_at_most_four_times_a_second_and_the_last_estimate_is_not_lost() {
        let start = Wall.now();
        let mut allocator = BitrateAllocator::default();
        let mut targets = Vec::new();
        for ms in 0..1000_u64 {
            if ms < 600 {
                allocator.on_estimate(400_000 + ms * 2_000);
            }
            targets.extend(allocator.poll_target(start + Duration::from_millis(ms)));
        }
        assert!(targets.len() <= 4, "{targets:?}");
        assert_eq!(targets.last(), Some(&(400_000 + 599 * 2_000 - 60_000)));
    }

    #[test]
    fn small_changes_are_not_passed_on() {
        let start = Wall.now();
        let mut allocator = BitrateAllocator::default();
        allocator.on_estimate(1_000_000);
        assert_eq!(allocator.poll_target(start), Some(940_000));
        allocator.on_estimate(1_050_000);
        assert_eq!(allocator.poll_target(start + Duration::from_secs(1)), None);
        allocator.on_estimate(0);
        assert_eq!(allocator.poll_target(start + Duration::from_secs(2)), Some(40_000));
    }

    #[test]
    fn bitrate_for_retransmissions_is_kept_free() {
        let mut allocator = BitrateAllocator::default();
        allocator.on_estimate(500_000);
        allocator.on_loss(0.2);
        assert_eq!(allocator.poll_target(Wall.now()), Some(340_000));
    }

    #[test]
    fn a_collapsed_estimate_is_restarted_and_gets_time() {
        let start = Wall.now();
        let mut allocator = BitrateAllocator::default();
        let mut revive_at = |bps: u64, s: u64| {
            allocator.on_estimate(bps);
            allocator.reset_if_collapsed(start + Duration::from_secs(s))
        };
        assert_eq!((revive_at(100_000, 0), revive_at(99_000, 1)), (None, Some(100_000)));
        assert_eq!((revive_at(20_000, 5), revive_at(20_000, 6)), (None, Some(100_000)));
    }
}
