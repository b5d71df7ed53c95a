//! A synthetic caller: what a browser is to the server, on the independent `webrtc` stack, over real UDP.
//!
//! Decides how a call is set up, spoken on and ended. It writes a tape and judges nothing. Packets are taken at the
//! application end of the interceptor chain with the time at which they were read from the socket, and go no
//! further: there is nobody to play them.

use std::collections::VecDeque;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rtc::interceptor::{Interceptor, Packet, Slot, StreamInfo, TaggedPacket};
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::RTCConfigurationBuilder;
use rtc::peer_connection::configuration::interceptor_registry::{Registry, register_default_interceptors};
use rtc::peer_connection::configuration::media_engine::{MIME_TYPE_H264, MIME_TYPE_OPUS, MediaEngine};
use rtc::peer_connection::configuration::setting_engine::SettingEngineBuilder;
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::rtcp::sender_report::SenderReport;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind,
};
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use rtc::sansio::Protocol;
use rtc::shared::error::Error as RtcError;
use tokio::sync::watch;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceGatheringState, RTCPeerConnectionState,
};

use super::BenchError;
use super::recording::{AudioPacket, PACKET_SAMPLES, Recording, ReportedClock, VideoPacket};
use super::server::Server;
use super::speech_loop::VoiceLoop;
use crate::media::BLOCK_MS;
use crate::time::{AudioRtpTime, VideoRtpTime, Wall};

const VOICE_TYPE: u8 = 111;
const VIDEO_TYPE: u8 = 102;
/// Whoever is not connected by then never will be.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Whether a caller keeps the bytes of the video (to decode them later) or only their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pictures {
    /// Keep the bytes.
    Keep,
    /// Count them.
    Count,
}

/// What a caller says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// The loop with markers.
    Loop,
    /// Nothing (packets of silence).
    Silence,
}

/// Who calls, and how.
#[derive(Clone, Copy, Debug)]
pub struct ClientPlan {
    /// Number of the caller: gives its place in the loop and its phase.
    pub number: usize,
    /// What it does with pictures.
    pub pictures: Pictures,
    /// What it says.
    pub speech: Speech,
    /// The instant that tapes count from.
    pub epoch: Instant,
}

/// A call that stands.
pub struct Client {
    /// The id of its session.
    pub id: String,
    tape: Arc<Mutex<Recording>>,
    connection: Arc<dyn PeerConnection>,
    speaking: tokio::task::JoinHandle<()>,
}

impl Client {
    /// Calls the server and begins to speak as soon as the call stands.
    ///
    /// # Errors
    /// If the server refuses, or the call does not stand within ten seconds.
    pub async fn call(
        server: &Server,
        voice: Arc<VoiceLoop>,
        plan: ClientPlan,
        avatar: Option<&str>,
    ) -> Result<Self, BenchError> {
        let tape = Arc::new(Mutex::new(Recording::default()));
        let (state_tx, mut state) = watch::channel(Progress::default());
        let tap = Tap::new(Arc::clone(&tape), plan);
        let connection = connection(server.local_ip(), tap, Arc::new(GpuMonitor(state_tx))).await.map_err(stack)?;
        let ssrc = fastrand::u32(1..);
        let track = voice_track(ssrc);
        connection.add_track(Arc::clone(&track) as Arc<dyn TrackLocal>).await.map_err(stack)?;
        let receive = RTCRtpTransceiverInit { direction: RTCRtpTransceiverDirection::Recvonly, ..Default::default() };
        connection.add_transceiver_from_kind(RtpCodecKind::Video, Some(receive)).await.map_err(stack)?;
        let offer = connection.create_offer(None).await.map_err(stack)?;
        connection.set_local_description(offer).await.map_err(stack)?;
        reach(&mut state, |progress| progress.has_candidates).await?;
        let offer = connection.local_description().await.ok_or(BenchError::NoCall { found: "no offer".into() })?;
        let joined = server.join(&offer.sdp, avatar).await?;
        let answer = RTCSessionDescription::answer(joined.sdp).map_err(stack)?;
        connection.set_remote_description(answer).await.map_err(stack)?;
        reach(&mut state, |progress| progress.is_connected).await?;
        let speaking = tokio::spawn(speak(track, voice, plan, ssrc, Arc::clone(&tape)));
        Ok(Self { id: joined.id, tape, connection, speaking })
    }

