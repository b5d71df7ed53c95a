//! One session's WebRTC machine: datagrams in and out, packets of voice to the show, pictures from it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::Serialize;
use str0m::bwe::{Bitrate, BweKind};
use str0m::format::{Codec, PayloadParams};
use str0m::media::{Frequency, MediaAdded, MediaData, MediaKind, MediaTime, Mid, Pt};
use str0m::net::{Receive, Transmit};
use str0m::{Event, IceConnectionState, Input, Output, Rtc, RtcError};

use super::idle::PeerLife;
use crate::listen::VoicePacket;
use crate::pipeline::{Order, Outgoing, OutgoingMedia, Ticket};
use crate::telemetry::{Loss, LossCounts, Stage};
use crate::time::{AudioRtpTime, SampleIndex, VIDEO_CLOCK_HZ, VOICE_HZ};

/// Bounds of what the encoder is asked for, in bits a second.
const BITRATE_BPS: std::ops::RangeInclusive<u64> = 120_000..=2_500_000;
/// What is kept of the estimate for the voice and for headers.
const OTHER_BPS: u64 = 60_000;
/// The encoder is told about changes of more than this, at most this often.
const WORTH_TELLING_PERCENT: u64 = 8;
const TELL_EVERY: Duration = Duration::from_millis(250);

/// What the network says about a session.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct NetworkStats {
    /// Whether the peer is connected.
    pub is_connected: bool,
    /// Round trip in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Share of our packets that the peer lost, 0 to 1.
    pub egress_loss_ratio: Option<f64>,
    /// What the way out is thought to carry, in bits a second.
    pub estimate_bps: Option<u64>,
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Bytes received.
    pub received_bytes: u64,
}

/// One peer.
pub struct Peer {
    rtc: Rtc,
    /// The session's handles.
    pub ticket: Ticket,
    /// When it counts as gone.
    pub life: PeerLife,
    /// When the machine wants to be woken.
    pub wake_at: Instant,
    voice: Option<(Mid, Pt)>,
    picture: Option<(Mid, Pt)>,
    mids: Vec<(Mid, MediaKind)>,
    told_bps: u64,
    told_at: Option<Instant>,
    stats: NetworkStats,
    sequence: u64,
}

/// What polling a peer gives.
#[derive(Debug)]
pub enum Polled {
    /// A datagram to send.
    Send(Transmit),
    /// Nothing before this moment.
    Wait(Instant),
    /// The peer is gone.
    Over(&'static str),
}

impl Peer {
    /// A peer whose offer was accepted by `rtc`.
    #[must_use]
    pub fn new(rtc: Rtc, ticket: Ticket, now: Instant) -> Self {
        Self {
            rtc,
            ticket,
            life: PeerLife::new(now),
            wake_at: now,
            voice: None,
            picture: None,
            mids: Vec::new(),
            told_bps: 0,
            told_at: None,
            stats: NetworkStats::default(),
            sequence: 0,
        }
    }

    /// Whether a datagram is for this peer.
    #[must_use]
    pub fn accepts(&self, input: &Input<'_>) -> bool {
        self.rtc.accepts(input)
    }

    /// Takes a datagram that it accepts.
    ///
    /// # Errors
    /// If the machine cannot go on; the session ends.
    pub fn receive(&mut self, now: Instant, datagram: Receive<'_>) -> Result<(), RtcError> {
        self.life.hear(now);
        self.rtc.handle_input(Input::Receive(now, datagram))
    }

    /// Tells the machine what time it is.
    ///
    /// # Errors
    /// As for [`Peer::receive`].
    pub fn wake(&mut self, now: Instant) -> Result<(), RtcError> {
        self.rtc.handle_input(Input::Timeout(now))
    }

    /// The next thing the machine wants. To be called until it waits.
    ///
    /// # Errors
    /// As for [`Peer::receive`].
    pub fn poll(&mut self, now: Instant) -> Result<Polled, RtcError> {
        loop {
            match self.rtc.poll_output()? {
                Output::Transmit(datagram) => return Ok(Polled::Send(datagram)),
                Output::Timeout(at) => return Ok(Polled::Wait(at)),
                Output::Event(event) => {
                    if let Some(reason) = self.take_event(event, now) {
                        return Ok(Polled::Over(reason));
                    }
                }
            }
        }
    }

    /// Says goodbye; what is polled afterwards is the farewell.
    pub fn close(&mut self) {
        // A machine that cannot even say goodbye is dropped all the same.
        let _ = self.rtc.close();
    }

    /// What the network says.
    #[must_use]
    pub fn stats(&self) -> NetworkStats {
        self.stats
    }

    /// Hands one thing to the machine; sender reports are made from its clock.
    ///
    /// # Errors
    /// As for [`Peer::receive`].
    pub fn send(&mut self, outgoing: &Outgoing, now: Instant) -> Result<(), RtcError> {
        if !self.stats.is_connected {
            return Ok(());
        }
        let at = outgoing.media.at;
        let clock = outgoing.clock.min(now);
        match &outgoing.media.value {
            OutgoingMedia::Voice(packet) => self.send_voice(at, clock, outgoing, packet),
            OutgoingMedia::Picture(picture) => {
                let Some((mid, pt)) = self.picture else { return Ok(()) };
                let Some(writer) = self.rtc.writer(mid) else { return Ok(()) };
                let at = MediaTime::new(ticks(at, VIDEO_CLOCK_HZ), Frequency::NINETY_KHZ);
                let now_at_once = MediaTime::new(0, Frequency::NINETY_KHZ);
                writer.playout_delay(now_at_once, now_at_once).write(pt, clock, at, &*picture.bytes)
            }
        }
    }

