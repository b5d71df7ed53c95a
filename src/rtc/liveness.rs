//! Evidence that a peer is present now.
//!
//! An attacker on the path can replay everything: str0m refuses replayed RTP, but neither RTCP nor STUN. So once the server has
//! sent reports, only these count: RTCP that echoes a recent report, TWCC feedback newer than all before, and a STUN
//! request with a new transaction id. A state machine: time is passed in.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use str0m::rtp::rtcp::{ReceptionReport, Rtcp};

/// The echo of an older report is no evidence: a dead peer is removed within ten seconds, seven of which are silence.
const MAX_ECHO_AGE: Duration = Duration::from_millis(2_500);
/// Transaction ids kept: some hours of them, at one request every few seconds. The oldest are dropped.
const MAX_TRANSACTIONS: usize = 4096;
/// Sender reports kept: of two streams, for longer than [`MAX_ECHO_AGE`]. The oldest is dropped.
const MAX_REPORTS: usize = 16;
/// From 1900, the epoch of NTP, to 1970 (RFC 5905, section 6).
const NTP_TO_UNIX_S: u64 = 2_208_988_800;
/// Tolerance for peers that round the time of a report, in units of 15 us.
const ROUNDING: u32 = 70;

/// Reports that await an echo, the newest feedback, and known transaction ids.
#[derive(Debug, Default)]
pub struct Liveness {
    reports: VecDeque<(u32, Instant)>,
    /// Reference time and count of the newest feedback.
    newest_feedback: Option<(u32, u8)>,
    transactions: VecDeque<[u8; 12]>,
}

impl Liveness {
    /// Whether an authentic STUN request is no replay. Transaction ids are random (RFC 8489, section 5). A peer that rarely
    /// reports still checks consent every five seconds (RFC 7675, section 5.1).
    pub fn is_new_transaction_id(&mut self, number: [u8; 12]) -> bool {
        let is_new = !self.transactions.contains(&number);
        if is_new {
            self.transactions.drain(..(self.transactions.len() + 1).saturating_sub(MAX_TRANSACTIONS));
            self.transactions.push_back(number);
        }
        is_new
    }

    /// RTCP was sent.
    pub fn on_sent(&mut self, report: &Rtcp, now: Instant) {
        let Rtcp::SenderReport(report) = report else { return };
        if self.reports.len() == MAX_REPORTS {
            self.reports.pop_front();
        }
        self.reports.push_back((ntp_middle_32(report.sender_info.ntp_time), now));
    }

    /// Whether received RTCP proves that the peer is present.
    pub fn on_received(&mut self, report: &Rtcp, now: Instant) -> bool {
        let proves = match report {
            Rtcp::ReceiverReport(report) => report.reports.iter().any(|report| self.echoes_report(report, now)),
            Rtcp::SenderReport(report) => report.reports.iter().any(|report| self.echoes_report(report, now)),
            Rtcp::Twcc(feedback) => self.is_newer_feedback((feedback.reference_time, feedback.feedback_count)),
            _ => false,
        };
        // Before the first sent report there is nothing to echo.
        proves || self.reports.is_empty()
    }

    /// RFC 3550, section 6.4.1: a report names the newest sender report that arrived.
    fn echoes_report(&self, report: &ReceptionReport, now: Instant) -> bool {
        let is_it = |asked: u32| asked.abs_diff(report.last_sr_time) <= ROUNDING;
        self.reports.iter().any(|(reports, at)| is_it(*reports) && now.saturating_duration_since(*at) < MAX_ECHO_AGE)
    }

    /// Feedback carries the receiver's clock, 24 bits in steps of 64 ms, and a counter.
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

/// The middle 32 bits of an NTP time.
fn ntp_middle_32(time: SystemTime) -> u32 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = (since.as_secs() + NTP_TO_UNIX_S) & 0xffff;
    (seconds << 16) as u32 | (u64::from(since.subsec_nanos()) * 65_536 / 1_000_000_000) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_id_is_new_once() {
        let mut liveness = Liveness::default();
        let number = |n: usize| [[7; 4], [0; 4], (n as u32).to_be_bytes()].concat().try_into().expect("twelve bytes");
        assert!((0..MAX_TRANSACTIONS).all(|n| liveness.is_new_transaction_id(number(n))));
        assert!((0..MAX_TRANSACTIONS).all(|n| !liveness.is_new_transaction_id(number(n))));
        assert!(
            liveness.is_new_transaction_id(number(MAX_TRANSACTIONS)) && liveness.transactions.len() == MAX_TRANSACTIONS
        );
    }
}
