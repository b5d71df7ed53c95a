//! A synthetic WebRTC client: takes the place of a browser, on the independent `webrtc` stack, over real UDP.
//!
//! Decides how a call is set up, sends speech and ends. It logs packets and computes nothing. An interceptor at the application
//! end of the chain logs each received packet with the time at which it was read from the socket, and consumes it.

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
use super::speech_loop::SpeechLoop;
use crate::media::BLOCK_MS;
use crate::time::{AudioRtpTime, VideoRtpTime, Wall};

const AUDIO_PAYLOAD_TYPE: u8 = 111;
const VIDEO_PAYLOAD_TYPE: u8 = 102;
/// Limit for ICE gathering, and again for ICE and DTLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether a client logs the video payload, to decode it later, or only its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VideoPayload {
    /// Log the payload.
    Keep,
    /// Log the size.
    Count,
}

/// Speech that a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// The loop with markers.
    Loop,
    /// Packets of silence.
    Silence,
}

/// Parameters of a client.
#[derive(Clone, Copy, Debug)]
pub struct ClientPlan {
    /// Number of the client: sets its position in the speech loop and the phase of its packets.
    pub number: usize,
    /// What it logs of the video.
    pub video: VideoPayload,
    /// Speech that it sends.
    pub speech: Speech,
    /// Origin of the times in its recording.
    pub epoch: Instant,
}

/// A connected call.
pub struct Client {
    /// Session ID.
    pub id: String,
    recording: Arc<Mutex<Recording>>,
    connection: Arc<dyn PeerConnection>,
    sender: tokio::task::JoinHandle<()>,
}

impl Client {
    /// Creates a session, waits for the connection, and starts to send speech.
    ///
    /// # Errors
    /// If the server refuses, or the connection is not established within ten seconds.
    pub async fn connect(
        server: &Server,
        speech: Arc<SpeechLoop>,
        plan: ClientPlan,
        avatar: Option<&str>,
    ) -> Result<Self, BenchError> {
        let recording = Arc::new(Mutex::new(Recording::default()));
        let (state_tx, mut state) = watch::channel(ConnectionProgress::default());
        let interceptor = RecordingInterceptor::new(Arc::clone(&recording), plan);
        let connection = new_connection(server.local_ip(), interceptor, Arc::new(ConnectionObserver(state_tx)))
            .await
            .map_err(not_connected)?;
        let ssrc = fastrand::u32(1..);
        let track = audio_track(ssrc);
        connection.add_track(Arc::clone(&track) as Arc<dyn TrackLocal>).await.map_err(not_connected)?;
        let receive = RTCRtpTransceiverInit { direction: RTCRtpTransceiverDirection::Recvonly, ..Default::default() };
        connection.add_transceiver_from_kind(RtpCodecKind::Video, Some(receive)).await.map_err(not_connected)?;
        let offer = connection.create_offer(None).await.map_err(not_connected)?;
        connection.set_local_description(offer).await.map_err(not_connected)?;
        wait_for(&mut state, |progress| progress.has_candidates).await?;
        let offer =
            connection.local_description().await.ok_or(BenchError::NotConnected { found: "no offer".into() })?;
        let session = server.create_session(&offer.sdp, avatar).await?;
        let answer = RTCSessionDescription::answer(session.sdp).map_err(not_connected)?;
        connection.set_remote_description(answer).await.map_err(not_connected)?;
        wait_for(&mut state, |progress| progress.is_connected).await?;
        let sender = tokio::spawn(send_speech(track, speech, plan, ssrc, Arc::clone(&recording)));
        Ok(Self { id: session.id, recording, connection, sender })
    }

