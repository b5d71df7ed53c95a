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
use super::{Admission, JoinError, Joined, RtcConfig, RtcServerError};
use crate::session::{EndReason, Outgoing, SessionRequest};
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
    lobby: Arc<dyn Admission>,
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
        lobby: Arc<dyn Admission>,
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
        let floor = EventLoop::new(sockets, Arc::clone(&lobby), counters, wall);
        let work = move || runtime.block_on(floor.run(orders, from_shows));
        let thread = std::thread::Builder::new().name("net".to_owned()).spawn(work).map_err(RtcServerError::Thread)?;
        Ok(Self {
            machines: RtcFactory::new(&candidates),
            port: candidates.first().map_or(0, SocketAddr::port),
            reception: Joiner { lobby, commands, outlet },
            thread: Some(thread).into(),
            wall,
        })
    }

    /// The UDP port.
    #[must_use]
    pub fn udp_port(&self) -> u16 {
        self.port
    }

    /// Admits a peer by its offer.
    ///
    /// # Errors
    /// If the offer cannot be answered or the studio says no; nothing is left behind.
    pub async fn join(&self, offer: &str, request: SessionRequest) -> Result<Joined, JoinError> {
        let (rtc, codec, answer) = self.machines.answer(offer, self.wall.now())?;
        let request = SessionRequest { codec, ..request };
        // A task of its own: whoever asked may hang up meanwhile, and a session that was admitted must get its peer.
        let admission = self.reception.clone().admit(rtc, request, self.wall);
        let (id, avatar) = tokio::spawn(admission).await.map_err(|_our_bug| JoinError::Closing)??;
        Ok(Joined { id, avatar, answer })
    }

    /// What the network says about a session; none if there is no such session.
    pub async fn stats(&self, id: &str) -> Option<NetworkStats> {
        let (answer, asked) = oneshot::channel();
        self.reception.commands.send(RtcCommand::Stats(Arc::from(id), answer)).await.ok()?;
        asked.await.ok()?
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

impl Joiner {
    async fn admit(self, rtc: Rtc, request: SessionRequest, wall: Wall) -> Result<(Arc<str>, Arc<str>), JoinError> {
        let (lobby, outlet) = (Arc::clone(&self.lobby), self.outlet);
        // Setting a stage reads files and takes a while.
        let admitted = tokio::task::spawn_blocking(move || lobby.admit(&request, Box::new(outlet))).await;
        let ticket = admitted.map_err(|_our_bug| JoinError::Closing)??;
        let (id, avatar) = (Arc::clone(&ticket.id), Arc::clone(&ticket.avatar));
        let peer = Box::new(Peer::new(rtc, ticket, wall.now()));
        if self.commands.send(RtcCommand::Add(peer)).await.is_err() {
            self.lobby.end(&id, EndReason::Closing);
            return Err(JoinError::Closing);
        }
        Ok((id, avatar))
    }
}
