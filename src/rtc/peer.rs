//! One WebRTC peer: passes datagrams to and from str0m, received audio to the session, and the session's media to str0m.
//!
//! Decides in which order str0m is driven. Its state is in the modules below: [`MediaLines`], [`Ingress`], [`Egress`].

mod egress;
mod ingress;
mod media_lines;

use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::bwe::Bitrate;
use str0m::format::Codec;
use str0m::media::{Frequency, MediaAdded, MediaTime};
use str0m::net::{Receive, Transmit};
use str0m::rtp::{RawPacket, RtpHeader};
use str0m::{Event, IceConnectionState, Input, Output, Rtc, RtcError};

use super::congestion::BITRATE_BPS;
use super::demux;
use super::frame_gate::{FrameContext, FrameGate, Verdict};
use super::network_stats::{Network, NetworkStats};
use super::timeouts::Timeouts;
use crate::codec::FrameKind;
use crate::session::{EndReason, KeyframeReason, Outgoing, OutgoingMedia, ViewerHandle};
use crate::telemetry::Loss;
use crate::time::{SPEECH_HZ, SampleIndex, VIDEO_CLOCK_HZ};
use egress::Egress;
use ingress::Ingress;
use media_lines::{MediaLines, payload_type};

/// Sends a datagram and returns when it was sent.
pub type Transmitter<'a> = dyn FnMut(&Transmit) -> Instant + 'a;

/// Bitrate probed for beyond a session's video limit, for audio, headers and retransmissions, in bits per second.
const RESERVE_BPS: u64 = 100_000;
/// Timer runs of one str0m instance at one instant before others are polled.
const MAX_TIMER_RUNS: usize = 8;
/// Longest playout delay that a receiver may choose, in ticks of 90 kHz: 500 ms. The page uses it to keep video with its
/// audio; a maximum of 0 would forbid that.
const MAX_PLAYOUT_DELAY_TICKS: u64 = 45_000;

/// One peer.
pub struct Peer {
    rtc: Rtc,
    /// Its viewer in the session.
    pub viewer: ViewerHandle,
    /// When str0m wants its timers run.
    pub wake_at: Instant,
    lines: MediaLines,
    ingress: Ingress,
    egress: Egress,
    gate: FrameGate,
    network: Network,
}

/// Whether a peer continues after it was driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// It continues.
    Active,
    /// It ended, for this reason.
    Ended(EndReason),
}

impl Peer {
    /// A peer whose offer `rtc` has accepted.
    #[must_use]
    pub fn new(rtc: Rtc, viewer: ViewerHandle, now: Instant) -> Self {
        Self {
            rtc,
            wake_at: now,
            lines: MediaLines::new(viewer.session.codec),
            ingress: Ingress::new(now),
            egress: Egress::new(now),
            gate: FrameGate::new(now),
            network: Network::new(now),
            viewer,
        }
    }

    /// The server's ICE user name fragment, to which the peer's STUN requests are addressed.
    #[must_use]
    pub fn local_ufrag(&mut self) -> String {
        self.rtc.direct_api().local_ice_credentials().ufrag
    }

    /// Whether a datagram belongs to this peer.
    #[must_use]
    pub fn accepts(&self, input: &Input<'_>) -> bool {
        self.rtc.accepts(input)
    }

    /// When the peer counts as gone.
    #[must_use]
    pub fn timeouts(&self) -> &Timeouts {
        &self.ingress.timeouts
    }

