//! Downmix of any number of channels to mono, at the loudness of the loudest channel.
//!
//! Decides weights by ITU-R BS.775-3, table 2 (mono from 3/2: left and right 0.7071, centre 1, surrounds 0.5, no LFE), and
//! a slow gain that keeps the level: speech in one channel, in the centre, or equally in all channels is as loud in the mix
//! as in its channel. A plain mean would attenuate the centre of 5.1 by 15 dB.

use std::f32::consts::FRAC_1_SQRT_2;

use super::pipeline::Layout;

/// Averaging time of the powers.
const AVERAGED_S: f32 = 0.3;
/// Limits of the gain: -14 dB for eight equal channels, +6 dB for speech in one of two.
const LEAST_GAIN: f32 = 0.2;
const MOST_GAIN: f32 = 2.0;
/// Blocks below this power do not change the gain.
const SILENT_POWER: f32 = 1e-10;

/// Speakers by bit of a WAVE channel mask (`WAVEFORMATEXTENSIBLE`): front left, right, centre, LFE, back left, right, left
/// and right of centre, back centre, side left, right.
const WEIGHTS: [f32; 11] =
    [FRAC_1_SQRT_2, FRAC_1_SQRT_2, 1.0, 0.0, 0.5, 0.5, FRAC_1_SQRT_2, FRAC_1_SQRT_2, 0.5, 0.5, 0.5];
/// The default masks of 1 to 8 channels.
const MASKS: [u32; 8] = [0x4, 0x3, 0x7, 0x33, 0x37, 0x3f, 0x70f, 0x63f];

/// Mixes interleaved frames to one channel.
pub(super) struct Downmix {
    layout: Layout,
    weights: Vec<f32>,
    /// Averaged power of each channel with a weight, and of the mix.
    powers: Vec<f32>,
    mixed_power: f32,
    gain: Option<f32>,
}

impl Downmix {
    pub fn new(layout: Layout) -> Self {
        Self { weights: weights_of(layout), powers: vec![0.0; layout.channels], mixed_power: 0.0, gain: None, layout }
    }

    /// Appends the mix of `interleaved`; a last, incomplete frame is dropped. NaN and infinities become silence.
    pub fn mix(&mut self, interleaved: &[f32], mono: &mut Vec<f32>) {
        let clean = |sample: f32| if sample.is_finite() { sample.clamp(-1.0, 1.0) } else { 0.0 };
        if self.layout.channels == 1 {
            mono.extend(interleaved.iter().map(|sample| clean(*sample)));
            return;
        }
        let block = self.layout.channels * (self.layout.rate_hz as usize / 100);
        for block in interleaved.chunks(block) {
            let clean: Vec<f32> = block.iter().map(|sample| clean(*sample)).collect();
            self.mix_block(&clean, mono);
        }
    }

    fn mix_block(&mut self, block: &[f32], mono: &mut Vec<f32>) {
        let frames = block.chunks_exact(self.layout.channels);
        let (first, count) = (mono.len(), frames.len());
        let weigh =
            |frame: &[f32]| frame.iter().zip(&self.weights).map(|(sample, weight)| sample * weight).sum::<f32>();
        mono.extend(frames.map(weigh));
        if count == 0 {
            return;
        }
        self.average(block, &mono[first..]);
        let (from, to) = (self.gain, self.wanted_gain());
        self.gain = to;
        let to = to.unwrap_or(1.0);
        let from = from.unwrap_or(to);
        for (n, sample) in mono[first..].iter_mut().enumerate() {
            let gain = from + (to - from) * n as f32 / count as f32;
            *sample = (*sample * gain).clamp(-1.0, 1.0);
        }
    }

