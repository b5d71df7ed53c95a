//! Markers in the voice: short chirps at known samples, found again in the voice that comes back.
//!
//! Decides how a marker sounds, where it is, and which sent sample a returned one was. Does not encode or decode.
//! A marker is 30 ms of a rising or falling tone between 1 and 3 kHz: inside what every speech codec keeps, unlike any
//! vowel, and sharp in time, because its autocorrelation is narrow. Which of the two it is follows a sequence of
//! length seven, so that a marker is not taken for its neighbour a second away.

use std::f32::consts::TAU;

/// Samples a second of everything here.
const HZ: f32 = 48_000.0;
/// Length of a marker.
pub const MARKER_SAMPLES: usize = 1440;
/// From one marker to the next.
pub const MARKER_PERIOD_SAMPLES: usize = 48_000;
/// Below this likeness a marker counts as not found.
const LIKENESS_MIN: f32 = 0.45;
/// The coarse search looks at every sixth sample (8 kHz: still above twice the highest tone).
const COARSE: usize = 6;
const LOW_HZ: f32 = 1000.0;
const HIGH_HZ: f32 = 3000.0;
const AMPLITUDE: f32 = 0.3;

/// Which way a marker's tone goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chirp {
    /// From low to high.
    Rising,
    /// From high to low.
    Falling,
}

impl Chirp {
    /// The chirp of marker number `n`: a maximum-length sequence of seven.
    #[must_use]
    pub fn of(n: usize) -> Self {
        const SEQUENCE: [Chirp; 7] = [
            Chirp::Rising,
            Chirp::Rising,
            Chirp::Rising,
            Chirp::Falling,
            Chirp::Rising,
            Chirp::Falling,
            Chirp::Falling,
        ];
        SEQUENCE[n % SEQUENCE.len()]
    }

    /// Its samples at 48 kHz.
    #[must_use]
    pub fn samples(self) -> Vec<f32> {
        let length = MARKER_SAMPLES as f32;
        let (from, to) = match self {
            Self::Rising => (LOW_HZ, HIGH_HZ),
            Self::Falling => (HIGH_HZ, LOW_HZ),
        };
        let tone = |n: usize| {
            let t = n as f32 / HZ;
            let sweep = (to - from) / (length / HZ);
            let window = (0.5 - 0.5 * (TAU * n as f32 / length).cos()).sqrt();
            AMPLITUDE * window * (TAU * (from * t + 0.5 * sweep * t * t)).sin()
        };
        (0..MARKER_SAMPLES).map(tone).collect()
    }
}

/// A marker that was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// Its first sample in the searched sound.
    pub at: usize,
    /// How alike it is, 0 to 1.
    pub likeness: f32,
}

/// Looks for `chirp` in `sound`; the best place, if any is alike enough.
#[must_use]
pub fn find(sound: &[f32], chirp: Chirp) -> Option<Found> {
    let template = chirp.samples();
    let coarse = best(&thin(sound), &thin(&template), 0..usize::MAX)?;
    let around = (coarse.at * COARSE).saturating_sub(2 * COARSE)..coarse.at * COARSE + 2 * COARSE;
    best(sound, &template, around).filter(|found| found.likeness >= LIKENESS_MIN)
}

/// Every sixth sample after a mean over six, which is filter enough for tones below 3 kHz.
fn thin(sound: &[f32]) -> Vec<f32> {
    sound.chunks_exact(COARSE).map(|six| six.iter().sum::<f32>() / COARSE as f32).collect()
}

/// The place among `places` where `template` correlates best, normalised by the energy of both.
fn best(sound: &[f32], template: &[f32], places: std::ops::Range<usize>) -> Option<Found> {
    let last = sound.len().checked_sub(template.len())?;
    let energy: f32 = template.iter().map(|t| t * t).sum();
    let likeness = |at: usize| {
        let window = &sound[at..at + template.len()];
        let (product, own) = window.iter().zip(template).fold((0.0, 0.0), |(p, o), (s, t)| (p + s * t, o + s * s));
        // The floor keeps near-silence, where noise may look like anything, from winning.
        product / (energy * f32::max(own, energy * 1e-3)).sqrt()
    };
    (places.start..places.end.min(last + 1))
        .map(|at| Found { at, likeness: likeness(at) })
        .max_by(|a, b| a.likeness.total_cmp(&b.likeness))
}

/// A marker that came back: sent at this sample of the caller's line, heard at that sample of the returned line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Echo {
    /// First sample on the line that was sent.
    pub sent: i64,
    /// First sample on the line that came back.
    pub heard: i64,
}

/// From the returned line to the sent one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VoiceMap {
    echoes: Vec<Echo>,
}

/// Estimates of one marker scatter by less than this (1 ms); more is a true change of delay.
const SCATTER_SAMPLES: i64 = 48;