    /// The progress of the connection, for the log.
    #[must_use]
    pub fn progress(&self) -> &'static str {
        match (self.network.stats.is_connected, self.ingress.dtls_answered(), self.ingress.authenticated()) {
            (true, ..) => "ICE and DTLS connected",
            (false, 1.., _) => "the DTLS handshake did not complete",
            (false, 0, 1..) => "ICE checks arrived, but no DTLS",
            (false, 0, 0) => "no authentic ICE check arrived: the peer cannot reach the UDP port",
        }
    }

    /// The network thread did not run for `missed`.
    pub fn on_stall(&mut self, missed: Duration) {
        self.ingress.timeouts.on_stall(missed);
    }

    /// Takes a datagram that it accepts, and sends the responses.
    ///
    /// # Errors
    /// If str0m fails; the peer ends.
    pub fn receive(
        &mut self,
        now: Instant,
        datagram: Receive<'_>,
        transmit: &mut Transmitter<'_>,
    ) -> Result<PeerState, RtcError> {
        self.rtc.handle_input(Input::Receive(now, datagram))?;
        self.drive(now, transmit)
    }

    /// As [`Peer::receive`], for DTLS. Once the peer is connected, a datagram that is neither answered nor closes the
    /// connection is counted as stray: str0m drops forged records silently.
    ///
    /// # Errors
    /// As for [`Peer::receive`].
    pub fn receive_dtls(
        &mut self,
        now: Instant,
        datagram: Receive<'_>,
        transmit: &mut Transmitter<'_>,
    ) -> Result<PeerState, RtcError> {
        let (before, was_connected) = (self.ingress.dtls_answered(), self.network.stats.is_connected);
        let state = self.receive(now, datagram, transmit)?;
        if was_connected && state == PeerState::Active && self.ingress.dtls_answered() == before {
            self.count_loss(Loss::StrayPacket);
        }
        Ok(state)
    }

    /// As [`Peer::receive`], for STUN, SRTP and SRTCP. A datagram that str0m drops silently, because it is a replay or not
    /// authentic, is counted as stray.
    ///
    /// # Errors
    /// As for [`Peer::receive`].
    pub fn receive_authenticated(
        &mut self,
        now: Instant,
        datagram: Receive<'_>,
        transmit: &mut Transmitter<'_>,
    ) -> Result<PeerState, RtcError> {
        let before = self.ingress.authenticated();
        let state = self.receive(now, datagram, transmit)?;
        if self.ingress.authenticated() == before {
            self.count_loss(Loss::StrayPacket);
        }
        Ok(state)
    }

    /// Runs the timers.
    ///
    /// # Errors
    /// As for [`Peer::receive`].
    pub fn handle_timeout(&mut self, now: Instant, transmit: &mut Transmitter<'_>) -> Result<PeerState, RtcError> {
        self.rtc.handle_input(Input::Timeout(now))?;
        self.update_bitrate(now);
        let expired = self.egress.video.expire(now);
        self.count_dropped_frames(expired);
        self.drive(now, transmit)
    }

    /// Closes the connection (RTCP BYE, DTLS `close_notify`).
    ///
    /// # Errors
    /// As for [`Peer::receive`].
    pub fn close(&mut self, now: Instant, transmit: &mut Transmitter<'_>) -> Result<PeerState, RtcError> {
        self.rtc.close()?;
        self.drive(now, transmit)
    }

    /// Network statistics.
    #[must_use]
    pub fn stats(&self) -> NetworkStats {
        self.network.stats
    }

    /// Decides whether the session's next frame is sent here; a frame that is skipped is counted.
    pub fn judge_frame(&mut self, kind: FrameKind, now: Instant) -> Verdict {
        let (is_leader, unsent) = (self.viewer.is_leader(), self.egress.unsent_frames(now));
        let verdict = match self.lines.video() {
            Some(_) if self.network.stats.is_connected => {
                self.gate.on_frame(FrameContext { is_keyframe: kind == FrameKind::Key, is_leader, unsent }, now)
            }
            _ => Verdict::NotStarted,
        };
        if verdict == Verdict::SkipAndRequestKeyframe {
            self.viewer.request_keyframe(KeyframeReason::Repair, now);
        }
        if matches!(verdict, Verdict::Skip | Verdict::SkipAndRequestKeyframe) {
            self.viewer.frames_dropped(1, Loss::SkippedFrame);
        }
        verdict
    }

    /// Sends one item of media, whose payload is `bytes`. Sender reports take their clock from it.
    ///
    /// # Errors
    /// As for [`Peer::receive`].
    pub fn send(
        &mut self,
        outgoing: &Outgoing,
        bytes: &Arc<[u8]>,
        now: Instant,
        transmit: &mut Transmitter<'_>,
    ) -> Result<PeerState, RtcError> {
        match &outgoing.media.value {
            OutgoingMedia::Audio(_) => self.write_audio(outgoing, now, bytes)?,
            OutgoingMedia::VideoFrame(_) => self.write_video(outgoing, now, bytes)?,
        }
        self.drive(now, transmit)
    }

    /// Discards unsent frames, which count as dropped.
    pub fn drop_unsent(&mut self) {
        let unsent = self.egress.video.clear();
        self.count_dropped_frames(unsent);
    }

    fn write_video(&mut self, outgoing: &Outgoing, now: Instant, bytes: &Arc<[u8]>) -> Result<(), RtcError> {
        let writer = self.lines.video().and_then(|line| Some((self.rtc.writer(line.mid)?, line.pt)));
        let Some((writer, pt)) = writer else {
            self.count_dropped_frames(1);
            return Ok(());
        };
        let at = outgoing.media.at;
        let ticks_90k = |ticks| MediaTime::new(ticks, Frequency::NINETY_KHZ);
        let writer = writer.playout_delay(ticks_90k(0), ticks_90k(MAX_PLAYOUT_DELAY_TICKS));
        writer.write(pt, outgoing.clock.min(now), ticks_90k(rtp_ticks(at, VIDEO_CLOCK_HZ)), Arc::clone(bytes))?;
        let dropped = self.egress.video.push(at.to_rtp(), outgoing.media.marks, now);
        self.count_dropped_frames(dropped);
        Ok(())
    }

    /// Polls str0m until it waits for time or input, and handles its events.
    fn drive(&mut self, now: Instant, transmit: &mut Transmitter<'_>) -> Result<PeerState, RtcError> {
        let mut state = self.poll(now, transmit)?;
        if let (PeerState::Active, Some(bps)) = (state, self.egress.poll_bwe_reset()) {
            state = self.restart_after_drop(bps, now, transmit)?;
        }
        self.viewer.set_unsent(self.egress.unsent_frames(now));
        Ok(state)
    }

    /// Polls str0m, and runs its timers as long as they are due.
    fn poll(&mut self, now: Instant, transmit: &mut Transmitter<'_>) -> Result<PeerState, RtcError> {
        for _ in 0..MAX_TIMER_RUNS {
            let state = self.drain(now, transmit)?;
            if state != PeerState::Active || self.wake_at > now {
                return Ok(state);
            }
            self.rtc.handle_input(Input::Timeout(now))?;
        }
        Ok(PeerState::Active)
    }

    /// Takes str0m's output until it names its next timer.
    fn drain(&mut self, now: Instant, transmit: &mut Transmitter<'_>) -> Result<PeerState, RtcError> {
        let mut reason = None;
        loop {
            match self.rtc.poll_output()? {
                Output::Timeout(at) => {
                    self.wake_at = at;
                    return Ok(reason.map_or(PeerState::Active, PeerState::Ended));
                }
                Output::Event(event) => reason = reason.or(self.on_event(event, now)),
                Output::Transmit(datagram) => {
                    let sent_at = transmit(&datagram);
                    self.on_transmit(&datagram.contents, now, sent_at);
                }
            }
        }
    }

    fn on_transmit(&mut self, datagram: &[u8], now: Instant, sent_at: Instant) {
        if let Some((pt, rtp)) = demux::rtp_header(datagram) {
            self.on_rtp_sent(pt, rtp, sent_at);
        } else if demux::is_dtls(datagram) {
            self.ingress.on_dtls_sent();
        } else if let Some(id) = demux::stun_success_id(datagram) {
            self.ingress.on_stun_answered(id, now);
        }
    }

    fn on_event(&mut self, event: Event, now: Instant) -> Option<EndReason> {
        match event {
            Event::Connected => self.on_connected(now),
            Event::MediaAdded(media) => self.on_media_added(&media),
            Event::RawPacket(packet) => self.on_raw_packet(*packet, now),
            Event::KeyframeRequest(_) => self.viewer.request_keyframe(KeyframeReason::Repair, now),
            Event::EgressBitrateEstimate(kind) => self.on_estimate(&kind, now),
            Event::PeerStats(stats) => self.on_peer_stats(&stats),
            Event::MediaEgressStats(stats) if self.lines.audio().is_some_and(|line| line.mid == stats.mid) => {
                let allocator = &mut self.egress.congestion.allocator;
                stats.loss.iter().for_each(|loss| allocator.on_audio_loss(f64::from(*loss)));
            }
            Event::IceConnectionStateChange(state) => {
                tracing::debug!(session = &*self.viewer.session.id, ?state, "ICE");
                match state {
                    IceConnectionState::Disconnected => self.ingress.timeouts.on_ice_lost(now),
                    _ => self.ingress.timeouts.on_ice_usable(),
                }
            }
            Event::Closed => return Some(EndReason::PeerClosed),
            _ => {}
        }
        None
    }

    fn on_connected(&mut self, now: Instant) {
        self.ingress.timeouts.on_connected();
        self.network.stats.is_connected = true;
        // More than the session may use is not probed for.
        let limit = self.viewer.session.limits.bitrate_bps;
        let max_bps = limit.map_or(*BITRATE_BPS.end(), |limit| u64::from(limit) + RESERVE_BPS);
        self.rtc.bwe().set_bitrate(Bitrate::bps(0), Bitrate::bps(max_bps));
        self.lines.choose(&mut self.rtc);
        let (audio, video) = (self.lines.audio(), self.lines.video());
        tracing::debug!(session = &*self.viewer.session.id, ?audio, ?video, codec = ?self.viewer.session.codec, "ICE and DTLS connected");
        self.note_viewer();
        self.viewer.request_keyframe(KeyframeReason::Joined, now);
    }

    fn on_media_added(&mut self, media: &MediaAdded) {
        let (kind, direction) = (media.kind, media.direction);
        tracing::debug!(session = &*self.viewer.session.id, mid = %media.mid, ?kind, ?direction, "media negotiated");
        self.lines.add(&mut self.rtc, media);
        self.note_viewer();
    }

    /// The session renders while a viewer can receive it.
    fn note_viewer(&self) {
        if self.network.stats.is_connected && self.lines.video().is_some() {
            self.viewer.begin_watching();
        }
    }

    fn on_raw_packet(&mut self, packet: RawPacket, now: Instant) {
        match packet {
            RawPacket::RtpRx(header, payload) => {
                self.ingress.on_rtp(now);
                self.on_audio(&header, payload, now);
            }
            RawPacket::RtcpRx(report) => {
                self.ingress.on_rtcp(&report, now);
                self.on_rtcp(&report, now);
            }
            RawPacket::RtpTx(header, bytes) => self.egress.congestion.on_sent(&header, bytes.len(), now),
            RawPacket::RtcpTx(report) => self.ingress.on_rtcp_sent(&report, now),
        }
    }

    fn on_audio(&mut self, header: &RtpHeader, payload: Vec<u8>, now: Instant) {
        if payload.is_empty() || Some(header.payload_type) != payload_type(&self.rtc, Codec::Opus) {
            return;
        }
        let packet = self.ingress.audio_packet(header, payload, now);
        self.viewer.push_packet(packet);
    }

    #[cfg(test)]
    pub(super) fn authenticated(&self) -> u64 {
        self.ingress.authenticated()
    }

    fn count_loss(&self, loss: Loss) {
        self.viewer.lose(loss);
    }
}

/// An instant of the session in ticks of an RTP clock, unwrapped; str0m wraps them.
fn rtp_ticks(at: SampleIndex, clock_hz: u32) -> u64 {
    let ticks = u128::from(at.0) * u128::from(clock_hz) / u128::from(SPEECH_HZ);
    u64::try_from(ticks).unwrap_or(u64::MAX)
}
