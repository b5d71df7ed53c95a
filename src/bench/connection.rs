//! A WebRTC connection of a client, on the independent `webrtc` stack.
//!
//! Decides codecs, candidates and how long a connection may take. Sends and records nothing.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rtc::interceptor::Slot;
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::RTCConfigurationBuilder;
use rtc::peer_connection::configuration::interceptor_registry::{Registry, register_default_interceptors};
use rtc::peer_connection::configuration::media_engine::{MIME_TYPE_H264, MIME_TYPE_OPUS, MediaEngine};
use rtc::peer_connection::configuration::setting_engine::SettingEngineBuilder;
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::rtp_transceiver::rtp_sender::{
    RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind,
};
use rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use rtc::shared::error::Error as RtcError;
use tokio::sync::watch;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceGatheringState, RTCPeerConnectionState,
};

use super::BenchError;
use super::recorder::Recorder;

/// RTP payload type of Opus.
pub const AUDIO_PAYLOAD_TYPE: u8 = 111;
/// RTP payload type of H.264.
pub const VIDEO_PAYLOAD_TYPE: u8 = 102;
/// Limit for ICE gathering, and again for ICE and DTLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that is offered, and later answered.
pub struct Connection {
    peer: Arc<dyn PeerConnection>,
    state: watch::Receiver<ConnectionState>,
}

impl Connection {
    /// A connection without lines, from the local address `local`; `recorder` takes what it receives.
    ///
    /// # Errors
    /// If the stack cannot be set up.
    pub async fn new(local: IpAddr, recorder: Recorder) -> Result<Self, BenchError> {
        let (state_tx, state) = watch::channel(ConnectionState::default());
        let peer = new_peer(local, recorder, Arc::new(StateObserver(state_tx))).await.map_err(not_connected)?;
        Ok(Self { peer, state })
    }

    /// Adds a line of this kind that only receives.
    ///
    /// # Errors
    /// If the stack refuses it.
    pub async fn receive(&self, kind: RtpCodecKind) -> Result<(), BenchError> {
        let receive = RTCRtpTransceiverInit { direction: RTCRtpTransceiverDirection::Recvonly, ..Default::default() };
        self.peer.add_transceiver_from_kind(kind, Some(receive)).await.map(drop).map_err(not_connected)
    }

    /// Adds a line that sends and receives audio; returns the track for packets with this SSRC.
    ///
    /// # Errors
    /// If the stack refuses it.
    pub async fn send_audio(&self, ssrc: u32) -> Result<Arc<TrackLocalStaticRTP>, BenchError> {
        let track = audio_track(ssrc);
        self.peer.add_track(Arc::clone(&track) as Arc<dyn TrackLocal>).await.map_err(not_connected)?;
        Ok(track)
    }

    /// The SDP offer with all candidates.
    ///
    /// # Errors
    /// If the stack cannot create it within ten seconds.
    pub async fn offer(&mut self) -> Result<String, BenchError> {
        let offer = self.peer.create_offer(None).await.map_err(not_connected)?;
        self.peer.set_local_description(offer).await.map_err(not_connected)?;
        self.wait_for(|state| state.has_candidates).await?;
        let offer = self.peer.local_description().await;
        offer.map(|offer| offer.sdp).ok_or(BenchError::NotConnected { found: "no offer".into() })
    }

    /// Applies the SDP answer and waits until ICE and DTLS are connected.
    ///
    /// # Errors
    /// If that takes longer than ten seconds.
    pub async fn connect(&mut self, answer: String) -> Result<(), BenchError> {
        let answer = RTCSessionDescription::answer(answer).map_err(not_connected)?;
        self.peer.set_remote_description(answer).await.map_err(not_connected)?;
        self.wait_for(|state| state.is_connected).await
    }

    /// Whether the peer still answers. The stack notices a closed connection 5 s late, by missing answers to its ICE checks.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.state.borrow().is_connected
    }

    /// Whether the connection has failed for good.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.state.borrow().has_ended
    }

    /// Closes the connection. An error means that it is closed already.
    pub async fn close(&self) {
        let _ = self.peer.close().await;
    }

    async fn wait_for(&mut self, goal: impl Fn(&ConnectionState) -> bool) -> Result<(), BenchError> {
        let reached = self.state.wait_for(|state| state.has_ended || goal(state));
        let late = |_| BenchError::NotConnected { found: format!("timed out after {} s", CONNECT_TIMEOUT.as_secs()) };
        let gone = |_| BenchError::NotConnected { found: "the peer connection was closed".into() };
        let state = *tokio::time::timeout(CONNECT_TIMEOUT, reached).await.map_err(late)?.map_err(gone)?;
        if state.has_ended { Err(BenchError::NotConnected { found: "ICE or DTLS failed".into() }) } else { Ok(()) }
    }
}

fn not_connected(error: RtcError) -> BenchError {
    BenchError::NotConnected { found: error.to_string() }
}

#[derive(Clone, Copy, Debug, Default)]
struct ConnectionState {
    has_candidates: bool,
    is_connected: bool,
    has_ended: bool,
}

struct StateObserver(watch::Sender<ConnectionState>);

type ObserverFuture<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

// The trait is declared with async-trait. Its expanded signatures avoid that dependency.
impl PeerConnectionEventHandler for StateObserver {
    fn on_ice_gathering_state_change<'life, 'future>(
        &'life self,
        state: RTCIceGatheringState,
    ) -> ObserverFuture<'future>
    where
        'life: 'future,
        Self: 'future,
    {
        Box::pin(async move {
            self.0.send_modify(|found| found.has_candidates |= state == RTCIceGatheringState::Complete);
        })
    }

    fn on_connection_state_change<'life, 'future>(&'life self, state: RTCPeerConnectionState) -> ObserverFuture<'future>
    where
        'life: 'future,
        Self: 'future,
    {
        Box::pin(async move {
            self.0.send_modify(|found| {
                found.is_connected = state == RTCPeerConnectionState::Connected;
                found.has_ended |= matches!(state, RTCPeerConnectionState::Failed | RTCPeerConnectionState::Closed);
            });
        })
    }
}

async fn new_peer(
    local: IpAddr,
    recorder: Recorder,
    observer: Arc<StateObserver>,
) -> Result<Arc<dyn PeerConnection>, RtcError> {
    let mut engine = MediaEngine::default();
    engine.register_codec(codec_parameters(RtpCodecKind::Audio), RtpCodecKind::Audio)?;
    engine.register_codec(codec_parameters(RtpCodecKind::Video), RtpCodecKind::Video)?;
    let registry = register_default_interceptors(Registry::new(), &mut engine)?.with(Slot::from(14_000), recorder);
    let settings = SettingEngineBuilder::new().with_include_loopback_candidate(true).build();
    let peer = PeerConnectionBuilder::new()
        .with_configuration(RTCConfigurationBuilder::new().build())
        .with_media_engine(engine)
        .with_setting_engine(settings)
        .with_interceptor_registry(registry)
        .with_handler(observer)
        .with_udp_addrs(vec![SocketAddr::new(local, 0)])
        .build()
        .await?;
    Ok(Arc::new(peer))
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
