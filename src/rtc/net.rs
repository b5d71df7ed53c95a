//! The net thread: owns the sockets and every peer's machine, moves datagrams between them.
//!
//! Decides nothing about media. Queues into it are bounded: commands wait, what a show sends is refused when full.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use str0m::bwe::Bitrate;
use str0m::change::SdpOffer;
use str0m::net::{Protocol, Receive};
use str0m::rtp::Extension;
use str0m::{Candidate, Input, Rtc};
use tokio::sync::{mpsc, oneshot};

use super::peer::{NetworkStats, Peer, Polled};
use super::sockets::{self, Socket};
use super::{JoinError, Joined, Lobby, NetConfig, NetError, sdp};
use crate::pipeline::{Outgoing, SessionKey, ShowRequest};
use crate::telemetry::{Counters, Loss, LossCounts};
use crate::time::Wall;

/// How often peers are looked after: ends asked for, silence, statistics.
const ROUND: Duration = Duration::from_millis(100);
/// Things a show may have on the way for each place.
const OUTLET_PER_PLACE: usize = 16;
const COMMANDS: usize = 64;
/// Datagrams taken from one socket before anything else gets its turn.
const BURST: usize = 64;
const LARGEST_DATAGRAM: usize = 2048;
const FIRST_ESTIMATE: u64 = 1_200;

/// The door's handle.
pub struct Net {
    lobby: Arc<dyn Lobby>,
    commands: mpsc::Sender<Command>,
    outlet: mpsc::Sender<Outgoing>,
    candidates: Vec<SocketAddr>,
    thread: std::sync::Mutex<Option<JoinHandle<()>>>,
    wall: Wall,
}

enum Command {
    Add(Box<Peer>),
    Stats(Arc<str>, oneshot::Sender<NetworkStats>),
    Close,
}

impl Net {
    /// Binds the port and starts the thread.
    ///
    /// # Errors
    /// If the port is taken or there is no thread to be had.
    pub fn start(
        config: &NetConfig,
        lobby: Arc<dyn Lobby>,
        counters: Arc<Counters>,
        wall: Wall,
    ) -> Result<Self, NetError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(NetError::Thread)?;
        let sockets = {
            let _inside = runtime.enter();
            sockets::bind(config)?
        };
        let candidates = sockets.iter().map(|socket| socket.advertised).collect();
        let (outlet, from_shows) = mpsc::channel(OUTLET_PER_PLACE * config.places.max(1));
        let (commands, orders) = mpsc::channel(COMMANDS);
        let floor = Floor {
            sockets,
            peers: BTreeMap::new(),
            sources: HashMap::new(),
            lobby: Arc::clone(&lobby),
            counters,
            wall,
            buffer: vec![0; LARGEST_DATAGRAM],
        };
        let work = move || runtime.block_on(floor.run(orders, from_shows));
        let thread = std::thread::Builder::new().name("net".to_owned()).spawn(work).map_err(NetError::Thread)?;
        Ok(Self { lobby, commands, outlet, candidates, thread: Some(thread).into(), wall })
    }

    /// The UDP port.
    #[must_use]
    pub fn udp_port(&self) -> u16 {
        self.candidates.first().map_or(0, SocketAddr::port)
    }

    /// Admits a peer by its offer.
    ///
    /// # Errors
    /// If the offer cannot be answered or the studio says no; nothing is left behind.
    pub async fn join(&self, offer: &str, request: ShowRequest) -> Result<Joined, JoinError> {
        sdp::check_offer(offer)?;
        let offer =
            SdpOffer::from_sdp_string(offer).map_err(|error| JoinError::BadOffer { found: error.to_string() })?;
        let now = self.wall.now();
        let mut rtc = self.machine(now);
        let answer =
            rtc.sdp_api().accept_offer(offer).map_err(|error| JoinError::BadOffer { found: error.to_string() })?;
        let (lobby, outlet) = (Arc::clone(&self.lobby), self.outlet.clone());
        let admitted = tokio::task::spawn_blocking(move || lobby.admit(&request, Box::new(outlet))).await;
        let ticket = admitted.map_err(|_our_bug| JoinError::Closing)??;
        let joined = Joined {
            id: Arc::clone(&ticket.id),
            avatar: Arc::clone(&ticket.avatar),
            answer: sdp::in_one_stream(&answer.to_sdp_string()),
        };
        let peer = Box::new(Peer::new(rtc, ticket, now));
        if self.commands.send(Command::Add(peer)).await.is_err() {
            self.lobby.end(&joined.id, "the server is closing");
            return Err(JoinError::Closing);
        }
        Ok(joined)
    }

    /// What the network says about a session.
    pub async fn stats(&self, id: &str) -> Option<NetworkStats> {
        let (answer, asked) = oneshot::channel();
        self.commands.send(Command::Stats(Arc::from(id), answer)).await.ok()?;
        asked.await.ok()
    }

    /// Says goodbye to every peer and ends the thread.
    pub async fn close(&self) {
        // If the thread is gone already there is nobody to tell.
        let _ = self.commands.send(Command::Close).await;
        let thread = self.thread.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic of the net thread was told when it happened.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }

    fn machine(&self, now: Instant) -> Rtc {
        let mut rtc = Rtc::builder()
            .set_ice_lite(true)
            .clear_codecs()
            .enable_opus(true, false)
            .enable_h264(true)
            .set_extension(6, Extension::PlayoutDelay)
            .set_rtcp_report_interval_audio(Duration::from_secs(1))
            .set_stats_interval(Some(Duration::from_secs(1)))
            .set_reordering_size_audio(0)
            .enable_bwe(Some(Bitrate::kbps(FIRST_ESTIMATE)))
            .build(now);
        for candidate in &self.candidates {
            if let Ok(candidate) = Candidate::host(*candidate, "udp") {
                rtc.add_local_candidate(candidate);
            }
        }
        rtc
    }
}

