//! What a peer does about its way out: bitrates for the encoders, pacing, and what is given up when the way narrows.
//!
//! Decides nothing about the way itself: that is the outlook's.

use std::time::Instant;

use str0m::bwe::{Bitrate, BweKind};
use str0m::net::Transmit;
use str0m::rtp::rtcp::Rtcp;
use str0m::stats::PeerStats;
use str0m::{Input, RtcError};

use super::super::demux;
use super::super::rtc_factory::{self, Pacing};
use super::{Peer, PeerState, Transmitter};
use crate::session::KeyframeReason;

/// Packets of pictures that are thrown away at most when the way becomes narrow.
const MOST_THROWN_AWAY: usize = 256;

impl Peer {
    pub(super) fn hear_of_way(&mut self, report: &Rtcp, now: Instant) {
        let advice = self.outlook.hear(report, now);
        self.begin_bps = advice.begin_bps.or(self.begin_bps);
        if advice.key {
            self.viewer.request_keyframe(KeyframeReason::Repair, now);
        }
        let pacing = self.outlook.pacing(now);
        if pacing != self.pacing {
            self.pacing = pacing;
            self.picture.iter().for_each(|(mid, _)| rtc_factory::pace(&mut self.rtc, *mid, pacing));
        }
    }

    pub(super) fn note(&mut self, stats: &PeerStats) {
        self.network.note(stats);
        stats.rtt.iter().for_each(|rtt| self.outlook.note_round_trip(*rtt));
        self.outlook.teller.lose(self.network.stats.egress_loss_ratio.unwrap_or(0.0));
        stats.bwe_tx.iter().for_each(|newest| self.outlook.teller.glimpse(newest.as_u64()));
    }

    pub(super) fn estimate(&mut self, kind: &BweKind, now: Instant) {
        let (BweKind::Twcc { estimate, .. } | BweKind::Remb { estimate, .. }) = kind else { return };
        self.network.stats.estimate_bps = Some(estimate.as_u64());
        self.outlook.teller.estimate(estimate.as_u64());
        self.tell_bitrate(now);
    }

    pub(super) fn tell_bitrate(&mut self, now: Instant) {
        if let Some(plan) = self.outlook.teller.tell_voice() {
            self.viewer.set_audio_plan(plan);
        }
        if let Some(bps) = self.outlook.teller.tell(now) {
            self.viewer.set_target(bps);
        }
        if let Some(bps) = self.outlook.teller.revive(now) {
            self.rtc.bwe().reset(Bitrate::bps(bps));
        }
    }

    /// What was made for a wider way and has not left yet, or was lost on it, will not be sent: it would only be in the way
    /// of the key picture that replaces it. The machine must say it all the same, but nobody hears it.
    pub(super) fn begin_anew(
        &mut self,
        bps: u64,
        now: Instant,
        way: &mut Transmitter<'_>,
    ) -> Result<PeerState, RtcError> {
        let mut standing = PeerState::Waiting;
        if let Some((mid, _)) = self.picture {
            self.drop_unsent();
            rtc_factory::pace(&mut self.rtc, mid, Pacing::AtOnce);
            let voice = self.voice.map(|(_, pt)| *pt);
            let is_picture = |sent: &Transmit| demux::rtp_head(&sent.contents).is_some_and(|(pt, _)| Some(pt) != voice);
            let mut past = |sent: &Transmit| if is_picture(sent) { now } else { way(sent) };
            for _ in 0..MOST_THROWN_AWAY {
                self.rtc.handle_input(Input::Timeout(now))?;
                let (at, over) = self.drain(now, &mut past)?;
                self.wake_at = at;
                standing = over.map_or(standing, PeerState::Over);
                if at > now {
                    break;
                }
            }
            rtc_factory::allow_resends(&mut self.rtc, mid);
        }
        self.rtc.bwe().reset(Bitrate::bps(bps));
        self.tell_bitrate(now);
        Ok(standing)
    }

    /// Tells the show how many pictures wait: it begins none while many do, or while a queue on the way empties.
    pub(super) fn note_unsent(&self, now: Instant) {
        self.viewer.set_unsent(self.unsent_frames(now));
    }

    /// Frames that wait in the pacer; as many as there can be while a queue on the path empties.
    pub(super) fn unsent_frames(&self, now: Instant) -> usize {
        if self.outlook.holds_back(now) { usize::MAX } else { self.pictures_out.count() }
    }
}
