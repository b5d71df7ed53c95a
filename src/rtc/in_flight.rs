//! Frames and audio packets that str0m holds and has not begun to send, in sending order.
//!
//! Decides when one counts as expired. Knows no packets, only the RTP time of what is sent.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::telemetry::Marks;
use crate::time::RtpTime;

/// Items kept; the oldest expires when there are more. For video this is 2.5 s.
const MAX_IN_FLIGHT: usize = 64;
/// An item that is not sent after this has expired.
const EXPIRES_AFTER: Duration = Duration::from_secs(2);

/// Frames, or audio packets, queued in str0m.
#[derive(Debug, Default)]
pub struct InFlight<const HZ: u32>(VecDeque<Waiting<HZ>>);

#[derive(Clone, Copy, Debug)]
struct Waiting<const HZ: u32> {
    rtp: RtpTime<HZ>,
    marks: Marks,
    since: Instant,
}

/// An item whose first packet was sent.
#[derive(Clone, Copy, Debug)]
pub struct Departed {
    /// Its latency marks.
    pub marks: Marks,
    /// Items before it that were never sent.
    pub skipped: usize,
}

impl<const HZ: u32> InFlight<HZ> {
    /// Adds an item; returns how many expired because of it.
    pub fn push(&mut self, rtp: RtpTime<HZ>, marks: Marks, now: Instant) -> usize {
        self.0.push_back(Waiting { rtp, marks, since: now });
        let expired = self.0.len().saturating_sub(MAX_IN_FLIGHT);
        self.0.drain(..expired);
        expired
    }

    /// Number of queued items.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Removes expired items; returns how many. Otherwise a session that encodes none while some are queued would stop.
    pub fn expire(&mut self, now: Instant) -> usize {
        let before = self.0.len();
        self.0.retain(|waiting| now.saturating_duration_since(waiting.since) <= EXPIRES_AFTER);
        before - self.0.len()
    }

    /// Removes all items; returns how many.
    pub fn clear(&mut self) -> usize {
        std::mem::take(&mut self.0).len()
    }

    /// A packet with this RTP time was sent. `None` if it is not the first of its item, or the item has expired.
    pub fn on_first_packet(&mut self, rtp: RtpTime<HZ>) -> Option<Departed> {
        let skipped = self.0.iter().position(|waiting| waiting.rtp == rtp)?;
        let left = self.0.drain(..=skipped).next_back()?;
        Some(Departed { marks: left.marks, skipped })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Wall;

    #[test]
    fn every_item_is_sent_or_expires_or_is_skipped_exactly_once() {
        let (mut random, mut now) = (fastrand::Rng::with_seed(4), Wall.now());
        let (mut in_flight, mut settled) = (InFlight::<90_000>::default(), 0);
        for n in 0..10_000_u32 {
            settled += in_flight.push(RtpTime(n.wrapping_mul(3600)), Marks::default(), now);
            now += Duration::from_millis(40);
            // Sometimes a packet is sent: of a recent item, of an expired one, or twice.
            let rtp = RtpTime(n.saturating_sub(random.u32(0..100)).wrapping_mul(3600));
            for _ in 0..random.usize(0..3) / 2 * 2 {
                settled += in_flight.on_first_packet(rtp).map_or(0, |left| left.skipped + 1);
            }
        }
        assert_eq!(settled + in_flight.len(), 10_000);
        assert!((1..=MAX_IN_FLIGHT).contains(&in_flight.len()));
        settled += in_flight.expire(now + EXPIRES_AFTER);
        assert_eq!((settled, in_flight.len()), (10_000, 0));
    }
}
