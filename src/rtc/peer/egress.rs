//! The sending side of a peer: its congestion control, pacing, and the frames and audio that str0m has not sent yet.
//!
//! Decides when queued video is discarded. `congestion` estimates the path.

use std::sync::Arc;
use std::time::Instant;

use str0m::bwe::{Bitrate, BweKind};
use str0m::media::{Frequency, MediaTime};
use str0m::net::Transmit;
use str0m::rtp::rtcp::Rtcp;
use str0m::stats::PeerStats;
use str0m::{Input, RtcError};

use super::super::congestion::CongestionController;
use super::super::demux;
use super::super::in_flight::InFlight;
use super::super::rtc_factory::{self, Pacing};
use super::{Peer, PeerState, Transmitter, rtp_ticks};
use crate::session::{KeyframeReason, Outgoing};
use crate::telemetry::{Loss, Stage};
use crate::time::{OPUS_HZ, RtpTime, VIDEO_CLOCK_HZ};

/// Timer runs that empty str0m's pacer when the capacity drops; each releases at least one packet.
const MAX_DISCARD_RUNS: usize = 256;

/// State of the sending side of a peer.
#[derive(Debug)]
pub struct Egress {
    /// Congestion control.
    pub congestion: CongestionController,
    /// Video frames that str0m has not begun to send.
    pub video: InFlight<VIDEO_CLOCK_HZ>,
    /// Audio packets that str0m has not sent.
    pub audio: InFlight<OPUS_HZ>,
    pacing: Pacing,
    /// The capacity dropped: the bitrate from which the estimator is to restart, in bits per second.
    reset_bwe_bps: Option<u64>,
}

impl Egress {
    /// Nothing was sent yet.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            congestion: CongestionController::new(now),
            video: InFlight::default(),
            audio: InFlight::default(),
            pacing: Pacing::default(),
            reset_bwe_bps: None,
        }
    }

    /// Takes RTCP of the receiver; true if the receiver needs a keyframe.
    pub fn on_rtcp(&mut self, report: &Rtcp, now: Instant) -> bool {
        let action = self.congestion.on_rtcp(report, now);
        self.reset_bwe_bps = action.reset_bwe_bps.or(self.reset_bwe_bps);
        action.request_keyframe
    }

    /// The pacing to apply, if it changed.
    pub fn poll_pacing(&mut self, now: Instant) -> Option<Pacing> {
        let pacing = self.congestion.pacing(now);
        let is_changed = std::mem::replace(&mut self.pacing, pacing) != pacing;
        is_changed.then_some(pacing)
    }

    /// The bitrate from which the estimator is to restart after a drop of capacity, once per drop.
    pub fn poll_bwe_reset(&mut self) -> Option<u64> {
        self.reset_bwe_bps.take()
    }

    /// Frames that wait in the pacer, for the session, which encodes none while several wait or while a queue on the path
    /// drains.
    #[must_use]
    pub fn unsent_frames(&self, now: Instant) -> usize {
        if self.congestion.is_draining(now) { usize::MAX } else { self.video.len() }
    }
}

impl Peer {
    pub(super) fn on_rtcp(&mut self, report: &Rtcp, now: Instant) {
        if self.egress.on_rtcp(report, now) {
            self.viewer.request_keyframe(KeyframeReason::Repair, now);
        }
        if let (Some(pacing), Some(video)) = (self.egress.poll_pacing(now), self.lines.video()) {
            rtc_factory::set_pacing(&mut self.rtc, video.mid, pacing);
        }
    }

    pub(super) fn on_peer_stats(&mut self, stats: &PeerStats) {
        self.network.update(stats);
        let congestion = &mut self.egress.congestion;
        stats.rtt.iter().for_each(|rtt| congestion.on_rtt(*rtt));
        congestion.allocator.on_loss(self.network.stats.egress_loss_ratio.unwrap_or(0.0));
        stats.bwe_tx.iter().for_each(|instant| congestion.allocator.on_instant_estimate(instant.as_u64()));
    }

    pub(super) fn on_estimate(&mut self, kind: &BweKind, now: Instant) {
        let (BweKind::Twcc { estimate, .. } | BweKind::Remb { estimate, .. }) = kind else { return };
        self.network.stats.bandwidth_estimate_bps = Some(estimate.as_u64());
        self.egress.congestion.allocator.on_estimate(estimate.as_u64());
        self.update_bitrate(now);
    }

    /// Passes changed targets to the encoders and restarts an estimator that has collapsed.
    pub(super) fn update_bitrate(&mut self, now: Instant) {
        let allocator = &mut self.egress.congestion.allocator;
        let (plan, target_bps) = (allocator.poll_audio_plan(), allocator.poll_target(now));
        let reset_bps = allocator.reset_if_collapsed(now);
        if let Some(plan) = plan {
            self.viewer.set_audio_plan(plan);
        }
        if let Some(bps) = target_bps {
            self.viewer.set_target(bps);
        }
        if let Some(bps) = reset_bps {
            self.rtc.bwe().reset(Bitrate::bps(bps));
        }
    }

