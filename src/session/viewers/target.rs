//! Combines the targets of all connections: video bitrate and audio protection of a session.
//!
//! The *leader* (the owner of the microphone, or the only viewer) counts fully. Of the other viewers the session uses the 20th
//! percentile, but at least [`FLOOR_BPS`] for them. One slow viewer therefore does not lower the quality of the others: its
//! pacer fills up and it skips to the next keyframe (`rtc`'s frame gate). Pure arithmetic.

use crate::adapt::AudioPlan;

/// The minimum video bitrate on account of viewers other than the leader, in bits per second. The same as the floor of
/// a single call while its loss is random (`rtc::congestion`): with less, a talking head is not usable.
pub const FLOOR_BPS: u32 = 400_000;
/// Share of the other viewers whose connection may carry less than the session sends.
const LEFT_BEHIND: f64 = 0.2;

/// What one connection carries; `None` until it has an estimate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ViewerTarget {
    /// Video, in bits per second.
    pub video_bps: Option<u32>,
    /// How its audio is best encoded.
    pub audio: Option<AudioPlan>,
}

/// The combined target of the session.
pub(super) fn combine(
    leader: Option<ViewerTarget>,
    others: impl Iterator<Item = ViewerTarget> + Clone,
) -> ViewerTarget {
    let leader = leader.unwrap_or_default();
    let carried = |bps: u32| bps.max(FLOOR_BPS);
    let of_others = low(others.clone().filter_map(|other| other.video_bps)).map(carried);
    let plans = || others.clone().filter_map(|other| other.audio);
    let audio_bps = leader.audio.map(|plan| plan.bitrate_bps).or_else(|| low(plans().map(|plan| plan.bitrate_bps)));
    let loss = leader.audio.map(|plan| plan.loss_percent).max(high(plans().map(|plan| plan.loss_percent)));
    ViewerTarget {
        video_bps: least(leader.video_bps, of_others),
        audio: audio_bps.zip(loss).map(|(bitrate_bps, loss_percent)| AudioPlan { bitrate_bps, loss_percent }),
    }
}

fn least(one: Option<u32>, other: Option<u32>) -> Option<u32> {
    one.into_iter().chain(other).min()
}

/// The 20th percentile.
fn low<T: Ord + Copy>(values: impl Iterator<Item = T>) -> Option<T> {
    let mut sorted: Vec<T> = values.collect();
    sorted.sort_unstable();
    sorted.get((sorted.len() as f64 * LEFT_BEHIND) as usize).copied()
}

/// The 80th percentile.
fn high<T: Ord + Copy>(values: impl Iterator<Item = T>) -> Option<T> {
    let mut sorted: Vec<T> = values.collect();
    sorted.sort_unstable_by(|a, b| b.cmp(a));
    sorted.get((sorted.len() as f64 * LEFT_BEHIND) as usize).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn video(bps: u32) -> ViewerTarget {
        ViewerTarget { video_bps: Some(bps), audio: None }
    }

    fn target(leader: Option<u32>, others: &[u32]) -> Option<u32> {
        combine(leader.map(video), others.iter().map(|bps| video(*bps))).video_bps
    }

    #[test]
    fn the_leader_counts_fully() {
        assert_eq!(target(Some(150_000), &[]), Some(150_000));
        assert_eq!(target(Some(150_000), &[2_000_000; 9]), Some(150_000));
        assert_eq!(target(None, &[]), None);
    }

    #[test]
    fn one_slow_viewer_in_five_is_ignored_and_two_lower_the_bitrate() {
        let rest = [1_500_000; 4];
        assert_eq!(target(Some(2_000_000), &[&[50_000][..], &rest].concat()), Some(1_500_000));
        assert_eq!(target(None, &[&[50_000, 900_000][..], &rest].concat()), Some(900_000));
    }

    #[test]
    fn viewers_other_than_the_leader_never_lower_the_bitrate_below_the_floor() {
        assert_eq!(target(Some(2_000_000), &[50_000]), Some(FLOOR_BPS));
        assert_eq!(target(None, &[50_000; 20]), Some(FLOOR_BPS));
        assert_eq!(target(Some(100_000), &[50_000; 20]), Some(100_000));
    }

    #[test]
    fn audio_has_fec_for_the_lossiest_viewers_and_the_bitrate_of_the_leader() {
        let plan = |bitrate_bps, loss_percent| ViewerTarget {
            audio: Some(AudioPlan { bitrate_bps, loss_percent }),
            video_bps: None,
        };
        let others = [plan(24_000, 30), plan(40_000, 20), plan(40_000, 5), plan(40_000, 5), plan(40_000, 5)];
        let audio = |leader| combine(leader, others.iter().copied()).audio;
        assert_eq!(audio(Some(plan(40_000, 5))), plan(40_000, 20).audio);
        assert_eq!(audio(None), plan(40_000, 20).audio);
    }
}
