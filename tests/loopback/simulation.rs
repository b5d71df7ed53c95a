//! A simulated call: the server's state factory, a client and the network between them, on a virtual clock.

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
use crate::speech::Speech;
use crate::test_network::{Impairments, Link};

/// Interval of the event loop's housekeeping.
const ROUND: Duration = Duration::from_millis(100);

/// Parameters of a call.
pub struct Plan {
    pub face: Arc<dyn Pack>,
    pub resolution_px: u32,
    pub speech: Speech,
    /// How much faster the client's clock is than the server's.
    pub faster_ppm: f64,
    pub up: Impairments,
    pub down: Impairments,
    pub seed: u64,
}

pub struct Simulation {
    pub start: Instant,
    pub now: Instant,
    pub sessions: Arc<Sessions>,
    pub ticket: Arc<SessionHandle>,
    pub client: Client,
    pub up: Link,
    pub down: Link,
    /// The server does nothing until this time.
    pub stalled_until: Instant,
    /// Input and output of the animator.
    log: Arc<Mutex<AnimatorLog>>,
    /// Audio packets that the session sent, with their media times.
    pub sent_audio: Vec<(SampleIndex, Bytes)>,
    peers: Peers,
    session: Session,
    outlet: mpsc::Receiver<Outgoing>,
    peers_wake_at: Instant,
    next_round: Instant,
}

/// Input and output of an animator.
#[derive(Default)]
pub struct AnimatorLog {
    /// Times and levels of the received audio.
    pub received: Vec<(SampleIndex, f32)>,
    /// Times of the rendered frames, with their brightness by cell.
    pub drawn: Vec<(SampleIndex, Vec<f32>)>,
}

impl Simulation {
    pub fn new(plan: Plan) -> Self {
        let now = Wall.now();
        let log = Arc::<Mutex<AnimatorLog>>::default();
        let face = Arc::new(LoggedPack { face: plan.face, log: Arc::clone(&log) });
        let config = SessionsConfig {
            max_sessions: 1,
            max_viewers: 50,
            workers: 1,
            resolution_px: plan.resolution_px,
            bitrate_bps: 1_000_000,
        };
        let sessions = Sessions::open(config, face, Wall).expect("a session service");
        let (mut client, offer) = Client::new(now, plan.speech, plan.faster_ppm);
        let factory = RtcFactory::new(&[SocketAddr::from(SERVER)]);
        let (rtc, codec, answer) = factory.answer(&offer, now).expect("an answer");
        client.accept(&answer);
        let (sender, outlet) = mpsc::channel(16);
        let request = SessionRequest { codec, ..SessionRequest::default() };
        let (ticket, session) = sessions.create(&request, Box::new(sender), now).expect("a session slot");
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
            sent_audio: Vec::new(),
            peers,
            session,
            outlet,
            peers_wake_at: now,
            next_round: now + ROUND,
        }
    }

    /// Runs for this time.
    pub fn run(&mut self, seconds: f64) {
        let end = self.now + Duration::from_secs_f64(seconds);
        self.run_until(seconds, |sim| sim.now >= end);
    }

    /// Runs until `is_done`; false if the limit comes first.
    pub fn run_until(&mut self, limit_s: f64, is_done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + Duration::from_secs_f64(limit_s);
        while !is_done(self) {
            let next = self.next_event();
            if next > end {
                self.now = end;
                return is_done(self);
            }
            // A state machine with a rounded timer may request the same time repeatedly; a real clock would advance.
            self.now = next.max(self.now + Duration::from_micros(1));
            self.step();
        }
        true
    }

    fn next_event(&self) -> Instant {
        let server = self.peers_wake_at.min(self.session.next_tick()).min(self.next_round);
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

    /// Delivers a datagram to the server as if it came from the client's address.
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
        while self.session.next_tick() <= now && !self.session.has_ended() {
            self.session.tick(now, Wall);
            self.send();
        }
        let mut transmit = |sent: &Transmit| post(&mut self.down, now, sent);
        if self.next_round <= now {
            self.next_round = now + ROUND;
            self.peers.remove_ended(now, &mut transmit);
        }
        self.peers_wake_at = self.peers.handle_timeouts(now, &mut transmit).unwrap_or(now + ROUND);
    }

    fn send(&mut self) {
        let now = self.now;
        while let Ok(thing) = self.outlet.try_recv() {
            if let OutgoingMedia::Audio(packet) = &thing.media.value {
                self.sent_audio.push((thing.media.at, packet.clone()));
            }
            self.peers.send(now, &thing, &mut |sent: &Transmit| post(&mut self.down, now, sent));
        }
    }

    pub fn log(&self) -> MutexGuard<'_, AnimatorLog> {
        self.log.lock().expect("nobody panics with the log")
    }

    /// The server's statistics of the network.
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
    let files = PackFiles::read(&folder).expect("a complete pack");
    Arc::new(Portrait::open(files, &CpuBackend::new()).expect("a pack that opens"))
}

