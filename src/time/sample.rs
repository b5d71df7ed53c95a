//! Positions and rates on a session's 16 kHz timeline.

use std::ops::{Add, Sub};
use std::time::Duration;

use super::{RtpTime, SPEECH_HZ};

/// A position on a session's timeline, in samples at 16 kHz. The timeline has no gaps; 0 is the start of the session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SampleIndex(pub u64);

impl SampleIndex {
    /// The start of the timeline.
    pub const ZERO: Self = Self(0);

    /// Time from the start of the timeline to this sample.
    #[must_use]
    pub fn since_start(self) -> Duration {
        let seconds = self.0 / u64::from(SPEECH_HZ);
        let rest = self.0 % u64::from(SPEECH_HZ);
        Duration::new(seconds, u32::try_from(rest * 1_000_000_000 / u64::from(SPEECH_HZ)).unwrap_or(0))
    }

    /// The last sample at or before `elapsed` since the start of the timeline.
    #[must_use]
    pub fn at(elapsed: Duration) -> Self {
        let whole = elapsed.as_secs() * u64::from(SPEECH_HZ);
        Self(whole + u64::from(elapsed.subsec_nanos()) * u64::from(SPEECH_HZ) / 1_000_000_000)
    }

    /// The same time on an RTP clock of `HZ` ticks per second, wrapped (RFC 3550, section 5.1).
    #[must_use]
    pub fn to_rtp<const HZ: u32>(self) -> RtpTime<HZ> {
        RtpTime::from_ticks(u128::from(self.0) * u128::from(HZ) / u128::from(SPEECH_HZ))
    }

    /// Samples from `earlier` to `self`; zero if `earlier` is later.
    #[must_use]
    pub fn samples_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<u64> for SampleIndex {
    type Output = Self;
    fn add(self, samples: u64) -> Self {
        Self(self.0 + samples)
    }
}

impl Sub<u64> for SampleIndex {
    type Output = Self;
    fn sub(self, samples: u64) -> Self {
        Self(self.0.saturating_sub(samples))
    }
}

/// A rational number of events per second, such as 30000/1001 frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    count: u32,
    seconds: u32,
}

impl Rate {
    /// `count` events every `seconds` seconds; `None` if either is zero.
    #[must_use]
    pub fn new(count: u32, seconds: u32) -> Option<Self> {
        (count > 0 && seconds > 0).then_some(Self { count, seconds })
    }

    /// Time of event `n` on the 16 kHz timeline, rounded down to a sample.
    #[must_use]
    pub fn event_time(self, n: u64) -> SampleIndex {
        let samples = u128::from(n) * u128::from(self.seconds) * u128::from(SPEECH_HZ) / u128::from(self.count);
        SampleIndex(u64::try_from(samples).unwrap_or(u64::MAX))
    }

    /// The first event at or after `at`.
    #[must_use]
    pub fn first_event_from(self, at: SampleIndex) -> u64 {
        let scale = u128::from(self.seconds) * u128::from(SPEECH_HZ);
        // `event_time` rounds down, so event n is at or after `at` when n * scale / count >= at.
        let n = (u128::from(at.0) * u128::from(self.count)).div_ceil(scale);
        u64::try_from(n).unwrap_or(u64::MAX)
    }

    /// Time from one event to the next.
    #[must_use]
    pub fn interval(self) -> Duration {
        Duration::from_secs_f64(f64::from(self.seconds) / f64::from(self.count))
    }

    /// Events per second, for display.
    #[must_use]
    pub fn per_second(self) -> f64 {
        f64::from(self.count) / f64::from(self.seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_sample_survives_the_conversion_to_time_and_back(sample in 0_u64..1 << 50) {
            let back = SampleIndex::at(SampleIndex(sample).since_start());
            prop_assert!(back.0 == sample || back.0 + 1 == sample);
        }
    }
}
