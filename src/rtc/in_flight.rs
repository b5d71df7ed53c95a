//! What was handed to a machine and has not left it yet, in the order in which it will leave.
//!
//! Decides when something counts as given up. Does not know packets: it is told the RTP time of what leaves.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::telemetry::Marks;
use crate::time::RtpTime;

/// Things on the way; with more the oldest is given up. Of pictures this is two and a half seconds.
const MAX_IN_FLIGHT: usize = 64;
/// What has not begun to leave after this will not.
const EXPIRES_AFTER: Duration = Duration::from_secs(2);

/// Pictures, or blocks of voice, on their way out of a machine.
#[derive(Debug, Default)]
pub struct InFlight<const HZ: u32>(VecDeque<Waiting<HZ>>);

#[derive(Clone, Copy, Debug)]
struct Waiting<const HZ: u32> {
    rtp: RtpTime<HZ>,
    marks: Marks,
    since: Instant,
}

/// Something left.
#[derive(Clone, Copy, Debug)]
pub struct Departed {
    /// Its stamps.
    pub marks: Marks,
    /// Things before it that never left.
    pub skipped: usize,
}

impl<const HZ: u32> InFlight<HZ> {
    /// Notes a thing handed to the machine; gives how many were given up for it.
    pub fn push(&mut self, rtp: RtpTime<HZ>, marks: Marks, now: Instant) -> usize {
        self.0.push_back(Waiting { rtp, marks, since: now });
        let expired = self.0.len().saturating_sub(MAX_IN_FLIGHT);
        self.0.drain(..expired);
        expired
    }

    /// How many are on the way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets what waits too long; gives how many. Whoever makes no more of them while some wait would wait forever.
    pub fn expire(&mut self, now: Instant) -> usize {
        let before = self.0.len();
        self.0.retain(|waiting| now.saturating_duration_since(waiting.since) <= EXPIRES_AFTER);
        before - self.0.len()
    }

    /// Forgets all; gives how many.
    pub fn clear(&mut self) -> usize {
        std::mem::take(&mut self.0).len()
    }

    /// A packet of the thing with this RTP time left. None if it is not the first one, or the thing was given up.
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
    fn whatever_enters_leaves_or_is_given_up_or_passed_over_and_each_once() {
        let (mut random, mut now) = (fastrand::Rng::with_seed(4), Wall.now());
        let (mut in_flight, mut settled) = (InFlight::<90_000>::default(), 0);
        for n in 0..10_000_u32 {
            settled += in_flight.push(RtpTime(n.wrapping_mul(3600)), Marks::default(), now);
            now += Duration::from_millis(40);
            // Now and then a packet leaves: of something recent, of something long gone, or twice.
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
