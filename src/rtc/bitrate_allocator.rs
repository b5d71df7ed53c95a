//! When the encoders are told what the way out carries. A machine: time is given.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use crate::adapt::{AudioLadder, AudioPlan};

/// Bounds of what the encoder is asked for, in bits a second.
pub const BITRATE_BPS: RangeInclusive<u64> = 40_000..=2_500_000;
/// What is kept of the estimate for headers, beside the voice.
const HEADERS_BPS: u64 = 20_000;
/// An estimate below this is not believed: it was shaken down by loss or jitter, and no call fits through it anyway.
const LEAST_ESTIMATE_BPS: u64 = 100_000;
/// A new estimation gets so long to find out better.
const REVIVE_EVERY: Duration = Duration::from_secs(5);
/// The most that is kept back for packets that are sent again, as a share of the estimate.
const MOST_LOSS: f64 = 0.5;
/// Changes smaller than this are not worth telling.
const WORTH_TELLING_PERCENT: u64 = 10;
/// After the way has narrowed no more is tried for this long,
const NARROW_FOR: Duration = Duration::from_secs(2);
/// and then so many times more with every second.
const RISE_A_SECOND: f64 = 2.0;
/// At most so often.
const TELL_EVERY: Duration = Duration::from_millis(250);

/// What was told, and what is known since.
#[derive(Clone, Copy, Debug, Default)]
pub struct BitrateAllocator {
    estimate_bps: Option<u64>,
    newest_bps: Option<u64>,
    least_bps: Option<u64>,
    /// What the way carried when it narrowed, and when that was.
    narrowed: Option<(u64, Instant)>,
    voice: AudioLadder,
    told_voice: Option<AudioPlan>,
    loss_ratio: f64,
    told_bps: u64,
    told_at: Option<Instant>,
    revived_at: Option<Instant>,
}

impl BitrateAllocator {
    /// Takes an estimate of what the way out carries, in bits a second, smoothed over some seconds.
    pub fn estimate(&mut self, estimate_bps: u64) {
        self.estimate_bps = Some(estimate_bps);
        self.voice.aim(self.held(estimate_bps));
    }

    /// The estimate of the moment.
    #[must_use]
    pub fn newest_bps(&self) -> Option<u64> {
        self.newest_bps.or(self.estimate_bps)
    }

    /// The way carries at least this, whatever the estimates say; or they are believed.
    pub fn hold(&mut self, least_bps: Option<u64>) {
        if self.least_bps != least_bps {
            self.least_bps = least_bps;
            self.estimate_bps.into_iter().for_each(|estimate| self.voice.aim(self.held(estimate)));
        }
    }

    /// The way carries only this, as of now: that is told at once.
    pub fn narrow(&mut self, estimate_bps: u64, now: Instant) {
        self.estimate(estimate_bps);
        self.narrowed = Some((estimate_bps, now));
        (self.newest_bps, self.told_at, self.loss_ratio) = (Some(estimate_bps), None, 0.0);
    }

    /// The most after the way has narrowed: as much as then for a while, and then carefully more.
    fn most_bps(&self, now: Instant) -> u64 {
        let Some((then_bps, at)) = self.narrowed else { return u64::MAX };
        let risen_s = now.saturating_duration_since(at).saturating_sub(NARROW_FOR).as_secs_f64();
        (then_bps as f64 * RISE_A_SECOND.powf(risen_s)) as u64
    }

    fn held(&self, way_bps: u64) -> u64 {
        way_bps.max(self.least_bps.unwrap_or(0))
    }

    /// Takes the estimate of this moment: it is followed down at once, up by the smoothed one.
    pub fn glimpse(&mut self, estimate_bps: u64) {
        self.newest_bps = Some(estimate_bps);
    }

    /// The receiver reports that it lost this share of the voice's packets, 0 to 1.
    pub fn lose_voice(&mut self, loss_ratio: f64) {
        self.voice.lose(loss_ratio);
    }

