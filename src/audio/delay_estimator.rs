//! Estimates the target delay of the jitter buffer.
//!
//! Decides the base (arrival of the fastest packets, relative to the sender's clock) and the depth above it (what late packets
//! need). Does not move playout: the playout clock follows this target.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::time::OPUS_HZ;

/// Minimum depth without jitter, in ms: the precision of timers and sockets.
const LEAST_DEPTH_MS: f64 = 4.0;
/// The depth beyond which packets count as lost.
const MOST_DEPTH_MS: f64 = 400.0;
/// Margin above the planned lateness, in ms.
const MARGIN_MS: f64 = 1.5;
/// The share of packets that the depth is sized for.
const IN_TIME_SHARE: f64 = 0.97;
/// Bin width of the lateness histogram, in ms.
const BIN_MS: f64 = 1.0;
/// Bins of the histogram.
const BINS: usize = MOST_DEPTH_MS as usize;
/// After this many packets (10 s) the weight of a packet in the histogram has decayed to 1/e.
const MEMORY_PACKETS: f64 = 500.0;
/// Weight of a packet that arrived too late, so that the depth grows quickly.
const LATE_WEIGHT: f64 = 4.0;
/// The base is the minimum over this window.
const BASE_WINDOW: Duration = Duration::from_secs(4);
/// The window is stored as minima over steps of this length.
const BASE_STEP: Duration = Duration::from_millis(250);
/// Clock drift is measured over at most this time.
const DRIFT_WINDOW: Duration = Duration::from_mins(1);

/// The estimator.
#[derive(Clone, Debug)]
pub(super) struct DelayEstimator {
    start: Instant,
    /// The start of each step and the smallest offset in it.
    minima: VecDeque<(Instant, f64)>,
    bins: Box<[f64; BINS]>,
    weight: f64,
    /// Samples of the base over time.
    bases: VecDeque<(Instant, f64)>,
}

/// Whether a packet arrived before its playout time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Punctuality {
    InTime,
    Late,
}

impl DelayEstimator {
    /// Offsets are counted from `start`.
    pub fn new(start: Instant) -> Self {
        Self { start, minima: VecDeque::new(), bins: Box::new([0.0; BINS]), weight: 0.0, bases: VecDeque::new() }
    }

    /// Arrival time minus the sender's time of `position`: the offset between both clocks, in seconds since the start.
    pub fn offset_s(&self, position: i64, arrived: Instant) -> f64 {
        arrived.saturating_duration_since(self.start).as_secs_f64() - position as f64 / f64::from(OPUS_HZ)
    }

    /// The instant for an offset and a position, not before the start.
    pub fn instant(&self, offset_s: f64, position: i64) -> Instant {
        let seconds = (offset_s + position as f64 / f64::from(OPUS_HZ)).max(0.0);
        self.start + Duration::try_from_secs_f64(seconds).unwrap_or_default()
    }

    /// The position of the fastest packet that could arrive at `at`: samples before it were sent earlier.
    pub fn spoken_by(&self, at: Instant) -> Option<i64> {
        Some(((self.offset_s(0, at) - self.base_s()?) * f64::from(OPUS_HZ)) as i64)
    }

    /// Updates the estimate with a packet that was needed at `position`.
    pub fn observe(&mut self, position: i64, arrived: Instant, punctuality: Punctuality) {
        let offset = self.offset_s(position, arrived);
        self.observe_base(offset, arrived);
        let Some(base) = self.base_s() else { return };
        let late_ms = ((offset - base) * 1000.0).max(0.0);
        let kept = 1.0 - 1.0 / MEMORY_PACKETS;
        self.bins.iter_mut().for_each(|bin| *bin *= kept);
        let weight = if punctuality == Punctuality::Late { LATE_WEIGHT } else { 1.0 };
        self.bins[((late_ms / BIN_MS) as usize).min(BINS - 1)] += weight;
        self.weight = self.weight * kept + weight;
    }

