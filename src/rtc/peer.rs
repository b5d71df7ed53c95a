//! One session's WebRTC machine: datagrams in and out, packets of voice to the show, pictures from it.

mod egress;
mod media_lines;

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use str0m::format::Codec;
use str0m::media::{Frequency, MediaKind, MediaTime, Mid, Pt};
use str0m::net::{Receive, Transmit};
use str0m::rtp::{RawPacket, RtpHeader, SeqNo};
use str0m::{Event, IceConnectionState, Input, Output, Rtc, RtcError};

use super::congestion_controller::CongestionController;
use super::demux;
use super::frame_gate::{FrameContext, FrameGate, Verdict};
use super::liveness::Liveness;
use super::network_stats::{Network, NetworkStats};
use super::rtc_factory::Pacing;
use super::send_queue::SendQueue;
use super::timeouts::Timeouts;
use crate::audio::AudioPacket;
use crate::codec::FrameKind;
use crate::session::{EndReason, KeyframeReason, Outgoing, OutgoingMedia, ViewerHandle};
use crate::telemetry::{Loss, Stage};
use crate::time::{AudioRtpTime, OPUS_HZ, RtpTime, SPEECH_HZ, SampleIndex, VIDEO_CLOCK_HZ};

/// Takes a datagram to the socket and says when.
pub type Transmitter<'a> = dyn FnMut(&Transmit) -> Instant + 'a;

/// Room on the way out for the voice, headers and repairs, in bits a second.
const BESIDE_PICTURES_BPS: u64 = 100_000;
/// Times a machine is woken at one moment before others get their turn.
const WAKES: usize = 8;

/// One peer.
pub struct Peer {
    rtc: Rtc,
    /// What the session knows of it.
    pub viewer: ViewerHandle,
    /// When it counts as gone.
    pub life: Timeouts,
    /// When the machine wants to be woken.
    pub wake_at: Instant,
    voice: Option<(Mid, Pt)>,
    picture: Option<(Mid, Pt)>,
    mids: Vec<(Mid, MediaKind)>,
    outlook: CongestionController,
    pacing: Pacing,
    /// The way became narrow: where the estimation is to begin anew, in bits a second.
    begin_bps: Option<u64>,
    pictures_out: SendQueue<VIDEO_CLOCK_HZ>,
    voice_out: SendQueue<OPUS_HZ>,
    gate: FrameGate,
    network: Network,
    heard: Heard,
    proof: Liveness,
}

/// What came from the peer.
#[derive(Clone, Copy, Debug, Default)]
struct Heard {
    /// Datagrams that only the peer can have made: RTP and RTCP that decrypted, and STUN requests that were answered.
    authentic: u64,
    /// Datagrams of DTLS that were answered.
    greeted: u64,
    newest: Option<SeqNo>,
}

/// How a peer stands after it said all it had to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// It waits.
    Waiting,
    /// It is gone, for this reason.
    Over(EndReason),
}

impl Peer {
    /// A peer whose offer was accepted by `rtc`.
    #[must_use]
    pub fn new(rtc: Rtc, viewer: ViewerHandle, now: Instant) -> Self {
        Self {
            rtc,
            viewer,
            life: Timeouts::new(now),
            wake_at: now,
            voice: None,
            picture: None,
            mids: Vec::new(),
            outlook: CongestionController::new(now),
            pacing: Pacing::default(),
            begin_bps: None,
            pictures_out: SendQueue::default(),
            voice_out: SendQueue::default(),
            gate: FrameGate::new(now),
            network: Network::new(now),
            heard: Heard::default(),
            proof: Liveness::default(),
        }
    }

    /// The name by which the peer's STUN requests call this machine.
    #[must_use]
    pub fn name(&mut self) -> String {
        self.rtc.direct_api().local_ice_credentials().ufrag
    }

    /// Whether a datagram is for this peer.
    #[must_use]
    pub fn accepts(&self, input: &Input<'_>) -> bool {
        self.rtc.accepts(input)
    }

