//! Steps of the picture's size: below a bitrate a smaller picture looks better than a starved one.

use crate::media::PictureSize;

/// Share of the full side at each step, in eighths, and the bitrate below which the step is taken.
const STEPS: [(u32, u32); 3] = [(8, 0), (6, 320_000), (4, 160_000)];
/// A step is left only when the bitrate is this much above its entry, in percent.
const HYSTERESIS_PERCENT: u32 = 130;

/// The size that suits the bitrate, with hysteresis so that it does not flap.
#[derive(Clone, Copy, Debug)]
pub struct PictureSteps {
    bitrate_bps: u32,
    step: usize,
}

impl PictureSteps {
    /// Starts at full size unless the bitrate is very low.
    #[must_use]
    pub fn new(bitrate_bps: u32) -> Self {
        let mut steps = Self { bitrate_bps, step: 0 };
        steps.aim(bitrate_bps);
        steps
    }

    /// The bitrate aimed at.
    #[must_use]
    pub fn bitrate_bps(&self) -> u32 {
        self.bitrate_bps
    }

    /// Takes a new bitrate.
    pub fn aim(&mut self, bits_per_second: u32) {
        self.bitrate_bps = bits_per_second;
        while self.step + 1 < STEPS.len() && bits_per_second < STEPS[self.step + 1].1 {
            self.step += 1;
        }
        while self.step > 0 && bits_per_second > STEPS[self.step].1 / 100 * HYSTERESIS_PERCENT {
            self.step -= 1;
        }
    }

    /// The size at the present step of a picture that is `full` at the first.
    #[must_use]
    pub fn size_of(&self, full: PictureSize) -> PictureSize {
        let eighths = STEPS[self.step].0;
        let side = |pixels: usize| (pixels as u32 * eighths / 8) & !1;
        PictureSize::new(side(full.width()), side(full.height())).unwrap_or(full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thin_line_gets_a_small_picture_and_keeps_it_until_clearly_better() {
        let full = PictureSize::square(512);
        let mut steps = PictureSteps::new(1_200_000);
        assert_eq!(steps.size_of(full), full);
        steps.aim(300_000);
        assert_eq!(steps.size_of(full), PictureSize::square(384));
        steps.aim(350_000);
        assert_eq!(steps.size_of(full), PictureSize::square(384));
        steps.aim(100_000);
        assert_eq!(steps.size_of(full), PictureSize::square(256));
        steps.aim(2_000_000);
        assert_eq!(steps.size_of(full), full);
    }
}