    fn observe_base(&mut self, offset: f64, now: Instant) {
        while self.minima.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > BASE_WINDOW) {
            self.minima.pop_front();
        }
        match self.minima.back_mut() {
            Some((at, least)) if now.saturating_duration_since(*at) < BASE_STEP => *least = least.min(offset),
            _ => {
                self.minima.push_back((now, offset));
                self.record_base(now);
            }
        }
    }

    fn record_base(&mut self, now: Instant) {
        let Some(base) = self.base_s() else { return };
        self.bases.push_back((now, base));
        while self.bases.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > DRIFT_WINDOW) {
            self.bases.pop_front();
        }
    }

    /// The offset of the fastest recent packets, in seconds. `None` before the first packet.
    pub fn base_s(&self) -> Option<f64> {
        self.minima.iter().map(|(_, least)| *least).reduce(f64::min)
    }

    /// Whether the base is recent.
    pub fn is_fresh(&self, now: Instant) -> bool {
        self.minima.back().is_some_and(|(at, _)| now.saturating_duration_since(*at) <= BASE_WINDOW)
    }

    /// The 97th percentile of lateness relative to the base, in ms.
    pub fn jitter_ms(&self) -> f64 {
        let wanted = self.weight * IN_TIME_SHARE;
        let mut seen = 0.0;
        let bin = self.bins.iter().position(|bin| {
            seen += bin;
            seen >= wanted && seen > 0.0
        });
        bin.map_or(0.0, |bin| bin as f64 * BIN_MS)
    }

    /// The depth above the base, in ms.
    pub fn depth_ms(&self) -> f64 {
        (self.jitter_ms() + BIN_MS + MARGIN_MS).clamp(LEAST_DEPTH_MS, MOST_DEPTH_MS)
    }

    /// Base and depth: the offset at which positions should be played, in seconds.
    pub fn target_s(&self) -> Option<f64> {
        Some(self.base_s()? + self.depth_ms() / 1000.0)
    }

    /// The offset that leaves time for `samples` more to arrive, if they are as fast as the base, in seconds.
    pub fn shallowest_s(&self, samples: i64) -> Option<f64> {
        let wait_s = samples.max(0) as f64 / f64::from(OPUS_HZ);
        Some(self.base_s()? + wait_s + LEAST_DEPTH_MS / 1000.0)
    }

    /// How much faster the sender's clock runs than the server's, in parts per million; 0 before 10 s were received.
    pub fn drift_ppm(&self) -> f64 {
        let (Some(first), Some(last)) = (self.bases.front(), self.bases.back()) else { return 0.0 };
        let seconds = last.0.saturating_duration_since(first.0).as_secs_f64();
        if seconds < 10.0 { 0.0 } else { (first.1 - last.1) / seconds * 1e6 }
    }

    /// Resets the estimate, after the sender's clock was replaced by another.
    pub fn reset(&mut self) {
        *self = Self::new(self.start);
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs an arbitrary first instant")]
mod tests {
    use super::*;

    /// Receives `seconds` of packets from second `from` on, each late by `late_ms()`.
    fn receive(delay: &mut DelayEstimator, from: i64, seconds: i64, mut late_ms: impl FnMut() -> f64) {
        for n in from * 50..(from + seconds) * 50 {
            let spoken = delay.start + Duration::from_millis(20) * u32::try_from(n).expect("short");
            let arrived = spoken + Duration::from_secs_f64((30.0 + late_ms()) / 1000.0);
            delay.observe(n * 960, arrived, Punctuality::InTime);
        }
    }

    #[test]
    fn the_depth_follows_jitter() {
        let mut random = fastrand::Rng::with_seed(3);
        let mut delay = DelayEstimator::new(Instant::now());
        receive(&mut delay, 0, 10, || random.f64());
        assert!((delay.base_s().expect("base") - 0.03).abs() < 0.001);
        assert!(delay.depth_ms() <= 4.0, "{}", delay.depth_ms());
        receive(&mut delay, 10, 2, || random.f64() * 80.0);
        assert!(delay.depth_ms() > 60.0, "grows within 2 s: {}", delay.depth_ms());
        receive(&mut delay, 12, 5, || random.f64());
        assert!(delay.depth_ms() > 40.0, "still remembers after 5 s: {}", delay.depth_ms());
        receive(&mut delay, 17, 30, || random.f64());
        assert!(delay.depth_ms() < 6.0, "calm again after 30 s: {}", delay.depth_ms());
    }

    #[test]
    fn clock_drift_is_measured() {
        let mut delay = DelayEstimator::new(Instant::now());
        for n in 0..3_000_i64 {
            let seconds = 0.02 * n as f64 * (1.0 + 150e-6) + 0.05;
            delay.observe(n * 960, delay.start + Duration::from_secs_f64(seconds), Punctuality::InTime);
        }
        assert!((delay.drift_ppm() + 150.0).abs() < 15.0, "slower by 150 ppm, measured {}", delay.drift_ppm());
    }
}