    /// A look at the tape so far.
    pub fn look<T>(&self, look: impl FnOnce(&Recording) -> T) -> T {
        look(&self.tape.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends the call and gives the tape.
    pub async fn hang_up(self, server: &Server) -> Recording {
        self.speaking.abort();
        // A session that is gone already is as good as one that is ended now.
        let _ = server.leave(&self.id).await;
        let _ = self.connection.close().await;
        std::mem::take(&mut *self.tape.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn stack(error: RtcError) -> BenchError {
    BenchError::NoCall { found: error.to_string() }
}

#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    has_candidates: bool,
    is_connected: bool,
    has_failed: bool,
}

async fn reach(state: &mut watch::Receiver<Progress>, goal: impl Fn(&Progress) -> bool) -> Result<(), BenchError> {
    let reached = state.wait_for(|progress| progress.has_failed || goal(progress));
    let late = |_| BenchError::NoCall { found: format!("no connection after {} s", CONNECT_LIMIT.as_secs()) };
    let gone = |_| BenchError::NoCall { found: "the stack ended".into() };
    let progress = *tokio::time::timeout(CONNECT_LIMIT, reached).await.map_err(late)?.map_err(gone)?;
    if progress.has_failed { Err(BenchError::NoCall { found: "ICE or DTLS failed".into() }) } else { Ok(()) }
}

struct GpuMonitor(watch::Sender<Progress>);

type Done<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

// The trait is written with async-trait; these are its signatures in full, which spares a dependency.
impl PeerConnectionEventHandler for GpuMonitor {
    fn on_ice_gathering_state_change<'life, 'future>(&'life self, state: RTCIceGatheringState) -> Done<'future>
    where
        'life: 'future,
        Self: 'future,
    {
        Box::pin(async move {
            self.0.send_modify(|progress| progress.has_candidates |= state == RTCIceGatheringState::Complete);
        })
    }

    fn on_connection_state_change<'life, 'future>(&'life self, state: RTCPeerConnectionState) -> Done<'future>
    where
        'life: 'future,
        Self: 'future,
    {
        Box::pin(async move {
            self.0.send_modify(|progress| {
                progress.is_connected = state == RTCPeerConnectionState::Connected;
                progress.has_failed |= state == RTCPeerConnectionState::Failed;
            });
        })
    }
}

async fn connection(local: IpAddr, tap: Tap, watcher: Arc<GpuMonitor>) -> Result<Arc<dyn PeerConnection>, RtcError> {
    let mut engine = MediaEngine::default();
    engine.register_codec(codec_parameters(RtpCodecKind::Audio), RtpCodecKind::Audio)?;
    engine.register_codec(codec_parameters(RtpCodecKind::Video), RtpCodecKind::Video)?;
    let registry = register_default_interceptors(Registry::new(), &mut engine)?.with(Slot::from(14_000), tap);
    let settings = SettingEngineBuilder::new().with_include_loopback_candidate(true).build();
    let connection = PeerConnectionBuilder::new()
        .with_configuration(RTCConfigurationBuilder::new().build())
        .with_media_engine(engine)
        .with_setting_engine(settings)
        .with_interceptor_registry(registry)
        .with_handler(watcher)
        .with_udp_addrs(vec![SocketAddr::new(local, 0)])
        .build()
        .await?;
    Ok(Arc::new(connection))
}

fn codec(kind: RtpCodecKind) -> RTCRtpCodec {
    let (mime_type, clock_rate, channels, fmtp) = match kind {
        RtpCodecKind::Video => {
            (MIME_TYPE_H264, 90_000, 0, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f")
        }
        _ => (MIME_TYPE_OPUS, 48_000, 2, "minptime=10;useinbandfec=1"),
    };
    RTCRtpCodec {
        mime_type: mime_type.to_owned(),
        clock_rate,
        channels,
        sdp_fmtp_line: fmtp.to_owned(),
        rtcp_feedback: vec![],
    }
}

fn codec_parameters(kind: RtpCodecKind) -> RTCRtpCodecParameters {
    let payload_type = if kind == RtpCodecKind::Video { VIDEO_TYPE } else { VOICE_TYPE };
    RTCRtpCodecParameters { rtp_codec: codec(kind), payload_type }
}

fn voice_track(ssrc: u32) -> Arc<TrackLocalStaticRTP> {
    let coding = RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters { ssrc: Some(ssrc), ..Default::default() },
        codec: codec(RtpCodecKind::Audio),
        ..Default::default()
    };
    let name = |what: &str| format!("bench-{what}");
    let track = MediaStreamTrack::new(name("stream"), name("voice"), name("voice"), RtpCodecKind::Audio, vec![coding]);
    Arc::new(TrackLocalStaticRTP::new(track))
}

/// A packet of 20 ms of silence (Opus CELT, RFC 6716).
const SILENCE: &[u8] = &[0xf8, 0xff, 0xfe];

/// Packet `n` is due `n` x 20 ms after the first; the phases of callers are spread over 20 ms by the golden ratio, so that
/// any number of them comes evenly.
async fn speak(
    track: Arc<TrackLocalStaticRTP>,
    voice: Arc<VoiceLoop>,
    plan: ClientPlan,
    ssrc: u32,
    tape: Arc<Mutex<Recording>>,
) {
    let phase = (plan.number as f64 * 0.618_034).fract() * BLOCK_MS as f64 / 1000.0;
    let start = Wall.now() + Duration::from_secs_f64(phase);
    let loop_start = (plan.number * 397) % voice.packets.len();
    tape.lock().unwrap_or_else(PoisonError::into_inner).loop_start = loop_start;
    let base = fastrand::u32(..);
    for n in 0_u32.. {
        let due = start + Duration::from_millis(u64::from(n) * BLOCK_MS);
        tokio::time::sleep_until(due.into()).await;
        let lateness = Wall.now().saturating_duration_since(due);
        tape.lock().unwrap_or_else(PoisonError::into_inner).send_lateness.push(lateness);
        let payload = match plan.speech {
            Speech::Loop => voice.packets[(loop_start + n as usize) % voice.packets.len()].clone(),
            Speech::Silence => Bytes::from_static(SILENCE),
        };
        let mut packet = rtc::rtp::Packet { payload, ..Default::default() };
        packet.header.version = 2;
        packet.header.payload_type = VOICE_TYPE;
        packet.header.ssrc = ssrc;
        packet.header.sequence_number = n as u16;
        packet.header.timestamp = base.wrapping_add(n.wrapping_mul(PACKET_SAMPLES as u32));
        packet.header.marker = n == 0;
        if track.write_rtp(packet).await.is_err() {
            return;
        }
    }
}

/// The last link of the interceptor chain before the application: writes the tape.
struct Tap {
    tape: Arc<Mutex<Recording>>,
    plan: ClientPlan,
    voice_ssrc: Option<u32>,
    outgoing: VecDeque<TaggedPacket>,
}

impl Tap {
    fn new(tape: Arc<Mutex<Recording>>, plan: ClientPlan) -> Self {
        Self { tape, plan, voice_ssrc: None, outgoing: VecDeque::new() }
    }

    fn take_rtp(&mut self, arrived: Duration, packet: rtc::rtp::Packet) {
        let mut tape = self.tape.lock().unwrap_or_else(PoisonError::into_inner);
        if packet.payload.is_empty() {
            return;
        }
        if packet.header.payload_type == VOICE_TYPE {
            self.voice_ssrc = Some(packet.header.ssrc);
            let rtp = AudioRtpTime::default().plus(packet.header.timestamp);
            tape.voice.push(AudioPacket { arrived, rtp, payload: packet.payload });
        } else if packet.header.payload_type == VIDEO_TYPE {
            let length_bytes = packet.payload.len();
            let payload = if self.plan.pictures == Pictures::Keep { packet.payload } else { Bytes::new() };
            tape.video.push(VideoPacket {
                arrived,
                rtp: VideoRtpTime::default().plus(packet.header.timestamp),
                sequence: packet.header.sequence_number,
                closes_frame: packet.header.marker,
                payload,
                length_bytes,
            });
        }
    }

    fn take_report(&self, report: &SenderReport) {
        let mut tape = self.tape.lock().unwrap_or_else(PoisonError::into_inner);
        let clock = Some(ReportedClock { ntp: report.ntp_time, rtp: report.rtp_time });
        if self.voice_ssrc == Some(report.ssrc) { tape.voice_report = clock } else { tape.video_report = clock }
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Tap {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = RtcError;
    type Time = Instant;

    fn handle_read(&mut self, message: TaggedPacket) -> Result<(), RtcError> {
        match message.message.packet {
            Packet::Rtp(packet) => self.take_rtp(message.now.saturating_duration_since(self.plan.epoch), packet),
            Packet::Rtcp(reports) => {
                reports.iter().filter_map(|r| r.as_any().downcast_ref()).for_each(|report| self.take_report(report));
            }
            _ => {}
        }
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        None
    }

    fn handle_write(&mut self, message: TaggedPacket) -> Result<(), RtcError> {
        if let Packet::Rtp(packet) = &message.message.packet {
            let sent = Wall.now().saturating_duration_since(self.plan.epoch);
            let line = &mut self.tape.lock().unwrap_or_else(PoisonError::into_inner).sent;
            // A packet that the stack swallowed before still has its place: the index is the number of the packet.
            let swallowed = packet.header.sequence_number.wrapping_sub(line.len() as u16);
            line.resize(line.len() + usize::from(swallowed) + 1, sent);
        }
        self.outgoing.push_back(message);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.outgoing.pop_front()
    }
}

impl Interceptor for Tap {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}
