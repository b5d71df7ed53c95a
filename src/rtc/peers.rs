//! All peers of the endpoint: demultiplexing, timers and removal.
//!
//! A state machine: time and datagrams are passed in, and a [`Transmitter`] takes the datagrams to send. What a datagram
//! costs does not depend on the number of peers: the peer is found by hash, the next timer in an ordered set.

use std::collections::{BTreeSet, HashMap};
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
use super::stall::StallDetector;
use crate::session::{EndReason, Outgoing, OutgoingMedia, SessionKey};
use crate::telemetry::{Counters, Loss};

/// A datagram as a socket received it.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// Remote address.
    pub source: SocketAddr,
    /// The local candidate at which it arrived.
    pub destination: SocketAddr,
    /// Payload of the UDP datagram.
    pub bytes: &'a [u8],
}

/// Every peer of the endpoint.
pub struct Peers {
    peers: HashMap<SessionKey, Box<Peer>>,
    demux: Demux,
    /// When each peer is to be woken, soonest first: one entry per peer, equal to its `wake_at`.
    timers: BTreeSet<(Instant, SessionKey)>,
    stalls: StallDetector,
    admission: Arc<dyn Admission>,
    counters: Arc<Counters>,
    /// Peers that were read or changed, each time they were.
    #[cfg(test)]
    pub(super) touched: u64,
}

impl Peers {
    /// No peers. Ends sessions through `admission`, counts datagrams that belong to no peer in `counters`.
    #[must_use]
    pub fn new(admission: Arc<dyn Admission>, counters: Arc<Counters>) -> Self {
        Self {
            peers: HashMap::new(),
            demux: Demux::default(),
            timers: BTreeSet::new(),
            stalls: StallDetector::default(),
            admission,
            counters,
            #[cfg(test)]
            touched: 0,
        }
    }

    /// Serves this peer from now on.
    pub fn add(&mut self, mut peer: Box<Peer>) {
        let key = peer.session.key;
        self.demux.insert(key, &peer.local_ufrag());
        self.timers.insert((peer.wake_at, key));
        self.peers.insert(key, peer);
    }

    /// Network statistics of the session with this id.
    #[must_use]
    pub fn stats(&self, id: &str) -> Option<NetworkStats> {
        self.peers.values().find(|peer| &*peer.session.id == id).map(|peer| peer.stats())
    }

    /// Network statistics of every session.
    #[must_use]
    pub fn all_stats(&self) -> Vec<NetworkStats> {
        self.peers.values().map(|peer| peer.stats()).collect()
    }

    /// Call it at the start of every turn of the event loop. True after a stall: then read the sockets before anything
    /// else, because what arrived meanwhile proves that the peers are still there.
    pub fn on_turn(&mut self, now: Instant) -> bool {
        let Some(missed) = self.stalls.on_turn(now) else { return false };
        tracing::warn!(missed_ms = missed.as_millis(), peers = self.peers.len(), "the network thread did not run");
        self.peers.values_mut().for_each(|peer| peer.on_stall(missed));
        true
    }

    /// Routes a datagram to its peer; unroutable ones are counted.
    pub fn receive(&mut self, now: Instant, datagram: Datagram<'_>, transmit: &mut Transmitter<'_>) {
        let Datagram { source, destination, bytes } = datagram;
        let Some(key) = self.key_of(source, bytes) else { return self.count_stray() };
        let Ok(received) = Receive::new(Protocol::Udp, source, destination, bytes) else { return self.count_stray() };
        let input = Input::Receive(now, received);
        let is_accepted = self.peers.get(&key).is_some_and(|peer| peer.accepts(&input));
        let Input::Receive(_, received) = input else { return };
        if !is_accepted {
            return self.count_stray();
        }
        if demux::is_stun(bytes) {
            self.demux.bind_address(source, key);
        }
        if demux::is_dtls(bytes) {
            self.with_peer(key, now, transmit, |peer, transmit| peer.receive_dtls(now, received, transmit));
        } else {
            self.with_peer(key, now, transmit, |peer, transmit| peer.receive_authenticated(now, received, transmit));
        }
    }

