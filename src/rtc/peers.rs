//! All peers of the door: whose datagram it is, who is due, who is let go.
//!
//! A machine: time and datagrams are given, and `way` takes what goes out. Sockets and queues are the floor's.

use std::collections::BTreeMap;
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
use crate::codec::FrameKind;
use crate::session::{EndReason, Outgoing, OutgoingMedia, SessionKey, Sessions, ViewerKey};
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
    /// The viewers of one session stand together.
    peers: BTreeMap<ViewerKey, Box<Peer>>,
    index: Demux,
    sessions: Arc<Sessions>,
    counters: Arc<Counters>,
}

impl Peers {
    /// No peers yet. Peers that are gone leave their session in `sessions`; unroutable datagrams are counted in `counters`.
    #[must_use]
    pub fn new(sessions: Arc<Sessions>, counters: Arc<Counters>) -> Self {
        Self { peers: BTreeMap::new(), index: Demux::default(), sessions, counters }
    }

    /// Looks after this peer from now on.
    pub fn add(&mut self, mut peer: Box<Peer>) {
        self.index.add(peer.viewer.key(), &peer.name());
        self.peers.insert(peer.viewer.key(), peer);
    }

    /// The statistics of each viewer of a session, in the order in which they joined.
    #[must_use]
    pub fn stats(&self, session: SessionKey) -> Vec<(ViewerKey, NetworkStats)> {
        self.peers.range(ViewerKey::all_of(session)).map(|(key, peer)| (*key, peer.stats())).collect()
    }

    /// The statistics of every peer.
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

    /// Sends an audio packet or frame to every viewer of its session; returns to how many. The bytes are copied once and
    /// shared: each connection only packetises, encrypts and paces them.
    pub fn send(&mut self, now: Instant, thing: &Outgoing, way: &mut Transmitter<'_>) -> usize {
        match &thing.media.value {
            OutgoingMedia::Voice(packet) => self.send_audio(now, thing, &Arc::from(&packet[..]), way),
            OutgoingMedia::VideoFrame(frame) => self.send_frame(now, thing, &Arc::from(&frame.bytes[..]), way),
        }
    }

    /// Audio without a viewer, such as what a session that has ended still had on its way, is counted as lost.
    fn send_audio(&mut self, now: Instant, thing: &Outgoing, bytes: &Arc<[u8]>, way: &mut Transmitter<'_>) -> usize {
        let mut sent = 0;
        let mut next = self.first_of(thing.session);
        while let Some(key) = next {
            next = self.next_after(key);
            self.tend(key, now, way, |peer, way| peer.send(thing, bytes, now, way));
            sent += 1;
        }
        if sent == 0 {
            self.counters.lose(Loss::BlockedVoice);
        }
        sent
    }

    /// The session counted a frame as due once; each further viewer that it is for counts it again.
    fn send_frame(&mut self, now: Instant, thing: &Outgoing, bytes: &Arc<[u8]>, way: &mut Transmitter<'_>) -> usize {
        let is_keyframe = matches!(&thing.media.value, OutgoingMedia::VideoFrame(frame) if frame.is_key);
        let kind = if is_keyframe { FrameKind::Key } else { FrameKind::Any };
        let mut due = 0;
        let mut next = self.first_of(thing.session);
        while let Some(key) = next {
            next = self.next_after(key);
            let Some(peer) = self.peers.get_mut(&key) else { continue };
            if due == 0 {
                peer.viewer.session.viewers.on_frame(kind, now);
            }
            let verdict = peer.judge_frame(kind, now);
            if verdict == Verdict::NotStarted {
                continue;
            }
            peer.viewer.frame_due(due);
            due += 1;
            if verdict == Verdict::Send {
                self.tend(key, now, way, |peer, way| peer.send(thing, bytes, now, way));
            }
        }
        if due == 0 {
            self.sessions.registry().on_undelivered_frame(thing.session);
        }
        due
    }

    fn first_of(&self, session: SessionKey) -> Option<ViewerKey> {
        self.peers.range(ViewerKey::all_of(session)).next().map(|(key, _)| *key)
    }

    /// The next viewer of the same session.
    fn next_after(&self, key: ViewerKey) -> Option<ViewerKey> {
        let later = (Bound::Excluded(key), Bound::Included(*ViewerKey::all_of(key.session).end()));
        self.peers.range(later).next().map(|(key, _)| *key)
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
            (peer.viewer.has_ended() || reason.is_some()).then_some((*key, reason))
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
    fn owner_of(&self, source: SocketAddr, bytes: &[u8]) -> Option<ViewerKey> {
        if demux::is_stun(bytes) { self.index.named(demux::name_in(bytes)?) } else { self.index.at(source) }
    }

    fn stray(&self) {
        self.counters.lose(Loss::StrayPacket);
    }

    /// Works with a peer; if its machine fails or breaks, its session ends and no other.
    fn tend<F>(&mut self, key: ViewerKey, now: Instant, way: &mut Transmitter<'_>, work: F)
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

    /// Closes a peer and forgets it: it leaves its session for this reason, which may end the session. Without a reason the
    /// session has ended already, or the viewer was dismissed.
    fn let_go(&mut self, key: ViewerKey, reason: Option<EndReason>, now: Instant, way: &mut Transmitter<'_>) {
        let Some(mut peer) = self.peers.remove(&key) else { return };
        self.index.forget(key);
        // A machine that cannot even say goodbye is dropped all the same.
        let _ = catch_unwind(AssertUnwindSafe(|| peer.close(now, way)));
        peer.drop_unsent();
        self.sessions.leave(&peer.viewer, reason.unwrap_or(EndReason::Deleted));
    }
}
