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
const MAX_ECHO_AGE: Duration = Duration::from_millis(2_500);
/// STUN requests remembered: those of hours, as one comes every few seconds.
const MAX_TRANSACTIONS: usize = 4096;
/// Reports remembered: of two lines, for longer than that.
const MAX_REPORTS: usize = 16;
/// From 1900, where NTP begins, to 1970 (RFC 5905, section 6).
const NTP_TO_UNIX_S: u64 = 2_208_988_800;
/// Times of reports may come back rounded otherwise, by so many units of 15 us.
const ROUNDING: u32 = 70;

/// What was asked, and the newest feedback.
#[derive(Debug, Default)]
pub struct Liveness {
    reports: VecDeque<(u32, Instant)>,
    /// Reference time and count of the newest feedback.
    newest_feedback: Option<(u32, u8)>,
    transactions: VecDeque<[u8; 12]>,
}

impl Liveness {
    /// Whether a STUN request that was believed is no repetition. Their numbers are random (RFC 8489, section 5), and a peer
    /// that reports seldom still asks whether we consent every five seconds (RFC 7675, section 5.1).
    pub fn is_new_transaction_id(&mut self, number: [u8; 12]) -> bool {
        let is_new = !self.transactions.contains(&number);
        if is_new {
            self.transactions.drain(..(self.transactions.len() + 1).saturating_sub(MAX_TRANSACTIONS));
            self.transactions.push_back(number);
        }
        is_new
    }

    /// We sent this.
    pub fn on_sent(&mut self, report: &Rtcp, now: Instant) {
        let Rtcp::SenderReport(report) = report else { return };
        if self.reports.len() == MAX_REPORTS {
            self.reports.pop_front();
        }
        self.reports.push_back((ntp_middle_32(report.sender_info.ntp_time), now));
    }

    /// Whether this proves that the peer is there.
    pub fn on_received(&mut self, report: &Rtcp, now: Instant) -> bool {
        let proves = match report {
            Rtcp::ReceiverReport(report) => report.reports.iter().any(|report| self.echoes_report(report, now)),
            Rtcp::SenderReport(report) => report.reports.iter().any(|report| self.echoes_report(report, now)),
            Rtcp::Twcc(feedback) => self.is_newer_feedback((feedback.reference_time, feedback.feedback_count)),
            _ => false,
        };
        // Before we reported anything there is nothing to answer.
        proves || self.reports.is_empty()
    }

    /// RFC 3550, section 6.4.1: a report names the newest of ours that came.
    fn echoes_report(&self, report: &ReceptionReport, now: Instant) -> bool {
        let is_it = |asked: u32| asked.abs_diff(report.last_sr_time) <= ROUNDING;
        self.reports.iter().any(|(reports, at)| is_it(*reports) && now.saturating_duration_since(*at) < MAX_ECHO_AGE)
    }

    /// The receiver's clock goes on, in steps of 64 ms of 24 bits, and it counts its feedback.
    fn is_newer_feedback(&mut self, feedback: (u32, u8)) -> bool {
        let forth = |(time, count): (u32, u8)| {
            let time = feedback.0.wrapping_sub(time) & 0x00ff_ffff;
            time < 0x0080_0000 && (time > 0 || (1..128).contains(&feedback.1.wrapping_sub(count)))
        };
        let is_new = self.newest_feedback.is_none_or(forth);
        if is_new {
            self.newest_feedback = Some(feedback);
        }
        is_new
    }
}

/// The middle 32 bits of a time of NTP.
fn ntp_middle_32(time: SystemTime) -> u32 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = (since.as_secs() + NTP_TO_UNIX_S) & 0xffff;
    (seconds << 16) as u32 | (u64::from(since.subsec_nanos()) * 65_536 / 1_000_000_000) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_new_once() {
        let mut liveness = Liveness::default();
        let number = |n: usize| [[7; 4], [0; 4], (n as u32).to_be_bytes()].concat().try_into().expect("twelve bytes");
        assert!((0..MAX_TRANSACTIONS).all(|n| liveness.is_new_transaction_id(number(n))));
        assert!((0..MAX_TRANSACTIONS).all(|n| !liveness.is_new_transaction_id(number(n))));
        assert!(
            liveness.is_new_transaction_id(number(MAX_TRANSACTIONS)) && liveness.transactions.len() == MAX_TRANSACTIONS
        );
    }
}