    /// Sends media of a session. Media of a session that has ended is dropped: its meter has accounted for its frames,
    /// and its audio is counted here.
    pub fn send(&mut self, now: Instant, item: &Outgoing, transmit: &mut Transmitter<'_>) {
        let is_audio = matches!(item.media.value, OutgoingMedia::Voice(_));
        if is_audio && !self.peers.contains_key(&item.session) {
            return self.counters.lose(Loss::BlockedAudio);
        }
        self.with_peer(item.session, now, transmit, |peer, transmit| peer.send(item, now, transmit));
    }

    /// Runs the timers that are due; returns when the next one is.
    ///
    /// Each timer runs at most once in a call, so that a peer whose timer stays due cannot starve the others.
    pub fn handle_timeouts(&mut self, now: Instant, transmit: &mut Transmitter<'_>) -> Option<Instant> {
        let due: Vec<SessionKey> = self.timers.iter().take_while(|(at, _)| *at <= now).map(|(_, key)| *key).collect();
        for key in due {
            self.with_peer(key, now, transmit, |peer, transmit| peer.handle_timeout(now, transmit));
        }
        self.timers.first().map(|(at, _)| *at)
    }

    /// Removes peers whose session was ended elsewhere, that never connected, or that fell silent. Call it every 100 ms.
    pub fn remove_ended(&mut self, now: Instant, transmit: &mut Transmitter<'_>) {
        let ended = self.peers.iter().filter_map(|(key, peer)| {
            let reason = peer.timeouts().end_reason(now);
            (peer.session.inbox.has_ended() || reason.is_some()).then_some((*key, reason))
        });
        let ended: Vec<_> = ended.collect();
        for (key, reason) in ended {
            self.remove(key, reason, now, transmit);
        }
    }

    /// Closes every peer.
    pub fn close(&mut self, now: Instant, transmit: &mut Transmitter<'_>) {
        let keys: Vec<_> = self.peers.keys().copied().collect();
        keys.into_iter().for_each(|key| self.remove(key, Some(EndReason::Closing), now, transmit));
    }

    /// STUN is routed by its user name, everything else by its source address: an authenticated STUN request came from
    /// there before.
    fn key_of(&self, source: SocketAddr, bytes: &[u8]) -> Option<SessionKey> {
        if demux::is_stun(bytes) {
            self.demux.by_ufrag(demux::local_ufrag(bytes)?)
        } else {
            self.demux.by_address(source)
        }
    }

    fn count_stray(&self) {
        self.counters.lose(Loss::StrayPacket);
    }

    /// Works on one peer and reschedules its timer. If the peer fails or panics, its session ends and no other.
    fn with_peer<F>(&mut self, key: SessionKey, now: Instant, transmit: &mut Transmitter<'_>, work: F)
    where
        F: FnOnce(&mut Peer, &mut Transmitter<'_>) -> Result<PeerState, RtcError>,
    {
        let Some(peer) = self.peers.get_mut(&key) else { return };
        #[cfg(test)]
        {
            self.touched += 1;
        }
        let scheduled_at = peer.wake_at;
        let outcome = catch_unwind(AssertUnwindSafe(|| work(peer, transmit)));
        if peer.wake_at != scheduled_at {
            self.timers.remove(&(scheduled_at, key));
            self.timers.insert((peer.wake_at, key));
        }
        let reason = match outcome {
            Ok(Ok(PeerState::Active)) => return,
            Ok(Ok(PeerState::Ended(reason))) => reason,
            Ok(Err(error)) => {
                tracing::debug!(%error, "the WebRTC state machine failed");
                EndReason::Failed
            }
            Err(_panic) => EndReason::Broken,
        };
        self.remove(key, Some(reason), now, transmit);
    }

    /// Closes a peer and removes it. Ends its session for this reason, unless it has ended already.
    fn remove(&mut self, key: SessionKey, reason: Option<EndReason>, now: Instant, transmit: &mut Transmitter<'_>) {
        let Some(mut peer) = self.peers.remove(&key) else { return };
        self.demux.remove(key);
        self.timers.remove(&(peer.wake_at, key));
        // A peer that cannot even close is dropped all the same.
        let _ = catch_unwind(AssertUnwindSafe(|| peer.close(now, transmit)));
        if let Some(reason) = reason {
            self.admission.end(&peer.session.id, reason);
        }
    }
}