impl VoiceMap {
    /// The map that `echoes` (in order) give. Those that lie more than half a second from the median delay are mistakes
    /// and left out; runs of the same delay are given their common median, which takes out the scatter of single ones.
    #[must_use]
    pub fn new(echoes: &[Echo]) -> Self {
        let Some(middle) = median(echoes.iter().map(Echo::delay)) else { return Self::default() };
        let sane: Vec<Echo> = echoes.iter().copied().filter(|echo| (echo.delay() - middle).abs() < 24_000).collect();
        let runs = sane.chunk_by(|a, b| (a.delay() - b.delay()).abs() <= SCATTER_SAMPLES);
        Self { echoes: runs.flat_map(smoothed).collect() }
    }

    /// How many markers it stands on.
    #[must_use]
    pub fn len(&self) -> usize {
        self.echoes.len()
    }

    /// How often the delay changed by more than a millisecond from one marker to the next.
    #[must_use]
    pub fn slips(&self) -> usize {
        self.echoes.windows(2).filter(|pair| (pair[0].delay() - pair[1].delay()).abs() > SCATTER_SAMPLES).count()
    }

    /// The sent sample that is heard at `heard`; none outside the markers (by more than one period).
    /// Between two markers that disagree, the earlier sent sample is taken: a delay is never flattered.
    #[must_use]
    pub fn sent_of(&self, heard: i64) -> Option<i64> {
        let period = MARKER_PERIOD_SAMPLES as i64;
        let after = self.echoes.partition_point(|echo| echo.heard <= heard);
        let before =
            after.checked_sub(1).and_then(|n| self.echoes.get(n)).filter(|echo| heard - echo.heard <= 2 * period);
        let next = self.echoes.get(after).filter(|echo| echo.heard - heard <= 2 * period);
        let delay = before.into_iter().chain(next).map(Echo::delay).max()?;
        Some(heard - delay)
    }
}

impl Echo {
    fn delay(&self) -> i64 {
        self.heard - self.sent
    }
}

fn smoothed(run: &[Echo]) -> Vec<Echo> {
    let delay = median(run.iter().map(Echo::delay)).unwrap_or_default();
    run.iter().map(|echo| Echo { sent: echo.sent, heard: echo.sent + delay }).collect()
}

fn median(values: impl Iterator<Item = i64>) -> Option<i64> {
    let mut sorted: Vec<i64> = values.collect();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noise(seed: u64) -> impl FnMut() -> f32 {
        let mut random = fastrand::Rng::with_seed(seed);
        move || random.f32() * 2.0 - 1.0
    }

    fn with_marker(chirp: Chirp, at: usize, noise_level: f32) -> Vec<f32> {
        let mut hiss = noise(7);
        let mut sound: Vec<f32> = (0..48_000).map(|_| hiss() * noise_level).collect();
        chirp.samples().iter().enumerate().for_each(|(n, s)| sound[at + n] += s);
        sound
    }

    #[test]
    fn a_marker_in_noise_is_found_to_the_sample() {
        for chirp in [Chirp::Rising, Chirp::Falling] {
            let found = find(&with_marker(chirp, 12_345, 0.05), chirp).expect("found");
            assert!(found.at.abs_diff(12_345) <= 1 && found.likeness > 0.8, "{found:?}");
        }
    }

    #[test]
    fn one_chirp_is_not_taken_for_the_other_nor_for_noise() {
        assert_eq!(find(&with_marker(Chirp::Rising, 9000, 0.01), Chirp::Falling), None);
        let mut hiss = noise(3);
        let sound: Vec<f32> = (0..48_000).map(|_| hiss() * 0.3).collect();
        assert_eq!(find(&sound, Chirp::Rising), None);
        assert_eq!(find(&[0.0; 48_000], Chirp::Rising), None);
    }

    #[test]
    fn neighbours_within_seven_seconds_never_look_alike_all_along() {
        for shift in 1..7 {
            assert!((0..7).any(|n| Chirp::of(n) != Chirp::of(n + shift)));
        }
    }

    #[test]
    fn the_map_takes_the_longer_delay_where_two_markers_disagree() {
        let echo = |n: i64, delay: i64| Echo { sent: n * 48_000, heard: n * 48_000 + delay };
        let map = VoiceMap::new(&[echo(0, 4800), echo(1, 4801), echo(2, 3840), echo(3, 60_000), echo(4, 3840)]);
        assert_eq!((map.len(), map.slips()), (4, 1));
        assert_eq!(map.sent_of(50_000), Some(50_000 - 4801));
        assert_eq!(map.sent_of(70_000), Some(70_000 - 4801));
        assert_eq!(map.sent_of(110_000), Some(110_000 - 3840));
        assert_eq!(map.sent_of(900_000), None);
        assert_eq!(VoiceMap::new(&[]).sent_of(0), None);
    }
}