/// A pack whose animators keep a log.
struct LoggedPack {
    face: Arc<dyn Pack>,
    log: Arc<Mutex<AnimatorLog>>,
}

struct LoggedAnimator(Box<dyn Animator>, Arc<Mutex<AnimatorLog>>);

impl Pack for LoggedPack {
    fn name(&self) -> &str {
        self.face.name()
    }

    fn avatars(&self) -> Arc<[AvatarInfo]> {
        self.face.avatars()
    }

    fn animator(&self, avatar: &str, side_px: u32) -> Result<Box<dyn Animator>, ModelError> {
        Ok(Box::new(LoggedAnimator(self.face.animator(avatar, side_px)?, Arc::clone(&self.log))))
    }

    fn still(&self, avatar: &str, side_px: u32) -> Result<Still, ModelError> {
        self.face.still(avatar, side_px)
    }
}

impl Animator for LoggedAnimator {
    fn cadence(&self) -> Cadence {
        self.0.cadence()
    }

    fn push_audio(&mut self, block: &PcmBlock, at: SampleIndex) -> Result<(), ModelError> {
        self.1.lock().expect("nobody panics with the log").received.push((at, block.level()));
        self.0.push_audio(block, at)
    }

    fn poll(
        &mut self,
        at: SampleIndex,
        frame: &mut VideoFrame,
        marks: &mut Marks,
        wall: Wall,
    ) -> Result<FramePoll, ModelError> {
        let found = self.0.poll(at, frame, marks, wall)?;
        let (width, height) = (frame.size().width(), frame.size().height());
        let drawn = cells(frame.planes().0, width, width, height);
        self.1.lock().expect("nobody panics with the log").drawn.push((at, drawn));
        Ok(found)
    }

    fn reset(&mut self) {
        self.0.reset();
    }
}

/// Noise in place of a face, of which `busy_percent` of the rows change in every frame, so that the encoder needs all of its
/// bitrate.
pub struct Noise {
    avatars: [AvatarInfo; 1],
    busy_percent: usize,
}

impl Noise {
    pub fn pack(busy_percent: usize) -> Arc<dyn Pack> {
        let text = || "noise".to_owned();
        let avatar = AvatarInfo { name: text(), title: text(), kind: AvatarKind::Head, background: text() };
        Arc::new(Self { avatars: [avatar], busy_percent })
    }
}

impl Pack for Noise {
    fn name(&self) -> &'static str {
        "noise"
    }

    fn avatars(&self) -> Arc<[AvatarInfo]> {
        self.avatars.as_slice().into()
    }

    fn animator(&self, _avatar: &str, _side_px: u32) -> Result<Box<dyn Animator>, ModelError> {
        Ok(Box::new(NoiseAnimator(self.busy_percent)))
    }

    fn still(&self, avatar: &str, _side_px: u32) -> Result<Still, ModelError> {
        Err(ModelError::Broken { name: avatar.to_owned(), found: "no still".to_owned() })
    }
}

struct NoiseAnimator(usize);

impl Animator for NoiseAnimator {
    fn cadence(&self) -> Cadence {
        Cadence::per_frame(Rate::new(25, 1).expect("above zero"), 1280)
    }

    fn push_audio(&mut self, _block: &PcmBlock, _at: SampleIndex) -> Result<(), ModelError> {
        Ok(())
    }

    fn poll(
        &mut self,
        at: SampleIndex,
        frame: &mut VideoFrame,
        _marks: &mut Marks,
        _wall: Wall,
    ) -> Result<FramePoll, ModelError> {
        let (width, luma) = (frame.size().width(), frame.planes_mut().0);
        let rows = luma.len() / width;
        for (y, row) in luma.chunks_exact_mut(width).enumerate() {
            let seed = if y * 100 < rows * self.0 { at.0 } else { 1 };
            let mut random = fastrand::Rng::with_seed(seed ^ (y as u64) << 32);
            // Blocks of four pixels: noise that can still be encoded.
            row.chunks_mut(4).for_each(|blotch| blotch.fill(64 + random.u8(..128)));
        }
        Ok(FramePoll::Ready)
    }

    fn reset(&mut self) {}
}
