//! The network thread: owns the sockets and moves datagrams and media between them and the peers.
//!
//! Decides nothing about media. Its queues are bounded: senders of commands wait, outgoing media is refused when full.

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

/// Interval of the housekeeping: ends that were requested, silence.
const HOUSEKEEPING_INTERVAL: Duration = Duration::from_millis(100);
/// Datagrams read from one socket, or media items taken from the queue, before the other sources are polled.
const BURST: usize = 64;
/// Bursts read from one socket after a stall: more datagrams than its buffer holds ([`super::BUFFER_BYTES`]; the system
/// charges at least 768 bytes for each).
const MAX_BACKLOG_BURSTS: usize = 48;
const MAX_DATAGRAM_BYTES: usize = 2048;

/// Commands to the network thread.
pub enum RtcCommand {
    /// Serve this peer.
    Add(Box<Peer>),
    /// Report the statistics of each viewer of this session.
    Stats(SessionKey, oneshot::Sender<Vec<(ViewerKey, NetworkStats)>>),
    /// Report the statistics of every peer.
    AllStats(oneshot::Sender<Vec<NetworkStats>>),
    /// Close every peer and end.
    Close,
}

/// State of the network thread.
pub struct EventLoop {
    sockets: Vec<Socket>,
    peers: Peers,
    counters: Arc<Counters>,
    wall: Wall,
    buffer: Vec<u8>,
}

/// The event that woke the thread.
#[expect(
    clippy::large_enum_variant,
    reason = "it lives on the stack for one iteration; a box would be an allocation per packet"
)]
enum Wakeup {
    Command(Option<RtcCommand>),
    Outgoing(Option<Outgoing>),
    Readable(usize),
    Timer,
}

impl EventLoop {
    /// An event loop without peers.
    #[must_use]
    pub fn new(sockets: Vec<Socket>, sessions: Arc<Sessions>, counters: Arc<Counters>, wall: Wall) -> Self {
        let peers = Peers::new(sessions, Arc::clone(&counters));
        Self { sockets, peers, counters, wall, buffer: vec![0; MAX_DATAGRAM_BYTES] }
    }

    /// Runs until [`RtcCommand::Close`], or until all senders of commands are dropped.
    pub async fn run(mut self, mut commands: mpsc::Receiver<RtcCommand>, mut outgoing: mpsc::Receiver<Outgoing>) {
        let mut housekeeping_at = self.wall.now() + HOUSEKEEPING_INTERVAL;
        let mut wake_at = housekeeping_at;
        loop {
            let wakeup = tokio::select! {
                command = commands.recv() => Wakeup::Command(command),
                item = outgoing.recv() => Wakeup::Outgoing(item),
                socket = first_readable(&self.sockets) => Wakeup::Readable(socket),
                () = tokio::time::sleep_until(wake_at.into()) => Wakeup::Timer,
            };
            if self.peers.on_turn(self.wall.now()) {
                self.read_backlog().await;
            }
            match wakeup {
                Wakeup::Command(None | Some(RtcCommand::Close)) => return self.close(commands),
                Wakeup::Command(Some(command)) => self.handle_command(command),
                Wakeup::Outgoing(Some(item)) => self.send_queued(&item, &mut outgoing),
                Wakeup::Outgoing(None) | Wakeup::Timer => {}
                Wakeup::Readable(socket) => self.read(socket),
            }
            let (now, mut transmit) = (self.wall.now(), transmitter(&self.sockets, &self.counters, self.wall));
            if now >= housekeeping_at {
                housekeeping_at = now + HOUSEKEEPING_INTERVAL;
                self.peers.remove_ended(now, &mut transmit);
            }
            let due = self.peers.handle_timeouts(now, &mut transmit);
            wake_at = due.map_or(housekeeping_at, |due| due.min(housekeeping_at));
        }
    }

    fn handle_command(&mut self, command: RtcCommand) {
        match command {
            RtcCommand::Add(peer) => self.peers.add(peer),
            // The receiver of a reply may be gone.
            RtcCommand::Stats(session, reply) => drop(reply.send(self.peers.stats(session))),
            RtcCommand::AllStats(reply) => drop(reply.send(self.peers.all_stats())),
            RtcCommand::Close => {}
        }
    }

    /// Sends an item and those queued after it, until they were sent to [`BURST`] viewers.
    fn send_queued(&mut self, first: &Outgoing, queue: &mut mpsc::Receiver<Outgoing>) {
        let mut sent = self.send(first).max(1);
        while sent < BURST {
            let Ok(next) = queue.try_recv() else { return };
            sent += self.send(&next).max(1);
        }
    }

    /// Sends an item; returns the number of viewers.
    fn send(&mut self, item: &Outgoing) -> usize {
        self.peers.send(self.wall.now(), item, &mut transmitter(&self.sockets, &self.counters, self.wall))
    }

    /// Reads datagrams that arrived while the thread did not run. The timers run afterwards, so that the peers count as alive.
    async fn read_backlog(&mut self) {
        // The runtime knows of readable sockets only after it has polled the system again.
        tokio::task::yield_now().await;
        for socket in 0..self.sockets.len() {
            (0..MAX_BACKLOG_BURSTS).for_each(|_| self.read(socket));
        }
    }

    /// Reads at most [`BURST`] datagrams from a socket.
    fn read(&mut self, socket: usize) {
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..BURST {
            // An error concerns an earlier datagram (a closed port, for instance); the next iteration continues.
            let Ok((length, source)) = self.sockets[socket].socket.try_recv_from(&mut buffer) else { break };
            self.counters.receive(length);
            self.receive(socket, source, &buffer[..length]);
        }
        self.buffer = buffer;
    }

    fn receive(&mut self, socket: usize, source: SocketAddr, bytes: &[u8]) {
        let (now, destination) = (self.wall.now(), self.sockets[socket].candidate());
        let datagram = Datagram { source, destination, bytes };
        self.peers.receive(now, datagram, &mut transmitter(&self.sockets, &self.counters, self.wall));
    }

    fn close(&mut self, mut commands: mpsc::Receiver<RtcCommand>) {
        commands.close();
        while let Ok(command) = commands.try_recv() {
            self.handle_command(command);
        }
        self.peers.close(self.wall.now(), &mut transmitter(&self.sockets, &self.counters, self.wall));
    }
}

/// Sends datagrams on the sockets and returns when each was sent.
fn transmitter<'a>(sockets: &'a [Socket], counters: &'a Counters, wall: Wall) -> impl FnMut(&Transmit) -> Instant + 'a {
    move |datagram| {
        transmit(sockets, datagram, counters);
        wall.now()
    }
}

/// Sends a datagram. A full socket buffer drops it, as a full router queue would; RTP retransmits it.
fn transmit(sockets: &[Socket], datagram: &Transmit, counters: &Counters) {
    let socket = sockets.iter().find(|socket| socket.advertised.contains(&datagram.source));
    let sent = socket.map(|socket| socket.socket.try_send_to(&datagram.contents, datagram.destination));
    if let Some(Ok(bytes)) = sent {
        return counters.send(bytes);
    }
    counters.lose(Loss::UnsentPacket);
}

/// The index of the first socket that is readable.
async fn first_readable(sockets: &[Socket]) -> usize {
    let waits = sockets.iter().enumerate().map(|(index, socket)| {
        Box::pin(async move {
            // Reading reports the same error.
            let _ = socket.socket.readable().await;
            index
        })
    });
    futures_util::future::select_all(waits).await.0
}
