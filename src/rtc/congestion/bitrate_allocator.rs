//! When the encoders are told what the way out carries. A machine: time is given.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use crate::adapt::{AudioLadder, AudioPlan};

/// Bounds of what the encoder is asked for, in bits a second.
pub const BITRATE_BPS: RangeInclusive<u64> = 40_000..=2_500_000;
/// What is kept of the estimate for headers, beside the voice.
const OVERHEAD_BPS: u64 = 20_000;
/// An estimate below this is not believed: it was shaken down by loss or jitter, and no call fits through it anyway.
const COLLAPSED_BELOW_BPS: u64 = 100_000;
/// A new estimation gets so long to find out better.
const RESET_INTERVAL: Duration = Duration::from_secs(5);
/// The most that is kept back for packets that are sent again, as a share of the estimate.
const MAX_RTX_RATIO: f64 = 0.5;
/// Changes smaller than this are not worth telling.
const MIN_CHANGE_PERCENT: u64 = 10;
/// After the way has dropped_to no more is tried for this long,
const HOLD_AFTER_DROP: Duration = Duration::from_secs(2);
/// and then so many times more with every second.
const RISE_PER_SECOND: f64 = 2.0;
/// At most so often.
const MIN_UPDATE_INTERVAL: Duration = Duration::from_millis(250);

/// What was told, and what is known since.
#[derive(Clone, Copy, Debug, Default)]
pub struct BitrateAllocator {
    estimate_bps: Option<u64>,
    instant_bps: Option<u64>,
    floor_bps: Option<u64>,
    /// What the way carried when it dropped_to, and when that was.
    dropped_to: Option<(u64, Instant)>,
    audio: AudioLadder,
    sent_audio_plan: Option<AudioPlan>,
    loss_ratio: f64,
    sent_target_bps: u64,
    sent_at: Option<Instant>,
    reset_at: Option<Instant>,
}

impl BitrateAllocator {
    /// Takes an estimate of what the way out carries, in bits a second, smoothed over some seconds.
    pub fn on_estimate(&mut self, estimate_bps: u64) {
        self.estimate_bps = Some(estimate_bps);
        self.audio.set_link_bitrate(self.floored(estimate_bps));
    }

    /// The estimate of the moment.
    #[must_use]
    pub fn instant_bps(&self) -> Option<u64> {
        self.instant_bps.or(self.estimate_bps)
    }

    /// The way carries at least this, whatever the estimates say; or they are believed.
    pub fn set_floor(&mut self, floor_bps: Option<u64>) {
        if self.floor_bps != floor_bps {
            self.floor_bps = floor_bps;
            self.estimate_bps.into_iter().for_each(|estimate| self.audio.set_link_bitrate(self.floored(estimate)));
        }
    }

    /// The way carries only this, as of now: that is told at once.
    pub fn on_capacity_drop(&mut self, estimate_bps: u64, now: Instant) {
        self.on_estimate(estimate_bps);
        self.dropped_to = Some((estimate_bps, now));
        (self.instant_bps, self.sent_at, self.loss_ratio) = (Some(estimate_bps), None, 0.0);
    }

    /// The most after the way has dropped_to: as much as then for a while, and then carefully more.
    fn ceiling_bps(&self, now: Instant) -> u64 {
        let Some((then_bps, at)) = self.dropped_to else { return u64::MAX };
        let risen_s = now.saturating_duration_since(at).saturating_sub(HOLD_AFTER_DROP).as_secs_f64();
        (then_bps as f64 * RISE_PER_SECOND.powf(risen_s)) as u64
    }

    fn floored(&self, way_bps: u64) -> u64 {
        way_bps.max(self.floor_bps.unwrap_or(0))
    }

    /// Takes the estimate of this moment: it is followed down at once, up by the smoothed one.
    pub fn on_instant_estimate(&mut self, estimate_bps: u64) {
        self.instant_bps = Some(estimate_bps);
    }

    /// The receiver reports that it lost this share of the voice's packets, 0 to 1.
    pub fn on_audio_loss(&mut self, loss_ratio: f64) {
        self.audio.on_loss(loss_ratio);
    }

    /// How the voice is to be coded from now on, if that changed.
    pub fn poll_audio_plan(&mut self) -> Option<AudioPlan> {
        let plan = Some(self.audio.plan()).filter(|plan| self.sent_audio_plan != Some(*plan));
        self.sent_audio_plan = plan.or(self.sent_audio_plan);
        plan
    }

    /// Takes the share of our packets that was lost of late, 0 to 1: most of them are sent again.
    pub fn on_loss(&mut self, loss_ratio: f64) {
        self.loss_ratio = loss_ratio.clamp(0.0, MAX_RTX_RATIO);
    }

    /// What the encoder is to be told now, if anything. An estimate that came too soon is told later, not lost.
    pub fn poll_target(&mut self, now: Instant) -> Option<u32> {
        let wanted = self.target_bps(now)?;
        let is_worth_it =
            wanted.abs_diff(self.sent_target_bps) * 100 >= self.sent_target_bps.max(1) * MIN_CHANGE_PERCENT;
        let is_soon = self.sent_at.is_some_and(|at| now.saturating_duration_since(at) < MIN_UPDATE_INTERVAL);
        if !is_worth_it || is_soon {
            return None;
        }
        (self.sent_target_bps, self.sent_at) = (wanted, Some(now));
        u32::try_from(wanted).ok()
    }

    fn target_bps(&self, now: Instant) -> Option<u64> {
        let way_bps =
            self.floored(self.estimate_bps?.min(self.instant_bps.unwrap_or(u64::MAX)).min(self.ceiling_bps(now)));
        let once = (way_bps as f64 * (1.0 - self.loss_ratio)) as u64;
        let other = u64::from(self.audio.plan().bitrate_bps) + OVERHEAD_BPS;
        Some(once.saturating_sub(other).clamp(*BITRATE_BPS.start(), *BITRATE_BPS.end()))
    }

    /// Where the estimation is to begin anew, in bits a second, if what it says is not to be believed.
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
    fn the_encoder_is_told_at_most_four_times_a_second_and_the_last_word_is_not_lost() {
        let start = Wall.now();
        let mut allocator = BitrateAllocator::default();
        let mut told = Vec::new();
        for ms in 0..1000_u64 {
            if ms < 600 {
                allocator.on_estimate(400_000 + ms * 2_000);
            }
            told.extend(allocator.poll_target(start + Duration::from_millis(ms)));
        }
        assert!(told.len() <= 4, "{told:?}");
        assert_eq!(told.last(), Some(&(400_000 + 599 * 2_000 - 60_000)));
    }

    #[test]
    fn small_changes_are_not_told() {
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
    fn what_is_sent_again_is_kept_free() {
        let mut allocator = BitrateAllocator::default();
        allocator.on_estimate(500_000);
        allocator.on_loss(0.2);
        assert_eq!(allocator.poll_target(Wall.now()), Some(340_000));
    }

    #[test]
    fn an_estimate_that_fell_through_the_floor_begins_anew_and_gets_time() {
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
