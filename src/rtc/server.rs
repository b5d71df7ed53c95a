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
use super::{Admission, JoinError, Joined, RtcConfig, RtcServerError};
use crate::session::{EndReason, Outgoing, SessionRequest};
use crate::telemetry::Counters;
use crate::time::Wall;

/// Media items in the queue to the network thread, for each session: 160 ms of video (4 frames) and audio (8 packets).
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

/// What a task needs to admit a session and to hand its peer to the network thread.
#[derive(Clone)]
struct Joiner {
    admission: Arc<dyn Admission>,
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
        admission: Arc<dyn Admission>,
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
        let event_loop = EventLoop::new(sockets, Arc::clone(&admission), counters, wall);
        let work = move || runtime.block_on(event_loop.run(command_queue, outgoing_queue));
        let thread = std::thread::Builder::new().name("net".to_owned()).spawn(work).map_err(RtcServerError::Thread)?;
        Ok(Self {
            factory: RtcFactory::new(&candidates),
            port: candidates.first().map_or(0, SocketAddr::port),
            joiner: Joiner { admission, commands, outgoing },
            thread: Some(thread).into(),
            wall,
        })
    }

    /// The bound UDP port.
    #[must_use]
    pub fn udp_port(&self) -> u16 {
        self.port
    }

    /// Answers an offer and admits its session.
    ///
    /// # Errors
    /// If the offer cannot be answered or the session is not admitted; then nothing of it remains.
    pub async fn join(&self, offer: &str, request: SessionRequest) -> Result<Joined, JoinError> {
        let (rtc, codec, answer) = self.factory.answer(offer, self.wall.now())?;
        let request = SessionRequest { codec, ..request };
        // A separate task: the client may disconnect meanwhile, and a session that was admitted must get its peer.
        let admission = self.joiner.clone().admit(rtc, request, self.wall);
        let (id, avatar) = tokio::spawn(admission).await.map_err(|_panicked| JoinError::Closing)??;
        Ok(Joined { id, avatar, answer })
    }

    /// Network statistics of a session; `None` if there is no such session.
    pub async fn stats(&self, id: &str) -> Option<NetworkStats> {
        let (reply, stats) = oneshot::channel();
        self.joiner.commands.send(RtcCommand::Stats(Arc::from(id), reply)).await.ok()?;
        stats.await.ok()?
    }

    /// Network statistics of every session.
    pub async fn all_stats(&self) -> Vec<NetworkStats> {
        let (reply, stats) = oneshot::channel();
        let is_sent = self.joiner.commands.send(RtcCommand::AllStats(reply)).await.is_ok();
        if is_sent { stats.await.unwrap_or_default() } else { Vec::new() }
    }

    /// Closes every peer (RTCP BYE, DTLS close_notify) and ends the thread.
    pub async fn close(&self) {
        // The thread may have ended already.
        let _ = self.joiner.commands.send(RtcCommand::Close).await;
        let thread = self.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // The panic hook has reported a panic of the thread.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

impl Joiner {
    async fn admit(self, rtc: Rtc, request: SessionRequest, wall: Wall) -> Result<(Arc<str>, Arc<str>), JoinError> {
        let (admission, outgoing) = (Arc::clone(&self.admission), self.outgoing);
        // Admission may load an avatar from disk, so it must not block the async workers.
        let admitted = tokio::task::spawn_blocking(move || admission.admit(&request, Box::new(outgoing))).await;
        let session = admitted.map_err(|_panicked| JoinError::Closing)??;
        let (id, avatar) = (Arc::clone(&session.id), Arc::clone(&session.avatar));
        let peer = Box::new(Peer::new(rtc, session, wall.now()));
        if self.commands.send(RtcCommand::Add(peer)).await.is_err() {
            self.admission.end(&id, EndReason::Closing);
            return Err(JoinError::Closing);
        }
        Ok((id, avatar))
    }
}
