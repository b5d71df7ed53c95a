//! The net thread: owns the sockets and every peer, moves datagrams between them.
//!
//! Decides nothing about media. Queues into it are bounded: commands wait, what a show sends is refused when full.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::net::{Protocol, Receive, Transmit};
use str0m::{Input, RtcError};
use tokio::sync::{mpsc, oneshot};

use super::Lobby;
use super::index::{self, Index};
use super::network::NetworkStats;
use super::peer::{Peer, Standing, Way};
use super::sockets::Socket;
use crate::pipeline::{EndReason, Outgoing, SessionKey};
use crate::telemetry::{Counters, Loss, LossCounts};
use crate::time::Wall;

/// How often peers are looked after: ends asked for, silence, statistics.
const ROUND: Duration = Duration::from_millis(100);
/// Datagrams taken from one socket, or things from shows, before anything else gets its turn.
const BURST: usize = 64;
const LARGEST_DATAGRAM: usize = 2048;

/// What the thread is asked.
pub enum Command {
    /// Look after this peer.
    Add(Box<Peer>),
    /// Tell the numbers of the session with this id.
    Stats(Arc<str>, oneshot::Sender<Option<NetworkStats>>),
    /// Tell the numbers of every session.
    AllStats(oneshot::Sender<Vec<NetworkStats>>),
    /// Say goodbye to everybody and end.
    Close,
}

/// Everything the thread owns.
pub struct Floor {
    sockets: Vec<Socket>,
    peers: BTreeMap<SessionKey, Box<Peer>>,
    index: Index,
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
    /// A floor without peers.
    #[must_use]
    pub fn new(sockets: Vec<Socket>, lobby: Arc<dyn Lobby>, counters: Arc<Counters>, wall: Wall) -> Self {
        let buffer = vec![0; LARGEST_DATAGRAM];
        Self { sockets, peers: BTreeMap::new(), index: Index::default(), lobby, counters, wall, buffer }
    }

