//! All peers of the door: whose datagram it is, who is due, who is let go.
//!
//! A machine: time and datagrams are given, and `way` takes what goes out. Sockets and queues are the floor's.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use str0m::net::{Protocol, Receive};
use str0m::{Input, RtcError};

use super::Admission;
use super::demux::{self, Demux};
use super::network_stats::NetworkStats;
use super::peer::{Peer, PeerState, Transmitter};
use crate::session::{EndReason, Outgoing, OutgoingMedia, SessionKey};
use crate::telemetry::{Counters, Loss};

/// A datagram as a socket gave it.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// Who sent it.
    pub source: SocketAddr,
    /// The candidate of ours that it counts as sent to.
    pub here: SocketAddr,
    /// What it holds.
    pub bytes: &'a [u8],
}

/// Every peer of the door.
pub struct Peers {
    peers: BTreeMap<SessionKey, Box<Peer>>,
    index: Demux,
    lobby: Arc<dyn Admission>,
    counters: Arc<Counters>,
}

impl Peers {
    /// Nobody yet. Sessions that are over are ended in `lobby`, datagrams that are nobody's counted in `counters`.
    #[must_use]
    pub fn new(lobby: Arc<dyn Admission>, counters: Arc<Counters>) -> Self {
        Self { peers: BTreeMap::new(), index: Demux::default(), lobby, counters }
    }

    /// Looks after this peer from now on.
    pub fn add(&mut self, mut peer: Box<Peer>) {
        self.index.add(peer.ticket.key, &peer.name());
        self.peers.insert(peer.ticket.key, peer);
    }

    /// The numbers of the session with this id.
    #[must_use]
    pub fn stats(&self, id: &str) -> Option<NetworkStats> {
        self.peers.values().find(|peer| &*peer.ticket.id == id).map(|peer| peer.stats())
    }

    /// The numbers of every session.
    #[must_use]
    pub fn all_stats(&self) -> Vec<NetworkStats> {
        self.peers.values().map(|peer| peer.stats()).collect()
    }

    /// Takes a datagram to whose it is; one that is nobody's is counted.
    pub fn hear(&mut self, now: Instant, datagram: Datagram<'_>, way: &mut Transmitter<'_>) {
        let Datagram { source, here, bytes } = datagram;
        let Some(key) = self.owner_of(source, bytes) else { return self.stray() };
        let Ok(received) = Receive::new(Protocol::Udp, source, here, bytes) else { return self.stray() };
        let input = Input::Receive(now, received);
        let is_for_it = self.peers.get(&key).is_some_and(|peer| peer.accepts(&input));
        let Input::Receive(_, received) = input else { return };
        if !is_for_it {
            return self.stray();
        }
        if demux::is_stun(bytes) {
            self.index.learn(source, key);
        }
        if demux::is_dtls(bytes) {
            self.tend(key, now, way, |peer, way| peer.receive_greeting(now, received, way));
        } else {
            self.tend(key, now, way, |peer, way| peer.receive_signed(now, received, way));
        }
    }

    /// Sends what a show made. What a session that has ended still had on its way is not sent: its meter has settled its
    /// frames, and its voice is counted here.
    pub fn send(&mut self, now: Instant, thing: &Outgoing, way: &mut Transmitter<'_>) {
        let is_voice = matches!(thing.media.value, OutgoingMedia::Voice(_));
        if is_voice && !self.peers.contains_key(&thing.session) {
            return self.counters.lose(Loss::BlockedVoice);
        }
        self.tend(thing.session, now, way, |peer, way| peer.send(thing, now, way));
    }

    /// Wakes the machines that are due; gives when the next one is.
    pub fn wake_due(&mut self, now: Instant, way: &mut Transmitter<'_>) -> Option<Instant> {
        let due: Vec<_> = self.peers.iter().filter(|(_, peer)| peer.wake_at <= now).map(|(key, _)| *key).collect();
        for key in due {
            self.tend(key, now, way, |peer, way| peer.wake(now, way));
        }
        self.peers.values().map(|peer| peer.wake_at).min()
    }

    /// Lets go of who was ended from outside or fell silent. To be called ten times a second or so.
    pub fn look_after(&mut self, now: Instant, way: &mut Transmitter<'_>) {
        let over = self.peers.iter().filter_map(|(key, peer)| {
            let reason = peer.life.end_reason(now);
            (peer.ticket.inbox.has_ended() || reason.is_some()).then_some((*key, reason))
        });
        let over: Vec<_> = over.collect();
        for (key, reason) in over {
            self.let_go(key, reason, now, way);
        }
    }

    /// Says goodbye to everybody.
    pub fn close(&mut self, now: Instant, way: &mut Transmitter<'_>) {
        let keys: Vec<_> = self.peers.keys().copied().collect();
        keys.into_iter().for_each(|key| self.let_go(key, Some(EndReason::Closing), now, way));
    }

    /// STUN goes by its name, all else by where it came from: a signed request was heard from there before.
    fn owner_of(&self, source: SocketAddr, bytes: &[u8]) -> Option<SessionKey> {
        if demux::is_stun(bytes) { self.index.named(demux::name_in(bytes)?) } else { self.index.at(source) }
    }

    fn stray(&self) {
        self.counters.lose(Loss::StrayPacket);
    }

    /// Works with a peer; if its machine fails or breaks, its session ends and no other.
    fn tend<F>(&mut self, key: SessionKey, now: Instant, way: &mut Transmitter<'_>, work: F)
    where
        F: FnOnce(&mut Peer, &mut Transmitter<'_>) -> Result<PeerState, RtcError>,
    {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        let reason = match catch_unwind(AssertUnwindSafe(|| work(peer, way))) {
            Ok(Ok(PeerState::Waiting)) => return,
            Ok(Ok(PeerState::Over(reason))) => reason,
            Ok(Err(error)) => {
                tracing::debug!(%error, "a machine failed");
                EndReason::Failed
            }
            Err(_panic) => EndReason::Broken,
        };
        self.let_go(key, Some(reason), now, way);
    }

    /// Says goodbye to a peer and forgets it. Its session ends for this reason, unless it has ended already.
    fn let_go(&mut self, key: SessionKey, reason: Option<EndReason>, now: Instant, way: &mut Transmitter<'_>) {
        let Some(mut peer) = self.peers.remove(&key) else { return };
        self.index.forget(key);
        // A machine that cannot even say goodbye is dropped all the same.
        let _ = catch_unwind(AssertUnwindSafe(|| peer.close(now, way)));
        if let Some(reason) = reason {
            self.lobby.end(&peer.ticket.id, reason);
        }
    }
}
