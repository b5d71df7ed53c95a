//! Steps of the frame size: below some bitrate a smaller frame looks better than a heavily compressed one.

use crate::media::FrameSize;

/// Side of the frame at each step, in eighths of the full side, and the bitrate below which the step is entered, for
/// frames of 512x512.
const STEPS: [(u32, u32); 3] = [(8, 0), (6, 320_000), (4, 160_000)];
/// Pixels of the frames that the bitrates of the steps are for.
const REFERENCE_PIXELS: f64 = 512.0 * 512.0;
/// Exponent by which the bits of a frame grow with its pixels: in larger frames each pixel needs fewer.
const GROWTH: f64 = 0.75;
/// A step is left only when the bitrate is this much above its entry, in percent.
const HYSTERESIS_PERCENT: u32 = 130;

/// The frame size for a bitrate, with hysteresis so that it does not flap.
#[derive(Clone, Copy, Debug)]
pub struct ResolutionLadder {
    full: FrameSize,
    bitrate_bps: u32,
    step: usize,
}

impl ResolutionLadder {
    /// Starts at the step of `bitrate_bps`.
    #[must_use]
    pub fn new(bitrate_bps: u32, full: FrameSize) -> Self {
        let mut steps = Self { full, bitrate_bps, step: 0 };
        steps.set_bitrate(bitrate_bps);
        steps
    }

    /// The target bitrate.
    #[must_use]
    pub fn bitrate_bps(&self) -> u32 {
        self.bitrate_bps
    }

    /// Sets the target bitrate.
    pub fn set_bitrate(&mut self, bits_per_second: u32) {
        self.bitrate_bps = bits_per_second;
        while self.step + 1 < STEPS.len() && bits_per_second < self.entry_bps(self.step + 1) {
            self.step += 1;
        }
        while self.step > 0 && bits_per_second > self.entry_bps(self.step) / 100 * HYSTERESIS_PERCENT {
            self.step -= 1;
        }
    }

    /// The bitrate below which a step is entered.
    fn entry_bps(&self, step: usize) -> u32 {
        let pixels = (self.full.width() * self.full.height()) as f64;
        (f64::from(STEPS[step].1) * (pixels / REFERENCE_PIXELS).powf(GROWTH)) as u32
    }

    /// The size at the current step.
    #[must_use]
    pub fn size(&self) -> FrameSize {
        let eighths = STEPS[self.step].0;
        let side = |pixels: usize| (pixels as u32 * eighths / 8) & !1;
        FrameSize::new(side(self.full.width()), side(self.full.height())).unwrap_or(self.full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sides of the frames of a session of this side at these bitrates, one after the other.
    fn sides(full_px: u32, bitrates: &[u32]) -> Vec<usize> {
        let mut steps = ResolutionLadder::new(bitrates[0], FrameSize::square(full_px));
        let at = |bits: &u32| {
            steps.set_bitrate(*bits);
            steps.size().width()
        };
        bitrates.iter().map(at).collect()
    }

    #[test]
    fn a_slow_link_gets_small_frames_until_it_is_clearly_faster() {
        assert_eq!(sides(512, &[1_200_000, 300_000, 350_000, 100_000, 2_000_000]), [512, 384, 384, 256, 512]);
    }

    #[test]
    fn the_steps_depend_on_the_full_size() {
        assert_eq!(sides(256, &[319_000, 115_000, 110_000, 50_000]), [256, 256, 192, 128]);
        assert_eq!(sides(1024, &[1_000_000, 800_000, 400_000]), [1024, 768, 512]);
    }
}