    /// Takes a datagram that it accepts and says all that follows from it.
    ///
    /// # Errors
    /// If the machine cannot go on; the session ends.
    pub fn receive(
        &mut self,
        now: Instant,
        datagram: Receive<'_>,
        way: &mut Transmitter<'_>,
    ) -> Result<PeerState, RtcError> {
        self.rtc.handle_input(Input::Receive(now, datagram))?;
        self.speak(now, way)
    }

    /// As [`Peer::receive`], for DTLS: once connected, what is neither answered nor a goodbye is none of the peer's.
    ///
    /// # Errors
    /// As for [`Peer::receive`].
    pub fn receive_greeting(
        &mut self,
        now: Instant,
        datagram: Receive<'_>,
        way: &mut Transmitter<'_>,
    ) -> Result<PeerState, RtcError> {
        let (before, was_connected) = (self.heard.greeted, self.network.stats.is_connected);
        let standing = self.receive(now, datagram, way)?;
        if was_connected && standing == PeerState::Waiting && self.heard.greeted == before {
            self.lose(Loss::StrayPacket);
        }
        Ok(standing)
    }

    /// As [`Peer::receive`], for everything but DTLS: the machine drops it silently when it is a replay or not authentic.
    ///
    /// # Errors
    /// As for [`Peer::receive`].
    pub fn receive_signed(
        &mut self,
        now: Instant,
        datagram: Receive<'_>,
        way: &mut Transmitter<'_>,
    ) -> Result<PeerState, RtcError> {
        let before = self.heard.authentic;
        let standing = self.receive(now, datagram, way)?;
        if self.heard.authentic == before {
            self.lose(Loss::StrayPacket);
        }
        Ok(standing)
    }

    /// Tells the machine what time it is.
    ///
    /// # Errors
    /// As for [`Peer::receive`].
    pub fn wake(&mut self, now: Instant, way: &mut Transmitter<'_>) -> Result<PeerState, RtcError> {
        self.rtc.handle_input(Input::Timeout(now))?;
        self.tell_bitrate(now);
        let given_up = self.pictures_out.give_up(now);
        self.drop_pictures(given_up);
        self.speak(now, way)
    }

    /// Says goodbye (RTCP BYE, DTLS close).
    ///
    /// # Errors
    /// As for [`Peer::receive`].
    pub fn close(&mut self, now: Instant, way: &mut Transmitter<'_>) -> Result<PeerState, RtcError> {
        self.rtc.close()?;
        self.speak(now, way)
    }

    /// What the network says.
    #[must_use]
    pub fn stats(&self) -> NetworkStats {
        self.network.stats
    }

