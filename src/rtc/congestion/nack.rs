//! Packets that the receiver requests again, and when a keyframe is cheaper than a retransmission.
//!
//! A browser waits three seconds for a missing packet before it requests a keyframe. A state machine: time is passed in.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use str0m::rtp::rtcp::NackEntry;

/// A packet that is requested this often, and still after this many round trips, does not arrive in time.
const MAX_REQUESTS: u32 = 4;
const RTTS: u32 = 2;
/// Least time between two keyframes.
const KEYFRAME_INTERVAL: Duration = Duration::from_millis(1_500);
/// Packets kept; the oldest are dropped.
const MAX_PACKETS: usize = 512;
/// How long each is kept.
const MAX_AGE: Duration = Duration::from_secs(4);

/// Packets that are missing at the receiver.
#[derive(Debug, Default)]
pub struct NackTracker {
    /// Sequence number, time of the first request, number of requests.
    requested: VecDeque<(u16, Instant, u32)>,
    keyframe_at: Option<Instant>,
}

impl NackTracker {
    /// The receiver requests these packets. True if it needs a keyframe instead.
    pub fn on_nack<'a>(&mut self, missing: impl Iterator<Item = &'a NackEntry>, rtt: Duration, now: Instant) -> bool {
        let age = |first: Instant| now.saturating_duration_since(first);
        self.requested.retain(|(_, first, _)| age(*first) < MAX_AGE);
        let mut is_unrecoverable = false;
        for sequence in missing.flat_map(sequence_numbers) {
            match self.requested.iter_mut().find(|(known, ..)| *known == sequence) {
                Some((_, first, times)) => {
                    *times += 1;
                    is_unrecoverable |= *times >= MAX_REQUESTS && age(*first) > rtt * RTTS;
                }
                None => self.requested.push_back((sequence, now, 1)),
            }
        }
        self.requested.drain(..self.requested.len().saturating_sub(MAX_PACKETS));
        let is_soon = self.keyframe_at.is_some_and(|at| age(at) < KEYFRAME_INTERVAL);
        let needs_keyframe = !is_soon && is_unrecoverable;
        if needs_keyframe {
            self.on_keyframe(now);
        }
        needs_keyframe
    }

    /// A keyframe was sent: nothing before it is needed.
    pub fn on_keyframe(&mut self, now: Instant) {
        self.keyframe_at = Some(now);
        self.requested.clear();
    }
}

/// The packets that an entry requests (RFC 4585, section 6.2.1).
fn sequence_numbers(entry: &NackEntry) -> impl Iterator<Item = u16> {
    let NackEntry { pid, blp } = *entry;
    let more = (0..16).filter(move |bit| blp >> bit & 1 == 1).map(move |bit| pid.wrapping_add(bit + 1));
    std::iter::once(pid).chain(more)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Wall;

    #[test]
    fn a_repeatedly_requested_packet_leads_to_a_keyframe_after_two_round_trips() {
        let (start, mut tracker) = (Wall.now(), NackTracker::default());
        let missing = [NackEntry { pid: 65_535, blp: 0b10 }];
        let mut nack = |ms: u64, round_trip_ms: u64| {
            let at = start + Duration::from_millis(ms);
            tracker.on_nack(missing.iter(), Duration::from_millis(round_trip_ms), at)
        };
        assert_eq!([0, 50, 100, 150].map(|ms| nack(ms, 50)), [false, false, false, true]);
        // A keyframe clears the history, and the next one waits for the least time.
        assert_eq!([200, 250, 300, 350].map(|ms| nack(ms, 50)), [false; 4]);
        assert_eq!([2_000, 4_000, 4_300, 4_600].map(|ms| nack(ms, 500)), [true, false, false, false]);
    }
}