    /// The capacity of the path dropped to `bps`: restarts with a bitrate that fits.
    ///
    /// Without this the encoder's next frames queue behind seconds of video that was encoded for the former capacity: it
    /// is in str0m's pacer, and lost packets of it would be retransmitted, all before the keyframe that replaces it.
    ///
    /// 1. The video that waits in the pacer is discarded ([`Peer::discard_queued_video`]).
    /// 2. The retransmission cache is emptied.
    /// 3. The estimator restarts from the acknowledged bitrate, instead of averaging its way down for seconds.
    /// 4. The encoders get the new target at once.
    pub(super) fn restart_after_drop(
        &mut self,
        bps: u64,
        now: Instant,
        transmit: &mut Transmitter<'_>,
    ) -> Result<PeerState, RtcError> {
        let mut state = PeerState::Active;
        if let Some(video) = self.lines.video() {
            self.drop_unsent();
            rtc_factory::set_pacing(&mut self.rtc, video.mid, Pacing::Unpaced);
            state = self.discard_queued_video(now, transmit)?;
            rtc_factory::reset_rtx_cache(&mut self.rtc, video.mid);
        }
        self.rtc.bwe().reset(Bitrate::bps(bps));
        self.update_bitrate(now);
        Ok(state)
    }

    /// Makes str0m release the video in its pacer, and discards it instead of sending it; audio and RTCP are sent.
    ///
    /// str0m has no call that empties the pacer. The stream must be unpaced, so that each timer run releases packets.
    fn discard_queued_video(&mut self, now: Instant, transmit: &mut Transmitter<'_>) -> Result<PeerState, RtcError> {
        let audio = self.lines.audio().map(|line| *line.pt);
        let is_video =
            |datagram: &Transmit| demux::rtp_header(&datagram.contents).is_some_and(|(pt, _)| Some(pt) != audio);
        let mut without_video = |datagram: &Transmit| if is_video(datagram) { now } else { transmit(datagram) };
        for _ in 0..MAX_DISCARD_RUNS {
            self.rtc.handle_input(Input::Timeout(now))?;
            let state = self.drain(now, &mut without_video)?;
            if state != PeerState::Active || self.wake_at > now {
                return Ok(state);
            }
        }
        Ok(PeerState::Active)
    }

    /// A frame or an audio packet counts as sent with its first RTP packet.
    pub(super) fn on_rtp_sent(&mut self, pt: u8, rtp: u32, sent_at: Instant) {
        if self.lines.video().is_some_and(|line| *line.pt == pt) {
            self.on_video_sent(RtpTime(rtp), sent_at);
        } else if self.lines.audio().is_some_and(|line| *line.pt == pt)
            && let Some(mut packet) = self.egress.audio.on_first_packet(RtpTime(rtp))
        {
            packet.marks.stamp(Stage::Sent, sent_at);
            self.viewer.session.meter.audio_sent(&packet.marks);
        }
    }

    fn on_video_sent(&mut self, rtp: RtpTime<VIDEO_CLOCK_HZ>, sent_at: Instant) {
        let Some(mut frame) = self.egress.video.on_first_packet(rtp) else { return };
        self.count_dropped_frames(frame.skipped);
        frame.marks.stamp(Stage::Sent, sent_at);
        let due = frame.marks.at(Stage::PlayoutDue).unwrap_or(sent_at);
        self.viewer.frame_sent(&frame.marks, sent_at.saturating_duration_since(due));
    }

    /// Counts encoded frames that are never sent.
    pub(super) fn count_dropped_frames(&self, count: usize) {
        self.viewer.frames_dropped(count, Loss::UnsentFrame);
    }

    pub(super) fn write_audio(&mut self, outgoing: &Outgoing, now: Instant, bytes: &Arc<[u8]>) -> Result<(), RtcError> {
        if outgoing.media.utterance < self.viewer.session.inbox.utterance() {
            self.count_loss(Loss::StaleUtterance);
            return Ok(());
        }
        let Some(line) = self.lines.audio().filter(|_| self.network.stats.is_connected) else { return Ok(()) };
        let Some(writer) = self.rtc.writer(line.mid) else { return Ok(()) };
        let time = MediaTime::new(rtp_ticks(outgoing.media.at, OPUS_HZ), Frequency::FORTY_EIGHT_KHZ);
        writer.write(line.pt, outgoing.clock.min(now), time, Arc::clone(bytes))?;
        // For the latency marks only: audio is not paced and is sent with the next poll.
        self.egress.audio.push(outgoing.media.at.to_rtp(), outgoing.media.marks, now);
        Ok(())
    }
}