/// Everything the thread owns.
struct Floor {
    sockets: Vec<Socket>,
    peers: BTreeMap<SessionKey, Box<Peer>>,
    /// Which peer a source address was last heard to be.
    sources: HashMap<SocketAddr, SessionKey>,
    lobby: Arc<dyn Lobby>,
    counters: Arc<Counters>,
    wall: Wall,
    buffer: Vec<u8>,
}

/// What woke the thread.
enum Woken {
    Command(Option<Command>),
    Outgoing(Option<Outgoing>),
    Readable(usize),
    Round,
}

impl Floor {
    async fn run(mut self, mut commands: mpsc::Receiver<Command>, mut outgoing: mpsc::Receiver<Outgoing>) {
        let mut next_round = self.wall.now() + ROUND;
        let mut wake_at = next_round;
        loop {
            let woken = tokio::select! {
                command = commands.recv() => Woken::Command(command),
                thing = outgoing.recv() => Woken::Outgoing(thing),
                number = readable(&self.sockets) => Woken::Readable(number),
                () = tokio::time::sleep_until(wake_at.into()) => Woken::Round,
            };
            match woken {
                Woken::Command(None | Some(Command::Close)) => return self.say_goodbye(),
                Woken::Command(Some(command)) => self.obey(command),
                Woken::Outgoing(Some(thing)) => self.send(&thing),
                Woken::Outgoing(None) | Woken::Round => {}
                Woken::Readable(number) => self.read(number),
            }
            let now = self.wall.now();
            if now >= next_round {
                next_round = now + ROUND;
                self.look_after(now);
            }
            wake_at = self.wake_due(now).map_or(next_round, |due| due.min(next_round));
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Add(peer) => {
                self.peers.insert(peer.ticket.key, peer);
            }
            Command::Stats(id, answer) => {
                let peer = self.peers.values().find(|peer| peer.ticket.id == id);
                // Whoever asked may have left.
                let _ = answer.send(peer.map(|peer| peer.stats()).unwrap_or_default());
            }
            Command::Close => {}
        }
    }

    fn send(&mut self, thing: &Outgoing) {
        let now = self.wall.now();
        let Some(peer) = self.peers.get_mut(&thing.session) else { return };
        if let Err(error) = peer.send(thing, now) {
            tracing::debug!(%error, "a picture or voice was refused");
        }
        self.flush(thing.session, now);
        let now = self.wall.now();
        if let Some(peer) = self.peers.get(&thing.session).filter(|peer| peer.is_connected()) {
            peer.count_sent(thing, now);
        }
    }

    fn read(&mut self, number: usize) {
        for _ in 0..BURST {
            let mut buffer = std::mem::take(&mut self.buffer);
            let received = self.sockets[number].socket.try_recv_from(&mut buffer);
            let is_done = match received {
                Ok((length, source)) => {
                    self.hear(number, source, &buffer[..length]);
                    false
                }
                // Errors of single datagrams (a port that closed, say) are the next round's business.
                Err(_nothing_now) => true,
            };
            self.buffer = buffer;
            if is_done {
                return;
            }
        }
    }