    /// What becomes of the session's next frame here; a frame that is skipped is counted.
    pub fn judge_frame(&mut self, kind: FrameKind, now: Instant) -> Verdict {
        let is_keyframe = kind == FrameKind::Key;
        let (is_leader, unsent) = (self.viewer.is_leader(), self.unsent_frames(now));
        let verdict = match self.picture {
            Some(_) if self.network.stats.is_connected => {
                self.gate.on_frame(FrameContext { is_keyframe, is_leader, unsent }, now)
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

    /// Hands an audio packet or frame to the machine, which sends `bytes`; sender reports are made from its clock.
    ///
    /// # Errors
    /// As for [`Peer::receive`].
    pub fn send(
        &mut self,
        outgoing: &Outgoing,
        bytes: &Arc<[u8]>,
        now: Instant,
        way: &mut Transmitter<'_>,
    ) -> Result<PeerState, RtcError> {
        match &outgoing.media.value {
            OutgoingMedia::Voice(_) => self.write_voice(outgoing, now, bytes)?,
            OutgoingMedia::VideoFrame(_) => self.write_picture(outgoing, now, bytes)?,
        }
        self.speak(now, way)
    }

    /// Forgets the frames that have not left; they are counted.
    pub fn drop_unsent(&mut self) {
        let waiting = self.pictures_out.give_up_all();
        self.drop_pictures(waiting);
    }

    fn write_picture(&mut self, outgoing: &Outgoing, now: Instant, bytes: &Arc<[u8]>) -> Result<(), RtcError> {
        let writer = self.picture.and_then(|(mid, pt)| Some((self.rtc.writer(mid)?, pt)));
        let Some((writer, pt)) = writer else {
            self.drop_pictures(1);
            return Ok(());
        };
        let at = outgoing.media.at;
        let (at_once, half_a_second) =
            (MediaTime::new(0, Frequency::NINETY_KHZ), MediaTime::new(45_000, Frequency::NINETY_KHZ));
        let time = MediaTime::new(ticks(at, VIDEO_CLOCK_HZ), Frequency::NINETY_KHZ);
        // At once, unless the page asks its browser to hold pictures until their voice is played: a most of 0 forbids it.
        writer.playout_delay(at_once, half_a_second).write(pt, outgoing.clock.min(now), time, Arc::clone(bytes))?;
        let given_up = self.pictures_out.enter(at.to_rtp(), outgoing.media.marks, now);
        self.drop_pictures(given_up);
        Ok(())
    }

    /// Counts encoded pictures that will not leave, or too late to be of use.
    fn drop_pictures(&self, count: usize) {
        self.viewer.frames_dropped(count, Loss::UnsentFrame);
    }

    fn write_voice(&mut self, outgoing: &Outgoing, now: Instant, bytes: &Arc<[u8]>) -> Result<(), RtcError> {
        if outgoing.media.utterance < self.viewer.session.inbox.utterance() {
            self.lose(Loss::StaleUtterance);
            return Ok(());
        }
        let Some((mid, pt)) = self.voice.filter(|_| self.network.stats.is_connected) else { return Ok(()) };
        let Some(writer) = self.rtc.writer(mid) else { return Ok(()) };
        let time = MediaTime::new(ticks(outgoing.media.at, OPUS_HZ), Frequency::FORTY_EIGHT_KHZ);
        writer.write(pt, outgoing.clock.min(now), time, Arc::clone(bytes))?;
        // Only measured: voice is not paced, it leaves with the next word of the machine.
        self.voice_out.enter(outgoing.media.at.to_rtp(), outgoing.media.marks, now);
        Ok(())
    }

    /// Lets the machine say all it has to say now.
    fn speak(&mut self, now: Instant, way: &mut Transmitter<'_>) -> Result<PeerState, RtcError> {
        let mut standing = self.say_all(now, way);
        if let Some(bps) = self.begin_bps.take() {
            standing = standing.and(self.begin_anew(bps, now, way));
        }
        self.note_unsent(now);
        standing
    }

    fn say_all(&mut self, now: Instant, way: &mut Transmitter<'_>) -> Result<PeerState, RtcError> {
        for _ in 0..WAKES {
            let (at, over) = self.drain(now, way)?;
            self.wake_at = at;
            if over.is_some() || at > now {
                return Ok(over.map_or(PeerState::Waiting, PeerState::Over));
            }
            self.rtc.handle_input(Input::Timeout(now))?;
        }
        Ok(PeerState::Waiting)
    }

    /// Polls until the machine waits; gives until when, and why the peer is gone, if it is.
    fn drain(&mut self, now: Instant, way: &mut Transmitter<'_>) -> Result<(Instant, Option<EndReason>), RtcError> {
        let mut over = None;
        loop {
            match self.rtc.poll_output()? {
                Output::Timeout(at) => return Ok((at, over)),
                Output::Event(event) => over = over.or(self.take_event(event, now)),
                Output::Transmit(datagram) => {
                    let sent = way(&datagram);
                    self.count_sent(&datagram.contents, sent);
                    self.heard.greeted += u64::from(demux::is_dtls(&datagram.contents));
                    if let Some(question) = demux::stun_answered(&datagram.contents) {
                        self.heard.authentic += 1;
                        if self.proof.is_new_question(question) {
                            self.life.hear(now);
                        }
                    }
                }
            }
        }
    }

    /// Counts pictures and voice as sent with their first packet.
    fn count_sent(&mut self, datagram: &[u8], now: Instant) {
        let Some((pt, rtp)) = demux::rtp_head(datagram) else { return };
        if self.picture.is_some_and(|(_, its)| *its == pt) {
            self.picture_left(RtpTime(rtp), now);
        } else if self.voice.is_some_and(|(_, its)| *its == pt)
            && let Some(mut left) = self.voice_out.leave(RtpTime(rtp))
        {
            left.marks.stamp(Stage::Sent, now);
            self.viewer.session.meter.voice_sent(&left.marks);
        }
    }

    fn picture_left(&mut self, rtp: RtpTime<VIDEO_CLOCK_HZ>, now: Instant) {
        let Some(mut left) = self.pictures_out.leave(rtp) else { return };
        self.drop_pictures(left.passed_over);
        left.marks.stamp(Stage::Sent, now);
        let due = left.marks.at(Stage::Listened).unwrap_or(now);
        self.viewer.frame_sent(&left.marks, now.saturating_duration_since(due));
    }

    fn take_event(&mut self, event: Event, now: Instant) -> Option<EndReason> {
        match event {
            Event::Connected => self.connect(now),
            Event::MediaAdded(media) => self.add(&media),
            Event::RawPacket(packet) => self.take_packet(*packet, now),
            Event::KeyframeRequest(_) => self.viewer.request_keyframe(KeyframeReason::Repair, now),
            Event::EgressBitrateEstimate(kind) => self.estimate(&kind, now),
            Event::PeerStats(stats) => self.note(&stats),
            Event::MediaEgressStats(stats) if self.voice.is_some_and(|(mid, _)| mid == stats.mid) => {
                stats.loss.iter().for_each(|loss| self.outlook.teller.lose_voice(f64::from(*loss)));
            }
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                return Some(EndReason::Unreachable);
            }
            Event::Closed => return Some(EndReason::Goodbye),
            _ => {}
        }
        None
    }

    fn take_packet(&mut self, packet: RawPacket, now: Instant) {
        match packet {
            RawPacket::RtpRx(header, payload) => {
                self.heard.authentic += 1;
                self.life.hear(now);
                self.hear(&header, payload, now);
            }
            RawPacket::RtcpRx(report) => {
                self.heard.authentic += 1;
                if self.proof.hear(&report, now) {
                    self.life.hear(now);
                }
                self.hear_of_way(&report, now);
            }
            RawPacket::RtpTx(header, bytes) => self.outlook.send(&header, bytes.len(), now),
            RawPacket::RtcpTx(report) => self.proof.ask(&report, now),
        }
    }

    fn hear(&mut self, header: &RtpHeader, payload: Vec<u8>, now: Instant) {
        if payload.is_empty() || Some(header.payload_type) != self.type_of(Codec::Opus) {
            return;
        }
        let sequence = header.sequence_number(self.heard.newest);
        self.heard.newest = self.heard.newest.max(Some(sequence));
        self.viewer.push_packet(AudioPacket {
            rtp: AudioRtpTime::from_ticks(u128::from(header.timestamp)),
            sequence: Some(*sequence),
            payload: Bytes::from(payload),
            arrived: now,
        });
    }

    #[cfg(test)]
    pub(super) fn heard_authentic(&self) -> u64 {
        self.heard.authentic
    }

    fn lose(&self, loss: Loss) {
        self.viewer.lose(loss);
    }
}

/// The moment as unwrapped ticks of an RTP clock; the machine wraps them.
fn ticks(at: SampleIndex, clock_hz: u32) -> u64 {
    let ticks = u128::from(at.0) * u128::from(clock_hz) / u128::from(SPEECH_HZ);
    u64::try_from(ticks).unwrap_or(u64::MAX)
}
