//! Audio encoder settings for the link: more FEC where packets are lost, fewer bits where the link is slow.
//!
//! Decides by steps with hysteresis, so that the encoder is not reconfigured with every report.

/// Settings of the audio encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioPlan {
    /// Bits per second.
    pub bitrate_bps: u32,
    /// Expected packet loss in percent: the higher, the more of each packet repeats the one before (in-band FEC).
    pub loss_percent: u8,
}

/// Settings for a fast link without loss: speech that is hard to distinguish from the original, and a little FEC.
pub const DEFAULT_AUDIO_PLAN: AudioPlan = AudioPlan { bitrate_bps: 40_000, loss_percent: LOSSES[0] };
/// Wideband speech that still sounds good (RFC 6716, section 2.1.1), for slow links.
const LOW_BPS: u32 = 24_000;
/// At the low bitrate the encoder adds no FEC at all if it expects less loss than this.
const LOW_LOSS_PERCENT: u8 = 10;
/// Below the first link bitrate the low audio bitrate is used, above the second the default again.
const SLOW_LINK_BPS: (u64, u64) = (150_000, 200_000);
/// Steps of expected loss in percent. A step is entered when the loss exceeds the middle between it and the one below.
const LOSSES: [u8; 4] = [5, 10, 20, 30];
/// A step is left when the loss falls below this share of its entry.
const LEAVE_SHARE: f64 = 0.6;
/// Weight of one report: about the last four count.
const REPORT_WEIGHT: f64 = 0.25;

/// The current step, and the averages that led to it.
#[derive(Clone, Copy, Debug)]
pub struct AudioLadder {
    bitrate_bps: u32,
    step: usize,
    loss_ratio: f64,
}

impl Default for AudioLadder {
    fn default() -> Self {
        Self { bitrate_bps: DEFAULT_AUDIO_PLAN.bitrate_bps, step: 0, loss_ratio: 0.0 }
    }
}

impl AudioLadder {
    /// The settings to use now.
    #[must_use]
    pub fn plan(&self) -> AudioPlan {
        let least = if self.bitrate_bps == LOW_BPS { LOW_LOSS_PERCENT } else { 0 };
        AudioPlan { bitrate_bps: self.bitrate_bps, loss_percent: LOSSES[self.step].max(least) }
    }

    /// Takes the share of audio packets that a receiver report says were lost, 0 to 1.
    pub fn on_loss(&mut self, ratio: f64) {
        self.loss_ratio += (ratio.clamp(0.0, 1.0) - self.loss_ratio) * REPORT_WEIGHT;
        while self.step + 1 < LOSSES.len() && self.loss_ratio > entry(self.step + 1) {
            self.step += 1;
        }
        while self.step > 0 && self.loss_ratio < entry(self.step) * LEAVE_SHARE {
            self.step -= 1;
        }
    }

    /// Takes the bitrate of the link, for video and audio together.
    pub fn set_link_bitrate(&mut self, link_bps: u64) {
        let (low_below, default_above) = SLOW_LINK_BPS;
        if link_bps < low_below {
            self.bitrate_bps = LOW_BPS;
        } else if link_bps > default_above {
            self.bitrate_bps = DEFAULT_AUDIO_PLAN.bitrate_bps;
        }
    }
}

/// The loss ratio above which a step is entered.
fn entry(step: usize) -> f64 {
    f64::from(LOSSES[step - 1] + LOSSES[step]) / 200.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fec_follows_the_loss_and_does_not_flap() {
        let mut steps = AudioLadder::default();
        let mut seen = vec![steps.plan().loss_percent];
        // Twenty percent with the noise of small samples, then none.
        let lossy = [0.2, 0.14, 0.26, 0.18, 0.22].into_iter().cycle().take(60);
        for ratio in lossy.chain([0.0; 20]) {
            steps.on_loss(ratio);
            seen.push(steps.plan().loss_percent);
        }
        assert_eq!(seen[20..60], [20; 40], "{seen:?}");
        seen.dedup();
        assert_eq!(seen, [5, 10, 20, 10, 5]);
    }

    #[test]
    fn a_slow_link_gets_the_low_bitrate_until_it_is_clearly_faster() {
        let mut steps = AudioLadder::default();
        let mut at = |bps| {
            steps.set_link_bitrate(bps);
            steps.plan()
        };
        let seen = [500_000, 149_000, 190_000, 201_000, 160_000].map(|bps| at(bps).bitrate_bps);
        assert_eq!(seen, [40_000, 24_000, 24_000, 40_000, 40_000]);
        assert_eq!(at(140_000).loss_percent, 10, "with less expected loss the encoder adds no FEC");
    }
}
