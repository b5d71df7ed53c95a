//! A synthetic client: takes the place of a browser that talks to the avatar, or only watches a session.
//!
//! Decides how a call is set up, what it sends, and how it ends. `connection` holds the WebRTC stack, `recorder` logs packets.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use tokio::task::JoinHandle;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;

use super::BenchError;
use super::connection::{AUDIO_PAYLOAD_TYPE, Connection};
pub use super::recorder::Payloads;
use super::recorder::Recorder;
use super::recording::{PACKET_SAMPLES, Recording};
use super::server::Server;
use super::speech_loop::SpeechLoop;
use crate::api_client::ApiError;
use crate::media::BLOCK_MS;
use crate::time::Wall;

/// 20 ms of silence (Opus CELT, RFC 6716).
const SILENCE: &[u8] = &[0xf8, 0xff, 0xfe];

/// Speech that a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// The loop with markers.
    Loop,
    /// Packets of silence.
    Silence,
}

/// Parameters of a client that creates a session.
#[derive(Clone, Copy, Debug)]
pub struct ClientPlan {
    /// Number of the client: sets its position in the speech loop and the phase of its packets.
    pub number: usize,
    /// Payloads that it logs.
    pub payloads: Payloads,
    /// Speech that it sends.
    pub speech: Speech,
    /// Origin of the times in its recording.
    pub epoch: Instant,
}

/// What a client is to the server.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Role {
    /// It created the session with its id.
    Creator,
    /// It watches `session`.
    Viewer { session: String },
}

/// A connected call.
pub struct Client {
    /// ID of its session, or of the viewer.
    pub id: String,
    role: Role,
    recording: Arc<Mutex<Recording>>,
    connection: Connection,
    sender: Option<JoinHandle<()>>,
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
        let recorder = Recorder::new(Arc::clone(&recording), plan.payloads, plan.epoch);
        let mut connection = Connection::new(server.local_ip(), recorder).await?;
        let ssrc = fastrand::u32(1..);
        let track = connection.send_audio(ssrc).await?;
        connection.receive(RtpCodecKind::Video).await?;
        let session = server.create_session(&connection.offer().await?, avatar).await?;
        connection.connect(session.sdp).await?;
        let sender = SpeechSender { track, ssrc, speech, plan, recording: Arc::clone(&recording) };
        let sender = Some(tokio::spawn(sender.run()));
        Ok(Self { id: session.id, role: Role::Creator, recording, connection, sender })
    }

    /// Watches `session` without a microphone. Logs video packets without their payload, which costs little.
    ///
    /// # Errors
    /// If the server refuses, or the connection is not established within ten seconds.
    pub async fn watch(server: &Server, session: &str, epoch: Instant) -> Result<Self, BenchError> {
        let recording = Arc::new(Mutex::new(Recording::default()));
        let recorder = Recorder::new(Arc::clone(&recording), Payloads::Nothing, epoch);
        let mut connection = Connection::new(server.local_ip(), recorder).await?;
        connection.receive(RtpCodecKind::Audio).await?;
        connection.receive(RtpCodecKind::Video).await?;
        let viewer = server.add_viewer(session, &connection.offer().await?).await?;
        connection.connect(viewer.sdp).await?;
        let role = Role::Viewer { session: session.to_owned() };
        Ok(Self { id: viewer.id, role, recording, connection, sender: None })
    }

    /// Calls `read` with the recording so far.
    pub fn with_recording<T>(&self, read: impl FnOnce(&Recording) -> T) -> T {
        read(&lock(&self.recording))
    }

    /// Whether the server still answers on its connection.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.connection.is_connected()
    }

    /// Whether its call is over: the connection failed, or the server does not know it any more.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn has_ended(&self, server: &Server) -> Result<bool, ApiError> {
        Ok(self.connection.has_ended() || !self.is_known_to(server).await?)
    }

    async fn is_known_to(&self, server: &Server) -> Result<bool, ApiError> {
        let session = if let Role::Viewer { session } = &self.role { session } else { &self.id };
        let stats = match server.session_stats(session).await {
            Err(ApiError::Refused { status: 404, .. }) => return Ok(false),
            stats => stats?,
        };
        let mut viewers = stats["viewers"].as_array().into_iter().flatten();
        Ok(self.role == Role::Creator || viewers.any(|viewer| viewer["id"] == self.id.as_str()))
    }

    /// Ends the call and returns the recording. A call that has ended already is no error here; [`super::calls`] reports it.
    pub async fn close(self, server: &Server) -> Recording {
        self.sender.iter().for_each(JoinHandle::abort);
        let _ = self.leave(server).await;
        self.connection.close().await;
        std::mem::take(&mut *lock(&self.recording))
    }

    async fn leave(&self, server: &Server) -> Result<(), ApiError> {
        match &self.role {
            Role::Creator => server.end_session(&self.id).await,
            Role::Viewer { session } => server.remove_viewer(session, &self.id).await,
        }
    }
}

fn lock(recording: &Mutex<Recording>) -> MutexGuard<'_, Recording> {
    recording.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Sends speech at its pace.
struct SpeechSender {
    track: Arc<TrackLocalStaticRTP>,
    ssrc: u32,
    speech: Arc<SpeechLoop>,
    plan: ClientPlan,
    recording: Arc<Mutex<Recording>>,
}

impl SpeechSender {
    /// Sends packet `n` at `n` x 20 ms after the first. The golden ratio spreads the phases of the clients over 20 ms, so that
    /// any number of clients sends evenly.
    async fn run(self) {
        let phase = (self.plan.number as f64 * 0.618_034).fract() * BLOCK_MS as f64 / 1000.0;
        let start = Wall.now() + Duration::from_secs_f64(phase);
        let loop_start = (self.plan.number * 397) % self.speech.packets.len();
        lock(&self.recording).loop_start = loop_start;
        let first_timestamp = fastrand::u32(..);
        for n in 0_u32.. {
            let due = start + Duration::from_millis(u64::from(n) * BLOCK_MS);
            tokio::time::sleep_until(due.into()).await;
            let lateness = Wall.now().saturating_duration_since(due);
            lock(&self.recording).send_lateness.push(lateness);
            let packet = self.packet(n, self.payload(loop_start + n as usize), first_timestamp);
            if self.track.write_rtp(packet).await.is_err() {
                return;
            }
        }
    }

    fn payload(&self, position: usize) -> Bytes {
        match self.plan.speech {
            Speech::Loop => self.speech.packets[position % self.speech.packets.len()].clone(),
            Speech::Silence => Bytes::from_static(SILENCE),
        }
    }

    fn packet(&self, n: u32, payload: Bytes, first_timestamp: u32) -> rtc::rtp::Packet {
        let mut packet = rtc::rtp::Packet { payload, ..Default::default() };
        packet.header.version = 2;
        packet.header.payload_type = AUDIO_PAYLOAD_TYPE;
        packet.header.ssrc = self.ssrc;
        packet.header.sequence_number = n as u16;
        packet.header.timestamp = first_timestamp.wrapping_add(n.wrapping_mul(PACKET_SAMPLES as u32));
        packet.header.marker = n == 0;
        packet
    }
}
