//! The handle of the WebRTC endpoint: starts the network thread, answers offers, queries statistics.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use str0m::Rtc;
use tokio::sync::{mpsc, oneshot};

use super::event_loop::{EventLoop, RtcCommand};
use super::network_stats::NetworkStats;
use super::peer::Peer;
use super::rtc_factory::RtcFactory;
use super::sockets;
use super::{JoinError, Joined, JoinedViewer, RtcConfig, RtcServerError};
use crate::session::{
    EndReason, Outgoing, SessionHandle, SessionKey, SessionRequest, Sessions, ViewerError, ViewerHandle, ViewerKey,
    ViewerRole,
};
use crate::telemetry::Counters;
use crate::time::Wall;

/// Media items per session in the queue to the network thread: 160 ms of video (4 frames) and audio (8 packets). The number of
/// viewers does not matter: an item is fanned out after the queue.
const OUTGOING_PER_SESSION: usize = 16;
/// Commands in the queue to the network thread; senders wait when it is full.
const COMMANDS: usize = 64;

/// The handle of the WebRTC endpoint.
pub struct RtcServer {
    factory: RtcFactory,
    port: u16,
    joiner: Joiner,
    thread: std::sync::Mutex<Option<JoinHandle<()>>>,
    wall: Wall,
}

/// What a task needs to admit a session and to pass its peer to the network thread.
#[derive(Clone)]
struct Joiner {
    sessions: Arc<Sessions>,
    commands: mpsc::Sender<RtcCommand>,
    outgoing: mpsc::Sender<Outgoing>,
}

