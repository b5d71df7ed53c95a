//! Markers in the speech: short chirps at known samples, detected again in the returned audio.
//!
//! Decides the waveform of a marker, its detection, and the mapping from returned to sent samples. Does not encode or decode.
//! A marker is a linear chirp of 30 ms between 1 and 3 kHz: within the band of every speech codec, unlike any vowel, and with a
//! narrow autocorrelation. Its direction follows a maximum-length sequence of seven, so that a marker is not mistaken for
//! its neighbour a second away.

use std::f32::consts::TAU;

/// Sample rate of everything in this file.
const HZ: f32 = 48_000.0;
/// Duration of a marker.
pub const MARKER_SAMPLES: usize = 1440;
/// Interval between markers.
pub const MARKER_PERIOD_SAMPLES: usize = 48_000;
/// A marker with a lower correlation counts as not detected.
const CORRELATION_MIN: f32 = 0.45;
/// Decimation of the coarse search (8 kHz: still above twice the highest frequency).
const COARSE: usize = 6;
const LOW_HZ: f32 = 1000.0;
const HIGH_HZ: f32 = 3000.0;
const AMPLITUDE: f32 = 0.3;

/// Direction of a marker's frequency sweep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chirp {
    /// 1 to 3 kHz.
    Rising,
    /// 3 to 1 kHz.
    Falling,
}

impl Chirp {
    /// The direction of marker number `n`.
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

    /// The waveform at 48 kHz.
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

/// A detected marker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// First sample, in the searched audio.
    pub at: usize,
    /// Normalised correlation, 0 to 1.
    pub correlation: f32,
}

/// The position in `audio` that correlates best with `chirp`; `None` below [`CORRELATION_MIN`].
#[must_use]
pub fn find(audio: &[f32], chirp: Chirp) -> Option<Detection> {
    let template = chirp.samples();
    let coarse = best(&decimate(audio), &decimate(&template), 0..usize::MAX)?;
    let around = (coarse.at * COARSE).saturating_sub(2 * COARSE)..coarse.at * COARSE + 2 * COARSE;
    best(audio, &template, around).filter(|found| found.correlation >= CORRELATION_MIN)
}

/// Decimates by [`COARSE`]; the mean of six samples is low-pass filter enough for frequencies below 3 kHz.
fn decimate(audio: &[f32]) -> Vec<f32> {
    audio.chunks_exact(COARSE).map(|six| six.iter().sum::<f32>() / COARSE as f32).collect()
}

/// The position within `positions` where `template` correlates best, normalised by the energy of both.
fn best(audio: &[f32], template: &[f32], positions: std::ops::Range<usize>) -> Option<Detection> {
    let last = audio.len().checked_sub(template.len())?;
    let energy: f32 = template.iter().map(|t| t * t).sum();
    let correlation = |at: usize| {
        let window = &audio[at..at + template.len()];
        let (product, own) = window.iter().zip(template).fold((0.0, 0.0), |(p, o), (s, t)| (p + s * t, o + s * s));
        // The floor excludes near silence, where noise correlates with anything.
        product / (energy * f32::max(own, energy * 1e-3)).sqrt()
    };
    (positions.start..positions.end.min(last + 1))
        .map(|at| Detection { at, correlation: correlation(at) })
        .max_by(|a, b| a.correlation.total_cmp(&b.correlation))
}

/// A marker that was sent and detected again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MarkerMatch {
    /// First sample in the client's speech.
    pub sent: i64,
    /// First sample in the returned audio.
    pub received: i64,
}

/// Maps returned samples to sent samples.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DelayMap {
    matches: Vec<MarkerMatch>,
}

/// Positions of markers scatter by less than this (1 ms); a larger step is a change of the delay.
const SCATTER_SAMPLES: i64 = 48;

