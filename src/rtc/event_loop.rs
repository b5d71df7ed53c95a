//! The net thread: owns the sockets, moves datagrams between them and the peers.
//!
//! Decides nothing about media. Queues into it are bounded: commands wait, what a show sends is refused when full.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use str0m::net::Transmit;
use tokio::sync::{mpsc, oneshot};

use super::network_stats::NetworkStats;
use super::peer::Peer;
use super::peers::{Datagram, Peers};
use super::sockets::Socket;
use crate::session::{Outgoing, SessionKey, Sessions, ViewerKey};
use crate::telemetry::{Counters, Loss};
use crate::time::Wall;

/// How often peers are looked after: ends asked for, silence, statistics.
const ROUND: Duration = Duration::from_millis(100);
/// Datagrams taken from one socket, or things from shows, before anything else gets its turn.
const BURST: usize = 64;
const LARGEST_DATAGRAM: usize = 2048;

/// What the thread is asked.
pub enum RtcCommand {
    /// Look after this peer.
    Add(Box<Peer>),
    /// Give the statistics of each viewer of this session.
    Stats(SessionKey, oneshot::Sender<Vec<(ViewerKey, NetworkStats)>>),
    /// Tell the numbers of every session.
    AllStats(oneshot::Sender<Vec<NetworkStats>>),
    /// Say goodbye to everybody and end.
    Close,
}

/// Everything the thread owns.
pub struct EventLoop {
    sockets: Vec<Socket>,
    peers: Peers,
    counters: Arc<Counters>,
    wall: Wall,
    buffer: Vec<u8>,
}

/// What woke the thread.
#[expect(
    clippy::large_enum_variant,
    reason = "it lives for one turn on the stack; a box would be an allocation a packet"
)]
enum Wakeup {
    RtcCommand(Option<RtcCommand>),
    Outgoing(Option<Outgoing>),
    Readable(usize),
    Housekeeping,
}

impl EventLoop {
    /// A floor without peers.
    #[must_use]
    pub fn new(sockets: Vec<Socket>, sessions: Arc<Sessions>, counters: Arc<Counters>, wall: Wall) -> Self {
        let peers = Peers::new(sessions, Arc::clone(&counters));
        Self { sockets, peers, counters, wall, buffer: vec![0; LARGEST_DATAGRAM] }
    }

    /// Works until it is told to close.
    pub async fn run(mut self, mut commands: mpsc::Receiver<RtcCommand>, mut outgoing: mpsc::Receiver<Outgoing>) {
        let mut next_round = self.wall.now() + ROUND;
        let mut wake_at = next_round;
        loop {
            let woken = tokio::select! {
                command = commands.recv() => Wakeup::RtcCommand(command),
                thing = outgoing.recv() => Wakeup::Outgoing(thing),
                number = readable(&self.sockets) => Wakeup::Readable(number),
                () = tokio::time::sleep_until(wake_at.into()) => Wakeup::Housekeeping,
            };
            match woken {
                Wakeup::RtcCommand(None | Some(RtcCommand::Close)) => return self.say_goodbye(commands),
                Wakeup::RtcCommand(Some(command)) => self.obey(command),
                Wakeup::Outgoing(Some(thing)) => self.send_all(&thing, &mut outgoing),
                Wakeup::Outgoing(None) | Wakeup::Housekeeping => {}
                Wakeup::Readable(number) => self.read(number),
            }
            let (now, mut way) = (self.wall.now(), way(&self.sockets, &self.counters, self.wall));
            if now >= next_round {
                next_round = now + ROUND;
                self.peers.look_after(now, &mut way);
            }
            wake_at = self.peers.wake_due(now, &mut way).map_or(next_round, |due| due.min(next_round));
        }
    }

    fn obey(&mut self, command: RtcCommand) {
        match command {
            RtcCommand::Add(peer) => self.peers.add(peer),
            // Whoever asked may have left.
            RtcCommand::Stats(session, answer) => drop(answer.send(self.peers.stats(session))),
            RtcCommand::AllStats(answer) => drop(answer.send(self.peers.all_stats())),
            RtcCommand::Close => {}
        }
    }

    /// Sends a thing and whatever else already waits.
    fn send_all(&mut self, first: &Outgoing, waiting: &mut mpsc::Receiver<Outgoing>) {
        let mut sent = self.send(first);
        // A session with many viewers uses up a turn faster: sockets are read in between.
        while sent < BURST {
            let Ok(next) = waiting.try_recv() else { return };
            sent += self.send(&next).max(1);
        }
    }

    /// Sends one thing; returns to how many viewers.
    fn send(&mut self, thing: &Outgoing) -> usize {
        self.peers.send(self.wall.now(), thing, &mut way(&self.sockets, &self.counters, self.wall))
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
        let (now, here) = (self.wall.now(), self.sockets[number].candidate());
        let datagram = Datagram { source, here, bytes };
        self.peers.hear(now, datagram, &mut way(&self.sockets, &self.counters, self.wall));
    }

    fn say_goodbye(&mut self, mut commands: mpsc::Receiver<RtcCommand>) {
        commands.close();
        while let Ok(command) = commands.try_recv() {
            self.obey(command);
        }
        self.peers.close(self.wall.now(), &mut way(&self.sockets, &self.counters, self.wall));
    }
}

/// The way to the sockets.
fn way<'a>(sockets: &'a [Socket], counters: &'a Counters, wall: Wall) -> impl FnMut(&Transmit) -> Instant + 'a {
    move |datagram| {
        post(sockets, datagram, counters);
        wall.now()
    }
}

/// Hands a datagram to its socket. A full socket loses it as a full router would; retransmission is RTP's.
fn post(sockets: &[Socket], datagram: &Transmit, counters: &Counters) {
    let socket = sockets.iter().find(|socket| socket.advertised.contains(&datagram.source));
    let sent = socket.map(|socket| socket.socket.try_send_to(&datagram.contents, datagram.destination));
    if let Some(Ok(bytes)) = sent {
        return counters.send(bytes);
    }
    counters.lose(Loss::UnsentPacket);
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