    fn send_voice(
        &mut self,
        at: SampleIndex,
        clock: Instant,
        outgoing: &Outgoing,
        packet: &Bytes,
    ) -> Result<(), RtcError> {
        if outgoing.media.utterance < self.ticket.inbox.utterance() {
            let mut stale = LossCounts::default();
            stale.count(Loss::StaleUtterance);
            self.ticket.meter.lose(&stale);
            return Ok(());
        }
        let Some((mid, pt)) = self.voice else { return Ok(()) };
        let Some(writer) = self.rtc.writer(mid) else { return Ok(()) };
        writer.write(pt, clock, MediaTime::new(ticks(at, VOICE_HZ), Frequency::FORTY_EIGHT_KHZ), &**packet)
    }

    /// Counts a frame whose packets were handed to the socket.
    pub fn count_sent(&self, outgoing: &Outgoing, now: Instant) {
        if let OutgoingMedia::Picture(_) = outgoing.media.value {
            let mut marks = outgoing.media.marks;
            marks.stamp(Stage::Sent, now);
            let due = marks.at(Stage::Listened).unwrap_or(now);
            self.ticket.meter.frame_sent(&marks, now.saturating_duration_since(due));
        }
    }

    /// Whether this is one of the peer's datagrams' sources.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.stats.is_connected
    }

    fn take_event(&mut self, event: Event, now: Instant) -> Option<&'static str> {
        match event {
            Event::Connected => self.connect(),
            Event::MediaAdded(media) => self.add(&media),
            Event::MediaData(data) => self.hear(&data),
            Event::KeyframeRequest(_) => self.order(Order::KeyPicture),
            Event::EgressBitrateEstimate(kind) => self.estimate(&kind, now),
            Event::PeerStats(stats) => {
                self.stats.rtt_ms = stats.rtt.map(|rtt| rtt.as_secs_f64() * 1000.0);
                self.stats.egress_loss_ratio = stats.egress_loss_fraction.map(f64::from);
                self.stats.sent_bytes = stats.peer_bytes_tx;
                self.stats.received_bytes = stats.peer_bytes_rx;
            }
            Event::IceConnectionStateChange(IceConnectionState::Disconnected) => {
                return Some("the peer is out of reach");
            }
            Event::Closed => return Some("the peer said goodbye"),
            _ => {}
        }
        None
    }

    fn connect(&mut self) {
        self.life.connect();
        self.stats.is_connected = true;
        self.rtc.bwe().set_bitrate(Bitrate::kbps(300), Bitrate::bps(*BITRATE_BPS.end()));
        self.choose_payloads();
        self.order(Order::KeyPicture);
    }

    fn add(&mut self, media: &MediaAdded) {
        self.mids.push((media.mid, media.kind));
        self.choose_payloads();
    }

    /// Voice is Opus; pictures are H.264 as the encoder makes it, whatever else the offer kept open.
    fn choose_payloads(&mut self) {
        for (mid, kind) in self.mids.clone() {
            let Some(writer) = self.rtc.writer(mid) else { continue };
            let is_ours = |params: &&PayloadParams| match kind {
                MediaKind::Audio => params.spec().codec == Codec::Opus,
                MediaKind::Video => is_baseline(params),
            };
            let Some(pt) = writer.payload_params().find(is_ours).map(PayloadParams::pt) else { continue };
            match kind {
                MediaKind::Audio => self.voice = Some((mid, pt)),
                MediaKind::Video => self.picture = Some((mid, pt)),
            }
        }
    }

    fn hear(&mut self, data: &MediaData) {
        if data.params.spec().codec != Codec::Opus {
            return;
        }
        self.sequence = **data.seq_range.start();
        self.ticket.inbox.hear(VoicePacket {
            rtp: AudioRtpTime::from_ticks(u128::from(data.time.numer())),
            sequence: Some(self.sequence),
            payload: Bytes::copy_from_slice(&data.data),
            arrived: data.network_time,
        });
    }

    fn estimate(&mut self, kind: &BweKind, now: Instant) {
        let (BweKind::Twcc { estimate, .. } | BweKind::Remb { estimate, .. }) = kind else { return };
        self.stats.estimate_bps = Some(estimate.as_u64());
        let wanted = estimate.as_u64().saturating_sub(OTHER_BPS).clamp(*BITRATE_BPS.start(), *BITRATE_BPS.end());
        let is_worth_it = wanted.abs_diff(self.told_bps) * 100 > self.told_bps * WORTH_TELLING_PERCENT;
        let is_soon = self.told_at.is_some_and(|at| now.saturating_duration_since(at) < TELL_EVERY);
        if is_worth_it && !is_soon {
            self.told_bps = wanted;
            self.told_at = Some(now);
            self.order(Order::Bitrate(u32::try_from(wanted).unwrap_or(u32::MAX)));
        }
    }

    fn order(&self, order: Order) {
        // A show with a full inbox does not keep up; it gets the next one.
        let _ = self.ticket.inbox.order(order);
    }
}

fn is_baseline(params: &PayloadParams) -> bool {
    let spec = params.spec();
    let is_42e0 = spec.format.profile_level_id.is_some_and(|id| id >> 16 == 0x42 && id & 0x4000 != 0);
    spec.codec == Codec::H264 && spec.format.packetization_mode == Some(1) && is_42e0
}

/// The moment as unwrapped ticks of an RTP clock; the machine wraps them.
fn ticks(at: SampleIndex, clock_hz: u32) -> u64 {
    let ticks = u128::from(at.0) * u128::from(clock_hz) / u128::from(crate::time::LINE_HZ);
    u64::try_from(ticks).unwrap_or(u64::MAX)
}