impl DelayMap {
    /// Builds the map from `matches` in order. Matches more than half a second from the median delay are false detections and are
    /// discarded. Each run of equal delays takes its median, which removes the scatter of single detections.
    #[must_use]
    pub fn new(matches: &[MarkerMatch]) -> Self {
        let Some(typical) = median(matches.iter().map(MarkerMatch::delay)) else { return Self::default() };
        let is_plausible = |found: &MarkerMatch| (found.delay() - typical).abs() < 24_000;
        let plausible: Vec<MarkerMatch> = matches.iter().copied().filter(is_plausible).collect();
        let runs = plausible.chunk_by(|a, b| (a.delay() - b.delay()).abs() <= SCATTER_SAMPLES);
        Self { matches: runs.flat_map(smoothed).collect() }
    }

    /// Number of markers that the map is built from.
    #[must_use]
    pub fn len(&self) -> usize {
        self.matches.len()
    }

    /// Number of changes of the delay by more than a millisecond from one marker to the next.
    #[must_use]
    pub fn delay_changes(&self) -> usize {
        self.matches.windows(2).filter(|pair| (pair[0].delay() - pair[1].delay()).abs() > SCATTER_SAMPLES).count()
    }

    /// The sent sample that is returned at `received`; `None` further than two periods from any marker. Between two markers
    /// with different delays the longer delay applies, so that no latency is underestimated.
    #[must_use]
    pub fn sent_of(&self, received: i64) -> Option<i64> {
        let period = MARKER_PERIOD_SAMPLES as i64;
        let after = self.matches.partition_point(|found| found.received <= received);
        let before = after
            .checked_sub(1)
            .and_then(|n| self.matches.get(n))
            .filter(|found| received - found.received <= 2 * period);
        let next = self.matches.get(after).filter(|found| found.received - received <= 2 * period);
        let delay = before.into_iter().chain(next).map(MarkerMatch::delay).max()?;
        Some(received - delay)
    }
}

impl MarkerMatch {
    fn delay(&self) -> i64 {
        self.received - self.sent
    }
}

fn smoothed(run: &[MarkerMatch]) -> Vec<MarkerMatch> {
    let delay = median(run.iter().map(MarkerMatch::delay)).unwrap_or_default();
    run.iter().map(|found| MarkerMatch { sent: found.sent, received: found.sent + delay }).collect()
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
        let mut audio: Vec<f32> = (0..48_000).map(|_| hiss() * noise_level).collect();
        chirp.samples().iter().enumerate().for_each(|(n, s)| audio[at + n] += s);
        audio
    }

    #[test]
    fn a_marker_in_noise_is_located_to_the_sample() {
        for chirp in [Chirp::Rising, Chirp::Falling] {
            let found = find(&with_marker(chirp, 12_345, 0.05), chirp).expect("found");
            assert!(found.at.abs_diff(12_345) <= 1 && found.correlation > 0.8, "{found:?}");
        }
    }

    #[test]
    fn neither_noise_nor_the_other_chirp_is_detected() {
        assert_eq!(find(&with_marker(Chirp::Rising, 9000, 0.01), Chirp::Falling), None);
        let mut hiss = noise(3);
        let audio: Vec<f32> = (0..48_000).map(|_| hiss() * 0.3).collect();
        assert_eq!(find(&audio, Chirp::Rising), None);
        assert_eq!(find(&[0.0; 48_000], Chirp::Rising), None);
    }

    #[test]
    fn the_sequence_of_directions_differs_from_each_of_its_shifts() {
        for shift in 1..7 {
            assert!((0..7).any(|n| Chirp::of(n) != Chirp::of(n + shift)));
        }
    }

    #[test]
    fn the_longer_delay_applies_between_markers_that_disagree() {
        let found = |n: i64, delay: i64| MarkerMatch { sent: n * 48_000, received: n * 48_000 + delay };
        let map = DelayMap::new(&[found(0, 4800), found(1, 4801), found(2, 3840), found(3, 60_000), found(4, 3840)]);
        assert_eq!((map.len(), map.delay_changes()), (4, 1));
        assert_eq!(map.sent_of(50_000), Some(50_000 - 4801));
        assert_eq!(map.sent_of(70_000), Some(70_000 - 4801));
        assert_eq!(map.sent_of(110_000), Some(110_000 - 3840));
        assert_eq!(map.sent_of(900_000), None);
        assert_eq!(DelayMap::new(&[]).sent_of(0), None);
    }
}
