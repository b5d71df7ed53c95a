//! What only a peer that is there now can say.
//!
//! Whoever listens in can say again all that was said: the machine refuses RTP that it has seen, but not RTCP and STUN. So
//! once we have sent reports, only what answers a new one counts, feedback that is newer than all before, and a STUN request
//! whose number is new. A machine: time is given.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use str0m::rtp::rtcp::{ReceptionReport, Rtcp};

/// An answer to a report that is older than this proves nothing: a session that died is over within ten seconds, and seven
/// of them are silence.
const ANSWERED_WITHIN: Duration = Duration::from_millis(2_500);
/// STUN requests remembered: those of hours, as one comes every few seconds.
const QUESTIONS: usize = 4096;
/// Reports remembered: of two lines, for longer than that.
const MOST: usize = 16;
/// From 1900, where NTP begins, to 1970 (RFC 5905, section 6).
const NTP_TO_UNIX_S: u64 = 2_208_988_800;
/// Times of reports may come back rounded otherwise, by so many units of 15 us.
const ROUNDING: u32 = 70;

/// What was asked, and the newest feedback.
#[derive(Debug, Default)]
pub struct Liveness {
    asked: VecDeque<(u32, Instant)>,
    /// Reference time and count of the newest feedback.
    newest: Option<(u32, u8)>,
    questions: VecDeque<[u8; 12]>,
}

impl Liveness {
    /// Whether a STUN request that was believed is no repetition. Their numbers are random (RFC 8489, section 5), and a peer
    /// that reports seldom still asks whether we consent every five seconds (RFC 7675, section 5.1).
    pub fn is_new_question(&mut self, number: [u8; 12]) -> bool {
        let is_new = !self.questions.contains(&number);
        if is_new {
            self.questions.drain(..(self.questions.len() + 1).saturating_sub(QUESTIONS));
            self.questions.push_back(number);
        }
        is_new
    }

    /// We sent this.
    pub fn ask(&mut self, report: &Rtcp, now: Instant) {
        let Rtcp::SenderReport(report) = report else { return };
        if self.asked.len() == MOST {
            self.asked.pop_front();
        }
        self.asked.push_back((middle_of_ntp(report.sender_info.ntp_time), now));
    }

    /// Whether this proves that the peer is there.
    pub fn hear(&mut self, report: &Rtcp, now: Instant) -> bool {
        let proves = match report {
            Rtcp::ReceiverReport(report) => report.reports.iter().any(|report| self.answers(report, now)),
            Rtcp::SenderReport(report) => report.reports.iter().any(|report| self.answers(report, now)),
            Rtcp::Twcc(feedback) => self.is_new((feedback.reference_time, feedback.feedback_count)),
            _ => false,
        };
        // Before we reported anything there is nothing to answer.
        proves || self.asked.is_empty()
    }

    /// RFC 3550, section 6.4.1: a report names the newest of ours that came.
    fn answers(&self, report: &ReceptionReport, now: Instant) -> bool {
        let is_it = |asked: u32| asked.abs_diff(report.last_sr_time) <= ROUNDING;
        self.asked.iter().any(|(asked, at)| is_it(*asked) && now.saturating_duration_since(*at) < ANSWERED_WITHIN)
    }

    /// The receiver's clock goes on, in steps of 64 ms of 24 bits, and it counts its feedback.
    fn is_new(&mut self, feedback: (u32, u8)) -> bool {
        let forth = |(time, count): (u32, u8)| {
            let time = feedback.0.wrapping_sub(time) & 0x00ff_ffff;
            time < 0x0080_0000 && (time > 0 || (1..128).contains(&feedback.1.wrapping_sub(count)))
        };
        let is_new = self.newest.is_none_or(forth);
        if is_new {
            self.newest = Some(feedback);
        }
        is_new
    }
}

/// The middle 32 bits of a time of NTP.
fn middle_of_ntp(time: SystemTime) -> u32 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = (since.as_secs() + NTP_TO_UNIX_S) & 0xffff;
    (seconds << 16) as u32 | (u64::from(since.subsec_nanos()) * 65_536 / 1_000_000_000) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_new_once() {
        let mut proof = Liveness::default();
        let number = |n: usize| [[7; 4], [0; 4], (n as u32).to_be_bytes()].concat().try_into().expect("twelve bytes");
        assert!((0..QUESTIONS).all(|n| proof.is_new_question(number(n))));
        assert!((0..QUESTIONS).all(|n| !proof.is_new_question(number(n))));
        assert!(proof.is_new_question(number(QUESTIONS)) && proof.questions.len() == QUESTIONS);
    }
}
