//! How the voice is coded for its way: more protection where packets are lost, fewer bits where few fit.
//!
//! Decides by steps with hysteresis, so that an encoder is not told something new with every report.

/// What the encoder of a voice is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioPlan {
    /// Bits a second.
    pub bitrate_bps: u32,
    /// The share of packets that will be lost, in percent: the higher, the more of each packet repeats the one before.
    pub loss_percent: u8,
}

/// What a wide way without loss gets: speech that is hard to tell from the original, and a little protection.
pub const DEFAULT_AUDIO_PLAN: AudioPlan = AudioPlan { bitrate_bps: 40_000, loss_percent: LOSSES[0] };
/// Wideband speech that still sounds well (RFC 6716, section 2.1.1), for ways that carry little.
const THIN_BPS: u32 = 24_000;
/// Expecting less loss than this, the encoder leaves the correction out of a thin voice altogether.
const THIN_LOSS_PERCENT: u8 = 10;
/// A way that carries less than this, in bits a second, gets the thin voice; above the second, the usual one again.
const THIN_WAY_BPS: (u64, u64) = (150_000, 200_000);
/// Steps of protection in percent. One is taken when more than the half way to it is lost.
const LOSSES: [u8; 4] = [5, 10, 20, 30];
/// And left when less than this share of that is lost.
const LEAVE_SHARE: f64 = 0.6;
/// How much one report counts: the last four or so.
const REPORT_WEIGHT: f64 = 0.25;

/// The present step, and what led to it.
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
    /// How the voice is to be coded now.
    #[must_use]
    pub fn plan(&self) -> AudioPlan {
        let least = if self.bitrate_bps == THIN_BPS { THIN_LOSS_PERCENT } else { 0 };
        AudioPlan { bitrate_bps: self.bitrate_bps, loss_percent: LOSSES[self.step].max(least) }
    }

    /// The receiver reports that it lost this share of the voice's packets, 0 to 1.
    pub fn lose(&mut self, ratio: f64) {
        self.loss_ratio += (ratio.clamp(0.0, 1.0) - self.loss_ratio) * REPORT_WEIGHT;
        while self.step + 1 < LOSSES.len() && self.loss_ratio > entry(self.step + 1) {
            self.step += 1;
        }
        while self.step > 0 && self.loss_ratio < entry(self.step) * LEAVE_SHARE {
            self.step -= 1;
        }
    }

    /// The way out carries about this many bits a second, picture and voice together.
    pub fn aim(&mut self, way_bps: u64) {
        let (thin_below, usual_above) = THIN_WAY_BPS;
        if way_bps < thin_below {
            self.bitrate_bps = THIN_BPS;
        } else if way_bps > usual_above {
            self.bitrate_bps = DEFAULT_AUDIO_PLAN.bitrate_bps;
        }
    }
}

/// The share of lost packets above which a step is taken.
fn entry(step: usize) -> f64 {
    f64::from(LOSSES[step - 1] + LOSSES[step]) / 200.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protection_follows_the_loss_and_does_not_flap() {
        let mut steps = AudioLadder::default();
        let mut told = vec![steps.plan().loss_percent];
        // Twenty percent with the noise of small samples, then none.
        let lossy = [0.2, 0.14, 0.26, 0.18, 0.22].into_iter().cycle().take(60);
        for ratio in lossy.chain([0.0; 20]) {
            steps.lose(ratio);
            told.push(steps.plan().loss_percent);
        }
        assert_eq!(told[20..60], [20; 40], "{told:?}");
        told.dedup();
        assert_eq!(told, [5, 10, 20, 10, 5]);
    }

    #[test]
    fn a_thin_way_gets_a_thin_voice_until_it_is_clearly_wider() {
        let mut steps = AudioLadder::default();
        let mut at = |bps| {
            steps.aim(bps);
            steps.plan()
        };
        let told = [500_000, 149_000, 190_000, 201_000, 160_000].map(|bps| at(bps).bitrate_bps);
        assert_eq!(told, [40_000, 24_000, 24_000, 40_000, 40_000]);
        assert_eq!(at(140_000).loss_percent, 10, "expecting less, the encoder corrects nothing");
    }
}
