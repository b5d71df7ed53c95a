//! The whole of it: our server's machines, a client and the network between them, on a clock that only exists here.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use str0m::net::Transmit;
use tokio::sync::mpsc;
use visage::backend::CpuBackend;
use visage::media::{PcmBlock, VideoFrame};
use visage::model::portrait::Portrait;
use visage::model::{Animator, AvatarInfo, AvatarKind, Cadence, FramePoll, ModelError, Pack, Still};
use visage::rtc::{Datagram, NetworkStats, Peer, Peers, RtcFactory};
use visage::session::{
    Outgoing, OutgoingMedia, Session, SessionHandle, SessionRequest, Sessions, SessionsConfig, ViewerRole,
};
use visage::telemetry::Marks;
use visage::time::{Rate, SampleIndex, Wall};
use visage_engines::PackFiles;

use crate::client::{CLIENT, Client, SERVER, cells};
use crate::test_network::{Impairments, Link};
use crate::voice::Voice;

/// As often as the net thread looks after its peers.
const ROUND: Duration = Duration::from_millis(100);

/// How a world begins.
pub struct Plan {
    pub face: Arc<dyn Pack>,
    pub resolution_px: u32,
    pub voice: Voice,
    /// By how much the client's clock is faster than ours.
    pub faster_ppm: f64,
    pub up: Impairments,
    pub down: Impairments,
    pub seed: u64,
}

pub struct World {
    pub start: Instant,
    pub now: Instant,
    pub sessions: Arc<Sessions>,
    pub ticket: Arc<SessionHandle>,
    pub client: Client,
    pub up: Link,
    pub down: Link,
    /// The server does nothing before this.
    pub stalled_until: Instant,
    /// What the actor heard and drew.
    log: Arc<Mutex<AnimatorLog>>,
    /// The voice that left the show, and its moments on the line.
    pub voices: Vec<(SampleIndex, Bytes)>,
    peers: Peers,
    show: Session,
    outlet: mpsc::Receiver<Outgoing>,
    peers_wake_at: Instant,
    next_round: Instant,
}

/// What an actor heard and drew.
#[derive(Default)]
pub struct AnimatorLog {
    /// Where the line was heard, and how loud it was there.
    pub line: Vec<(SampleIndex, f32)>,
    /// The moments that were drawn, as brightness of squares.
    pub drawn: Vec<(SampleIndex, Vec<f32>)>,
}

impl World {
    pub fn new(plan: Plan) -> Self {
        let now = Wall.now();
        let log = Arc::<Mutex<AnimatorLog>>::default();
        let face = Arc::new(Overheard { face: plan.face, log: Arc::clone(&log) });
        let config = SessionsConfig {
            max_sessions: 1,
            max_viewers: 50,
            workers: 1,
            resolution_px: plan.resolution_px,
            bitrate_bps: 1_000_000,
        };
        let sessions = Sessions::open(config, face, Wall).expect("a sessions");
        let (mut client, offer) = Client::new(now, plan.voice, plan.faster_ppm);
        let machines = RtcFactory::new(&[SocketAddr::from(SERVER)]);
        let (rtc, codec, answer) = machines.answer(&offer, now).expect("an answer");
        client.accept(&answer);
        let (sender, outlet) = mpsc::channel(16);
        let request = SessionRequest { codec, ..SessionRequest::default() };
        let (ticket, show) = sessions.create(&request, Box::new(sender), now).expect("a place");
        let creator = sessions.join(&ticket.id, ViewerRole::Creator, now).expect("a viewer slot");
        let mut peers = Peers::new(Arc::clone(&sessions), sessions.registry().counters());
        peers.add(Box::new(Peer::new(rtc, creator, now)));
        Self {
            start: now,
            now,
            sessions,
            ticket,
            client,
            up: Link::new(plan.up, plan.seed),
            down: Link::new(plan.down, plan.seed ^ 0x5555),
            stalled_until: now,
            log,
            voices: Vec::new(),
            peers,
            show,
            outlet,
            peers_wake_at: now,
            next_round: now + ROUND,
        }
    }

