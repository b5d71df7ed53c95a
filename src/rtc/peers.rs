//! All peers of the endpoint: demultiplexing, timers and removal.
//!
//! A state machine: time and datagrams are passed in, and a [`Transmitter`] takes the datagrams to send. What a datagram
//! costs does not depend on the number of peers: the peer is found by hash, the next timer in an ordered set.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use str0m::net::{Protocol, Receive};
use str0m::{Input, RtcError};

use super::demux::{self, Demux};
use super::frame_gate::Verdict;
use super::network_stats::NetworkStats;
use super::peer::{Peer, PeerState, Transmitter};
use super::peer_table::PeerTable;
use super::stall::StallDetector;
use crate::codec::FrameKind;
use crate::session::{EndReason, Outgoing, OutgoingMedia, SessionKey, Sessions, ViewerKey};
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
    peers: PeerTable<ViewerKey, Box<Peer>>,
    /// The same peers, sorted by session, so that a session's viewers are adjacent.
    viewers: BTreeSet<ViewerKey>,
    demux: Demux,
    /// When each peer is to be woken, soonest first: one entry per peer, equal to its `wake_at`.
    timers: BTreeSet<(Instant, ViewerKey)>,
    stalls: StallDetector,
    sessions: Arc<Sessions>,
    counters: Arc<Counters>,
}

impl Peers {
    /// No peers. Peers that are gone leave their session in `sessions`; datagrams that belong to no peer are counted in
    /// `counters`.
    #[must_use]
    pub fn new(sessions: Arc<Sessions>, counters: Arc<Counters>) -> Self {
        Self {
            peers: PeerTable::new(),
            viewers: BTreeSet::new(),
            demux: Demux::default(),
            timers: BTreeSet::new(),
            stalls: StallDetector::default(),
            sessions,
            counters,
        }
    }

    /// Adds a peer.
    pub fn add(&mut self, mut peer: Box<Peer>) {
        let key = peer.viewer.key();
        self.demux.insert(key, &peer.local_ufrag());
        self.timers.insert((peer.wake_at, key));
        self.viewers.insert(key);
        self.peers.insert(key, peer);
    }

    /// Network statistics of each viewer of a session, in the order in which they joined.
    #[must_use]
    pub fn stats(&self, session: SessionKey) -> Vec<(ViewerKey, NetworkStats)> {
        let viewers = self.viewers.range(ViewerKey::all_of(session));
        viewers.filter_map(|key| Some((*key, self.peers.get(*key)?.stats()))).collect()
    }

    /// Network statistics of every peer.
    #[must_use]
    pub fn all_stats(&self) -> Vec<NetworkStats> {
        self.peers.iter().map(|(_, peer)| peer.stats()).collect()
    }