    /// How the voice is to be coded from now on, if that changed.
    pub fn tell_voice(&mut self) -> Option<AudioPlan> {
        let plan = Some(self.voice.plan()).filter(|plan| self.told_voice != Some(*plan));
        self.told_voice = plan.or(self.told_voice);
        plan
    }

    /// Takes the share of our packets that was lost of late, 0 to 1: most of them are sent again.
    pub fn lose(&mut self, loss_ratio: f64) {
        self.loss_ratio = loss_ratio.clamp(0.0, MOST_LOSS);
    }

    /// What the encoder is to be told now, if anything. An estimate that came too soon is told later, not lost.
    pub fn tell(&mut self, now: Instant) -> Option<u32> {
        let wanted = self.wanted_bps(now)?;
        let is_worth_it = wanted.abs_diff(self.told_bps) * 100 >= self.told_bps.max(1) * WORTH_TELLING_PERCENT;
        let is_soon = self.told_at.is_some_and(|at| now.saturating_duration_since(at) < TELL_EVERY);
        if !is_worth_it || is_soon {
            return None;
        }
        (self.told_bps, self.told_at) = (wanted, Some(now));
        u32::try_from(wanted).ok()
    }

    fn wanted_bps(&self, now: Instant) -> Option<u64> {
        let way_bps = self.held(self.estimate_bps?.min(self.newest_bps.unwrap_or(u64::MAX)).min(self.most_bps(now)));
        let once = (way_bps as f64 * (1.0 - self.loss_ratio)) as u64;
        let other = u64::from(self.voice.plan().bitrate_bps) + HEADERS_BPS;
        Some(once.saturating_sub(other).clamp(*BITRATE_BPS.start(), *BITRATE_BPS.end()))
    }

    /// Where the estimation is to begin anew, in bits a second, if what it says is not to be believed.
    pub fn revive(&mut self, now: Instant) -> Option<u64> {
        let is_soon = self.revived_at.is_some_and(|at| now.saturating_duration_since(at) < REVIVE_EVERY);
        if is_soon || self.estimate_bps? >= LEAST_ESTIMATE_BPS {
            return None;
        }
        self.revived_at = Some(now);
        Some(LEAST_ESTIMATE_BPS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Wall;

    #[test]
    fn the_encoder_is_told_at_most_four_times_a_second_and_the_last_word_is_not_lost() {
        let start = Wall.now();
        let mut teller = BitrateAllocator::default();
        let mut told = Vec::new();
        for ms in 0..1000_u64 {
            if ms < 600 {
                teller.estimate(400_000 + ms * 2_000);
            }
            told.extend(teller.tell(start + Duration::from_millis(ms)));
        }
        assert!(told.len() <= 4, "{told:?}");
        assert_eq!(told.last(), Some(&(400_000 + 599 * 2_000 - 60_000)));
    }

    #[test]
    fn small_changes_are_not_told() {
        let start = Wall.now();
        let mut teller = BitrateAllocator::default();
        teller.estimate(1_000_000);
        assert_eq!(teller.tell(start), Some(940_000));
        teller.estimate(1_050_000);
        assert_eq!(teller.tell(start + Duration::from_secs(1)), None);
        teller.estimate(0);
        assert_eq!(teller.tell(start + Duration::from_secs(2)), Some(40_000));
    }

    #[test]
    fn what_is_sent_again_is_kept_free() {
        let mut teller = BitrateAllocator::default();
        teller.estimate(500_000);
        teller.lose(0.2);
        assert_eq!(teller.tell(Wall.now()), Some(340_000));
    }

    #[test]
    fn an_estimate_that_fell_through_the_floor_begins_anew_and_gets_time() {
        let start = Wall.now();
        let mut teller = BitrateAllocator::default();
        let mut revive_at = |bps: u64, s: u64| {
            teller.estimate(bps);
            teller.revive(start + Duration::from_secs(s))
        };
        assert_eq!((revive_at(100_000, 0), revive_at(99_000, 1)), (None, Some(100_000)));
        assert_eq!((revive_at(20_000, 5), revive_at(20_000, 6)), (None, Some(100_000)));
    }
}