    /// Lives for so long.
    pub fn run(&mut self, seconds: f64) {
        let end = self.now + Duration::from_secs_f64(seconds);
        self.run_until(seconds, |world| world.now >= end);
    }

    /// Lives until `is_done`; false if the limit comes first.
    pub fn run_until(&mut self, limit_s: f64, is_done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + Duration::from_secs_f64(limit_s);
        while !is_done(self) {
            let next = self.next_event();
            if next > end {
                self.now = end;
                return is_done(self);
            }
            // A machine whose timer is rounded down asks for the same moment again and again: a real clock would move on.
            self.now = next.max(self.now + Duration::from_micros(1));
            self.step();
        }
        true
    }

    fn next_event(&self) -> Instant {
        let server = self.peers_wake_at.min(self.show.next_tick()).min(self.next_round);
        let server = self.up.next_at().map_or(server, |at| at.min(server)).max(self.stalled_until);
        let client = self.client.speaks_at().map_or(self.client.wake_at, |at| at.min(self.client.wake_at));
        let client = self.down.next_at().map_or(client, |at| at.min(client));
        server.min(client)
    }

    fn step(&mut self) {
        let now = self.now;
        while let Some(bytes) = self.down.take(now) {
            let sent = self.client.receive(now, &bytes);
            self.post_up(sent);
        }
        if self.client.wake_at <= now {
            let sent = self.client.wake(now);
            self.post_up(sent);
        }
        if self.client.speaks_at().is_some_and(|at| at <= now) {
            let sent = self.client.talk(now);
            self.post_up(sent);
        }
        if self.stalled_until <= now {
            self.serve();
        }
    }

    fn post_up(&mut self, sent: Vec<Vec<u8>>) {
        sent.iter().for_each(|bytes| self.up.post(self.now, bytes));
    }

    /// Puts a datagram before the server as if the client's address had sent it.
    pub fn inject(&mut self, bytes: &[u8]) {
        let Self { peers, down, now, .. } = self;
        let datagram = Datagram { source: SocketAddr::from(CLIENT), destination: SocketAddr::from(SERVER), bytes };
        peers.receive(*now, datagram, &mut |sent: &Transmit| post(down, *now, sent));
    }

    fn serve(&mut self) {
        let now = self.now;
        self.peers.on_turn(now);
        while let Some(bytes) = self.up.take(now) {
            self.inject(&bytes);
        }
        while self.show.next_tick() <= now && !self.show.has_ended() {
            self.show.tick(now, Wall);
            self.send();
        }
        let mut way = |sent: &Transmit| post(&mut self.down, now, sent);
        if self.next_round <= now {
            self.next_round = now + ROUND;
            self.peers.remove_ended(now, &mut way);
        }
        self.peers_wake_at = self.peers.handle_timeouts(now, &mut way).unwrap_or(now + ROUND);
    }

    fn send(&mut self) {
        let now = self.now;
        while let Ok(thing) = self.outlet.try_recv() {
            if let OutgoingMedia::Voice(packet) = &thing.media.value {
                self.voices.push((thing.media.at, packet.clone()));
            }
            self.peers.send(now, &thing, &mut |sent: &Transmit| post(&mut self.down, now, sent));
        }
    }

    pub fn log(&self) -> MutexGuard<'_, AnimatorLog> {
        self.log.lock().expect("nobody panics with the log")
    }

    /// What the network says at the server.
    pub fn network(&self) -> NetworkStats {
        self.peers.stats(self.ticket.key).first().expect("a peer").1
    }
}

fn post(network: &mut Link, now: Instant, sent: &Transmit) -> Instant {
    network.post(now, &sent.contents);
    now
}

/// The built-in pack.
pub fn portrait() -> Arc<dyn Pack> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("engines/packs/portrait");
    let files = PackFiles::read(&folder).expect("a whole pack");
    Arc::new(Portrait::open(files, &CpuBackend::new()).expect("a pack that opens"))
}