    /// Calls `read` with the recording so far.
    pub fn with_recording<T>(&self, read: impl FnOnce(&Recording) -> T) -> T {
        read(&self.recording.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Ends the session and returns the recording.
    pub async fn close(self, server: &Server) -> Recording {
        self.sender.abort();
        // The session may have ended already; `run` reports that.
        let _ = server.end_session(&self.id).await;
        let _ = self.connection.close().await;
        std::mem::take(&mut *self.recording.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn not_connected(error: RtcError) -> BenchError {
    BenchError::NotConnected { found: error.to_string() }
}

#[derive(Clone, Copy, Debug, Default)]
struct ConnectionProgress {
    has_candidates: bool,
    is_connected: bool,
    has_failed: bool,
}

async fn wait_for(
    state: &mut watch::Receiver<ConnectionProgress>,
    goal: impl Fn(&ConnectionProgress) -> bool,
) -> Result<(), BenchError> {
    let reached = state.wait_for(|progress| progress.has_failed || goal(progress));
    let late = |_| BenchError::NotConnected { found: format!("timed out after {} s", CONNECT_TIMEOUT.as_secs()) };
    let gone = |_| BenchError::NotConnected { found: "the peer connection was closed".into() };
    let progress = *tokio::time::timeout(CONNECT_TIMEOUT, reached).await.map_err(late)?.map_err(gone)?;
    if progress.has_failed { Err(BenchError::NotConnected { found: "ICE or DTLS failed".into() }) } else { Ok(()) }
}

struct ConnectionObserver(watch::Sender<ConnectionProgress>);

type HandlerFuture<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

// The trait is declared with async-trait. Its expanded signatures avoid that dependency.
impl PeerConnectionEventHandler for ConnectionObserver {
    fn on_ice_gathering_state_change<'life, 'future>(&'life self, state: RTCIceGatheringState) -> HandlerFuture<'future>
    where
        'life: 'future,
        Self: 'future,
    {
        Box::pin(async move {
            self.0.send_modify(|progress| progress.has_candidates |= state == RTCIceGatheringState::Complete);
        })
    }

    fn on_connection_state_change<'life, 'future>(&'life self, state: RTCPeerConnectionState) -> HandlerFuture<'future>
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

async fn new_connection(
    local: IpAddr,
    interceptor: RecordingInterceptor,
    observer: Arc<ConnectionObserver>,
) -> Result<Arc<dyn PeerConnection>, RtcError> {
    let mut engine = MediaEngine::default();
    engine.register_codec(codec_parameters(RtpCodecKind::Audio), RtpCodecKind::Audio)?;
    engine.register_codec(codec_parameters(RtpCodecKind::Video), RtpCodecKind::Video)?;
    let registry = register_default_interceptors(Registry::new(), &mut engine)?.with(Slot::from(14_000), interceptor);
    let settings = SettingEngineBuilder::new().with_include_loopback_candidate(true).build();
    let connection = PeerConnectionBuilder::new()
        .with_configuration(RTCConfigurationBuilder::new().build())
        .with_media_engine(engine)
        .with_setting_engine(settings)
        .with_interceptor_registry(registry)
        .with_handler(observer)
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
    let payload_type = if kind == RtpCodecKind::Video { VIDEO_PAYLOAD_TYPE } else { AUDIO_PAYLOAD_TYPE };
    RTCRtpCodecParameters { rtp_codec: codec(kind), payload_type }
}

fn audio_track(ssrc: u32) -> Arc<TrackLocalStaticRTP> {
    let coding = RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters { ssrc: Some(ssrc), ..Default::default() },
        codec: codec(RtpCodecKind::Audio),
        ..Default::default()
    };
    let name = |what: &str| format!("bench-{what}");
    let track = MediaStreamTrack::new(name("stream"), name("audio"), name("audio"), RtpCodecKind::Audio, vec![coding]);
    Arc::new(TrackLocalStaticRTP::new(track))
}

/// 20 ms of silence (Opus CELT, RFC 6716).
const SILENCE: &[u8] = &[0xf8, 0xff, 0xfe];

/// Sends packet `n` at `n` x 20 ms after the first. The golden ratio spreads the phases of the clients over 20 ms, so that any
/// number of clients sends evenly.
async fn send_speech(
    track: Arc<TrackLocalStaticRTP>,
    speech: Arc<SpeechLoop>,
    plan: ClientPlan,
    ssrc: u32,
    recording: Arc<Mutex<Recording>>,
) {
    let phase = (plan.number as f64 * 0.618_034).fract() * BLOCK_MS as f64 / 1000.0;
    let start = Wall.now() + Duration::from_secs_f64(phase);
    let loop_start = (plan.number * 397) % speech.packets.len();
    recording.lock().unwrap_or_else(PoisonError::into_inner).loop_start = loop_start;
    let base = fastrand::u32(..);
    for n in 0_u32.. {
        let due = start + Duration::from_millis(u64::from(n) * BLOCK_MS);
        tokio::time::sleep_until(due.into()).await;
        let lateness = Wall.now().saturating_duration_since(due);
        recording.lock().unwrap_or_else(PoisonError::into_inner).send_lateness.push(lateness);
        let payload = match plan.speech {
            Speech::Loop => speech.packets[(loop_start + n as usize) % speech.packets.len()].clone(),
            Speech::Silence => Bytes::from_static(SILENCE),
        };
        let mut packet = rtc::rtp::Packet { payload, ..Default::default() };
        packet.header.version = 2;
        packet.header.payload_type = AUDIO_PAYLOAD_TYPE;
        packet.header.ssrc = ssrc;
        packet.header.sequence_number = n as u16;
        packet.header.timestamp = base.wrapping_add(n.wrapping_mul(PACKET_SAMPLES as u32));
        packet.header.marker = n == 0;
        if track.write_rtp(packet).await.is_err() {
            return;
        }
    }
}

/// Last interceptor of the chain before the application: logs packets.
struct RecordingInterceptor {
    recording: Arc<Mutex<Recording>>,
    plan: ClientPlan,
    audio_ssrc: Option<u32>,
    outgoing: VecDeque<TaggedPacket>,
}

impl RecordingInterceptor {
    fn new(recording: Arc<Mutex<Recording>>, plan: ClientPlan) -> Self {
        Self { recording, plan, audio_ssrc: None, outgoing: VecDeque::new() }
    }

    fn log_rtp(&mut self, arrived: Duration, packet: rtc::rtp::Packet) {
        let mut recording = self.recording.lock().unwrap_or_else(PoisonError::into_inner);
        if packet.payload.is_empty() {
            return;
        }
        if packet.header.payload_type == AUDIO_PAYLOAD_TYPE {
            self.audio_ssrc = Some(packet.header.ssrc);
            let rtp = AudioRtpTime::default().plus(packet.header.timestamp);
            recording.audio.push(AudioPacket { arrived, rtp, payload: packet.payload });
        } else if packet.header.payload_type == VIDEO_PAYLOAD_TYPE {
            let length_bytes = packet.payload.len();
            let payload = if self.plan.video == VideoPayload::Keep { packet.payload } else { Bytes::new() };
            recording.video.push(VideoPacket {
                arrived,
                rtp: VideoRtpTime::default().plus(packet.header.timestamp),
                sequence: packet.header.sequence_number,
                closes_frame: packet.header.marker,
                payload,
                length_bytes,
            });
        }
    }

    fn log_sender_report(&self, report: &SenderReport) {
        let mut recording = self.recording.lock().unwrap_or_else(PoisonError::into_inner);
        let clock = Some(ReportedClock { ntp: report.ntp_time, rtp: report.rtp_time });
        if self.audio_ssrc == Some(report.ssrc) {
            recording.audio_report = clock;
        } else {
            recording.video_report = clock;
        }
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for RecordingInterceptor {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = RtcError;
    type Time = Instant;

    fn handle_read(&mut self, message: TaggedPacket) -> Result<(), RtcError> {
        match message.message.packet {
            Packet::Rtp(packet) => self.log_rtp(message.now.saturating_duration_since(self.plan.epoch), packet),
            Packet::Rtcp(reports) => {
                reports
                    .iter()
                    .filter_map(|r| r.as_any().downcast_ref())
                    .for_each(|report| self.log_sender_report(report));
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
            let sent_log = &mut self.recording.lock().unwrap_or_else(PoisonError::into_inner).sent;
            // The index is the packet number: a packet that the stack dropped before keeps its entry.
            let dropped = packet.header.sequence_number.wrapping_sub(sent_log.len() as u16);
            sent_log.resize(sent_log.len() + usize::from(dropped) + 1, sent);
        }
        self.outgoing.push_back(message);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.outgoing.pop_front()
    }
}

impl Interceptor for RecordingInterceptor {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}