impl RtcServer {
    /// Binds the UDP port and starts the network thread.
    ///
    /// # Errors
    /// If a socket cannot be bound or the thread cannot be started.
    pub fn start(
        config: &RtcConfig,
        sessions: Arc<Sessions>,
        counters: Arc<Counters>,
        wall: Wall,
    ) -> Result<Self, RtcServerError> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(RtcServerError::Thread)?;
        let sockets = {
            let _context = runtime.enter();
            sockets::bind(config)?
        };
        let candidates: Vec<SocketAddr> = sockets.iter().flat_map(|socket| socket.advertised.clone()).collect();
        let (outgoing, outgoing_queue) = mpsc::channel(OUTGOING_PER_SESSION * config.capacity.max(1));
        let (commands, command_queue) = mpsc::channel(COMMANDS);
        let event_loop = EventLoop::new(sockets, Arc::clone(&sessions), counters, wall);
        let work = move || runtime.block_on(event_loop.run(command_queue, outgoing_queue));
        let thread = std::thread::Builder::new().name("net".to_owned()).spawn(work).map_err(RtcServerError::Thread)?;
        Ok(Self {
            factory: RtcFactory::new(&candidates),
            port: candidates.first().map_or(0, SocketAddr::port),
            joiner: Joiner { sessions, commands, outgoing },
            thread: Some(thread).into(),
            wall,
        })
    }

    /// The bound UDP port.
    #[must_use]
    pub fn udp_port(&self) -> u16 {
        self.port
    }

    /// Creates a session for the peer that sent `offer`. The peer is its creator and first viewer, and owns the microphone.
    ///
    /// # Errors
    /// If the offer cannot be answered or the session is not admitted. No session remains.
    pub async fn join(&self, offer: &str, request: SessionRequest) -> Result<Joined, JoinError> {
        let (rtc, codec, answer) = self.factory.answer(offer, self.wall.now())?;
        let request = SessionRequest { codec, ..request };
        // A separate task: the client may disconnect meanwhile, and a session that was admitted must get its peer.
        let creation = self.joiner.clone().create(rtc, request, self.wall);
        let added = tokio::spawn(creation).await.map_err(|_panicked| JoinError::Closing)??;
        Ok(Joined { id: added.session, viewer: added.viewer, avatar: added.avatar, answer })
    }

    /// Creates a session without a peer.
    ///
    /// # Errors
    /// If the session is not admitted.
    pub async fn create(&self, request: SessionRequest) -> Result<Arc<SessionHandle>, JoinError> {
        self.joiner.clone().start(request).await
    }

    /// Adds the peer that sent `offer` as a viewer of a running session.
    ///
    /// # Errors
    /// If there is no such session, its codec is not in the offer, the offer cannot be answered, or the session has no
    /// viewer slot or microphone for it. No viewer remains.
    pub async fn join_viewer(&self, session: &str, offer: &str, role: ViewerRole) -> Result<JoinedViewer, JoinError> {
        let codec = self.joiner.sessions.find(session).ok_or(ViewerError::NoSession)?.codec;
        let now = self.wall.now();
        let (rtc, answer) = self.factory.answer_viewer(offer, (codec, role), now)?;
        let viewer = self.joiner.sessions.join(session, role, now)?;
        let id = Arc::clone(viewer.id());
        let adding = self.joiner.clone().add(rtc, viewer, self.wall);
        tokio::spawn(adding).await.map_err(|_panicked| JoinError::Closing)??;
        Ok(JoinedViewer { id, answer })
    }

    /// Network statistics of each viewer of a session, in the order in which they joined.
    pub async fn stats(&self, session: SessionKey) -> Vec<(ViewerKey, NetworkStats)> {
        let (reply, stats) = oneshot::channel();
        let is_sent = self.joiner.commands.send(RtcCommand::Stats(session, reply)).await.is_ok();
        if is_sent { stats.await.unwrap_or_default() } else { Vec::new() }
    }

    /// Network statistics of the first viewer of the session with this id; `None` if there is no such session or viewer.
    pub async fn first_viewer_stats(&self, id: &str) -> Option<NetworkStats> {
        let session = self.joiner.sessions.find(id)?;
        self.stats(session.key).await.first().map(|(_, stats)| *stats)
    }

    /// Network statistics of every peer.
    pub async fn all_stats(&self) -> Vec<NetworkStats> {
        let (reply, stats) = oneshot::channel();
        let is_sent = self.joiner.commands.send(RtcCommand::AllStats(reply)).await.is_ok();
        if is_sent { stats.await.unwrap_or_default() } else { Vec::new() }
    }

    /// Closes every peer (RTCP BYE, DTLS `close_notify`) and ends the thread.
    pub async fn close(&self) {
        // The thread may have ended already.
        let _ = self.joiner.commands.send(RtcCommand::Close).await;
        let thread = self.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic of the thread was reported by the panic hook.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

/// The ids of a session and its creator.
struct Created {
    session: Arc<str>,
    viewer: Arc<str>,
    avatar: Arc<str>,
}

impl Joiner {
    async fn create(self, rtc: Rtc, request: SessionRequest, wall: Wall) -> Result<Created, JoinError> {
        let session = self.clone().start(request).await?;
        let joined = self.sessions.join(&session.id, ViewerRole::Creator, wall.now());
        let viewer = joined.inspect_err(|_refused| {
            self.sessions.end(&session.id, EndReason::Closing);
        })?;
        let (id, avatar) = (Arc::clone(&session.id), session.avatar());
        let created = Created { session: id, viewer: Arc::clone(viewer.id()), avatar };
        self.add(rtc, viewer, wall).await?;
        Ok(created)
    }

    async fn start(self, request: SessionRequest) -> Result<Arc<SessionHandle>, JoinError> {
        let Self { sessions, outgoing, .. } = self;
        // Admission may load an avatar from disk, so it must not block the async workers.
        let started = tokio::task::spawn_blocking(move || sessions.start(&request, Box::new(outgoing))).await;
        Ok(started.map_err(|_panicked| JoinError::Closing)??)
    }

    async fn add(self, rtc: Rtc, viewer: ViewerHandle, wall: Wall) -> Result<(), JoinError> {
        let peer = Box::new(Peer::new(rtc, viewer, wall.now()));
        let Err(refused) = self.commands.send(RtcCommand::Add(peer)).await else { return Ok(()) };
        if let RtcCommand::Add(peer) = refused.0 {
            self.sessions.leave(&peer.viewer, EndReason::Closing);
        }
        Err(JoinError::Closing)
    }
}