    fn average(&mut self, block: &[f32], mixed: &[f32]) {
        let channels = self.layout.channels;
        let power_of = |channel: usize| {
            block.iter().skip(channel).step_by(channels).map(|s| s * s).sum::<f32>() / mixed.len() as f32
        };
        let powers: Vec<f32> =
            (0..channels).map(|channel| if self.weights[channel] > 0.0 { power_of(channel) } else { 0.0 }).collect();
        if powers.iter().all(|power| *power < SILENT_POWER) {
            return;
        }
        let mixed_power = mixed.iter().map(|s| s * s).sum::<f32>() / mixed.len() as f32;
        let is_first = self.gain.is_none();
        let share = mixed.len() as f32 / (AVERAGED_S * self.layout.rate_hz as f32);
        let share = if is_first { 1.0 } else { share };
        self.mixed_power += (mixed_power - self.mixed_power) * share;
        self.powers.iter_mut().zip(powers).for_each(|(average, power)| *average += (power - *average) * share);
    }

    /// The gain that makes the mix as loud as the loudest channel; `None` before the first sound.
    fn wanted_gain(&self) -> Option<f32> {
        let loudest = self.powers.iter().copied().fold(0.0, f32::max);
        if loudest < SILENT_POWER {
            return self.gain;
        }
        Some((loudest / self.mixed_power.max(SILENT_POWER)).sqrt().clamp(LEAST_GAIN, MOST_GAIN))
    }
}

fn weights_of(layout: Layout) -> Vec<f32> {
    let usual = MASKS[layout.channels.clamp(1, MASKS.len()) - 1];
    let mask = layout.mask.filter(|mask| mask.count_ones() as usize == layout.channels).unwrap_or(usual);
    let of_bit = |bit: usize| WEIGHTS.get(bit).copied().unwrap_or(0.5);
    let weights: Vec<f32> = (0..32).filter(|bit| mask >> bit & 1 == 1).map(of_bit).collect();
    // A file with only an LFE channel still has sound.
    if weights.iter().all(|weight| *weight == 0.0) { vec![1.0; layout.channels] } else { weights }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gain in dB of half a second of a tone in the channels `sounding`.
    fn gain_db(channels: usize, sounding: &[usize]) -> f32 {
        let layout = Layout::new(48_000, channels, None).expect("a layout");
        let tone = |n: usize| 0.4 * (n as f32 * 0.05).sin();
        let frames: Vec<f32> = (0..24_000)
            .flat_map(|n| (0..channels).map(move |channel| if sounding.contains(&channel) { tone(n) } else { 0.0 }))
            .collect();
        let mut mono = Vec::new();
        let mut downmix = Downmix::new(layout);
        frames.chunks(3 * channels * 100).for_each(|some| downmix.mix(some, &mut mono));
        let level = |samples: &[f32]| (samples.iter().map(|s| s * s).sum::<f32>() / samples.len() as f32).sqrt();
        let plain: Vec<f32> = (0..24_000).map(tone).collect();
        20.0 * (level(&mono) / level(&plain)).log10()
    }

    #[test]
    fn speech_keeps_its_loudness_in_every_channel_layout() {
        for (channels, sounding) in [
            (1, &[0][..]),
            (2, &[0, 1]),
            (2, &[0]),
            (2, &[1]),
            (6, &[2]),
            (6, &[0, 1]),
            (6, &[4]),
            (6, &[0, 1, 2, 3, 4, 5]),
            (8, &[2]),
            (3, &[2]),
        ] {
            let gain = gain_db(channels, sounding);
            assert!(gain.abs() < 1.0, "{sounding:?} of {channels}: {gain} dB");
        }
    }

    #[test]
    fn the_lfe_channel_and_samples_that_are_not_finite_are_silent() {
        assert!(gain_db(6, &[3]) < -100.0);
        let mut mono = Vec::new();
        Downmix::new(Layout::new(48_000, 2, None).expect("a layout"))
            .mix(&[f32::NAN, f32::INFINITY, 9.0, 9.0], &mut mono);
        assert!(mono[0] == 0.0 && mono.iter().all(|sample| sample.abs() <= 1.0), "{mono:?}");
    }
}
