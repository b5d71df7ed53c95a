//! The door's handle: starts the net thread, answers offers, asks for numbers.

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

/// Things a show may have on the way for each place.
const OUTLET_PER_PLACE: usize = 16;
const COMMANDS: usize = 64;

/// The door's handle.
pub struct RtcServer {
    machines: RtcFactory,
    port: u16,
    reception: Joiner,
    thread: std::sync::Mutex<Option<JoinHandle<()>>>,
    wall: Wall,
}

/// Ways to whoever makes a session.
#[derive(Clone)]
struct Joiner {
    sessions: Arc<Sessions>,
    commands: mpsc::Sender<RtcCommand>,
    outlet: mpsc::Sender<Outgoing>,
}

impl RtcServer {
    /// Binds the port and starts the thread.
    ///
    /// # Errors
    /// If the port is taken or there is no thread to be had.
    pub fn start(
        config: &RtcConfig,
        sessions: Arc<Sessions>,
        counters: Arc<Counters>,
        wall: Wall,
    ) -> Result<Self, RtcServerError> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(RtcServerError::Thread)?;
        let sockets = {
            let _inside = runtime.enter();
            sockets::bind(config)?
        };
        let candidates: Vec<SocketAddr> = sockets.iter().flat_map(|socket| socket.advertised.clone()).collect();
        let (outlet, from_shows) = mpsc::channel(OUTLET_PER_PLACE * config.places.max(1));
        let (commands, orders) = mpsc::channel(COMMANDS);
        let floor = EventLoop::new(sockets, Arc::clone(&sessions), counters, wall);
        let work = move || runtime.block_on(floor.run(orders, from_shows));
        let thread = std::thread::Builder::new().name("net".to_owned()).spawn(work).map_err(RtcServerError::Thread)?;
        Ok(Self {
            machines: RtcFactory::new(&candidates),
            port: candidates.first().map_or(0, SocketAddr::port),
            reception: Joiner { sessions, commands, outlet },
            thread: Some(thread).into(),
            wall,
        })
    }

    /// The UDP port.
    #[must_use]
    pub fn udp_port(&self) -> u16 {
        self.port
    }

    /// Creates a session for the peer that sent `offer`: it is the session's creator, its first viewer, and has the
    /// microphone.
    ///
    /// # Errors
    /// If the offer cannot be answered or no session is admitted; nothing is left behind.
    pub async fn join(&self, offer: &str, request: SessionRequest) -> Result<Joined, JoinError> {
        let (rtc, codec, answer) = self.machines.answer(offer, self.wall.now())?;
        let request = SessionRequest { codec, ..request };
        // A task of its own: the caller may hang up meanwhile, and a session that was admitted must get its peer.
        let joiner = self.reception.clone();
        let viewer =
            tokio::spawn(joiner.create(rtc, request, self.wall)).await.map_err(|_our_bug| JoinError::Closing)??;
        Ok(Joined { id: viewer.session, viewer: viewer.id, avatar: viewer.avatar, answer })
    }

    /// Creates a session without a peer.
    ///
    /// # Errors
    /// If no session is admitted.
    pub async fn create(&self, request: SessionRequest) -> Result<Arc<SessionHandle>, JoinError> {
        self.reception.clone().start(request).await
    }

    /// Lets the peer that sent `offer` watch a running session.
    ///
    /// # Errors
    /// If there is no such session, its codec is not in the offer, the offer cannot be answered, or the session has no
    /// viewer slot or microphone for it; nothing is left behind.
    pub async fn join_viewer(&self, session: &str, offer: &str, role: ViewerRole) -> Result<JoinedViewer, JoinError> {
        let missing = || ViewerError::NoSession { id: session.to_owned() };
        let codec = self.reception.sessions.find(session).ok_or_else(missing)?.codec;
        let now = self.wall.now();
        let (rtc, answer) = self.machines.answer_viewer(offer, (codec, role), now)?;
        let viewer = self.reception.sessions.join(session, role, now)?;
        let id = Arc::clone(viewer.id());
        let joiner = self.reception.clone();
        let added = tokio::spawn(joiner.add(rtc, viewer, self.wall)).await;
        added.map_err(|_our_bug| JoinError::Closing)??;
        Ok(JoinedViewer { id, answer })
    }

    /// The network statistics of each viewer of a session, in the order in which they joined.
    pub async fn stats(&self, session: SessionKey) -> Vec<(ViewerKey, NetworkStats)> {
        let (answer, asked) = oneshot::channel();
        let is_asked = self.reception.commands.send(RtcCommand::Stats(session, answer)).await.is_ok();
        if is_asked { asked.await.unwrap_or_default() } else { Vec::new() }
    }

    /// What the network says about every session.
    pub async fn all_stats(&self) -> Vec<NetworkStats> {
        let (answer, asked) = oneshot::channel();
        let is_asked = self.reception.commands.send(RtcCommand::AllStats(answer)).await.is_ok();
        if is_asked { asked.await.unwrap_or_default() } else { Vec::new() }
    }

    /// Says goodbye to every peer and ends the thread.
    pub async fn close(&self) {
        // If the thread is gone already there is nobody to tell.
        let _ = self.reception.commands.send(RtcCommand::Close).await;
        let thread = self.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic of the net thread was told when it happened.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

/// Ids of a peer that was added.
struct Added {
    session: Arc<str>,
    avatar: Arc<str>,
    id: Arc<str>,
}

impl Joiner {
    async fn create(self, rtc: Rtc, request: SessionRequest, wall: Wall) -> Result<Added, JoinError> {
        let session = self.clone().start(request).await?;
        let joined = self.sessions.join(&session.id, ViewerRole::Creator, wall.now());
        let viewer = joined.inspect_err(|_refused| {
            self.sessions.end(&session.id, EndReason::Closing);
        })?;
        let added = Added { session: Arc::clone(&session.id), avatar: session.avatar(), id: Arc::clone(viewer.id()) };
        self.add(rtc, viewer, wall).await?;
        Ok(added)
    }

    async fn start(self, request: SessionRequest) -> Result<Arc<SessionHandle>, JoinError> {
        let Self { sessions, outlet, .. } = self;
        // Loading an avatar reads files and takes a while.
        let started = tokio::task::spawn_blocking(move || sessions.start(&request, Box::new(outlet))).await;
        Ok(started.map_err(|_our_bug| JoinError::Closing)??)
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
