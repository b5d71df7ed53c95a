//! When the encoder is told what the way out carries. A machine: time is given.

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// Bounds of what the encoder is asked for, in bits a second.
pub const BITRATE_BPS: RangeInclusive<u64> = 120_000..=2_500_000;
/// What is kept of the estimate for the voice and for headers.
const OTHER_BPS: u64 = 60_000;
/// Changes smaller than this are not worth telling.
const WORTH_TELLING_PERCENT: u64 = 10;
/// At most so often.
const TELL_EVERY: Duration = Duration::from_millis(250);

/// What was told, and what is known since.
#[derive(Clone, Copy, Debug, Default)]
pub struct BitrateTeller {
    wanted_bps: Option<u64>,
    told_bps: u64,
    told_at: Option<Instant>,
}

impl BitrateTeller {
    /// Takes an estimate of what the way out carries, in bits a second.
    pub fn estimate(&mut self, estimate_bps: u64) {
        self.wanted_bps = Some(estimate_bps.saturating_sub(OTHER_BPS).clamp(*BITRATE_BPS.start(), *BITRATE_BPS.end()));
    }

    /// What the encoder is to be told now, if anything. An estimate that came too soon is told later, not lost.
    pub fn tell(&mut self, now: Instant) -> Option<u32> {
        let wanted = self.wanted_bps?;
        let is_worth_it = wanted.abs_diff(self.told_bps) * 100 >= self.told_bps.max(1) * WORTH_TELLING_PERCENT;
        let is_soon = self.told_at.is_some_and(|at| now.saturating_duration_since(at) < TELL_EVERY);
        if !is_worth_it || is_soon {
            return None;
        }
        (self.told_bps, self.told_at) = (wanted, Some(now));
        u32::try_from(wanted).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Wall;

    #[test]
    fn the_encoder_is_told_at_most_four_times_a_second_and_the_last_word_is_not_lost() {
        let start = Wall.now();
        let mut teller = BitrateTeller::default();
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
        let mut teller = BitrateTeller::default();
        teller.estimate(1_000_000);
        assert_eq!(teller.tell(start), Some(940_000));
        teller.estimate(1_050_000);
        assert_eq!(teller.tell(start + Duration::from_secs(1)), None);
        teller.estimate(0);
        assert_eq!(teller.tell(start + Duration::from_secs(2)), Some(120_000));
    }
}