    /// Called at the start of every iteration of the event loop. True after a stall: then read the sockets before anything
    /// else, because datagrams that arrived meanwhile prove that the peers are alive.
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
        let is_accepted = self.peers.get(key).is_some_and(|peer| peer.accepts(&input));
        let Input::Receive(_, received) = input else { return };
        if !is_accepted {
            return self.count_stray();
        }
        if demux::is_stun(bytes) && self.demux.bind_address(source, key) {
            let session = self.peers.get(key).map(|peer| &*peer.viewer.session.id);
            tracing::debug!(session, remote = %source, local = %destination, "ICE candidate pair");
        }
        if demux::is_dtls(bytes) {
            self.with_peer(key, now, transmit, |peer, transmit| peer.receive_dtls(now, received, transmit));
        } else {
            self.with_peer(key, now, transmit, |peer, transmit| peer.receive_authenticated(now, received, transmit));
        }
    }

    /// Sends media of a session to every viewer; returns how many. The bytes are copied once and shared: each
    /// connection only packetises, encrypts and paces them.
    pub fn send(&mut self, now: Instant, item: &Outgoing, transmit: &mut Transmitter<'_>) -> usize {
        match &item.media.value {
            OutgoingMedia::Audio(packet) => self.send_audio(now, item, &Arc::from(&packet[..]), transmit),
            OutgoingMedia::VideoFrame(frame) => self.send_frame(now, item, &Arc::from(&frame.bytes[..]), transmit),
        }
    }

    /// Audio without a viewer, such as that still queued by a session that has ended, is counted as lost.
    fn send_audio(
        &mut self,
        now: Instant,
        item: &Outgoing,
        bytes: &Arc<[u8]>,
        transmit: &mut Transmitter<'_>,
    ) -> usize {
        let mut sent = 0;
        let mut next = self.first_of(item.session);
        while let Some(key) = next {
            self.with_peer(key, now, transmit, |peer, transmit| peer.send(item, bytes, now, transmit));
            next = self.next_after(key);
            sent += 1;
        }
        if sent == 0 {
            self.counters.lose(Loss::BlockedAudio);
        }
        sent
    }

    /// The session has counted a due frame once; each further viewer counts it again.
    fn send_frame(
        &mut self,
        now: Instant,
        item: &Outgoing,
        bytes: &Arc<[u8]>,
        transmit: &mut Transmitter<'_>,
    ) -> usize {
        let is_keyframe = matches!(&item.media.value, OutgoingMedia::VideoFrame(frame) if frame.is_key);
        let kind = if is_keyframe { FrameKind::Key } else { FrameKind::Any };
        let mut due = 0;
        let first = self.first_of(item.session);
        first
            .and_then(|key| self.peers.get(key))
            .iter()
            .for_each(|peer| peer.viewer.session.viewers.on_frame(kind, now));
        let mut next = first;
        while let Some(key) = next {
            let verdict = self.peers.get_mut(key).map_or(Verdict::NotStarted, |peer| peer.judge_frame(kind, now));
            if verdict != Verdict::NotStarted {
                self.peers.get(key).iter().for_each(|peer| peer.viewer.frame_due(due));
                due += 1;
            }
            if verdict == Verdict::Send {
                self.with_peer(key, now, transmit, |peer, transmit| peer.send(item, bytes, now, transmit));
            }
            next = self.next_after(key);
        }
        if due == 0 {
            self.sessions.registry().on_undelivered_frame(item.session);
        }
        due
    }

    fn first_of(&self, session: SessionKey) -> Option<ViewerKey> {
        self.viewers.range(ViewerKey::all_of(session)).next().copied()
    }

    /// The next viewer of the same session, whether or not this one still exists.
    fn next_after(&self, key: ViewerKey) -> Option<ViewerKey> {
        let later = (Bound::Excluded(key), Bound::Included(*ViewerKey::all_of(key.session).end()));
        self.viewers.range(later).next().copied()
    }

    /// Runs due timers; returns the time of the next one.
    ///
    /// Each timer runs at most once in a call, so that a peer whose timer stays due cannot starve the others.
    pub fn handle_timeouts(&mut self, now: Instant, transmit: &mut Transmitter<'_>) -> Option<Instant> {
        let due: Vec<ViewerKey> = self.timers.iter().take_while(|(at, _)| *at <= now).map(|(_, key)| *key).collect();
        for key in due {
            self.with_peer(key, now, transmit, |peer, transmit| peer.handle_timeout(now, transmit));
        }
        self.timers.first().map(|(at, _)| *at)
    }

    /// Removes peers whose session was ended elsewhere, that were dismissed, never connected, or are silent. Called every 100 ms.
    pub fn remove_ended(&mut self, now: Instant, transmit: &mut Transmitter<'_>) {
        let ended = self.peers.iter().filter_map(|(key, peer)| {
            let reason = peer.timeouts().end_reason(now);
            (peer.viewer.has_ended() || reason.is_some()).then_some((key, reason))
        });
        let ended: Vec<_> = ended.collect();
        for (key, reason) in ended {
            self.remove(key, reason, now, transmit);
        }
    }

    /// Closes every peer.
    pub fn close(&mut self, now: Instant, transmit: &mut Transmitter<'_>) {
        let keys: Vec<_> = self.peers.iter().map(|(key, _)| key).collect();
        keys.into_iter().for_each(|key| self.remove(key, Some(EndReason::Closing), now, transmit));
    }

    /// STUN is routed by its user name, everything else by its source address: an authenticated STUN request came from
    /// there before.
    fn key_of(&self, source: SocketAddr, bytes: &[u8]) -> Option<ViewerKey> {
        if demux::is_stun(bytes) {
            self.demux.by_ufrag(demux::local_ufrag(bytes)?)
        } else {
            self.demux.by_address(source)
        }
    }

    fn count_stray(&self) {
        self.counters.lose(Loss::StrayPacket);
    }

    /// Drives one peer and reschedules its timer. If the peer fails or panics, only this peer leaves its session.
    fn with_peer<F>(&mut self, key: ViewerKey, now: Instant, transmit: &mut Transmitter<'_>, work: F)
    where
        F: FnOnce(&mut Peer, &mut Transmitter<'_>) -> Result<PeerState, RtcError>,
    {
        let Some(peer) = self.peers.get_mut(key) else { return };
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

    /// Closes and removes a peer: it leaves its session for this reason, which may end the session. Without a reason
    /// the session has ended already, or the viewer was dismissed.
    fn remove(&mut self, key: ViewerKey, reason: Option<EndReason>, now: Instant, transmit: &mut Transmitter<'_>) {
        let Some(mut peer) = self.peers.remove(key) else { return };
        self.viewers.remove(&key);
        self.demux.remove(key);
        self.timers.remove(&(peer.wake_at, key));
        tracing::debug!(session = &*peer.viewer.session.id, ?reason, progress = peer.progress(), "peer removed");
        // A peer that cannot be closed is dropped.
        let _ = catch_unwind(AssertUnwindSafe(|| peer.close(now, transmit)));
        peer.drop_unsent();
        self.sessions.leave(&peer.viewer, reason.unwrap_or(EndReason::Deleted));
    }
}

#[cfg(test)]
impl Peers {
    pub(super) fn accessed(&self) -> u64 {
        self.peers.accessed()
    }
}
