//! Pictures inside a peer's machine of which no packet left yet. A machine: time is given.
//!
//! Decides how long such a picture is waited for. What waits here tells a show to begin no more.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::telemetry::Marks;
use crate::time::{SampleIndex, VideoRtpTime};

/// A picture of which no packet left for so long is not waited for any more.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(2);

/// The pictures, the oldest first: packets leave in the order of their pictures.
#[derive(Debug, Default)]
pub struct Unsent(VecDeque<Waiting>);

#[derive(Clone, Copy, Debug)]
struct Waiting {
    rtp: VideoRtpTime,
    marks: Marks,
    since: Instant,
}

impl Unsent {
    /// The picture of the moment `at` was handed to the machine.
    pub fn push(&mut self, at: SampleIndex, marks: Marks, now: Instant) {
        self.0.push_back(Waiting { rtp: at.to_rtp(), marks, since: now });
    }

    /// How many wait.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// A datagram left. If it is the first of a picture, in packets of payload type `picture`: the stamps of that picture,
    /// and how many were passed over.
    pub fn leave(&mut self, datagram: &[u8], picture: u8) -> Option<(Marks, usize)> {
        let rtp = if self.0.is_empty() { None } else { rtp_time_of(datagram, picture) }?;
        let place = self.0.iter().position(|waiting| waiting.rtp == rtp)?;
        let left = self.0.drain(..=place).next_back()?;
        Some((left.marks, place))
    }

    /// Forgets those that wait too long; says how many.
    pub fn give_up(&mut self, now: Instant) -> usize {
        let before = self.count();
        self.0.retain(|waiting| now.saturating_duration_since(waiting.since) <= GIVEN_UP_AFTER);
        before - self.count()
    }
}

/// The RTP time of a packet of payload type `wanted`; none for anything else (RFC 3550, section 5.1; RFC 7983).
fn rtp_time_of(datagram: &[u8], wanted: u8) -> Option<VideoRtpTime> {
    let is_rtp = (128..192).contains(datagram.first()?);
    let time = datagram.get(4..8)?.try_into().ok()?;
    (is_rtp && datagram.get(1)? & 0x7f == wanted).then(|| VideoRtpTime::from_ticks(u32::from_be_bytes(time).into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Wall;

    fn packet(at: u64) -> Vec<u8> {
        let rtp: VideoRtpTime = SampleIndex(at).to_rtp();
        let mut bytes = vec![128, 108, 0, 1];
        bytes.extend(rtp.0.to_be_bytes());
        bytes
    }

    #[test]
    fn a_picture_waits_until_its_first_packet_leaves() {
        let (mut unsent, now) = (Unsent::default(), Wall.now());
        (0..3).for_each(|n| unsent.push(SampleIndex(n * 640), Marks::default(), now));
        assert!(unsent.leave(&packet(640), 96).is_none(), "another payload type");
        assert_eq!(unsent.leave(&packet(640), 108).map(|(_, passed)| passed), Some(1));
        assert!(unsent.leave(&packet(640), 108).is_none(), "its second packet");
        assert_eq!(unsent.count(), 1);
        assert_eq!(unsent.give_up(now + Duration::from_secs(1)), 0);
        assert_eq!((unsent.give_up(now + Duration::from_secs(3)), unsent.count()), (1, 0));
    }
}