    /// Works until it is told to close.
    pub async fn run(mut self, mut commands: mpsc::Receiver<Command>, mut outgoing: mpsc::Receiver<Outgoing>) {
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
                Woken::Command(None | Some(Command::Close)) => return self.say_goodbye(commands),
                Woken::Command(Some(command)) => self.obey(command),
                Woken::Outgoing(Some(thing)) => self.send_all(&thing, &mut outgoing),
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
            Command::Add(mut peer) => {
                self.index.add(peer.ticket.key, &peer.name());
                self.peers.insert(peer.ticket.key, peer);
            }
            Command::Stats(id, answer) => {
                let peer = self.peers.values().find(|peer| peer.ticket.id == id);
                // Whoever asked may have left.
                let _ = answer.send(peer.map(|peer| peer.stats()));
            }
            Command::AllStats(answer) => {
                let _ = answer.send(self.peers.values().map(|peer| peer.stats()).collect());
            }
            Command::Close => {}
        }
    }

    /// Sends a thing and whatever else already waits.
    fn send_all(&mut self, first: &Outgoing, waiting: &mut mpsc::Receiver<Outgoing>) {
        self.send(first);
        for _ in 1..BURST {
            let Ok(next) = waiting.try_recv() else { return };
            self.send(&next);
        }
    }

    /// What a session that has ended still had on its way is not sent: its meter has settled its frames.
    fn send(&mut self, thing: &Outgoing) {
        let now = self.wall.now();
        self.tend(thing.session, now, |peer, way| peer.send(thing, now, way));
    }

    fn read(&mut self, number: usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..BURST {
            // Errors of single datagrams (a port that closed, say) are the next round's business.
            let Ok((length, source)) = self.sockets[number].socket.try_recv_from(&mut buffer) else { break };
            self.counters.receive(length);
            self.hear(number, source, &buffer[..length]);
        }
        self.buffer = buffer;
    }

    fn hear(&mut self, number: usize, source: SocketAddr, bytes: &[u8]) {
        let now = self.wall.now();
        let here = self.sockets[number].candidate();
        let Some(key) = self.owner_of(source, bytes) else { return self.stray() };
        let Ok(datagram) = Receive::new(Protocol::Udp, source, here, bytes) else { return self.stray() };
        let input = Input::Receive(now, datagram);
        let is_for_it = self.peers.get(&key).is_some_and(|peer| peer.accepts(&input));
        let Input::Receive(_, datagram) = input else { return };
        if !is_for_it {
            return self.stray();
        }
        if index::is_stun(bytes) {
            self.index.learn(source, key);
        }
        if index::is_dtls(bytes) {
            self.tend(key, now, |peer, way| peer.receive(now, datagram, way));
        } else {
            self.tend(key, now, |peer, way| peer.receive_signed(now, datagram, way));
        }
    }

    /// STUN goes by its name, all else by where it came from: a signed request was heard from there before.
    fn owner_of(&self, source: SocketAddr, bytes: &[u8]) -> Option<SessionKey> {
        if index::is_stun(bytes) { self.index.named(index::name_in(bytes)?) } else { self.index.at(source) }
    }

    fn stray(&self) {
        count(&self.counters, Loss::StrayPacket);
    }

    /// Works with a peer; if its machine fails or breaks, its session ends and no other.
    fn tend<F>(&mut self, key: SessionKey, now: Instant, work: F)
    where
        F: FnOnce(&mut Peer, &mut Way<'_>) -> Result<Standing, RtcError>,
    {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        let (sockets, wall, counters) = (&self.sockets, self.wall, &self.counters);
        let mut way = |datagram: &Transmit| {
            post(sockets, datagram, counters);
            wall.now()
        };
        let reason = match catch_unwind(AssertUnwindSafe(|| work(peer, &mut way))) {
            Ok(Ok(Standing::Waiting)) => return,
            Ok(Ok(Standing::Over(reason))) => reason,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a machine failed");
                EndReason::Failed
            }
            Err(_panic) => EndReason::Broken,
        };
        self.let_go(key, Some(reason), now);
    }

    /// Wakes the machines that are due; gives when the next one is.
    fn wake_due(&mut self, now: Instant) -> Option<Instant> {
        let due: Vec<_> = self.peers.iter().filter(|(_, peer)| peer.wake_at <= now).map(|(key, _)| *key).collect();
        for key in due {
            self.tend(key, now, |peer, way| peer.wake(now, way));
        }
        self.peers.values().map(|peer| peer.wake_at).min()
    }

    fn look_after(&mut self, now: Instant) {
        let over = |(key, peer): (&SessionKey, &mut Box<Peer>)| {
            let reason = peer.life.is_over(now);
            (peer.ticket.inbox.has_ended() || reason.is_some()).then_some((*key, reason))
        };
        let over: Vec<_> = self.peers.iter_mut().filter_map(over).collect();
        for (key, reason) in over {
            self.let_go(key, reason, now);
        }
    }

    /// Says goodbye to a peer and forgets it. Its session ends for this reason, unless it has ended already.
    fn let_go(&mut self, key: SessionKey, reason: Option<EndReason>, now: Instant) {
        let Some(mut peer) = self.peers.remove(&key) else { return };
        self.index.forget(key);
        let mut way = |datagram: &Transmit| {
            post(&self.sockets, datagram, &self.counters);
            now
        };
        // A machine that cannot even say goodbye is dropped all the same.
        let _ = catch_unwind(AssertUnwindSafe(|| peer.close(now, &mut way)));
        if let Some(reason) = reason {
            self.lobby.end(&peer.ticket.id, reason);
        }
    }

    fn say_goodbye(&mut self, mut commands: mpsc::Receiver<Command>) {
        commands.close();
        while let Ok(command) = commands.try_recv() {
            self.obey(command);
        }
        let now = self.wall.now();
        let keys: Vec<_> = self.peers.keys().copied().collect();
        keys.into_iter().for_each(|key| self.let_go(key, Some(EndReason::Closing), now));
    }
}

/// Hands a datagram to its socket. A full socket loses it as a full router would; retransmission is RTP's.
fn post(sockets: &[Socket], datagram: &Transmit, counters: &Counters) {
    let socket = sockets.iter().find(|socket| socket.advertised.contains(&datagram.source));
    let sent = socket.map(|socket| socket.socket.try_send_to(&datagram.contents, datagram.destination));
    match sent {
        Some(Ok(bytes)) => counters.send(bytes),
        _ => count(counters, Loss::UnsentPacket),
    }
}

fn count(counters: &Counters, loss: Loss) {
    let mut lost = LossCounts::default();
    lost.count(loss);
    counters.add(&lost);
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