    fn hear(&mut self, number: usize, source: SocketAddr, bytes: &[u8]) {
        let now = self.wall.now();
        let here = self.sockets[number].advertised;
        let Ok(datagram) = Receive::new(Protocol::Udp, source, here, bytes) else { return self.stray() };
        let input = Input::Receive(now, datagram);
        let known = self
            .sources
            .get(&source)
            .copied()
            .filter(|key| self.peers.get(key).is_some_and(|peer| peer.accepts(&input)));
        let key = known.or_else(|| self.peers.iter().find(|(_, peer)| peer.accepts(&input)).map(|(key, _)| *key));
        let (Some(key), Input::Receive(_, datagram)) = (key, input) else { return self.stray() };
        self.sources.insert(source, key);
        let Some(peer) = self.peers.get_mut(&key) else { return };
        match peer.receive(now, datagram) {
            Ok(()) => self.flush(key, now),
            Err(error) => {
                tracing::debug!(%error, "a datagram ended a session");
                self.let_go(key, "the peer sent what cannot be understood");
            }
        }
    }

    fn stray(&self) {
        let mut lost = LossCounts::default();
        lost.count(Loss::StrayPacket);
        self.counters.add(&lost);
    }

    /// Sends what a peer's machine has to send.
    fn flush(&mut self, key: SessionKey, now: Instant) {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        let reason = loop {
            match peer.poll(now) {
                Ok(Polled::Send(datagram)) => {
                    let socket = self.sockets.iter().find(|socket| socket.advertised == datagram.source);
                    if let Some(socket) = socket.or(self.sockets.first()) {
                        // A full socket buffer loses the datagram as a full router would; retransmission is RTP's.
                        let _ = socket.socket.try_send_to(&datagram.contents, datagram.destination);
                    }
                }
                Ok(Polled::Wait(at)) => {
                    peer.wake_at = at;
                    return;
                }
                Ok(Polled::Over(reason)) => break reason,
                Err(error) => {
                    tracing::debug!(%error, "a machine failed");
                    break "the connection failed";
                }
            }
        };
        self.let_go(key, reason);
    }

    /// Wakes the machines that are due; gives when the next one is.
    fn wake_due(&mut self, now: Instant) -> Option<Instant> {
        let due: Vec<_> = self.peers.iter().filter(|(_, peer)| peer.wake_at <= now).map(|(key, _)| *key).collect();
        for key in due {
            let is_well = self.peers.get_mut(&key).is_none_or(|peer| peer.wake(now).is_ok());
            if is_well {
                self.flush(key, now);
            } else {
                self.let_go(key, "the connection failed");
            }
        }
        self.peers.values().map(|peer| peer.wake_at).min()
    }

    fn look_after(&mut self, now: Instant) {
        let over = |(key, peer): (&SessionKey, &mut Box<Peer>)| {
            let ended = peer.ticket.inbox.has_ended().then_some("the session was ended");
            ended.or_else(|| peer.life.is_over(now)).map(|reason| (*key, reason))
        };
        let over: Vec<_> = self.peers.iter_mut().filter_map(over).collect();
        for (key, reason) in over {
            self.let_go(key, reason);
        }
    }

    /// Says goodbye to a peer and forgets it.
    fn let_go(&mut self, key: SessionKey, reason: &str) {
        let Some(mut peer) = self.peers.remove(&key) else { return };
        peer.close();
        let now = self.wall.now();
        while let Ok(Polled::Send(datagram)) = peer.poll(now) {
            if let Some(socket) = self.sockets.iter().find(|socket| socket.advertised == datagram.source) {
                // A goodbye that does not fit is one that got lost.
                let _ = socket.socket.try_send_to(&datagram.contents, datagram.destination);
            }
        }
        self.sources.retain(|_, owner| *owner != key);
        self.lobby.end(&peer.ticket.id, reason);
    }

    fn say_goodbye(&mut self) {
        let keys: Vec<_> = self.peers.keys().copied().collect();
        keys.into_iter().for_each(|key| self.let_go(key, "the server is closing"));
    }
}

/// The number of the first socket with something to read.
async fn readable(sockets: &[Socket]) -> usize {
    let waits = sockets.iter().enumerate().map(|(number, socket)| {
        Box::pin(async move {
            // An error here shows again when reading.
            let _ = socket.socket.readable().await;
            number
        })
    });
    futures_util::future::select_all(waits).await.0
}
