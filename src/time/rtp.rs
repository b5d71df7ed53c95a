//! RTP timestamps: 32 bits that wrap, on a clock whose rate is part of the type.

use super::{OPUS_HZ, VIDEO_CLOCK_HZ};

/// A timestamp of an RTP stream with `HZ` ticks per second (RFC 3550, section 5.1). It wraps at 2^32.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RtpTime<const HZ: u32>(pub u32);

/// RTP time of Opus.
pub type AudioRtpTime = RtpTime<OPUS_HZ>;
/// RTP time of video.
pub type VideoRtpTime = RtpTime<VIDEO_CLOCK_HZ>;

impl<const HZ: u32> RtpTime<HZ> {
    /// The timestamp after `ticks` ticks from zero, wrapped.
    #[must_use]
    pub fn from_ticks(ticks: u128) -> Self {
        Self(u32::try_from(ticks & u128::from(u32::MAX)).unwrap_or(0))
    }

    /// Signed ticks from `earlier` to `self`, modulo 2^32 and below 2^31 in magnitude.
    #[must_use]
    pub fn ticks_since(self, earlier: Self) -> i32 {
        self.0.wrapping_sub(earlier.0).cast_signed()
    }

    /// The timestamp `ticks` later.
    #[must_use]
    pub fn plus(self, ticks: u32) -> Self {
        Self(self.0.wrapping_add(ticks))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::SampleIndex;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn differences_hold_across_the_wrap(start in any::<u32>(), step in 0_i32..i32::MAX) {
            let earlier = VideoRtpTime::default().plus(start);
            let later = earlier.plus(step.cast_unsigned());
            prop_assert_eq!(later.ticks_since(earlier), step);
            prop_assert_eq!(earlier.ticks_since(later), -step);
        }

        #[test]
        fn audio_and_video_time_of_one_sample_stay_in_step(sample in 0_u64..1 << 40) {
            let frame = SampleIndex(sample / 8 * 8);
            let (video, audio) = (frame.to_rtp::<VIDEO_CLOCK_HZ>(), frame.to_rtp::<OPUS_HZ>());
            let next = frame + 640;
            prop_assert_eq!(next.to_rtp::<VIDEO_CLOCK_HZ>().ticks_since(video), 3600);
            prop_assert_eq!(next.to_rtp::<OPUS_HZ>().ticks_since(audio), 1920);
        }
    }
}