/// A pack whose actors keep a log.
struct Overheard {
    face: Arc<dyn Pack>,
    log: Arc<Mutex<AnimatorLog>>,
}

struct OverheardActor(Box<dyn Animator>, Arc<Mutex<AnimatorLog>>);

impl Pack for Overheard {
    fn name(&self) -> &str {
        self.face.name()
    }

    fn avatars(&self) -> Arc<[AvatarInfo]> {
        self.face.avatars()
    }

    fn animator(&self, avatar: &str, side_px: u32) -> Result<Box<dyn Animator>, ModelError> {
        Ok(Box::new(OverheardActor(self.face.animator(avatar, side_px)?, Arc::clone(&self.log))))
    }

    fn still(&self, avatar: &str, side_px: u32) -> Result<Still, ModelError> {
        self.face.still(avatar, side_px)
    }
}

impl Animator for OverheardActor {
    fn cadence(&self) -> Cadence {
        self.0.cadence()
    }

    fn push_audio(&mut self, block: &PcmBlock, at: SampleIndex) -> Result<(), ModelError> {
        self.1.lock().expect("nobody panics with the log").line.push((at, block.level()));
        self.0.push_audio(block, at)
    }

    fn poll(
        &mut self,
        at: SampleIndex,
        picture: &mut VideoFrame,
        marks: &mut Marks,
        wall: Wall,
    ) -> Result<FramePoll, ModelError> {
        let found = self.0.poll(at, picture, marks, wall)?;
        let (width, height) = (picture.size().width(), picture.size().height());
        let drawn = cells(picture.planes().0, width, width, height);
        self.1.lock().expect("nobody panics with the log").drawn.push((at, drawn));
        Ok(found)
    }

    fn reset(&mut self) {
        self.0.reset();
    }
}

/// A face without a mouth: noise, of which `busy` of 100 rows change with every picture. It costs an encoder what it is given.
pub struct Noise {
    cards: [AvatarInfo; 1],
    busy_percent: usize,
}

impl Noise {
    pub fn pack(busy_percent: usize) -> Arc<dyn Pack> {
        let text = || "noise".to_owned();
        let card = AvatarInfo { name: text(), title: text(), kind: AvatarKind::Head, background: text() };
        Arc::new(Self { cards: [card], busy_percent })
    }
}

impl Pack for Noise {
    fn name(&self) -> &'static str {
        "noise"
    }

    fn avatars(&self) -> Arc<[AvatarInfo]> {
        self.cards.as_slice().into()
    }

    fn animator(&self, _avatar: &str, _side_px: u32) -> Result<Box<dyn Animator>, ModelError> {
        Ok(Box::new(NoiseActor(self.busy_percent)))
    }

    fn still(&self, avatar: &str, _side_px: u32) -> Result<Still, ModelError> {
        Err(ModelError::Broken { name: avatar.to_owned(), found: "no still".to_owned() })
    }
}

struct NoiseActor(usize);

impl Animator for NoiseActor {
    fn cadence(&self) -> Cadence {
        Cadence::per_frame(Rate::new(25, 1).expect("above zero"), 1280)
    }

    fn push_audio(&mut self, _block: &PcmBlock, _at: SampleIndex) -> Result<(), ModelError> {
        Ok(())
    }

    fn poll(
        &mut self,
        at: SampleIndex,
        picture: &mut VideoFrame,
        _marks: &mut Marks,
        _wall: Wall,
    ) -> Result<FramePoll, ModelError> {
        let (width, luma) = (picture.size().width(), picture.planes_mut().0);
        let rows = luma.len() / width;
        for (y, row) in luma.chunks_exact_mut(width).enumerate() {
            let seed = if y * 100 < rows * self.0 { at.0 } else { 1 };
            let mut random = fastrand::Rng::with_seed(seed ^ (y as u64) << 32);
            // Blotches of four pixels: noise that a codec can still make something of.
            row.chunks_mut(4).for_each(|blotch| blotch.fill(64 + random.u8(..128)));
        }
        Ok(FramePoll::Ready)
    }

    fn reset(&mut self) {}
}
