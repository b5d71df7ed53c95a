//! What was handed to a machine and has not left it yet, in the order in which it will leave.
//!
//! Decides when something counts as given up. Does not know packets: it is told the RTP time of what leaves.

use std::collections::VecDeque;

use crate::telemetry::Marks;
use crate::time::RtpTime;

/// Things on the way; with more the oldest is given up. Of pictures this is two and a half seconds.
const MOST: usize = 64;

/// Pictures, or blocks of voice, on their way out of a machine.
#[derive(Debug, Default)]
pub struct Leaving<const HZ: u32>(VecDeque<(RtpTime<HZ>, Marks)>);

/// Something left.
#[derive(Clone, Copy, Debug)]
pub struct Left {
    /// Its stamps.
    pub marks: Marks,
    /// Things before it that never left.
    pub passed_over: usize,
}

impl<const HZ: u32> Leaving<HZ> {
    /// Notes a thing handed to the machine; gives how many were given up for it.
    pub fn enter(&mut self, rtp: RtpTime<HZ>, marks: Marks) -> usize {
        self.0.push_back((rtp, marks));
        let given_up = self.0.len().saturating_sub(MOST);
        self.0.drain(..given_up);
        given_up
    }

    /// A packet of the thing with this RTP time left. None if it is not the first one, or the thing was given up.
    pub fn leave(&mut self, rtp: RtpTime<HZ>) -> Option<Left> {
        let passed_over = self.0.iter().position(|(its, _)| *its == rtp)?;
        let (_, marks) = self.0.drain(..=passed_over).next_back()?;
        Some(Left { marks, passed_over })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_enters_leaves_or_is_given_up_or_passed_over_and_each_once() {
        let mut random = fastrand::Rng::with_seed(4);
        let (mut leaving, mut settled) = (Leaving::<90_000>::default(), 0);
        for n in 0..10_000_u32 {
            settled += leaving.enter(RtpTime(n.wrapping_mul(3600)), Marks::default());
            // Now and then a packet leaves: of something recent, of something long gone, or twice.
            let rtp = RtpTime(n.saturating_sub(random.u32(0..100)).wrapping_mul(3600));
            for _ in 0..random.usize(0..3) / 2 * 2 {
                settled += leaving.leave(rtp).map_or(0, |left| left.passed_over + 1);
            }
        }
        assert_eq!(settled + leaving.0.len(), 10_000);
        assert!(leaving.0.len() <= MOST);
    }
}
